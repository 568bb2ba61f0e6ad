//! How often a request is tried, and the waits in between.

use tokio::time::{Instant, sleep};

use super::{answer::Kind, trouble::Trouble};
use crate::retry::Waits;

/// The tries of one request.
pub(super) struct Patience {
    tries: u32,
    tries_max: u32,
    waits: Waits,
    until: Instant,
}

impl Patience {
    /// At most `tries_max` tries, the last of them before `until`.
    pub(super) fn new(tries_max: u32, until: Instant) -> Self {
        Self { tries: 1, tries_max, waits: Waits::default(), until }
    }

    /// Waits until it is time to try again. As long as a server asks for, if there is the time: the
    /// state machine does not know of that wait, and would come back after seconds.
    ///
    /// # Errors
    ///
    /// Gives `trouble` back if another try is not worth it, or not possible in time.
    pub(super) async fn after(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        match trouble.kind {
            Some(Kind::AskedForToken) => return Ok(()),
            Some(Kind::UploadGone) => return Err(trouble),
            _ => {}
        }
        let tries_max = trouble.error.retry().attempts(self.tries_max);
        let wait = self.waits.next();
        let wait = trouble.wait.map_or(wait, |asked| asked.max(wait));
        let in_time = wait < self.until.saturating_duration_since(Instant::now());
        if self.tries >= tries_max || !in_time {
            return Err(trouble);
        }
        tracing::warn!(
            attempt = self.tries,
            wait_ms = wait.as_millis(),
            error.message = %job::error::Chain(&trouble.error),
            "a request to ShareFile failed; there will be another"
        );
        sleep(wait).await;
        self.tries += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    /// Whether so long a wait, with so much time, is begun. It is not sat through.
    fn waits(asked: Duration, time: Duration) -> bool {
        let error = Error::Busy { action: "asking".to_owned(), message: "HTTP 429".to_owned() };
        let trouble = Trouble { error, kind: Some(Kind::Busy), wait: Some(asked) };
        let mut patience = Patience::new(2, Instant::now() + time);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                ended = patience.after(trouble) => ended.is_ok(),
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
