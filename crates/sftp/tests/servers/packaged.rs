//! The servers that Debian packages.

use std::{fs, path::Path, process::Command};

use futures_util::FutureExt;
use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};
use serde_json::json;

use crate::{
    Row,
    partner::{PASSWORD, USER},
    server::{Folder, Handles, Process, Running, Server},
    sshd::{Account, OpenSsh, id, is_root, missing, write_private},
};

pub(crate) const ROWS: [Row; 5] = [
    || openssh().boxed_local(),
    || mysecureshell().boxed_local(),
    || proftpd().boxed_local(),
    || dropbear().boxed_local(),
    || rclone().boxed_local(),
];

/// [`PASSWORD`] as `openssl passwd -6 -salt matrix` writes it.
const PASSWORD_HASH: &str = "$6$matrix$a0e6Kpx2ZzqEKXOFLFtmEeMVd6XigCvKj9Li.YApesMGZ0Jl2/ia7S9ZrNQvQ5xbiIobm0FVtZPznaraoA.0L1";
const PROFTPD: &str = "/usr/sbin/proftpd";
const PROFTPD_SFTP: &str = "/usr/lib/proftpd/mod_sftp.so";
const DROPBEAR: &str = "/usr/sbin/dropbear";
/// Path at which Dropbear looks for it.
const SFTP_SERVER: &str = "/usr/lib/sftp-server";
const MYSECURESHELL: &str = "/usr/bin/mysecureshell";
const RCLONE: &str = "/usr/bin/rclone";

/// Returns whether all these files are there, and names the first that is not.
fn are_there(files: &[&str]) -> Option<()> {
    match files.iter().find(|file| !Path::new(file).exists()) {
        Some(file) => missing(file),
        None => Some(()),
    }
}

/// A server behind `sshd`, by key.
fn behind_sshd(name: &'static str, server: OpenSsh, path: String) -> Server {
    let config = server.config(&json!({}));
    let login = json!({
        "sftp_user": config["sftp_user"], "sftp_private_key": config["sftp_private_key"],
    });
    Server {
        name,
        files: server.files(),
        path,
        port: server.port,
        login,
        login_text: "Accepted publickey for ",
        handles: Handles::Meet,
        running: Running::OpenSsh(Box::new(server)),
    }
}

async fn openssh() -> Option<Server> {
    let server = OpenSsh::start("Subsystem sftp internal-sftp").await?;
    let path = server.files().to_str().unwrap().to_owned();
    Some(behind_sshd("OpenSSH", server, path))
}

async fn mysecureshell() -> Option<Server> {
    are_there(&[MYSECURESHELL])?;
    // The path of its configuration is compiled in: a mount that only the server sees covers it.
    let may_mount = Command::new("unshare").args(["--mount", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        return missing("the right to `unshare --mount`");
    }
    let mounted = "exec unshare --mount sh -c ': > {files}/../sftp_config && \
                   mount --bind {files}/../sftp_config /etc/ssh/sftp_config && exec \"$0\" \"$@\"'";
    let lines = format!("Subsystem sftp {MYSECURESHELL} -c sftp-server");
    let server = OpenSsh::start_as(mounted, &lines).await?;
    // It is read at every login.
    let text = format!(
        "<Default>\nStayAtHome true\nVirtualChroot true\nHome {}\nIdleTimeOut 5m\nResolveIP false\n\
         LimitConnection 100\nLimitConnectionByUser 100\nLimitConnectionByIP 100\n\
         GlobalDownload 0\nGlobalUpload 0\nDownload 0\nUpload 0\nDefaultRights 0640 0750\n</Default>\n",
        server.files().display()
    );
    fs::write(server.files().join("../sftp_config"), text).unwrap();
    Some(behind_sshd("MySecureShell", server, String::new()))
}

async fn proftpd() -> Option<Server> {
    are_there(&[PROFTPD, PROFTPD_SFTP])?;
    let folder = Folder::new();
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    write_private(&folder.path().join("host_key"), &key.to_openssh(LineEnding::LF).unwrap());
    // It refuses to log in as root.
    let (uid, gid) =
        if is_root() { ("65534".into(), "65534".into()) } else { (id("-u"), id("-g")) };
    let (user, group) =
        if is_root() { ("nobody".into(), "nogroup".into()) } else { (id("-un"), id("-gn")) };
    let account =
        format!("{USER}:{PASSWORD_HASH}:{uid}:{gid}::{}:/bin/sh\n", folder.files().display());
    write_private(&folder.path().join("passwd"), &account);
    let process = Process::start(folder, |folder, port| {
        let path = folder.path().display();
        let text = format!(
            "ServerType standalone\nPort {port}\nDefaultAddress 127.0.0.1\nSocketBindTight on\n\
             UseIPv6 off\nUseReverseDNS off\nModulePath /usr/lib/proftpd\nLoadModule mod_sftp.c\n\
             User {user}\nGroup {group}\nPidFile {path}/pid\nScoreboardFile {path}/scoreboard\n\
             DelayEngine off\nAuthOrder mod_auth_file.c\nAuthUserFile {path}/passwd\n\
             RequireValidShell off\nDefaultRoot ~\nWtmpLog off\nTransferLog none\n\
             SystemLog {path}/log\nMaxInstances none\nAllowOverwrite on\nAllowStoreRestart on\n\
             SFTPEngine on\nSFTPHostKey {path}/host_key\nSFTPAuthMethods password\n"
        );
        fs::write(folder.path().join("proftpd.conf"), text).unwrap();
        let mut command = Command::new(PROFTPD);
        command.arg("-n").arg("-c").arg(folder.path().join("proftpd.conf"));
        command
    })
    .await;
    let server = Server::of("ProFTPD", process, "Login successful.");
    // FSTAT tells what other handles wrote, but READ ends where this handle's own writes end.
    Some(Server { handles: Handles::Apart, ..server })
}

async fn dropbear() -> Option<Server> {
    are_there(&[DROPBEAR, SFTP_SERVER])?;
    let account = Account::find()?;
    let folder = Folder::new();
    // As Debian's package makes them. Without an RSA key it dies when somebody asks for one.
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let mut made = Command::new("dropbearkey");
        made.args(["-t", kind, "-f"]).arg(folder.path().join(kind));
        assert!(made.output().unwrap().status.success());
    }
    let process = Process::start(folder, |folder, port| {
        let mut command = Command::new(DROPBEAR);
        command.args(["-F", "-E"]);
        for kind in ["rsa", "ecdsa", "ed25519"] {
            command.arg("-r").arg(folder.path().join(kind));
        }
        command.arg("-p").arg(format!("127.0.0.1:{port}"));
        command.arg("-P").arg(folder.path().join("pid"));
        command
    })
    .await;
    let path = process.files().to_str().unwrap().to_owned();
    let login = json!({ "sftp_user": account.name, "sftp_password": account.password });
    let server = Server::of("Dropbear", process, "Password auth succeeded for ");
    Some(Server { path, login, ..server })
}

/// It writes to what may be an object store, and so takes bytes only in order.
async fn rclone() -> Option<Server> {
    are_there(&[RCLONE])?;
    let process = Process::start(Folder::new(), |folder, port| {
        let mut command = Command::new(RCLONE);
        command.args(["serve", "sftp"]).arg(folder.files());
        command.args(["--user", USER, "--pass", PASSWORD]);
        command.arg("--addr").arg(format!("127.0.0.1:{port}"));
        command.arg("--config").arg(folder.path().join("none"));
        command.arg("--cache-dir").arg(folder.path().join("cache"));
        // Host keys are made below the home directory.
        command.env("HOME", folder.path()).env("XDG_CACHE_HOME", folder.path()).arg("-vv");
        command
    })
    .await;
    let server = Server::of("rclone", process, "SSH login from ");
    Some(Server { handles: Handles::InOrder, ..server })
}
