//! What is to be started, and where.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use jiff::Timestamp;
use local_events::EventFaults;
use local_sftp::Faults;
use local_sharefile::Account;
use secrecy::SecretString;

use crate::Deployment;

/// What to start, and where it keeps its files.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// What is deployed.
    pub deployment: Deployment,
    /// Objects (`s3/`), logs of the functions (`logs/`) and the SFTP server's host key.
    pub work_dir: PathBuf,
    /// The tables: `DIR/<database>/<table>.parquet` or `.csv`.
    pub data_dir: PathBuf,
    /// The directory that the SFTP server shows.
    pub delivery_dir: PathBuf,
    /// Where the functions' binaries are.
    pub functions_dir: PathBuf,
    /// The address of all AWS endpoints; port 0 takes any free one, here and below.
    pub aws_address: SocketAddr,
    /// The address of the HTTP API.
    pub api_address: SocketAddr,
    /// The address of the SFTP server.
    pub sftp_address: SocketAddr,
    /// The only user of the SFTP server.
    pub sftp_user: String,
    /// The user's password.
    pub sftp_password: SecretString,
    /// In which ways the SFTP server misbehaves.
    pub sftp_faults: Faults,
    /// What the functions log: a level, or a filter as `RUST_LOG` takes it.
    pub log_filter: String,
    /// How many queries Athena runs at one time; further ones are queued.
    pub concurrent_queries_max: usize,
    /// How many processes one function has at the most.
    pub processes_max: usize,
    /// A ShareFile account, if there is to be one.
    pub sharefile: Option<ShareFileConfig>,
    /// How many times faster than real time the state machine's timers run, and the pauses before
    /// retries of asynchronous invocations.
    pub speed: f64,
    /// Faults of the event bus.
    pub event_faults: EventFaults,
    /// Since when the schedules are there; none ever fires if that is not said.
    pub schedules_since: Option<Timestamp>,
}

/// A ShareFile account of the stack. Its folders are in `sharefile/` of the delivery directory.
#[derive(Clone, Debug)]
pub struct ShareFileConfig {
    /// The address of the API; port 0 takes any free one.
    pub address: SocketAddr,
    /// Who may log in.
    pub account: Account,
    /// In which ways it misbehaves.
    pub faults: local_sharefile::Faults,
}

impl Default for ShareFileConfig {
    /// On a free port; client id, client secret, user and password are all `partner`.
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            account: Account {
                client_id: "partner".to_owned(),
                client_secret: "partner".into(),
                username: "partner".to_owned(),
                password: "partner".into(),
            },
            faults: local_sharefile::Faults::default(),
        }
    }
}

impl StackConfig {
    /// The stack `dev` on free ports, with the SFTP user `partner` and the password `partner`.
    pub fn new(
        work_dir: PathBuf,
        data_dir: PathBuf,
        delivery_dir: PathBuf,
        functions_dir: PathBuf,
    ) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            deployment: Deployment::dev(),
            work_dir,
            data_dir,
            delivery_dir,
            functions_dir,
            aws_address: any_port,
            api_address: any_port,
            sftp_address: any_port,
            sftp_user: "partner".to_owned(),
            sftp_password: "partner".into(),
            sftp_faults: Faults::default(),
            log_filter: "info".to_owned(),
            concurrent_queries_max: 20,
            processes_max: 8,
            sharefile: None,
            speed: 1.0,
            event_faults: EventFaults::default(),
            schedules_since: None,
        }
    }
}
