//! Deliveries to ShareFile, end to end, against a server that behaves and one that does not.

mod account;
mod accounts;
mod faults;
mod folders;
mod login;
mod recovery;
mod resume;
mod secrets;
mod tls;
mod uploads;
