//! Giving a complete file its final name, without losing the one that has it.

use job::transport::{Overwrite, SftpConfig, Verify};

use super::{
    check::check_published,
    names::Names,
    remote::{Fault, Refusal, Remote},
};
use crate::{delivery::Sent, error::Error};

const DIRECT_HINT: &str = "; if the server forbids renaming, `sftp_write_mode` can be `direct`";

/// Renames the temporary file to the final name.
///
/// With `posix-rename` that is one step. Without it the old file is moved aside, and put back if
/// the new one can not take its place: removing it first could lose both.
pub(super) async fn publish(remote: &Remote, names: &Names) -> Result<(), Error> {
    match remote.rename(&names.temporary, &names.last).await {
        Ok(()) => {
            if !remote.rename_replaces() {
                // An attempt that broke off between its renames left the old file there.
                drop(remote.remove(&names.aside).await);
            }
            Ok(())
        }
        Err(Fault::Refused(Refusal::Failure, message)) if !remote.rename_replaces() => {
            replace(remote, names, message).await
        }
        Err(fault) => Err(failed(fault, &names.temporary, &names.last)),
    }
}

/// Replaces the final file where a rename can not. `message` is why the rename failed.
async fn replace(remote: &Remote, names: &Names, message: String) -> Result<(), Error> {
    let Names { last, temporary, aside, .. } = names;
    match move_aside(remote, names).await {
        Ok(()) => {}
        // There is no old file, so the rename failed for another reason.
        Err(Fault::Refused(Refusal::NoSuchFile, _)) => {
            return Err(failed(Fault::Refused(Refusal::Failure, message), temporary, last));
        }
        Err(fault) => return Err(failed(fault, last, aside)),
    }
    match remote.rename(temporary, last).await {
        Ok(()) => {}
        Err(Fault::Lost(error)) => return Err(error),
        Err(fault) => {
            let put_back = remote.rename(aside, last).await.is_ok();
            return Err(if put_back {
                failed(fault, temporary, last)
            } else {
                let action = format!(
                    "renaming `{temporary}` to `{last}`, with the old file kept as `{aside}`"
                );
                fault.into_error(action)
            });
        }
    }
    remove_quietly(remote, aside).await;
    Ok(())
}

/// Finds out what became of a rename whose answer was lost.
///
/// The temporary name belongs to this file of this run. If it is gone, it was renamed, even if the
/// final name is gone too: then the recipient took the file.
///
/// # Errors
///
/// [`Error::SizeMismatch`] if what has the temporary name is not the whole file.
pub(super) async fn settle(
    remote: &Remote,
    names: &Names,
    sent: &Sent,
    config: &SftpConfig,
) -> Result<(), Error> {
    let verify = config.sftp_verify;
    match remote.size(&names.temporary).await {
        Err(Fault::Refused(Refusal::NoSuchFile, _)) => {}
        Ok(Some(found)) if verify != Verify::None && found != sent.size_bytes => {
            let (path, written) = (names.temporary.clone(), sent.size_bytes);
            return Err(Error::SizeMismatch { path, written, found });
        }
        // Another file may have come since it was last looked for.
        Ok(_)
            if config.sftp_overwrite == Overwrite::Fail
                && is_there(remote, &names.last).await? =>
        {
            return Err(Error::Exists { path: names.last.clone() });
        }
        Ok(_) => publish(remote, names).await?,
        // Where looking is forbidden, the rename itself tells whether there is something to rename.
        Err(Fault::Refused(..)) => match remote.rename(&names.temporary, &names.last).await {
            Ok(()) | Err(Fault::Refused(Refusal::NoSuchFile, _)) => {}
            Err(Fault::Refused(..)) => publish(remote, names).await?,
            Err(Fault::Lost(error)) => return Err(error),
        },
        Err(Fault::Lost(error)) => return Err(error),
    }
    check_published(remote, &names.last, sent, verify).await?;
    // The attempt may have broken off after it moved an old file aside.
    remove_quietly(remote, &names.aside).await;
    Ok(())
}

async fn is_there(remote: &Remote, path: &str) -> Result<bool, Error> {
    match remote.size(path).await {
        Ok(_) => Ok(true),
        Err(Fault::Refused(Refusal::NoSuchFile, _)) => Ok(false),
        Err(fault) => Err(fault.into_error(format!("looking for `{path}`"))),
    }
}

/// Removes what is under the temporary name, and puts an old file back that was moved aside when
/// nothing took its place.
pub(super) async fn withdraw(remote: &Remote, names: &Names) {
    remove_quietly(remote, &names.temporary).await;
    if !remote.rename_replaces() {
        // This fails when there is nothing aside, and when the final name is taken: then all is
        // as it should be.
        drop(remote.rename(&names.aside, &names.last).await);
    }
}

/// Removes a file, if it is there; what goes wrong with that is only logged.
pub(super) async fn remove_quietly(remote: &Remote, path: &str) {
    match remote.remove(path).await {
        Ok(()) | Err(Fault::Refused(Refusal::NoSuchFile, _)) => {}
        Err(fault) => {
            let error = fault.into_error(format!("removing `{path}`"));
            tracing::warn!(error.message = %job::error::Chain(&error), "a file may be left on the server");
        }
    }
}

async fn move_aside(remote: &Remote, names: &Names) -> Result<(), Fault> {
    match remote.rename(&names.last, &names.aside).await {
        // An older file may be there from an attempt that broke off. The final name holds a
        // complete file, so the older one is not needed.
        Err(Fault::Refused(Refusal::Failure, _)) => {
            remote.remove(&names.aside).await?;
            remote.rename(&names.last, &names.aside).await
        }
        answer => answer,
    }
}

fn failed(fault: Fault, from: &str, to: &str) -> Error {
    match fault.into_error(format!("renaming `{from}` to `{to}`")) {
        Error::Permission { action, message, .. } => {
            Error::Permission { action, message, hint: DIRECT_HINT }
        }
        error => error,
    }
}
