//! The same deliveries to every server that partners run: a row for each server, a column for each
//! delivery.
//!
//! The servers of Debian's packages run with every test. The others are ignored tests, which
//! `scripts/test --long` runs.

mod deliveries;
#[path = "../doubles/line.rs"]
#[expect(dead_code, reason = "`tests/delivery` has more kinds of weather")]
mod line;
mod packaged;
#[path = "../doubles/partner.rs"]
#[expect(dead_code, reason = "`tests/delivery` starts its partners in the process of the test")]
mod partner;
mod python;
mod server;
#[path = "../doubles/sshd.rs"]
#[expect(dead_code, reason = "`tests/delivery` configures OpenSSH in more ways")]
mod sshd;
