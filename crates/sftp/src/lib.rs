//! Delivery by SFTP.
#![allow(dead_code)]

mod error;
mod names;
mod protocol;
mod session;
mod ssh;
mod stage;
