//! The settings of a Map, and the run of a distributed one.

use std::sync::Arc;

use serde_json::Value;

use super::{Action, Failure, Machine, Phase, Step, Thread, ThreadId, Token};
use crate::definition::Map;
use crate::expression::{Bindings, EvaluationError, Expected, Template};
use crate::history::Detail;
use crate::map_run::{MapRunOrder, Source, Tolerance};
use crate::payload::Payload;
use crate::scope::Surroundings;

/// AWS: a distributed map runs this many executions at once, and no more.
const DISTRIBUTED_CONCURRENCY_MAX: usize = 10_000;

/// The numbers and items of a Map, evaluated.
pub(super) struct MapSettings {
    pub(super) concurrency: usize,
    pub(super) tolerance: Tolerance,
    pub(super) source: Source,
}

impl Machine {
    pub(super) fn run_distributed(
        &mut self,
        id: ThreadId,
        thread: &mut Thread,
        map: &Map,
        surroundings: &Surroundings,
        settings: MapSettings,
    ) -> Step {
        let length = match &settings.source {
            Source::Items(items) => items.len(),
            Source::Object { .. } | Source::Listing { .. } => 0,
        };
        let detail = Detail::ChildrenStarted { kind: "Map", length: Some(length) };
        self.record_in(thread, detail);
        let label = map.distributed.as_ref().and_then(|map| map.label.clone());
        let label = label.unwrap_or_else(|| self.uuid());
        let identity = &surroundings.identity;
        let machine = identity.state_machine_name.split('/').next();
        let arn = format!(
            "arn:aws:states:{}:{}:mapRun:{}/{label}:{}",
            identity.region,
            identity.account,
            machine.unwrap_or_default(),
            self.uuid()
        );
        self.record_in(thread, Detail::MapRunStarted { arn: arn.clone() });
        let run = self.wait_for(id);
        let order = Box::new(MapRunOrder {
            arn,
            label,
            processor: Arc::clone(&map.processor),
            source: settings.source,
            selector: map.item_selector.clone(),
            surroundings: surroundings.clone(),
            concurrency: settings.concurrency.min(DISTRIBUTED_CONCURRENCY_MAX),
            tolerance: settings.tolerance,
        });
        self.actions.push(Action::StartMapRun { run, order });
        if let Some(current) = &mut thread.current {
            current.phase = Phase::MapRun { run };
        }
        Step::Blocked
    }

    pub(super) fn map_run_finished(&mut self, run: Token, result: Result<Payload, Failure>) {
        let Some((id, mut thread)) = self.woken(run) else {
            return;
        };
        let Some(current) = &mut thread.current else {
            return;
        };
        current.phase = Phase::Entered;
        match result {
            Ok(result) if result.is_too_large() => {
                let failure = Failure::output_too_large(&current.state.name);
                self.record(thread.last_event, Detail::MapRunSucceeded);
                self.fail(id, thread, failure);
            }
            Ok(result) => {
                let succeeded = self.record(thread.last_event, Detail::MapRunSucceeded);
                self.record(succeeded, Detail::ChildrenSucceeded { kind: "Map" });
                self.complete(id, thread, Some(result));
            }
            Err(failure) => {
                let detail = Detail::MapRunFailed(failure.trouble.clone());
                self.record_in(&mut thread, detail);
                self.fail(id, thread, failure);
            }
        }
    }

    pub(super) fn map_settings(
        &mut self,
        thread: &mut Thread,
        map: &Map,
        surroundings: &Surroundings,
    ) -> Result<MapSettings, Failure> {
        let bindings = Bindings::new(surroundings);
        let source = match self.map_source(thread, map, &bindings, surroundings)? {
            Ok(source) => source,
            Err(error) => return Err(self.evaluation_failed(thread, error)),
        };
        let limit = |field: &str, template: &Option<Template>, most: f64| {
            let Some(template) = template else {
                return Ok(None);
            };
            let value = template.evaluate_as(Expected::Number, field, &bindings)?;
            let number = value.as_f64().unwrap_or_default();
            if (0.0..=most).contains(&number) {
                return Ok(Some(number));
            }
            let message = if most > 100.0 {
                format!("{field} must be a positive integer.")
            } else {
                format!("{field} must be between 0 and 100.")
            };
            Err(EvaluationError { location: field.to_string(), message })
        };
        let evaluate = || {
            let most = f64::from(u32::MAX);
            let concurrency = limit("MaxConcurrency", &map.max_concurrency, most)?;
            let count = limit("ToleratedFailureCount", &map.tolerated_failure_count, most)?;
            let percentage =
                limit("ToleratedFailurePercentage", &map.tolerated_failure_percentage, 100.0)?;
            Ok((concurrency, Tolerance { count, percentage }))
        };
        let (concurrency, tolerance) =
            evaluate().map_err(|error| self.evaluation_failed(thread, error))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the number was found to lie between 0 and the largest u32"
        )]
        let concurrency = match concurrency {
            Some(number) if number >= 1.0 => number as usize,
            _ => usize::MAX,
        };
        Ok(MapSettings { concurrency, tolerance, source })
    }

    /// Where the items come from: `ItemReader`, `Items`, or the state's input.
    fn map_source(
        &mut self,
        thread: &mut Thread,
        map: &Map,
        bindings: &Bindings<'_>,
        surroundings: &Surroundings,
    ) -> Result<Result<Source, EvaluationError>, Failure> {
        if let Some(reader) = map.distributed.as_ref().and_then(|map| map.reader.as_ref()) {
            return Ok(Source::of(reader, bindings));
        }
        let items = match &map.items {
            Some(items) => match items.evaluate_as(Expected::Array, "Items", bindings) {
                Ok(items) => items,
                Err(error) => return Ok(Err(error)),
            },
            None => surroundings.input.value().clone(),
        };
        if let Value::Array(items) = items {
            return Ok(Ok(Source::Items(items)));
        }
        let message = format!("Map state input must be an array but was: {items}");
        let previous = thread.current.as_ref().map_or(0, |current| current.before_event);
        Err(self.value_refused(thread, previous, None, &message))
    }
}
