//! The error of one request, and its retries.

use std::time::Duration;

use delivery::{Retry, Waits};
use job::error::Chain;
use tokio::time::{Instant, sleep};

use crate::{
    error::Error,
    http::Unanswered,
    response::{Rejection, RejectionKind},
};

/// The error of one request.
#[derive(Debug)]
pub(crate) struct RequestError {
    /// The delivery fails with it if nothing else is done.
    pub(crate) error: Error,
    /// The server's reason, if it gave one.
    pub(crate) kind: Option<RejectionKind>,
    /// The wait that the server asks for.
    pub(crate) wait: Option<Duration>,
    /// Whether the whole request went out.
    pub(crate) is_sent: bool,
}

impl RequestError {
    /// The error of `action`. The rejection's text must be sanitized.
    pub(crate) fn new(action: &str, rejection: Rejection, wait: Option<Duration>) -> Self {
        let Rejection { kind, text: message } = rejection;
        let action = action.to_owned();
        let error = match kind {
            RejectionKind::Busy | RejectionKind::TokenWanted => {
                Error::Busy { action, message, wait }
            }
            RejectionKind::Failed => Error::Server { action, message },
            RejectionKind::UploadForgotten => Error::UploadForgotten { action, message },
            RejectionKind::Refused => Error::Refused { action, message },
            RejectionKind::NotFound => {
                Error::Folder { action, reason: format!("not found ({message})") }
            }
            RejectionKind::Denied
            | RejectionKind::AddressEnded
            | RejectionKind::Unauthenticated => Error::Permission { action, message },
        };
        Self { error, kind: Some(kind), wait, is_sent: true }
    }

    /// Returns whether another upload may succeed: the server knows this one no longer.
    pub(crate) fn is_end_of_upload(&self) -> bool {
        matches!(self.kind, Some(RejectionKind::UploadForgotten | RejectionKind::AddressEnded))
    }

    /// Returns whether a look into the folder may show that the request was done all the same.
    pub(crate) fn is_worth_a_look(&self) -> bool {
        match self.kind {
            Some(
                RejectionKind::Busy
                | RejectionKind::Failed
                | RejectionKind::UploadForgotten
                | RejectionKind::AddressEnded,
            ) => true,
            Some(
                RejectionKind::Unauthenticated
                | RejectionKind::TokenWanted
                | RejectionKind::Denied
                | RejectionKind::NotFound
                | RejectionKind::Refused,
            ) => false,
            // When the time is up, there is none for a look.
            None => self.may_be_done_later() && !matches!(self.error, Error::TimeUp { .. }),
        }
    }

    /// Returns whether the server may do it at any time from now on.
    ///
    /// A gateway gives up its answer before the storage behind it gives up the file.
    pub(crate) fn may_be_done_later(&self) -> bool {
        match self.kind {
            Some(kind) => kind == RejectionKind::Busy,
            None => self.is_sent && is_interruption(&self.error),
        }
    }

    fn retry(&self) -> Retry {
        match self.kind {
            Some(RejectionKind::Busy) => Retry::Often,
            Some(RejectionKind::Failed) => Retry::Once,
            Some(
                RejectionKind::Unauthenticated
                | RejectionKind::TokenWanted
                | RejectionKind::Denied
                | RejectionKind::NotFound
                | RejectionKind::UploadForgotten
                | RejectionKind::AddressEnded
                | RejectionKind::Refused,
            ) => Retry::Never,
            None => match self.error {
                Error::Connect { .. } | Error::ConnectionLost { .. } | Error::TimedOut { .. } => {
                    Retry::Often
                }
                _ => Retry::Never,
            },
        }
    }
}

fn is_interruption(error: &Error) -> bool {
    matches!(error, Error::ConnectionLost { .. } | Error::TimedOut { .. } | Error::TimeUp { .. })
}

impl From<Unanswered> for RequestError {
    fn from(unanswered: Unanswered) -> Self {
        let Unanswered { error, is_sent } = unanswered;
        Self { error, kind: None, wait: None, is_sent }
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self { error, kind: None, wait: None, is_sent: false }
    }
}

impl From<delivery::LeaseError> for RequestError {
    fn from(error: delivery::LeaseError) -> Self {
        Error::from(error).into()
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        error.error
    }
}

/// The tries of one request within an attempt.
pub(crate) struct RequestRetry {
    tries: u32,
    tries_max: u32,
    waits: Waits,
    until: Instant,
}

impl RequestRetry {
    /// Allows `tries_max` tries, the last of them before `until`.
    pub(crate) fn new(tries_max: u32, until: Instant) -> Self {
        Self { tries: 1, tries_max, waits: Waits::default(), until }
    }

    /// Waits until it is time for another try: at least as long as the server asks for.
    ///
    /// # Errors
    ///
    /// Gives `error` back if another try is not worth it, or not possible in time.
    pub(crate) async fn after(&mut self, error: RequestError) -> Result<(), RequestError> {
        if error.kind == Some(RejectionKind::TokenWanted) {
            return Ok(());
        }
        let tries_max = error.retry().attempts(self.tries_max);
        let wait = self.waits.next_wait();
        let wait = error.wait.map_or(wait, |asked| asked.max(wait));
        let in_time = wait < self.until.saturating_duration_since(Instant::now());
        if self.tries >= tries_max || !in_time {
            return Err(error);
        }
        tracing::warn!(
            attempt = self.tries,
            wait_ms = wait.as_millis(),
            error.message = %Chain(&error.error),
            "a request to ShareFile failed; there will be another"
        );
        sleep(wait).await;
        self.tries += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether so long a wait, with so much time, is begun. The test does not sit through it.
    fn waits(asked: Duration, time: Duration) -> bool {
        let text = "HTTP 429".to_owned();
        let rejection = Rejection { kind: RejectionKind::Busy, text };
        let error = RequestError::new("asking", rejection, Some(asked));
        let mut retry = RequestRetry::new(2, Instant::now() + time);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                ended = retry.after(error) => ended.is_ok(),
                () = std::future::ready(()) => true,
            }
        })
    }

    #[test]
    fn a_server_that_asks_for_a_long_wait_gets_it_if_there_is_the_time() {
        let time = Duration::from_secs(800);
        for (asked_seconds, expected) in [(59, true), (61, true), (600, true), (800, false)] {
            let asked = Duration::from_secs(asked_seconds);
            assert_eq!(waits(asked, time), expected, "{asked_seconds} s");
        }
        assert!(!waits(Duration::MAX, time));
    }
}
