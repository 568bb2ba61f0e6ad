//! Faults on demand: events that come late, twice, out of order, or never.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;

/// One arrival of an event at the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Delay after it happened.
    pub after: Duration,
}

/// Returns the arrivals of an event: none if it is lost, two if it is doubled.
pub type Fault = dyn Fn(&Value) -> Vec<Arrival> + Send + Sync;

/// The faults that a bus shows, none at first. Clones share them.
#[derive(Clone, Default)]
pub struct EventFaults(Arc<Mutex<Vec<Selected>>>);

#[derive(Clone)]
struct Selected {
    source: String,
    detail_type: String,
    fault: Arc<Fault>,
}

impl fmt::Debug for EventFaults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let selected = faults.iter().map(|fault| (&fault.source, &fault.detail_type));
        formatter.debug_map().entries(selected).finish()
    }
}

impl EventFaults {
    /// Disturbs the events of a source and type from now on. Of several faults for the same events
    /// the one that was set last counts.
    pub fn disturb(
        &self,
        source: &str,
        detail_type: &str,
        fault: impl Fn(&Value) -> Vec<Arrival> + Send + Sync + 'static,
    ) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.push(Selected {
            source: source.to_owned(),
            detail_type: detail_type.to_owned(),
            fault: Arc::new(fault),
        });
    }

    /// Loses every event of a source and type.
    pub fn lose(&self, source: &str, detail_type: &str) {
        self.disturb(source, detail_type, |_| Vec::new());
    }

    /// Delivers every event of a source and type twice, the second time after `apart`.
    pub fn double(&self, source: &str, detail_type: &str, apart: Duration) {
        let arrivals = vec![Arrival::default(), Arrival { after: apart }];
        self.disturb(source, detail_type, move |_| arrivals.clone());
    }

    /// Delivers every event of a source and type late.
    pub fn delay(&self, source: &str, detail_type: &str, after: Duration) {
        self.disturb(source, detail_type, move |_| vec![Arrival { after }]);
    }

    /// Back to no faults. Events that are on their way stay disturbed.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The arrivals of an event: one at once, if nothing disturbs it.
    pub(crate) fn arrivals(&self, event: &Value) -> Vec<Arrival> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_meant = |fault: &&Selected| {
            event["source"] == *fault.source && event["detail-type"] == *fault.detail_type
        };
        match faults.iter().rfind(is_meant) {
            Some(selected) => (selected.fault)(event),
            None => vec![Arrival::default()],
        }
    }
}
