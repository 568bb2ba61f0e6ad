//! Looking at the recipient's files.

use job::delivery::Verified;
use tokio::time::sleep;

use super::{Carrier, Course, publish::WAITS};
use crate::{
    error::Error,
    readback,
    remote::Entry,
    sending::Sent,
    stage::{Identity, Observation, Refusal},
};

impl Carrier<'_> {
    pub(super) async fn look(&self, path: &str, course: &Course) -> Result<Observation, Error> {
        Ok(observation(self.remote.look(path).await?, course))
    }

    /// Looks at the published file. Some servers tell an old size for a moment.
    pub(super) async fn look_after(
        &self,
        path: &str,
        course: &Course,
    ) -> Result<Observation, Error> {
        let mut waits = WAITS.iter().take(4);
        loop {
            let looked = self.remote.look(path).await?;
            let is_early = looked.as_ref().is_ok_and(|entry| {
                let size_bytes = entry.as_ref().and_then(|entry| entry.size_bytes);
                size_bytes.is_some_and(|found| found != course.rules.size_bytes)
            });
            let is_early = is_early && course.rules.checks_size;
            match waits.next().filter(|wait| is_early && self.has(**wait)) {
                Some(wait) => sleep(*wait).await,
                None => return Ok(observation(looked, course)),
            }
        }
    }

    /// Compares the file at a path with one of this digest, or with ours.
    pub(super) async fn compare(
        &self,
        path: &str,
        sha256: Option<String>,
        course: &mut Course,
    ) -> Result<Observation, Error> {
        let ours = match (sha256, &course.sent) {
            (Some(sha256), _) => sha256,
            (None, Some(sent)) => sent.sha256.clone(),
            (None, None) => self.content.sha256().await?,
        };
        let size_bytes = course.rules.size_bytes;
        let reading = format!("reading `{path}`");
        let session = &self.remote.session;
        let file = match self.remote.answer(&reading, session.open_for_reading(path).await).await? {
            Ok(file) => file,
            Err(refusal) => return Ok(Observation::Refused(refusal)),
        };
        let read = readback::sha256(session, &file, size_bytes).await;
        let read = self.remote.answer(&reading, read).await?;
        drop(session.close(file).await);
        Ok(match read {
            Ok(theirs) if theirs == ours => {
                let verified = Verified::Readback;
                course.sent.get_or_insert(Sent { size_bytes, sha256: ours, verified, mark: None });
                Observation::Same(true)
            }
            Ok(_) => Observation::Same(false),
            Err(refusal) => Observation::Refused(refusal),
        })
    }
}

pub(super) fn observation(looked: Result<Option<Entry>, Refusal>, course: &Course) -> Observation {
    match looked {
        Err(refusal) => Observation::Refused(refusal),
        Ok(None) => Observation::Absent,
        Ok(Some(Entry { kind, size_bytes, mark })) => {
            let intent = course.intent.as_ref();
            let (ours, old) = intent
                .map(|intent| (intent.mark.as_ref(), intent.old_mark.as_ref()))
                .unwrap_or_default();
            let identity = match mark.as_ref() {
                Some(mark) if ours.is_some() && ours != old => match mark {
                    mark if ours == Some(mark) => Identity::Ours,
                    mark if old == Some(mark) => Identity::Old,
                    _ => Identity::Another,
                },
                _ => Identity::Unknown,
            };
            Observation::Found { kind, size_bytes, identity }
        }
    }
}
