//! Credentials by reference, and the proof that a run leaves no credential behind.
//!
//! Everything that runs leave behind is searched for every credential that was used, in every
//! encoding that it could have got into: all files of the stack (the functions' logs at debug level,
//! every object with manifests and error files), the executions with all pages of their histories,
//! and the answers of the HTTP API.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, process::Command};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use end_to_end::{RESULTS_BUCKET, Scenario, binaries, sample_data};
use job::view::{RunState, RunView};
use local::{SecretFault, ShareFileConfig};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use russh::keys::{Algorithm, PrivateKey, key::safe_rng, ssh_key::LineEnding};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The partner's password. It is written differently in each encoding.
const PASSWORD: &str = r#"c0rrect "horse\ bättery/staple+1%"#;

const WRONG_PASSWORD: &str = r#"wr0ng "horse\ bättery/staple+1%"#;

const PASSPHRASE: &str = r#"0pen "sesame\ & every öther/door"#;

const CLIENT_SECRET: &str = r#"cl1ent "sècret\ of+seven/words"#;

/// Something that a run left behind.
pub(crate) struct Trace {
    pub(crate) place: String,
    pub(crate) bytes: Vec<u8>,
}

/// The places that hold one of the credentials, in whatever encoding.
fn found(traces: &[Trace], credentials: &[String]) -> BTreeSet<String> {
    let forms: BTreeSet<_> = credentials.iter().flat_map(|text| encodings(text)).collect();
    assert!(forms.iter().all(|form| form.len() >= 16), "too short to mean anything: {forms:?}");
    let holds_one = |trace: &&Trace| forms.iter().any(|form| contains(&trace.bytes, form));
    traces.iter().filter(holds_one).map(|trace| trace.place.clone()).collect()
}

fn contains(bytes: &[u8], form: &str) -> bool {
    let form = form.as_bytes();
    bytes.windows(form.len()).any(|window| window == form)
}

/// The ways in which a text can be written.
pub(crate) fn encodings(text: &str) -> BTreeSet<String> {
    let quoted = |text: &str| {
        let quoted = json!(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let debug = format!("{text:?}");
    let once = quoted(text);
    let ascii: String = once
        .chars()
        .map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) })
        .collect();
    let percent = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let hex = text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string can be written to");
        hex
    });
    let numbers: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
    let mut forms = BTreeSet::from([
        text.to_owned(),
        quoted(&once),
        quoted(&quoted(&once)),
        once,
        ascii,
        debug[1..debug.len() - 1].to_owned(),
        percent.replace("%20", "+"),
        percent,
        hex.to_uppercase(),
        hex,
        numbers.join(", "),
        numbers.join(","),
    ]);
    // Base64 depends on where in a longer text this one begins. The characters at its ends are made
    // of its neighbours, too.
    for before in 0..3 {
        let padded = [vec![0; before], text.as_bytes().to_vec()].concat();
        let from = [0, 2, 3][before];
        for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            let to = padded.len() / 3 * 4;
            forms.insert(encoded[from..to].to_owned());
        }
    }
    forms
}

/// Everything that the runs have left behind.
async fn traces(scenario: &Scenario) -> Vec<Trace> {
    let mut traces = Vec::new();
    let work = scenario.logs().parent().unwrap().to_owned();
    collect_files(&work, &mut traces);
    let machine = &scenario.stack().endpoints().state_machine_arn;
    let listed =
        scenario.step_functions("ListExecutions", &json!({ "stateMachineArn": machine })).await;
    let executions = listed["executions"].as_array().unwrap();
    assert!(!executions.is_empty());
    collect_leaves("ListExecutions", &listed, &mut traces);
    for execution in executions {
        let (arn, run_id) = (&execution["executionArn"], execution["name"].as_str().unwrap());
        let view = scenario.get(&format!("/jobs/{run_id}")).await;
        traces.push(Trace { place: "/jobs/RUN_ID".to_owned(), bytes: view.into() });
        for operation in ["DescribeExecution", "DescribeStateMachineForExecution"] {
            let answer = scenario.step_functions(operation, &json!({ "executionArn": arn })).await;
            collect_leaves(operation, &answer, &mut traces);
        }
        for event in history(scenario, arn).await {
            let kind = event["type"].as_str().unwrap();
            collect_leaves(kind, &event, &mut traces);
        }
    }
    traces
}

/// All events of an execution, page by page.
pub(crate) async fn history(scenario: &Scenario, arn: &Value) -> Vec<Value> {
    let mut events = Vec::new();
    let mut request = json!({ "executionArn": arn, "maxResults": 10 });
    loop {
        let page = scenario.step_functions("GetExecutionHistory", &request).await;
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        match &page["nextToken"] {
            Value::Null => return events,
            token => request["nextToken"] = token.clone(),
        }
    }
}

pub(crate) fn collect_files(directory: &Path, traces: &mut Vec<Trace>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, traces);
        } else {
            let place = path.to_string_lossy().into_owned();
            traces.push(Trace { bytes: fs::read(&path).unwrap(), place });
        }
    }
}

/// Every text below `value`, each with its place.
pub(crate) fn collect_leaves(place: &str, value: &Value, traces: &mut Vec<Trace>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let inner = format!("{place}/{name}");
                traces.push(Trace { place: inner.clone(), bytes: name.clone().into() });
                collect_leaves(&inner, value, traces);
            }
        }
        Value::Array(values) => {
            for value in values {
                collect_leaves(place, value, traces);
            }
        }
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            traces.push(Trace { place: place.to_owned(), bytes: text.into() });
        }
    }
}

async fn start() -> Scenario {
    let scenario = Scenario::start_with(|config| {
        config.sftp_password = PASSWORD.into();
        "debug".clone_into(&mut config.log_filter);
        let mut sharefile = ShareFileConfig::default();
        sharefile.account.client_secret = CLIENT_SECRET.into();
        sharefile.account.password = PASSWORD.into();
        config.sharefile = Some(sharefile);
    })
    .await;
    scenario.put_query("one", "SELECT 1 AS one").await;
    scenario
}

/// A job of one query with these changes to its transporter's configuration.
fn job(scenario: &Scenario, changes: &Value) -> Value {
    let mut job = scenario.job(&["one"]);
    let config = &mut job["transporter"]["config"];
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    job
}

/// A job that has neither user nor password, but names a secret.
fn job_with(scenario: &Scenario, secret: &str) -> Value {
    let changes = json!({ "sftp_user": null, "sftp_password": null, "sftp_secret": secret });
    job(scenario, &changes)
}

#[track_caller]
fn check_delivered(view: &RunView) {
    assert_eq!((view.status, view.failure.as_ref()), (RunState::Succeeded, None));
}

/// A job that delivers to ShareFile with the credentials of a secret.
fn sharefile_job(scenario: &Scenario, secret: &str) -> Value {
    let mut job = scenario.job(&["one"]);
    job["transporter"] = json!({ "type": "sharefile", "config": {
        "host": "acme.sharefile.com", "sharefile_folder": "home", "sharefile_secret": secret,
        "sharefile_endpoint": scenario.stack().endpoints().sharefile,
    }});
    job
}

/// A failed delivery has this name, and its cause is given back.
#[track_caller]
fn check_failed(view: &RunView, name: &str) -> String {
    assert_eq!(view.status, RunState::Failed);
    let failure = view.failure.clone().unwrap();
    assert_eq!((failure.state.as_str(), failure.error.as_str()), ("TransportFile", name));
    failure.cause
}

/// An encrypted private key that the partner does not know, and what of it must not be seen.
fn private_key() -> (String, Vec<String>) {
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let encrypted = key.encrypt(&mut safe_rng(), PASSPHRASE).unwrap();
    let text = encrypted.to_openssh(LineEnding::LF).unwrap().to_string();
    let lines = text.lines().filter(|line| !line.starts_with("-----") && line.len() >= 40);
    let lines = lines.map(str::to_owned).collect();
    (text, lines)
}

fn credentials(key_lines: Vec<String>) -> Vec<String> {
    let texts = [PASSWORD, WRONG_PASSWORD, PASSPHRASE, CLIENT_SECRET].map(str::to_owned);
    [texts.to_vec(), key_lines].concat()
}

#[track_caller]
fn check_places(traces: &[Trace], credentials: &[String], expected: &[&str]) {
    for seen in ["manifest.json", "errors/TransportFile.json", "file-transporter"] {
        assert!(traces.iter().any(|trace| trace.place.contains(seen)), "`{seen}` is not searched");
    }
    let found = found(traces, credentials);
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_by_reference_are_nowhere() {
    let scenario = start().await;
    let (key, key_lines) = private_key();
    let secret = |password: &str| {
        json!({
            "Username": "partner", "Password": password, "PrivateKey": key,
            "PrivateKeyPassphrase": PASSPHRASE,
        })
        .to_string()
    };
    let secrets = scenario.stack().secrets();
    let arn = secrets.put_secret("athena-workflow/dev/sftp/partner", secret(PASSWORD)).unwrap();
    secrets.put_parameter("/athena-workflow/dev/sftp/partner", secret(PASSWORD)).unwrap();
    secrets.put_secret("athena-workflow/dev/sftp/wrong", secret(WRONG_PASSWORD)).unwrap();
    secrets
        .put_secret(
            "athena-workflow/dev/sftp/broken",
            format!("{{\"Password\": [{}]}}", json!(PASSWORD)),
        )
        .unwrap();

    for (name, password) in [
        ("athena-workflow/dev/sharefile/partner", PASSWORD),
        ("athena-workflow/dev/sharefile/wrong", WRONG_PASSWORD),
    ] {
        let secret = json!({
            "client_id": "partner", "client_secret": CLIENT_SECRET, "username": "partner",
            "password": password,
        });
        secrets.put_secret(name, secret.to_string()).unwrap();
    }

    for good in
        ["athena-workflow/dev/sftp/partner", arn.as_str(), "ssm:/athena-workflow/dev/sftp/partner"]
    {
        check_delivered(&scenario.run(&job_with(&scenario, good)).await.unwrap());
    }
    check_delivered(
        &scenario
            .run(&sharefile_job(&scenario, "athena-workflow/dev/sharefile/partner"))
            .await
            .unwrap(),
    );
    assert_eq!(scenario.delivered(), ["inbox/one.csv", "sharefile/home/one.csv"]);

    let view = scenario
        .run(&sharefile_job(&scenario, "athena-workflow/dev/sharefile/wrong"))
        .await
        .unwrap();
    check_failed(&view, "Transport.Auth");

    let view = scenario.run(&job_with(&scenario, "athena-workflow/dev/sftp/wrong")).await.unwrap();
    check_failed(&view, "Transport.Auth");
    let view = scenario.run(&job_with(&scenario, "athena-workflow/dev/sftp/broken")).await.unwrap();
    let cause = check_failed(&view, "Secret.Invalid");
    let expected =
        "reading the secret `athena-workflow/dev/sftp/broken`: its `Password` is not a text";
    assert!(cause.contains(expected), "{cause}");
    let view =
        scenario.run(&job_with(&scenario, "athena-workflow/dev/sftp/missing")).await.unwrap();
    check_failed(&view, "Secret.NotFound");
    secrets.put_secret("sftp/of-another-stack", secret(PASSWORD)).unwrap();
    let view = scenario.run(&job_with(&scenario, "sftp/of-another-stack")).await.unwrap();
    let cause = check_failed(&view, "Secret.Denied");
    let expected = "is not authorized to perform: secretsmanager:GetSecretValue";
    assert!(cause.contains(expected), "{cause}");

    check_places(&traces(&scenario).await, &credentials(key_lines), &[]);
    scenario.end().await;
}

/// The API is to encrypt them before it starts the run; until then, the input of the execution has
/// them, and with it the two states that are given them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_in_the_job_are_in_the_executions_input_and_nowhere_else() {
    let scenario = start().await;
    let (key, key_lines) = private_key();
    for (password, delivered) in [(PASSWORD, true), (WRONG_PASSWORD, false)] {
        let changes = json!({
            "sftp_password": password, "sftp_private_key": key,
            "sftp_private_key_passphrase": PASSPHRASE,
        });
        let view = scenario.run(&job(&scenario, &changes)).await.unwrap();
        if delivered {
            check_delivered(&view);
        } else {
            check_failed(&view, "Transport.Auth");
        }
    }
    // A job that is refused shows no value either.
    let mut refused =
        job(&scenario, &json!({ "sftp_password": [PASSWORD], "sftp_prot": PASSWORD }));
    refused["output_bucket"] = Value::Null;
    let details = format!("{:?}", scenario.run(&refused).await.unwrap_err());
    let mut traces = traces(&scenario).await;
    traces.push(Trace { place: "POST /jobs".to_owned(), bytes: details.into() });

    check_places(
        &traces,
        &credentials(key_lines),
        &[
            "DescribeExecution/input",
            "ExecutionStarted/executionStartedEventDetails/input",
            "TaskScheduled/taskScheduledEventDetails/parameters",
            "TaskStateEntered/stateEnteredEventDetails/input",
        ],
    );
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_finds_what_is_planted_in_an_object_a_log_and_an_execution() {
    let scenario = start().await;
    check_delivered(
        &scenario.run(&job(&scenario, &json!({ "sftp_password": PASSWORD }))).await.unwrap(),
    );
    for (number, form) in encodings("c0rrect horse bättery staple").iter().enumerate() {
        let text = bytes::Bytes::from(format!("before {form} behind"));
        let key = format!("planted/{number}.txt");
        scenario.stack().store().put(RESULTS_BUCKET, &key, None, text).await.unwrap();
    }
    fs::write(scenario.logs().join("planted.log"), "password=c0rrect horse bättery staple")
        .unwrap();
    let planted = ["c0rrect horse bättery staple".to_owned()];
    let places = found(&traces(&scenario).await, &planted);
    let expected = encodings(&planted[0]).len() + 1;
    assert_eq!(places.len(), expected, "{places:?}");
    let base64 = BASE64_STANDARD_NO_PAD.encode(format!("x=1&password={}&y=2", planted[0]));
    let trace = Trace { place: "base64".to_owned(), bytes: base64.into() };
    assert_eq!(found(&[trace], &planted).len(), 1);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_secrets_that_is_busy_is_waited_out_by_the_state_machine() {
    let scenario = start().await;
    let secrets = scenario.stack().secrets();
    secrets
        .put_secret(
            "athena-workflow/dev/sftp/partner",
            json!({ "Username": "partner", "Password": PASSWORD }).to_string(),
        )
        .unwrap();
    // As often as one call asks, and once more.
    secrets.faults().refuse_next(5, SecretFault::Throttle);
    check_delivered(
        &scenario.run(&job_with(&scenario, "athena-workflow/dev/sftp/partner")).await.unwrap(),
    );
    assert_eq!(scenario.usage("file-transporter").invocations, 2);
    assert_eq!(secrets.reads(), 6);
    scenario.end().await;
}

/// The command's own log holds what its servers see: an SFTP server is told the password.
#[test]
fn the_commands_log_holds_no_credential() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("sql")).unwrap();
    fs::write(path.join("sql/one.sql"), "SELECT 1 AS one").unwrap();
    let job = json!({
        "query_names": ["one"], "query_index_bucket": "athena-workflow-dev-queries", "query_prefix": "",
        "output_bucket": "athena-workflow-dev-results", "output_prefix": "r/", "zip_prefix": "z/",
        "transporter": { "type": "sftp", "config": {
            "sftp_host": "sftp.partner.example", "sftp_user": "partner",
            "sftp_password": PASSWORD, "sftp_path": "/in",
        } },
    });
    fs::write(path.join("job.json"), job.to_string()).unwrap();
    let output = Command::new(binaries().join("athena-workflow"))
        .args(["run", "job.json", "--queries", "sql", "--out", "out"])
        .args(["--sftp-password", PASSWORD, "--log-filter", "debug", "--data"])
        .arg(sample_data())
        .env("RUST_LOG", "debug")
        .current_dir(path)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("DEBUG"), "nothing is logged at debug level: {shown}");
    let traces = [
        Trace { place: "the command's log".to_owned(), bytes: output.stderr },
        Trace { place: "the command's output".to_owned(), bytes: output.stdout },
    ];
    assert_eq!(found(&traces, &[PASSWORD.to_owned()]), BTreeSet::new());
}
