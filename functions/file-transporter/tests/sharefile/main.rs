//! Deliveries to ShareFile, end to end, against a server that behaves and one that does not.

mod account;
mod faults;
mod folders;
mod login;
mod resume;
mod secrets;
mod tls;
mod uploads;
