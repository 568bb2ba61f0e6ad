//! Delivery by SFTP.

mod error;
#[cfg_attr(not(test), expect(dead_code, reason = "the delivery is built on it next"))]
mod ssh;

pub use crate::error::Error;
