//! Servers that are libraries of Python, each in a small script.
//!
//! `ATHENA_WORKFLOW_PYTHON` names a Python that has `paramiko`, `twisted[conch]` and `asyncssh`.

use std::process::Command;

use futures_util::FutureExt;

use crate::{
    Row,
    partner::{PASSWORD, USER},
    server::{Folder, Process, Server},
    sshd::{missing, variable},
};

pub(crate) const ROWS: [Row; 3] = [
    || start("paramiko", "paramiko", "paramiko_server.py").boxed_local(),
    || start("Twisted", "twisted.conch.ssh.filetransfer", "twisted_server.py").boxed_local(),
    || start("asyncssh", "asyncssh", "asyncssh_server.py").boxed_local(),
];

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers");

async fn start(name: &'static str, module: &str, script: &str) -> Option<Server> {
    let python = variable("ATHENA_WORKFLOW_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let found = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        return missing(&format!("a Python with `{module}`, ATHENA_WORKFLOW_PYTHON"));
    }
    let process = Process::start(Folder::new(), |folder, port| {
        let mut command = Command::new(&python);
        command.arg(format!("{HERE}/{script}")).arg(port.to_string()).arg(folder.files());
        command.args([USER, PASSWORD]);
        command
    })
    .await;
    Some(Server::of(name, process, "has logged in"))
}
