//! One attempt at a delivery.

use std::time::Duration;

use job::transport::{Overwrite, Sidecar, WriteMode};
use openssh_sftp_client::file::File;
use tokio::time::{Instant, timeout_at};

use super::{
    Sftp,
    check::{self, check_published},
    connection::Connection,
    host_key::PresentedKey,
    names::Names,
    place::Place,
    point::Point,
    progress::{Clock, Progress},
    publish::{publish, remove_quietly, settle, withdraw},
    remote::{Fault, Refusal, Remote},
    stripe::Stripe,
    upload::{Ending, Lane, Upload},
};
use crate::{
    delivery::{Outcome, Parcel, Receipt, Sent, Verified},
    error::Error,
    source::Content,
};

/// How long clearing away may take, with a connection of its own if needed.
const CLEARING: Duration = Duration::from_secs(10);

/// One attempt at a delivery.
pub(super) struct Attempt<'a> {
    pub(super) sftp: &'a Sftp<'a>,
    pub(super) parcel: &'a Parcel<'a>,
    pub(super) clock: Clock,
    /// Where the file is to be, for messages.
    pub(super) path: &'a str,
    /// Which attempt it is, from 1.
    pub(super) number: u32,
}

/// How an attempt ended well.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    already_there: bool,
    pub(super) path: String,
    size_bytes: u64,
    pub(super) sha256: Option<String>,
    verified: Verified,
}

impl Delivered {
    fn new(names: &Names, sent: &Sent) -> Self {
        Self {
            already_there: false,
            path: names.last.clone(),
            size_bytes: sent.size_bytes,
            sha256: Some(sent.sha256.clone()),
            verified: sent.verified,
        }
    }
}

impl Attempt<'_> {
    /// Connects and delivers.
    pub(super) async fn run(&self, progress: &mut Progress) -> Result<Outcome, Error> {
        let connection = self.in_time(Connection::open(self.sftp)).await?;
        let host_key = connection.host_key.clone();
        let delivered = self.in_time(self.with_connection(&connection, progress)).await;
        connection.close().await;
        delivered.map(|delivered| self.outcome(delivered, host_key))
    }

    /// Gives something up when the time of the invocation is over.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout_at(self.clock.end_at, work).await.unwrap_or_else(|_| Err(self.time_up()))
    }

    pub(super) fn time_up(&self) -> Error {
        let acknowledged = self.parcel.checkpoint.map_or(0, |before| before.acknowledged_bytes);
        Error::TimeUp { path: self.path.to_owned(), acknowledged }
    }

    async fn with_connection(
        &self,
        connection: &Connection,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        let remote = Remote::start(connection, self.sftp.request_limit()).await?;
        let delivered = self.both_files(&remote, progress).await;
        let broken = delivered.as_ref().is_err_and(is_broken);
        let goes_on = progress.inherited
            || matches!(delivered, Err(Error::TimeUp { .. } | Error::Storage(_)));
        if delivered.is_err() && progress.delivered.is_none() && !broken && !goes_on {
            // On a connection that works, nothing needs to be left for the next attempt.
            if let Some(names) = &progress.names {
                withdraw(&remote, names).await;
            }
            *progress = Progress::default();
        }
        if !broken {
            remote.close().await;
        }
        delivered
    }

    /// The file, unless an earlier attempt delivered it, and then the second one if it is wanted.
    async fn both_files(
        &self,
        remote: &Remote,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        let delivered = if let Some(delivered) = progress.delivered.clone() {
            if let Some(names) = &progress.names {
                // The attempt that delivered may have broken off before it removed the old file.
                remove_quietly(remote, &names.aside).await;
            }
            delivered
        } else {
            let delivered = self.first_file(remote, progress).await?;
            progress.delivered.insert(delivered).clone()
        };
        if let Some(sidecar) = self.sftp.config.sftp_sidecar {
            self.write_sidecar(remote, sidecar, &delivered).await?;
        }
        Ok(delivered)
    }

    async fn first_file(
        &self,
        remote: &Remote,
        progress: &mut Progress,
    ) -> Result<Delivered, Error> {
        if let (Some(names), Some(sent)) = (&progress.names, &progress.sent) {
            match settle(remote, names, sent, self.sftp.config).await {
                Ok(()) => return Ok(Delivered::new(names, sent)),
                Err(Error::SizeMismatch { .. }) if !progress.inherited => {
                    progress.begin(names.clone());
                }
                Err(error) => {
                    if progress.inherited && is_no(&error) {
                        progress.sent = None;
                    }
                    return Err(error);
                }
            }
        }
        let mut file = self.reopen(remote, progress).await?;
        let mut content = self.parcel.source.open(progress.acknowledged.offset()).await?;
        let names =
            Names::new(self.sftp.config, &self.sftp.directory, self.parcel, &content.version)?;
        if let Some(old) = progress.names.take_if(|old| old.version != names.version) {
            // Of another version nothing is of use.
            drop(file.take());
            withdraw(remote, &old).await;
            *progress = Progress::default();
            content = self.parcel.source.open(0).await?;
        }
        // What is under the final name may be our own beginning.
        let ours = progress.names.is_some() && names.temporary == names.last;
        let size_bytes = content.size_bytes;
        if !ours && let Some(there) = self.look_for_existing(remote, &names, size_bytes).await? {
            return Ok(there);
        }
        if file.is_none() && names.temporary == names.last {
            // A second file of an earlier delivery would say that this one is complete.
            if let Some(sidecar) = self.sftp.config.sftp_sidecar {
                let sftp = self.sftp;
                let old = Names::of_sidecar(sftp.config, &sftp.directory, self.parcel, sidecar)?;
                remove_quietly(remote, &old.last).await;
            }
        }
        let sent = self.write(remote, &names, content, file, progress).await?;
        if names.temporary != names.last {
            // Sending may have taken long enough for another file to arrive.
            if self.sftp.config.sftp_overwrite == Overwrite::Fail
                && let Some(there) = self.look_for_existing(remote, &names, size_bytes).await?
            {
                return Ok(there);
            }
            progress.sent = Some(sent.clone());
        }
        self.give_final_name(remote, &names, &sent).await
    }

    /// Opens what an earlier attempt or invocation wrote, if it is still there; if not, writing
    /// begins anew.
    async fn reopen(
        &self,
        remote: &Remote,
        progress: &mut Progress,
    ) -> Result<Option<File>, Error> {
        let acknowledged = progress.acknowledged.offset();
        let Some(names) = progress.names.clone().filter(|_| acknowledged > 0) else {
            return Ok(None);
        };
        let opened = match remote.open_as_it_is(&names.temporary).await {
            Ok(file) => Some(file),
            Err(Fault::Lost(error)) => return Err(error),
            Err(Fault::Refused(..)) => None,
        };
        let is_short = match remote.size(&names.temporary).await {
            Ok(found) => found.is_some_and(|found| found < acknowledged),
            Err(Fault::Lost(error)) => return Err(error),
            // What was opened without being made is there, and what was acknowledged is in it.
            Err(Fault::Refused(..)) => false,
        };
        let file = opened.filter(|_| !is_short);
        if file.is_some() {
            tracing::info!(
                run.id = %self.parcel.run_id,
                acknowledged_bytes = acknowledged,
                "the delivery goes on where it was interrupted"
            );
        } else {
            tracing::warn!(
                run.id = %self.parcel.run_id,
                remote_path = names.temporary,
                "what was written of the file is gone; the delivery begins anew"
            );
            progress.begin(names);
        }
        Ok(file)
    }

    /// Writes a file under its temporary name: what is missing of `file`, or all of it.
    pub(super) async fn write(
        &self,
        remote: &Remote,
        names: &Names,
        content: Content,
        file: Option<File>,
        progress: &mut Progress,
    ) -> Result<Sent, Error> {
        let file = match file {
            Some(file) => file,
            None => self.begin(remote, names, progress).await?,
        };
        self.send(remote, file, content, &names.temporary, &mut progress.acknowledged).await
    }

    /// Opens a file that is to be written from its beginning.
    async fn begin(
        &self,
        remote: &Remote,
        names: &Names,
        progress: &mut Progress,
    ) -> Result<File, Error> {
        let place = self.place(remote);
        // Half a file under the final name is worse than none, so where it is written in place it is
        // cleared away like a temporary one, unless it was not even opened.
        progress.begin(names.clone());
        if names.temporary != names.last {
            return place.create_temporary(&names.temporary).await;
        }
        let opened = place.open_in_place(&names.last).await;
        if opened.as_ref().is_err_and(|error| !is_broken(error)) {
            *progress = Progress::default();
        }
        opened
    }

    /// Renames what was written, unless it was written in place.
    pub(super) async fn give_final_name(
        &self,
        remote: &Remote,
        names: &Names,
        sent: &Sent,
    ) -> Result<Delivered, Error> {
        if names.temporary != names.last {
            publish(remote, names).await?;
            check_published(remote, &names.last, sent, self.sftp.config.sftp_verify).await?;
        }
        Ok(Delivered::new(names, sent))
    }

    /// Writes, flushes, closes and checks.
    async fn send(
        &self,
        remote: &Remote,
        mut file: File,
        content: Content,
        path: &str,
        acknowledged: &mut Point,
    ) -> Result<Sent, Error> {
        let left = content.size_bytes.saturating_sub(acknowledged.offset());
        let stripes = self.open_stripes(path, left).await?;
        let mut lanes = vec![Lane { remote, file: &file }];
        lanes.extend(stripes.iter().map(Stripe::lane));
        let mut upload = Upload::new(lanes, acknowledged.clone(), self.sftp.config, path);
        let ending = upload.run(content.chunks, self.clock.stop_at, acknowledged).await;
        let end = upload.into_end();
        if ending.is_ok() {
            Stripe::close(stripes, path).await?;
        } else {
            Stripe::abandon(stripes).await;
        }
        let ending = ending?;
        if ending == Ending::Complete {
            remote
                .flush_to_disk(&mut file)
                .await
                .map_err(|fault| fault.into_error(format!("flushing `{path}`")))?;
        }
        remote
            .close_file(file)
            .await
            .map_err(|fault| fault.into_error(format!("closing `{path}`")))?;
        if ending == Ending::TimeUp {
            return Err(self.time_up());
        }
        let verified = self.verify(remote, path, &end).await?;
        Ok(Sent { size_bytes: end.offset(), sha256: end.sha256(), verified })
    }

    fn place<'r>(&'r self, remote: &'r Remote) -> Place<'r> {
        Place {
            remote,
            directory: &self.sftp.directory,
            make_directories: self.sftp.config.sftp_create_dirs,
        }
    }

    /// What the overwrite policy makes of a file that already has the final name.
    async fn look_for_existing(
        &self,
        remote: &Remote,
        names: &Names,
        size_bytes: u64,
    ) -> Result<Option<Delivered>, Error> {
        let config = self.sftp.config;
        if config.sftp_overwrite == Overwrite::Replace {
            return Ok(None);
        }
        let path = &names.last;
        let found = match remote.size(path).await {
            Ok(found) => found,
            Err(Fault::Refused(Refusal::NoSuchFile, _)) => return Ok(None),
            Err(fault) => return Err(fault.into_error(format!("looking for `{path}`"))),
        };
        let is_fail = config.sftp_overwrite == Overwrite::Fail;
        // What broke off while it was written in place may have the right size, and so may another
        // file, which a checksum must not be written for.
        let size_is_not_enough = is_fail
            || config.sftp_write_mode == WriteMode::Direct
            || config.sftp_sidecar == Some(Sidecar::Sha256);
        let there = if found != Some(size_bytes) {
            None
        } else if size_is_not_enough {
            let ours = check::hash(self.parcel.source.open(0).await?).await?;
            match check::read_back(remote, path, size_bytes, config).await {
                Ok(theirs) if theirs == ours => Some((Some(ours), Verified::Readback)),
                Err(Fault::Lost(error)) => return Err(error),
                Ok(_) | Err(Fault::Refused(..)) => None,
            }
        } else {
            Some((None, Verified::Size))
        };
        let Some((sha256, verified)) = there else {
            let exists = Error::Exists { path: path.clone() };
            return if is_fail { Err(exists) } else { Ok(None) };
        };
        if names.temporary != names.last {
            // An invocation that was killed may have left it.
            remove_quietly(remote, &names.temporary).await;
        }
        let path = path.clone();
        Ok(Some(Delivered { already_there: true, path, size_bytes, sha256, verified }))
    }

    fn outcome(&self, delivered: Delivered, host_key: PresentedKey) -> Outcome {
        let already_there = delivered.already_there;
        let elapsed = self.clock.started.elapsed();
        let receipt = Receipt {
            transport: "sftp",
            remote_path: delivered.path,
            bytes: delivered.size_bytes,
            sha256: delivered.sha256,
            md5: None,
            item_id: None,
            verified: delivered.verified,
            host_key: Some(host_key.text),
            host_key_verified: Some(host_key.is_pinned),
            duration_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            attempts: self.number,
        };
        if already_there { Outcome::AlreadyThere(receipt) } else { Outcome::Delivered(receipt) }
    }

    /// Removes what a delivery that has failed for good may have left behind.
    pub(super) async fn clear_away(&self, names: &Names) {
        let clear = async {
            let connection = Connection::open(self.sftp).await?;
            let remote = Remote::start(&connection, CLEARING).await?;
            withdraw(&remote, names).await;
            remote.close().await;
            connection.close().await;
            Ok::<_, Error>(())
        };
        let until = self.clock.answer_at.min(Instant::now() + CLEARING);
        if !matches!(timeout_at(until, clear).await, Ok(Ok(()))) {
            may_be_left(names);
        }
    }
}

pub(super) fn may_be_left(names: &Names) {
    tracing::warn!(remote_path = names.temporary, "a part of the file may be left on the server");
}

/// Whether nothing more can be done on the connection.
pub(super) fn is_broken(error: &Error) -> bool {
    matches!(error, Error::ConnectionLost { .. } | Error::TimedOut { .. })
}

/// Whether the server said that the file does not have its final name.
fn is_no(error: &Error) -> bool {
    !is_broken(error) && !matches!(error, Error::TimeUp { .. } | Error::PublishedSize { .. })
}
