//! The job as its file says it.
//!
//! It stays JSON here: whether it is a job is for the endpoint to say, with all its problems.

use std::{fs, path::Path};

use job::{BucketName, Prefix, RunId, RunLayout, document, transport::Transporter};
use local::{Endpoints, ShareFileAccount, ShareFileConfig};
use serde_json::{Value, json};

use crate::Error;

/// A job that may have problems.
#[derive(Clone, Debug)]
pub struct JobFile(Value);

/// A server of this laptop that stands in for the partner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// The partner's server, as the job says.
    pub host: String,
    /// The one that the file goes to.
    pub server: String,
}

impl JobFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it can not be read or is not JSON.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            fs::read(path).map_err(|source| Error::ReadJob { path: path.to_owned(), source })?;
        let document = document::parse(&text).map_err(|source| Error::ParseJob {
            path: path.to_owned(),
            line: source.line(),
            column: source.column(),
            source,
        })?;
        Ok(Self(document))
    }

    /// The job that a schedule gives to the workflow.
    ///
    /// # Errors
    ///
    /// When it is not JSON.
    pub fn of_schedule(input: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(input).map(Self)
    }

    /// The job for the endpoint.
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// The buckets that the job names, without those that can not be.
    pub fn buckets(&self) -> Vec<String> {
        let names = ["query_index_bucket", "output_bucket"];
        let mut buckets: Vec<String> =
            names.into_iter().filter_map(|name| self.bucket(name)).map(String::from).collect();
        buckets.dedup();
        buckets
    }

    /// The bucket and the prefix of the SQL files, if the job says where they are.
    pub fn queries(&self) -> Option<(BucketName, Prefix)> {
        Some((self.bucket("query_index_bucket")?, self.prefix("query_prefix")?))
    }

    /// Where the run `run_id` of this job writes, if the job says it.
    pub fn layout(&self, run_id: &RunId) -> Option<RunLayout> {
        let bucket = self.bucket("output_bucket")?;
        Some(RunLayout::new(
            bucket,
            self.prefix("output_prefix")?,
            self.prefix("zip_prefix")?,
            run_id.clone(),
        ))
    }

    /// Sends the file to a server of this laptop instead of the job's. The key of the SFTP server is
    /// pinned, unless the job pins one itself.
    ///
    /// Nothing happens to a transporter that has problems, so that the endpoint tells them all.
    pub fn stand_in(&mut self, endpoints: &Endpoints) -> Option<StandIn> {
        let transporter = self.transporter()?;
        let config = &mut self.0["transporter"]["config"];
        match (transporter, &endpoints.sharefile) {
            (Transporter::Sftp(sftp), _) => {
                config["sftp_host"] = json!(endpoints.sftp.ip().to_string());
                config["sftp_port"] = json!(endpoints.sftp.port());
                if sftp.sftp_host_keys.is_empty() {
                    config["sftp_host_keys"] = json!([endpoints.sftp_host_key]);
                }
                let server = format!("the SFTP server of this laptop ({})", endpoints.sftp);
                Some(StandIn { host: sftp.address().0.to_owned(), server })
            }
            (Transporter::ShareFile(sharefile), Some(url)) => {
                config["sharefile_endpoint"] = json!(url);
                let server = format!("the ShareFile account of this laptop ({url})");
                Some(StandIn { host: sharefile.host.clone(), server })
            }
            (Transporter::ShareFile(_), None) => None,
        }
    }

    /// The account that stands in for the job's, if it delivers to ShareFile: it takes the
    /// credentials that the job has in it, and `partner` for each that it has not.
    pub fn sharefile(&self) -> Option<ShareFileConfig> {
        let Transporter::ShareFile(job) = self.transporter()? else { return None };
        let mut config = ShareFileConfig::default();
        let partner = config.account;
        config.account = ShareFileAccount {
            client_id: job.client_id.unwrap_or(partner.client_id),
            client_secret: job.client_secret.unwrap_or(partner.client_secret),
            username: job.username.unwrap_or(partner.username),
            password: job.password.unwrap_or(partner.password),
        };
        Some(config)
    }

    fn transporter(&self) -> Option<Transporter> {
        Transporter::parse(self.0.get("transporter")?, "$.transporter").ok()
    }

    fn bucket(&self, field: &str) -> Option<BucketName> {
        self.0.get(field)?.as_str()?.parse().ok()
    }

    /// A prefix that is left out is empty.
    fn prefix(&self, field: &str) -> Option<Prefix> {
        match self.0.get(field) {
            None => Some(Prefix::default()),
            Some(prefix) => Some(Prefix::from(prefix.as_str()?.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use job::error::Chain;
    use secrecy::ExposeSecret as _;

    use super::*;

    const FINGERPRINT: &str = "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn endpoints() -> Endpoints {
        Endpoints {
            aws: "http://127.0.0.1:4566".to_owned(),
            api: "http://127.0.0.1:8080".to_owned(),
            sftp: "127.0.0.1:2222".parse().unwrap(),
            sftp_host_key: FINGERPRINT.to_owned(),
            sharefile: Some("http://127.0.0.1:8443".to_owned()),
            state_machine_arn: String::new(),
        }
    }

    #[track_caller]
    fn check_stand_in(transporter: &Value, host: Option<&str>, expected: &Value) {
        let mut job = JobFile(json!({ "transporter": transporter }));
        let stand_in = job.stand_in(&endpoints());
        assert_eq!(stand_in.map(|stand_in| stand_in.host), host.map(str::to_owned));
        assert_eq!(job.document(), &json!({ "transporter": expected }));
    }

    fn sftp(config: &Value) -> Value {
        json!({ "type": "sftp", "config": config })
    }

    #[test]
    fn the_local_server_stands_in_for_the_partners_and_only_its_address_and_key_change() {
        check_stand_in(
            &sftp(&json!({
                "sftp_host": "sftp.partner.example:22", "sftp_port": "2022", "sftp_user": "acme",
                "sftp_password": "s3cret", "sftp_path": "/in",
            })),
            Some("sftp.partner.example"),
            &sftp(&json!({
                "sftp_host": "127.0.0.1", "sftp_port": 2222, "sftp_user": "acme", "sftp_password": "s3cret",
                "sftp_path": "/in", "sftp_host_keys": [FINGERPRINT],
            })),
        );
    }

    #[test]
    fn the_local_account_stands_in_for_the_partners_and_takes_the_credentials_of_the_job() {
        let config = |changes: Value| {
            let mut config = json!({
                "host": "acme.sharefile.com", "client_id": "id", "client_secret": "s", "username": "robot",
                "password": "p", "sharefile_folder": "home",
            });
            config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            json!({ "type": "sharefile", "config": config })
        };
        check_stand_in(
            &config(json!({})),
            Some("acme.sharefile.com"),
            &config(json!({ "sharefile_endpoint": "http://127.0.0.1:8443" })),
        );
        let account = |transporter: Value| {
            let job = JobFile(json!({ "transporter": transporter }));
            job.sharefile().map(|config| {
                let ShareFileAccount { client_id, client_secret, username, password } =
                    config.account;
                let secrets = [client_secret, password].map(|s| s.expose_secret().to_owned());
                (client_id, username, secrets)
            })
        };
        let taken = |id: &str, user: &str, secrets: [&str; 2]| {
            Some((id.to_owned(), user.to_owned(), secrets.map(str::to_owned)))
        };
        assert_eq!(account(config(json!({}))), taken("id", "robot", ["s", "p"]));
        let by_reference = json!({ "type": "sharefile", "config": {
            "host": "acme.sharefile.com", "sharefile_folder": "home", "sharefile_secret": "s",
        }});
        assert_eq!(account(by_reference), taken("partner", "partner", ["partner", "partner"]));
        assert_eq!(account(json!({ "type": "ftp" })), None);
    }

    #[test]
    fn a_pinned_host_key_stays_pinned() {
        let other = FINGERPRINT.replace('a', "b");
        let config = |host: &str, port: u16| {
            sftp(&json!({
                "sftp_host": host, "sftp_port": port, "sftp_user": "acme", "sftp_password": "s3cret",
                "sftp_host_keys": [other],
            }))
        };
        check_stand_in(
            &config("sftp.example", 22),
            Some("sftp.example"),
            &config("127.0.0.1", 2222),
        );
    }

    #[test]
    fn what_the_endpoint_will_refuse_stays_as_it_is() {
        for transporter in [
            sftp(&json!({ "sftp_user": "acme", "sftp_password": "s3cret" })),
            sftp(
                &json!({ "sftp_host": "h", "sftp_port": "ssh", "sftp_user": "acme", "sftp_password": "s3cret" }),
            ),
            sftp(&json!("sftp.example")),
            json!({ "type": "ftp" }),
            json!(null),
        ] {
            check_stand_in(&transporter, None, &transporter);
        }
        assert_eq!(JobFile(json!([])).stand_in(&endpoints()), None);
    }

    #[test]
    fn only_buckets_that_can_be_are_named() {
        for (job, buckets, queries) in [
            (
                json!({ "query_index_bucket": "acme-a", "output_bucket": "acme-b" }),
                vec!["acme-a", "acme-b"],
                Some(""),
            ),
            (
                json!({ "query_index_bucket": "acme-a", "output_bucket": "acme-a", "query_prefix": "q" }),
                vec!["acme-a"],
                Some("q/"),
            ),
            (json!({ "query_index_bucket": "A_B", "output_bucket": 7 }), vec![], None),
            (json!({ "query_index_bucket": "acme-a", "query_prefix": 7 }), vec!["acme-a"], None),
            (json!("job"), vec![], None),
        ] {
            let job = JobFile(job);
            let prefix = job.queries().map(|(_, prefix)| prefix.to_string());
            assert_eq!(
                (job.buckets(), prefix.as_deref()),
                (buckets.into_iter().map(str::to_owned).collect(), queries)
            );
        }
    }

    #[test]
    fn a_file_that_is_no_json_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.json");
        fs::write(&path, "{\n  \"query_names\": [\"a\",]\n}").unwrap();
        let error = JobFile::read(&path).unwrap_err();
        let text = Chain(&error).to_string().replace(&dir.path().display().to_string(), "DIR");
        let expected = "the job is not JSON: `DIR/job.json`, line 2, column 23: trailing comma at line 2 column 23";
        assert_eq!((text.as_str(), error.exit()), (expected, crate::Exit::Refused));

        let error = JobFile::read(&dir.path().join("missing.json")).unwrap_err();
        assert_eq!(error.exit(), crate::Exit::Refused);
    }
}
