//! Deliveries by SFTP, end to end, against servers that behave and servers that do not.

mod by_reference;
mod faults;
mod login;
mod openssh;
mod partner;
mod policy;
mod secrets;
