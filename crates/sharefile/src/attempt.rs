//! One attempt at a delivery.

use async_trait::async_trait;
use delivery::{Attempt, Content, Lease, Parcel, Published, Transport};
use job::transport::{ShareFileConfig, TransportProblem, remote_file_name, sharefile_name_fault};
use rustls::ClientConfig;
use tokio::time::timeout_at;

use crate::{
    credentials::Credentials,
    error::Error,
    folder::Folder,
    http,
    publish::{self, Target},
    response::RejectionKind,
    session::Session,
    specification::{Specification, UploadRequest},
    upload::Upload,
};

/// Number of attempts in a row without progress. One request is tried `sharefile_max_attempts` times
/// within each.
const ATTEMPTS_MAX: u32 = 2;

/// Number of uploads in one attempt, where uploads or their addresses end early.
const UPLOADS_MAX: u32 = 2;

/// A folder of a ShareFile account.
pub struct ShareFile<'a> {
    config: &'a ShareFileConfig,
    credentials: Credentials<'a>,
    tls: ClientConfig,
}

impl<'a> ShareFile<'a> {
    /// Takes a configuration, whose secret must have been looked up.
    ///
    /// # Errors
    ///
    /// When credentials are missing, or this machine's certificates cannot be read.
    pub fn new(config: &'a ShareFileConfig) -> Result<Self, Error> {
        Ok(Self { config, credentials: Credentials::new(config)?, tls: http::trusted()? })
    }

    fn file_name(&self, parcel: &Parcel<'_>) -> Result<String, Error> {
        let template = &self.config.sharefile_filename;
        let name = remote_file_name(template, parcel.file_name, parcel.run_id)
            .map_err(Error::FileName)?
            .as_str()
            .to_owned();
        match sharefile_name_fault(&name) {
            None => Ok(name),
            Some(fault) => Err(Error::Configuration {
                problems: vec![TransportProblem {
                    path: "config.sharefile_filename".to_owned(),
                    message: format!("gives `{name}`, which is no name for ShareFile: {fault}"),
                }],
            }),
        }
    }
}

#[async_trait]
impl Transport for ShareFile<'_> {
    type Error = Error;

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Published, Error> {
        let Attempt { parcel, lease, .. } = attempt;
        let name = self.file_name(parcel)?;
        let session =
            Session::new(self.config, &self.credentials, self.tls.clone(), parcel.budget.end_at);
        let folder = Folder::find(&session).await?;
        let target = Target { session: &session, folder: &folder, name: &name, lease };
        deliver(target, parcel).await
    }

    /// Does nothing: an upload that is not ended is in no folder, and ShareFile removes it.
    async fn clean_up(&self, _: &Parcel<'_>, _: &Lease<'_>) {}

    fn attempts_max(&self) -> u32 {
        ATTEMPTS_MAX
    }
}

/// Delivers into a folder that is known.
async fn deliver(target: Target<'_>, parcel: &Parcel<'_>) -> Result<Published, Error> {
    let mut uploads = 1;
    let mut start_over = false;
    loop {
        if let Some(published) = target.settle().await? {
            return Ok(published);
        }
        let content = parcel.source.open(0).await?;
        let (size_bytes, version) = (content.size_bytes, content.version.clone());
        let request =
            UploadRequest { folder: target.folder, name: target.name, size_bytes, start_over };
        let specification = Specification::get(target.session, &request).await?;
        if specification.is_name_taken && !target.session.config.sharefile_overwrite {
            return compare(target, parcel, content).await;
        }
        let upload = Upload {
            target,
            specification: &specification,
            resumes: !start_over,
            budget: parcel.budget,
            version: &version,
        };
        match upload.send(content, parcel.source).await {
            Ok(Some(published)) => return Ok(published),
            Ok(None) => {
                tracing::info!(
                    remote_path = target.path(),
                    "the server's part of an earlier upload is not the beginning of this file"
                );
                start_over = true;
            }
            Err(error) if error.is_end_of_upload() && uploads < UPLOADS_MAX => {
                tracing::warn!(
                    remote_path = target.path(),
                    error.message = %error.error,
                    "the upload is lost; it begins again"
                );
                uploads += 1;
                // Behind an address that ended, the server still has the bytes.
                start_over |= error.kind == Some(RejectionKind::UploadForgotten);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Compares the file with the one that has its name and must stay. The same file is a delivery: an
/// earlier call of this run may not have heard that it was done.
async fn compare(
    target: Target<'_>,
    parcel: &Parcel<'_>,
    content: Content,
) -> Result<Published, Error> {
    let taken = || Error::NameTaken { path: target.path() };
    let other = target.folder.file(target.session, target.name).await?.ok_or_else(taken)?;
    if let Some(published) = target.settle_with(&other).await {
        return Ok(published);
    }
    // The file is not read for nothing.
    if other.size_bytes != Some(content.size_bytes) || other.md5.is_none() {
        return Err(taken());
    }
    let read = timeout_at(parcel.budget.end_at, publish::read(content, 0)).await;
    let (digests, _) = read.map_err(|_| Error::TimeUp {
        action: format!("comparing the file with `{}`", target.path()),
    })??;
    target.already_there(&digests, other).ok_or_else(taken)
}
