//! What every function needs of AWS: the SDK's configuration, S3 as streams with a stated memory
//! bound, and the entry of a Lambda whose errors keep their names.
//!
//! The SDK's types stop here for S3: [`Storage`] speaks of [`job::S3Location`], bytes and
//! [`StorageError`].

pub mod lambda;
pub mod run_files;
pub mod sdk;
pub mod settings;
mod storage;

pub use crate::{
    lambda::Failure,
    storage::{
        ObjectInfo, Storage, StorageError,
        download::ObjectStream,
        upload::{ObjectWriter, PART_BYTES, PARTS_IN_FLIGHT},
    },
};
