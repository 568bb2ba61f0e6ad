//! A distributed map as a pure machine: which execution starts when, and how the run ends.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::definition::{Flow, Format, ItemReader, ItemSource};
use crate::expression::{Bindings, EvaluationError, Expected, Template};
use crate::machine::{Failure, select};
use crate::payload::Payload;
use crate::scope::Surroundings;

/// How many inputs are evaluated together.
const ITEMS_AT_ONCE: usize = 256;

/// What a state machine wants a map run to do.
#[derive(Clone, Debug)]
pub(crate) struct MapRunOrder {
    pub(crate) arn: String,
    pub(crate) label: String,
    pub(crate) processor: Arc<Flow>,
    pub(crate) source: Source,
    pub(crate) selector: Option<Template>,
    pub(crate) surroundings: Surroundings,
    pub(crate) concurrency: usize,
    pub(crate) tolerance: Tolerance,
}

/// Where the items come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Items(Vec<Value>),
    Object { bucket: String, key: String, format: Format, max_items: Option<i64> },
    Listing { bucket: String, prefix: String, max_items: Option<i64> },
}

impl Source {
    /// The source an `ItemReader` describes.
    pub(crate) fn of(
        reader: &ItemReader,
        bindings: &Bindings<'_>,
    ) -> Result<Self, EvaluationError> {
        let field = "ItemReader/Arguments";
        let arguments = reader.arguments.evaluate_as(Expected::Object, field, bindings)?;
        let text = |name: &str| match &arguments[name] {
            Value::String(text) => Ok(text.clone()),
            other => Err(EvaluationError {
                location: format!("{field}/{name}"),
                message: format!("The {name} field must be a string but was: {other}"),
            }),
        };
        let max_items = reader
            .max_items
            .as_ref()
            .map(|most| {
                most.evaluate_as(Expected::Number, "ItemReader/ReaderConfig/MaxItems", bindings)
            })
            .transpose()?
            .and_then(|most| most.as_i64());
        let bucket = text("Bucket")?;
        Ok(match &reader.source {
            ItemSource::Object(format) => {
                Source::Object { bucket, key: text("Key")?, format: format.clone(), max_items }
            }
            ItemSource::Listing => Source::Listing {
                bucket,
                prefix: arguments["Prefix"].as_str().unwrap_or_default().to_string(),
                max_items,
            },
        })
    }
}

/// How many items may fail before the run does; nothing given means none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) count: Option<f64>,
    pub(crate) percentage: Option<f64>,
}

impl Tolerance {
    fn is_exceeded(self, failed: usize, total: usize) -> bool {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a run has far fewer items than a double counts exactly"
        )]
        let (failed, total) = (failed as f64, total as f64);
        let share = failed * 100.0 / total.max(1.0);
        match (self.count, self.percentage) {
            (None, None) => failed > 0.0,
            (count, percentage) => {
                count.is_some_and(|most| failed > most)
                    || percentage.is_some_and(|most| share > most)
            }
        }
    }
}

/// What a map run wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MapRunAction {
    Start { index: usize, input: Payload },
    Finish(Result<Payload, Failure>),
}

/// How many items are in which state, as `DescribeMapRun` answers it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ItemCounts {
    pub(crate) total: usize,
    pub(crate) running: usize,
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
}

/// The state of a map run.
pub(crate) struct MapRun {
    items: Vec<Value>,
    selector: Option<Template>,
    surroundings: Surroundings,
    concurrency: usize,
    tolerance: Tolerance,
    /// How many items were taken from `items`.
    taken: usize,
    /// Inputs of executions that wait for their turn.
    ready: VecDeque<(usize, Payload)>,
    results: Vec<Option<Payload>>,
    counts: ItemCounts,
    is_finished: bool,
}

impl MapRun {
    pub(crate) fn new(order: &MapRunOrder, items: Vec<Value>) -> Self {
        Self {
            selector: order.selector.clone(),
            surroundings: order.surroundings.clone(),
            concurrency: order.concurrency,
            tolerance: order.tolerance,
            taken: 0,
            ready: VecDeque::new(),
            results: vec![None; items.len()],
            counts: ItemCounts { total: items.len(), ..ItemCounts::default() },
            items,
            is_finished: false,
        }
    }

    pub(crate) fn counts(&self) -> ItemCounts {
        self.counts
    }

    /// Starts as many executions as may run at once.
    pub(crate) fn start(&mut self) -> Vec<MapRunAction> {
        self.advance()
    }

    /// Takes the end of one execution; the error of a failed one does not matter to the run.
    pub(crate) fn child_finished(
        &mut self,
        index: usize,
        output: Option<Payload>,
    ) -> Vec<MapRunAction> {
        self.counts.running -= 1;
        if let Some(output) = output {
            self.counts.succeeded += 1;
            self.results[index] = Some(output);
        } else {
            self.counts.failed += 1;
        }
        if self.tolerance.is_exceeded(self.counts.failed, self.counts.total) {
            let failure = Failure::named(
                "States.ExceedToleratedFailureThreshold",
                "The specified tolerated failure threshold was exceeded",
            );
            return self.finish(Err(failure));
        }
        self.advance()
    }

    fn advance(&mut self) -> Vec<MapRunAction> {
        let mut actions = Vec::new();
        while !self.is_finished && self.counts.running < self.concurrency {
            if let Err(error) = self.prepare() {
                let failure = Failure::named("States.QueryEvaluationError", error.message);
                actions.extend(self.finish(Err(failure)));
                break;
            }
            let Some((index, input)) = self.ready.pop_front() else {
                break;
            };
            actions.push(MapRunAction::Start { index, input });
            self.counts.running += 1;
        }
        let has_more = self.taken < self.items.len() || !self.ready.is_empty();
        if self.counts.running == 0 && !has_more && !self.is_finished {
            let results = Payload::array(self.results.iter().flatten());
            actions.extend(self.finish(Ok(results)));
        }
        actions
    }

    /// Evaluates the selector for the next items. They share the conversion of the state's input,
    /// which would otherwise be done for each of them.
    fn prepare(&mut self) -> Result<(), EvaluationError> {
        if !self.ready.is_empty() {
            return Ok(());
        }
        let first = self.taken;
        let end = self.items.len().min(first + ITEMS_AT_ONCE);
        let values = self.items[first..end].iter_mut().map(Value::take);
        let selected = select(self.selector.as_ref(), &self.surroundings, first, values)?;
        let inputs = selected.into_iter();
        self.ready.extend(inputs.map(|(item, input)| (item.index, input)));
        self.taken = end;
        Ok(())
    }

    fn finish(&mut self, result: Result<Payload, Failure>) -> Vec<MapRunAction> {
        if std::mem::replace(&mut self.is_finished, true) {
            return Vec::new();
        }
        vec![MapRunAction::Finish(result)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::check::check;
    use crate::scope::Identity;

    fn order(concurrency: usize, tolerance: Tolerance, selector: Option<Value>) -> MapRunOrder {
        let definition = json!({
            "QueryLanguage": "JSONata",
            "StartAt": "Map",
            "States": {"Map": {
                "Type": "Map",
                "ItemSelector": selector.unwrap_or(json!("{% $states.context.Map.Item.Value %}")),
                "ItemProcessor": {
                    "StartAt": "Pass",
                    "States": {"Pass": {"Type": "Pass", "End": true}},
                },
                "End": true,
            }},
        });
        let definition = check(&definition.to_string()).expect("a definition without faults");
        let crate::definition::Kind::Map(map) = &definition.flow.states["Map"].kind else {
            unreachable!("the state is a map");
        };
        let identity = Identity {
            execution_arn: String::new(),
            execution_name: String::new(),
            role_arn: String::new(),
            state_machine_arn: String::new(),
            state_machine_name: String::new(),
            region: String::new(),
            account: String::new(),
            started: Timestamp::UNIX_EPOCH,
            input: Payload::from(json!({})),
        };
        MapRunOrder {
            arn: String::new(),
            label: String::new(),
            processor: Arc::clone(&map.processor),
            source: Source::Items(Vec::new()),
            selector: map.item_selector.clone(),
            surroundings: Surroundings {
                identity: Arc::new(identity),
                scope: Arc::default(),
                item: None,
                state_name: "Map".to_string(),
                state_entered: Timestamp::UNIX_EPOCH,
                retry_count: 0,
                input: Payload::from(json!({"run": "r"})),
                task_token: None,
                result: None,
                error_output: None,
            },
            concurrency,
            tolerance,
        }
    }

    /// Ends every item, the last that runs first, and says how the run ended.
    fn play(run: &mut MapRun, fails: impl Fn(usize) -> bool) -> Result<Payload, Failure> {
        let mut running = BTreeSet::new();
        let mut actions = run.start();
        loop {
            for action in actions {
                match action {
                    MapRunAction::Start { index, .. } => assert!(running.insert(index)),
                    MapRunAction::Finish(result) => return result,
                }
            }
            assert!(running.len() <= run.concurrency, "{running:?}");
            assert_eq!(running.len(), run.counts().running);
            let index = running.pop_last().expect("something runs");
            let output = (!fails(index)).then(|| Payload::from(json!(index)));
            actions = run.child_finished(index, output);
        }
    }

    #[test]
    fn results_keep_the_order_of_the_items_whatever_ends_first() {
        for (concurrency, total) in [(1, 0), (1, 3), (7, 1000), (usize::MAX, 1000)] {
            let order = order(concurrency, Tolerance::default(), None);
            let mut run = MapRun::new(&order, vec![json!(0); total]);
            let expected = Payload::from(json!((0..total).collect::<Vec<_>>()));
            assert_eq!(play(&mut run, |_| false), Ok(expected));
        }
    }

    #[test]
    fn the_selector_sees_the_item_its_index_and_the_input_of_the_state() {
        let selector = json!({
            "item": "{% $states.context.Map.Item %}",
            "run": "{% $states.input.run %}",
        });
        let order = order(usize::MAX, Tolerance::default(), Some(selector));
        let actions = MapRun::new(&order, vec![json!("a"), json!("b")]).start();
        let start = |index: usize, value: &str| MapRunAction::Start {
            index,
            input: Payload::from(json!({"item": {"Index": index, "Value": value}, "run": "r"})),
        };
        assert_eq!(actions, [start(0, "a"), start(1, "b")]);
    }

    #[test]
    fn a_run_fails_when_more_items_fail_than_it_tolerates() {
        #[track_caller]
        fn check(count: Option<f64>, percentage: Option<f64>, failing: usize, is_tolerated: bool) {
            let tolerance = Tolerance { count, percentage };
            let mut run = MapRun::new(&order(4, tolerance, None), vec![json!(0); 200]);
            let result = play(&mut run, |index| index < failing);
            let exceeded = Failure::named(
                "States.ExceedToleratedFailureThreshold",
                "The specified tolerated failure threshold was exceeded",
            );
            let succeeded = Payload::from(json!((failing..200).collect::<Vec<_>>()));
            let expected = if is_tolerated { Ok(succeeded) } else { Err(exceeded) };
            assert_eq!(result, expected);
        }
        check(None, None, 0, true);
        check(None, None, 1, false);
        check(Some(2.0), None, 2, true);
        check(Some(2.0), None, 3, false);
        check(None, Some(0.5), 1, true);
        check(None, Some(0.5), 2, false);
        check(Some(100.0), Some(0.5), 2, false);
        check(None, Some(100.0), 200, true);
    }
}
