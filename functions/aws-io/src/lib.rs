//! What every function needs of AWS: the SDK's configuration, S3 as streams with a stated memory
//! bound, Athena (behind the feature `athena`), callbacks of Step Functions (behind the feature
//! `callbacks`), secrets (behind the feature `secrets`), and the entry of a Lambda whose errors keep their names and whose log holds no payload.
//!
//! The SDK's types stop here: [`Storage`] speaks of [`job::S3Location`], bytes and
//! [`StorageError`].

#[cfg(feature = "athena")]
pub mod athena;
pub mod lambda;
pub mod logging;
pub mod run_files;
pub mod sdk;
#[cfg(feature = "secrets")]
pub mod secrets;
pub mod settings;
#[cfg(feature = "callbacks")]
pub mod step_functions;
mod storage;
#[cfg(feature = "callbacks")]
pub mod waits;

pub use crate::{
    lambda::Failure,
    storage::{
        COPIES_IN_FLIGHT, ListedObject, ObjectInfo, PARTS_IN_FLIGHT, Precondition, Storage,
        dated::DatedJson,
        download::ObjectStream,
        error::StorageError,
        multipart::MultipartUpload,
        upload::{HEAD_BYTES_MAX, HeadlessWriter, OBJECT_BYTES_MAX, ObjectWriter, PART_BYTES},
    },
};
