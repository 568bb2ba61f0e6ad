//! An S3 endpoint over a directory.
//!
//! [`Store`] keeps buckets and objects below one directory; [`service`] and [`fallback`] put S3's
//! protocol in front of it. The protocol itself (requests, signatures, chunked bodies) is the
//! [`s3s`] crate's; what an operation means is here.
//!
//! An object is a plain file under its bucket's folder where its key can be a path, so the
//! output of a run can be looked at with ordinary tools. Keys that cannot be (`a//b`, `dir/`,
//! `x/y` beside `x`) are kept elsewhere and are just as good through S3. A file that is edited in
//! place is served as it is now, with a new entity tag and a new version id; one that is deleted
//! is gone; a file that the store did not write is neither listed nor overwritten.
//!
//! A bucket may make versions, and may write under SSE-KMS ([`BucketSettings`]). Older versions
//! are kept beside the bucket's folder, which holds the current objects only.
//!
//! Writes are atomic: an object is there as a whole or not at all, also when the process is
//! killed. Nothing is flushed to the disk itself, so this does not hold for a power cut.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use local_s3::{Credentials, Store, fallback};
//!
//! let store = Store::open("data").await?;
//! store.create_bucket("results").await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! axum::serve(listener, fallback(store, &[Credentials::new("test", "test")])).await?;
//! # Ok(())
//! # }
//! ```

mod body;
mod bucket;
mod condition;
mod digest;
mod endpoint;
mod entry;
mod error;
mod faults;
mod key;
mod layout;
mod listing;
mod staged;
mod store;
mod traffic;
mod version;

pub use digest::Algorithm;
pub use endpoint::{Credentials, fallback, service};
pub use entry::ObjectInfo;
pub use error::StoreError;
pub use faults::Faults;
pub use s3s::service::S3Service;
pub use store::{BucketSettings, ObjectWriter, Store};
pub use traffic::{Count, Operation, Traffic};
