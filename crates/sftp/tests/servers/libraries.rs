//! Servers that Debian does not package, and libraries, each in a small program.
//!
//! Variables name them: `ATHENA_WORKFLOW_PYTHON` is a Python that has `paramiko`, `twisted[conch]`
//! and `asyncssh`, `ATHENA_WORKFLOW_MINA` the class path of Apache MINA's `sshd-core` and
//! `sshd-sftp`, `ATHENA_WORKFLOW_SFTPGO` the program of `SFTPGo`, and
//! `ATHENA_WORKFLOW_SFTPGO_SHARE` the folder of its `templates` and `static`.

use std::{fs, path::Path, process::Command};

use futures_util::FutureExt;
use serde_json::json;

use crate::{
    Row,
    partner::{PASSWORD, USER},
    server::{Folder, Process, Server},
    sshd::{missing, variable},
};

pub(crate) const ROWS: [Row; 5] = [
    || python("paramiko", "paramiko", "paramiko_server.py").boxed_local(),
    || python("Twisted", "twisted.conch.ssh.filetransfer", "twisted_server.py").boxed_local(),
    || python("asyncssh", "asyncssh", "asyncssh_server.py").boxed_local(),
    || mina().boxed_local(),
    || sftpgo().boxed_local(),
];

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers");

async fn python(name: &'static str, module: &str, script: &str) -> Option<Server> {
    let python = variable("ATHENA_WORKFLOW_PYTHON").unwrap_or_else(|| "python3".to_owned());
    let found = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        return missing(&format!("a Python with `{module}`, ATHENA_WORKFLOW_PYTHON"));
    }
    Some(run_script(name, &[&python], script).await)
}

async fn mina() -> Option<Server> {
    let Some(classes) = variable("ATHENA_WORKFLOW_MINA") else {
        return missing("a class path of Apache MINA, ATHENA_WORKFLOW_MINA");
    };
    Some(run_script("Apache MINA", &["java", "-cp", &classes], "MinaServer.java").await)
}

/// Starts a script of this folder, which prints a line for each login.
async fn run_script(name: &'static str, interpreter: &[&str], script: &str) -> Server {
    let process = Process::start(Folder::new(), |folder, port| {
        let mut command = Command::new(interpreter[0]);
        command.args(&interpreter[1..]).arg(Path::new(HERE).join(script));
        command.arg(port.to_string()).arg(folder.files()).args([USER, PASSWORD]);
        command
    })
    .await;
    Server::of(name, process, "has logged in")
}

async fn sftpgo() -> Option<Server> {
    let [program, share] = ["ATHENA_WORKFLOW_SFTPGO", "ATHENA_WORKFLOW_SFTPGO_SHARE"].map(variable);
    let Some((program, share)) = program.zip(share) else {
        return missing("SFTPGo, ATHENA_WORKFLOW_SFTPGO and ATHENA_WORKFLOW_SFTPGO_SHARE");
    };
    let folder = Folder::new();
    let user = json!({
        "id": 1, "status": 1, "username": USER, "password": PASSWORD, "home_dir": folder.files(),
        "permissions": { "/": ["*"] }, "filesystem": { "provider": 0 }, "filters": {},
    });
    let data = json!({ "version": 17, "users": [user], "folders": [] });
    fs::write(folder.path().join("data.json"), data.to_string()).unwrap();
    let process = Process::start(folder, |folder, port| {
        let none = json!({ "bindings": [{ "port": 0 }] });
        let config = json!({
            "sftpd": {
                "bindings": [{ "port": port, "address": "127.0.0.1" }],
                "host_keys": [folder.path().join("id_ed25519")],
            },
            "ftpd": none,
            "webdavd": none,
            "httpd": {
                "bindings": [{ "port": 0 }],
                "templates_path": format!("{share}/templates"),
                "static_files_path": format!("{share}/static"),
            },
            "smtp": { "templates_path": format!("{share}/templates") },
            "data_provider": {
                "driver": "memory", "name": "", "users_base_dir": "",
                "password_hashing": { "algo": "bcrypt", "bcrypt_options": { "cost": 4 } },
            },
        });
        fs::write(folder.path().join("sftpgo.json"), config.to_string()).unwrap();
        let mut command = Command::new(&program);
        command.args([
            "serve",
            "--config-file",
            "sftpgo.json",
            "--log-file-path",
            "",
            "--config-dir",
        ]);
        command.arg(folder.path()).current_dir(folder.path());
        command.arg("--loaddata-from").arg(folder.path().join("data.json"));
        command
    })
    .await;
    Some(Server::of("SFTPGo", process, "logged in with "))
}
