//! Faults on demand, for tests of those who read secrets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::ApiError;

/// How a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `ThrottlingException`: too many calls a second.
    Throttle,
    /// `AccessDeniedException`: no policy allows it.
    Deny,
    /// `InternalServiceError`, HTTP 500.
    Fail,
}

/// The faults that both services show. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// Refuses the next `count` requests in this way, after those that are already to be refused.
    pub fn refuse_next(&self, count: usize, fault: Fault) {
        self.plan().extend(std::iter::repeat_n(fault, count));
    }

    /// Back to no faults.
    pub fn clear(&self) {
        self.plan().clear();
    }

    /// The refusal whose turn it is.
    pub(crate) fn next(&self, operation: &str) -> Result<(), ApiError> {
        let mut plan = self.plan();
        if plan.is_empty() {
            return Ok(());
        }
        Err(match plan.remove(0) {
            Fault::Throttle => ApiError::Throttling,
            Fault::Deny => ApiError::AccessDenied(operation.to_owned()),
            Fault::Fail => ApiError::Internal,
        })
    }

    fn plan(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
