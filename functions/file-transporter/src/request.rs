//! The event of the function.

use delivery::hexadecimal;
use job::{
    FileName, ObjectVersion, RunId, S3Location,
    states::Run,
    transport::{ShareFileConfig, Transporter},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The delivery that is asked for.
#[derive(Clone, Debug, Deserialize)]
pub struct DeliveryRequest {
    /// The run that the file belongs to.
    pub run_id: RunId,
    /// The run, which must not have ended; nothing if somebody calls the function by hand.
    #[serde(default)]
    pub run: Option<Run>,
    /// The file.
    pub source: ObjectReference,
    /// Name of the file, unless the transporter's configuration says otherwise.
    pub file_name: FileName,
    /// Its destination.
    pub transporter: Transporter,
    /// Name of the destination. An inline one is called by its place in the job.
    #[serde(default = "first_destination")]
    pub destination: String,
    /// Number of the delivery to that destination, from 1.
    #[serde(default = "first_number")]
    pub number: u32,
}

/// The object that is delivered. Further fields of the event, such as its size, are not needed.
#[derive(Clone, Debug, Deserialize)]
pub struct ObjectReference {
    /// The object.
    #[serde(flatten)]
    pub location: S3Location,
    /// The version id that is delivered; the newest version, if nothing is said.
    #[serde(default)]
    pub version_id: Option<String>,
    /// The ETag that it must still have, in a bucket without versioning.
    #[serde(default)]
    pub etag: Option<String>,
}

impl ObjectReference {
    /// The version that is delivered; nothing if the newest one is.
    pub(crate) fn pin(&self) -> Option<ObjectVersion> {
        let Self { version_id, etag, .. } = self.clone();
        let is_pinned = version_id.is_some() || etag.is_some();
        is_pinned.then(|| ObjectVersion { version_id, etag: etag.unwrap_or_default() })
    }
}

impl DeliveryRequest {
    /// The location of the delivery's journal.
    ///
    /// A call by hand has one beside the file's bucket, which is told from others by what makes two
    /// calls the same delivery: run, file, name and place at the recipient.
    pub fn journal(&self) -> S3Location {
        if let Some(run) = &self.run {
            return run.layout().delivery(&self.destination, self.number);
        }
        let Self { run_id, source, file_name, transporter, destination, number, run: _ } = self;
        let ObjectReference { location, version_id, etag } = source;
        let place = match transporter {
            Transporter::Sftp(config) => {
                let (host, _) = config.address();
                format!("{host}\n{}\n{}", config.sftp_path, config.sftp_filename)
            }
            Transporter::ShareFile(config) => {
                let ShareFileConfig { host, sharefile_folder, sharefile_path, .. } =
                    config.as_ref();
                format!("{host}\n{sharefile_folder:?}\n{sharefile_path:?}")
            }
        };
        let version = version_id.as_ref().or(etag.as_ref());
        let identity = format!("{location}\n{version:?}\n{file_name}\n{place}");
        let digest = hexadecimal(&Sha256::digest(identity)[..8]);
        let key = format!("by-hand/{run_id}-{digest}/deliveries/{destination}/{number}.json");
        S3Location::new(&location.bucket, key)
    }
}

fn first_destination() -> String {
    "1".to_owned()
}

fn first_number() -> u32 {
    1
}
