//! Deliveries to ShareFile, end to end, against a server that behaves and one that does not.

#[path = "../doubles/no_secrets.rs"]
mod no_secrets;

mod account;
mod faults;
mod folders;
mod login;
mod resume;
mod secrets;
mod tls;
mod uploads;
