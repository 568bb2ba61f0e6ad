//! Being told to stop.

use tokio::signal::{
    ctrl_c,
    unix::{SignalKind, signal},
};

/// Ends when somebody presses Ctrl-C or the process is sent SIGTERM.
pub async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(ctrl_c().await),
    }
}
