//! Deliveries by SFTP, end to end, against servers that behave and servers that do not.

mod faults;
mod habits;
#[path = "../doubles/line.rs"]
mod line;
mod login;
mod openssh;
#[path = "../doubles/partner.rs"]
mod partner;
mod phases;
mod policy;
mod resume;
mod secrets;
#[path = "../doubles/sshd.rs"]
mod sshd;
mod stages;
