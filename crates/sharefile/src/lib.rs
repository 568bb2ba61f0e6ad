//! Delivery to a folder of a ShareFile account, by its API v3.
//!
//! [`ShareFile`] is a [`Transport`](delivery::Transport). One attempt passes these modules in order:
//!
//! 1. `attempt`: the order of the steps.
//! 2. `folder`: finds the folder by its id or alias and a path below it, and makes the missing part.
//! 3. `specification`: asks ShareFile for the way of the upload.
//! 4. `upload`: sends the bytes in one request, in chunks one after the other, or in chunks side by
//!    side. A chunk that fails is sent again, alone.
//! 5. `publish`: writes the intent into the journal, ends the upload with the MD5 of the whole file,
//!    and compares the MD5 and the size that come back. If that answer is lost, the folder tells.
//! 6. `session`: logs in, and carries the requests of all the others.
//!
//! A file appears in its folder when the upload is ended, so there are no temporary names and no
//! leftovers. A file that replaces another becomes a new version of it, with a new item id.
//!
//! The memory in use is `sharefile_threads` times `sharefile_chunk_size`, and one piece of the
//! source.
//!
//! No chunk begins when the time of an invocation is nearly up. The next invocation asks for a
//! specification again. ShareFile tells how many bytes it has and their MD5, and the upload resumes
//! after them if they are the beginning of our file. The file is read from its beginning for that,
//! because the MD5 of the whole is needed at the end.
//!
//! Addresses of uploads, the token and the password are secrets. Only the host of an address is
//! shown.

mod address;
mod attempt;
mod chunks;
mod credentials;
mod digests;
mod error;
mod folder;
mod http;
mod publish;
mod redact;
mod request_error;
mod response;
mod session;
mod specification;
mod upload;

pub use crate::{attempt::ShareFile, error::Error};
