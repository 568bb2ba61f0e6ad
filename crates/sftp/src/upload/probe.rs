//! The test whether several handles meet in one file.

use delivery::HashedOffset;
use futures_util::StreamExt;
use tokio::{sync::watch, time::timeout};

use super::{Upload, UploadError, check_seams};
use crate::session::RequestError;

impl Upload {
    /// Writes the first pieces, one through each lane, and returns whether the first lane's handle
    /// sees all of them. A refusal of anything means that it does not.
    ///
    /// Call it before [`Upload::run`] if there is more than one lane. Some servers keep what is
    /// written through a handle apart until it is closed, and others append. After a "no" the file
    /// on the server is of no use, and the source has to be opened again.
    ///
    /// # Errors
    ///
    /// When the source cannot be read, or a server does not answer.
    pub(crate) async fn probe(
        &mut self,
        acknowledged: &watch::Sender<HashedOffset>,
    ) -> Result<bool, UploadError> {
        // Of a resumed file more may be there than was acknowledged.
        let old_bytes = if self.is_resumed {
            let first = self.first_lane();
            let found = first.session.fstat(&first.handle).await;
            match unless_refused(found.map(|attributes| attributes.size_bytes))? {
                Some(Some(size_bytes)) => size_bytes,
                _ => return Ok(false),
            }
        } else {
            0
        };
        // Told only if all is well: nobody resumes a file that is of no use.
        let probed = watch::Sender::new(HashedOffset::default());
        for lane in 0..self.lanes.len() {
            let piece = self.pieces.next(self.pace.write_bytes).await;
            let piece = piece.map_err(UploadError::Source)?;
            if piece.is_empty() {
                break;
            }
            self.send(lane, piece);
            let limit = self.lanes[lane].lane.session.limit();
            let answer = timeout(limit, self.in_flight.next()).await;
            let Some(answer) = answer.map_err(|_| self.timed_out(lane))? else { break };
            match self.receive(answer, &probed) {
                Err(UploadError::Request { error: RequestError::Refused { .. }, .. }) => {
                    return Ok(false);
                }
                received => received?,
            }
        }
        let size_bytes = self.next.offset().max(old_bytes);
        let checked = check_seams(self.first_lane(), size_bytes, &self.seams()).await;
        let do_meet = unless_refused(checked)? == Some(true);
        if do_meet && probed.borrow().offset() > acknowledged.borrow().offset() {
            acknowledged.send_replace(probed.borrow().clone());
        }
        Ok(do_meet)
    }
}

/// Returns nothing if the server refused what the first lane asked for.
fn unless_refused<T>(result: Result<T, RequestError>) -> Result<Option<T>, UploadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(RequestError::Refused { .. }) => Ok(None),
        Err(error) => Err(UploadError::Request { lane: 0, error }),
    }
}
