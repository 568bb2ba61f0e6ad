//! Something that was not done, and what is to be done about it.

use std::time::Duration;

use super::answer::{Kind, Verdict};
use crate::error::Error;

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What the delivery fails with if nothing else is done.
    pub(super) error: Error,
    /// What the server said, if it said something.
    pub(super) kind: Option<Kind>,
    /// How long the server asks to be left alone.
    pub(super) wait: Option<Duration>,
}

impl Trouble {
    /// What `verdict` means for `action`. Its text must be fit to be shown.
    pub(super) fn new(action: &str, verdict: Verdict, wait: Option<Duration>) -> Self {
        let Verdict { kind, said: message } = verdict;
        let action = action.to_owned();
        let error = match kind {
            Kind::Busy | Kind::UploadGone | Kind::AskedForToken => Error::Busy { action, message },
            Kind::Failed => Error::Remote { action, message },
            Kind::Refused => Error::Refused { action, message },
            Kind::NotFound => Error::NoFolder { action, reason: format!("not found ({message})") },
            Kind::Denied | Kind::Unauthenticated => Error::Permission { action, message, hint: "" },
        };
        Self { error, kind: Some(kind), wait }
    }

    /// Whether the request may have been done although it looks as if it failed.
    pub(super) fn leaves_doubt(&self) -> bool {
        match self.kind {
            Some(Kind::Busy | Kind::Failed | Kind::UploadGone) => true,
            Some(
                Kind::Unauthenticated
                | Kind::AskedForToken
                | Kind::Denied
                | Kind::NotFound
                | Kind::Refused,
            ) => false,
            None => matches!(self.error, Error::ConnectionLost { .. } | Error::TimedOut { .. }),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { error, kind: None, wait: None }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        trouble.error
    }
}
