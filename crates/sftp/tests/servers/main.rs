//! The same deliveries to every server that partners run: a row for each server, a column for each
//! delivery.
//!
//! They are ignored tests, which `scripts/test --long` runs.

mod deliveries;
mod libraries;
#[path = "../doubles/line.rs"]
#[expect(dead_code, reason = "`tests/delivery` has more kinds of weather")]
mod line;
mod packaged;
#[path = "../doubles/partner.rs"]
#[expect(dead_code, reason = "`tests/delivery` starts its partners in the process of the test")]
mod partner;
mod server;
#[path = "../doubles/sshd.rs"]
#[expect(dead_code, reason = "`tests/delivery` configures OpenSSH in more ways")]
mod sshd;

use std::thread;

use futures_util::future::LocalBoxFuture;

use crate::{deliveries::check_all, server::Server};

/// Starts the server of a row; nothing if it is not on this machine and is not required.
type Row = fn() -> LocalBoxFuture<'static, Option<Server>>;

/// Makes all deliveries to all servers, each server in a thread.
#[track_caller]
fn check_rows(rows: &[Row]) {
    let are_right = thread::scope(|scope| {
        let rows: Vec<_> = rows.iter().map(|row| scope.spawn(|| check_row(*row))).collect();
        rows.into_iter().map(|row| row.join().is_ok()).collect::<Vec<_>>()
    });
    assert!(!are_right.contains(&false), "a server did not get every delivery right");
}

fn check_row(row: Row) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if let Some(server) = row().await {
            check_all(&server).await;
        }
    });
}

#[test]
#[ignore = "`.ci/run` does not install these servers yet: `scripts/test --long`"]
fn servers_of_debian_take_every_delivery() {
    check_rows(&packaged::ROWS);
}

#[test]
#[ignore = "they are not packages of Debian: `scripts/test --long`"]
fn other_servers_take_every_delivery() {
    check_rows(&libraries::ROWS);
}
