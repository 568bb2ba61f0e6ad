//! The contract between a delivery and the transports that carry it.

mod budget;
mod digest;
mod retry;
mod sanitize;
mod source;

pub use crate::{
    budget::Budget,
    digest::{HashedOffset, hexadecimal},
    retry::{Retry, Waits},
    sanitize::sanitize,
    source::{Content, Source},
};
