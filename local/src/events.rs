//! The event bus between the services of the stack: who puts events on it, and who takes them.

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use local_athena::{StateChange, StateListener};
use local_events::{Bus, Delivery, DeliveryError, Targets};
use local_iam::{Call, Guard};
use local_lambda::{InvokeError, Lambda};
use local_states::{StatusChange, StatusListener};

/// Puts the events of services on the bus, once there is one.
#[derive(Default)]
pub(crate) struct Announcer {
    account: String,
    region: String,
    bus: OnceLock<Bus>,
}

impl Announcer {
    pub(crate) fn new(account: &str, region: &str) -> Self {
        Self { account: account.to_owned(), region: region.to_owned(), bus: OnceLock::new() }
    }

    /// Connects the bus. It is made after the services, which its targets call.
    pub(crate) fn connect(&self, bus: Bus) {
        let is_new = self.bus.set(bus).is_ok();
        debug_assert!(is_new, "a stack has one bus");
    }
}

impl StateListener for Announcer {
    fn changed(&self, change: StateChange) {
        if let Some(bus) = self.bus.get() {
            bus.put(change.event(&self.account, &self.region));
        }
    }
}

impl StatusListener for Announcer {
    fn changed(&self, event: StatusChange) {
        if let Some(bus) = self.bus.get() {
            bus.put(event.to_event());
        }
    }
}

/// Calls functions for rules. Topics take everything and do nothing with it.
pub(crate) struct RuleTargets {
    pub(crate) lambda: Lambda,
    /// Weak, because the guard knows Athena, and Athena the bus.
    pub(crate) guard: Weak<Guard>,
}

#[async_trait]
impl Targets for RuleTargets {
    async fn deliver(&self, delivery: Delivery<'_>) -> Result<(), DeliveryError> {
        let Delivery { rule_arn, target_arn, input } = delivery;
        if target_arn.starts_with("arn:aws:sns:") {
            tracing::debug!(target.arn = target_arn, "no topic is on a laptop");
            return Ok(());
        }
        let Some(guard) = self.guard.upgrade() else { return Err(stopping()) };
        let call = Call::new("lambda:InvokeFunction", target_arn);
        // A missing permission is not waited for: AWS makes the event a dead letter at once.
        guard.authorize_service("events.amazonaws.com", rule_arn, call).map_err(|refusal| {
            DeliveryError {
                code: "NO_PERMISSIONS".to_owned(),
                message: refusal.to_string(),
                is_retryable: false,
            }
        })?;
        let payload = Bytes::from(input.to_string());
        let accepted = self.lambda.invoke_event(target_arn, payload);
        accepted.map(drop).map_err(|error| match error {
            InvokeError::ShuttingDown => stopping(),
            error => DeliveryError {
                code: error.error_name().to_owned(),
                message: error.to_string(),
                is_retryable: false,
            },
        })
    }
}

fn stopping() -> DeliveryError {
    DeliveryError {
        code: "INTERNAL_ERROR".to_owned(),
        message: "the stack is being shut down".to_owned(),
        is_retryable: false,
    }
}

/// Shares one announcer as what each service listens by.
pub(crate) fn listeners(
    announcer: &Arc<Announcer>,
) -> (Arc<dyn StateListener>, Arc<dyn StatusListener>) {
    (Arc::<Announcer>::clone(announcer), Arc::<Announcer>::clone(announcer))
}
