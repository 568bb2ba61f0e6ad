//! Delivery by SFTP.
#![allow(dead_code)]

mod error;
mod names;
mod ssh;
mod stage;
