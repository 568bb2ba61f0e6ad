//! Servers that are libraries of Python, each in a small script.
//!
//! `ATHENA_WORKFLOW_PYTHON` names a Python that has `paramiko`, `twisted[conch]` and `asyncssh`.

use std::process::Command;

use crate::{
    deliveries::check_all,
    partner::{PASSWORD, USER},
    server::{Folder, Process, Server},
    sshd::{missing, variable},
};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers");

async fn check_script(name: &'static str, module: &str, script: &str) {
    let python = variable("ATHENA_WORKFLOW_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let found = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        return missing(&format!("a Python with `{module}`, ATHENA_WORKFLOW_PYTHON")).unwrap_or(());
    }
    let process = Process::start(Folder::new(), |folder, port| {
        let mut command = Command::new(&python);
        command.arg(format!("{HERE}/{script}")).arg(port.to_string()).arg(folder.files());
        command.args([USER, PASSWORD]);
        command
    })
    .await;
    check_all(Server::of(name, process, "has logged in")).await;
}

#[tokio::test]
#[ignore = "its packages are not among Debian's that the tests need: `scripts/test --long`"]
async fn python_paramiko_takes_every_delivery() {
    check_script("paramiko", "paramiko", "paramiko_server.py").await;
}

#[tokio::test]
#[ignore = "its packages are not among Debian's that the tests need: `scripts/test --long`"]
async fn python_twisted_takes_every_delivery() {
    check_script("Twisted", "twisted.conch.ssh.filetransfer", "twisted_server.py").await;
}

#[tokio::test]
#[ignore = "its packages are not among Debian's that the tests need: `scripts/test --long`"]
async fn python_asyncssh_takes_every_delivery() {
    check_script("asyncssh", "asyncssh", "asyncssh_server.py").await;
}
