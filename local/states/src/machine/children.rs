//! The branches of a Parallel and the iterations of a Map.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::distributed::MapSettings;
use super::{Failure, Machine, Parent, Phase, Step, Thread, ThreadId};
use crate::definition::{Flow, Kind, Map};
use crate::expression::{Bindings, EvaluationError, Template};
use crate::history::Detail;
use crate::map_run::Source;
use crate::payload::Payload;
use crate::scope::{Item, Scope, Surroundings};

/// AWS: an inline map runs this many iterations at once, and no more.
const INLINE_CONCURRENCY_MAX: usize = 40;
/// Threads that a state waits for.
pub(super) struct Children {
    /// Iterations that have not begun, the next one last.
    waiting: Vec<(Arc<Item>, Payload)>,
    results: Vec<Option<Payload>>,
    active: BTreeMap<usize, ThreadId>,
    done: usize,
    concurrency: usize,
}

impl Children {
    fn new(length: usize, concurrency: usize) -> Self {
        Self {
            waiting: Vec::new(),
            results: vec![None; length],
            active: BTreeMap::new(),
            done: 0,
            concurrency,
        }
    }

    pub(super) fn forget(&mut self, index: usize) {
        self.active.remove(&index);
    }

    pub(super) fn active(&self) -> impl Iterator<Item = (usize, ThreadId)> {
        self.active.iter().map(|(index, thread)| (*index, *thread))
    }

    fn is_done(&self) -> bool {
        self.done == self.results.len()
    }
}

impl Machine {
    pub(super) fn run_parallel(
        &mut self,
        id: ThreadId,
        thread: &mut Thread,
        branches: &[Arc<Flow>],
        input: &Payload,
    ) -> Step {
        let detail = Detail::ChildrenStarted { kind: "Parallel", length: None };
        self.record_in(thread, detail);
        let mut children = Children::new(branches.len(), branches.len());
        for (index, flow) in branches.iter().enumerate() {
            let child = Thread {
                parent: Some(Parent { thread: id, index }),
                flow: Arc::clone(flow),
                scope: Scope::inside(&thread.scope),
                item: thread.item.clone(),
                last_event: thread.last_event,
                current: None,
            };
            let child = self.spawn(child, input.clone());
            children.active.insert(index, child);
        }
        if let Some(current) = &mut thread.current {
            current.phase = Phase::Children(children);
        }
        Step::Blocked
    }

    pub(super) fn run_map(
        &mut self,
        id: ThreadId,
        thread: &mut Thread,
        map: &Map,
        surroundings: &Surroundings,
    ) -> Result<Step, Failure> {
        let settings = self.map_settings(thread, map, surroundings)?;
        match settings.source {
            Source::Items(items) if map.distributed.is_none() => {
                let concurrency = settings.concurrency.min(INLINE_CONCURRENCY_MAX);
                self.run_inline(id, thread, map, surroundings, items, concurrency)
            }
            source => {
                let settings = MapSettings { source, ..settings };
                Ok(self.run_distributed(id, thread, map, surroundings, settings))
            }
        }
    }

    fn run_inline(
        &mut self,
        id: ThreadId,
        thread: &mut Thread,
        map: &Map,
        surroundings: &Surroundings,
        items: Vec<Value>,
        concurrency: usize,
    ) -> Result<Step, Failure> {
        let mut children = Children::new(items.len(), concurrency);
        let items = items.into_iter();
        children.waiting = select(map.item_selector.as_ref(), surroundings, 0, items)
            .map_err(|error| self.evaluation_failed(thread, error))?;
        children.waiting.reverse();
        let detail = Detail::ChildrenStarted { kind: "Map", length: Some(children.results.len()) };
        self.record_in(thread, detail);
        if children.is_done() {
            return Ok(self.children_done(thread, &children, "Map"));
        }
        let previous = thread.last_event;
        self.start_iterations(id, thread, map, &mut children, previous);
        if let Some(current) = &mut thread.current {
            current.phase = Phase::Children(children);
        }
        Ok(Step::Blocked)
    }

    fn start_iterations(
        &mut self,
        id: ThreadId,
        thread: &Thread,
        map: &Map,
        children: &mut Children,
        previous: u64,
    ) {
        let Some(current) = &thread.current else {
            return;
        };
        while children.active.len() < children.concurrency
            && let Some((item, input)) = children.waiting.pop()
        {
            let index = item.index;
            let detail = Detail::IterationStarted { map: current.state.name.clone(), index };
            let child = Thread {
                parent: Some(Parent { thread: id, index }),
                flow: Arc::clone(&map.processor),
                scope: Scope::inside(&thread.scope),
                item: Some(item),
                last_event: self.record(previous, detail),
                current: None,
            };
            let child = self.spawn(child, input);
            children.active.insert(index, child);
        }
    }

    /// A branch or iteration ended; the last one ends the state.
    pub(super) fn child_succeeded(&mut self, parent: Parent, last_event: u64, output: Payload) {
        let Some(mut thread) = self.threads.remove(&parent.thread) else {
            return;
        };
        let Some(current) = &mut thread.current else {
            return;
        };
        let state = Arc::clone(&current.state);
        let Phase::Children(mut children) = std::mem::replace(&mut current.phase, Phase::Entered)
        else {
            return;
        };
        children.forget(parent.index);
        children.results[parent.index] = Some(output);
        children.done += 1;
        thread.last_event = last_event;
        if let Kind::Map(map) = &state.kind {
            let detail =
                Detail::IterationSucceeded { map: state.name.clone(), index: parent.index };
            thread.last_event = self.record(last_event, detail);
            // AWS links the next iteration to the event before the end of this one.
            self.start_iterations(parent.thread, &thread, map, &mut children, last_event);
        }
        if children.is_done() {
            let step = self.children_done(&mut thread, &children, state.kind.name());
            if let Step::Complete(result) = step {
                self.complete(parent.thread, thread, result);
            }
            return;
        }
        if let Some(current) = &mut thread.current {
            current.phase = Phase::Children(children);
        }
        self.threads.insert(parent.thread, thread);
    }

    fn children_done(
        &mut self,
        thread: &mut Thread,
        children: &Children,
        kind: &'static str,
    ) -> Step {
        // AWS links the end of the state to the event before this one.
        self.record(thread.last_event, Detail::ChildrenSucceeded { kind });
        let results = children.results.iter().flatten();
        Step::Complete(Some(Payload::array(results)))
    }
}

/// The inputs of iterations: what `ItemSelector` makes of each item, or the item itself.
pub(crate) fn select(
    selector: Option<&Template>,
    surroundings: &Surroundings,
    first_index: usize,
    values: impl Iterator<Item = Value>,
) -> Result<Vec<(Arc<Item>, Payload)>, EvaluationError> {
    let bindings = Bindings::new(surroundings);
    values
        .enumerate()
        .map(|(offset, value)| {
            let index = first_index + offset;
            let value = Payload::from(value);
            let item = Arc::new(Item { index, value });
            let Some(selector) = selector else {
                let input = item.value.clone();
                return Ok((item, input));
            };
            bindings.set_item(&item);
            let input = selector.evaluate("ItemSelector", &bindings)?;
            Ok((item, Payload::from(input)))
        })
        .collect()
}
