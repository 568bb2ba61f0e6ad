//! Deliveries by SFTP, end to end, against servers that behave and servers that do not.

mod faults;
mod habits;
mod line;
mod login;
mod openssh;
mod partner;
mod phases;
mod policy;
mod resume;
mod secrets;
mod sshd;
mod stages;
