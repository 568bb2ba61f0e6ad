//! Delivery by SFTP.
#![allow(dead_code)]

mod names;
mod stage;
