//! Ways to deliver: more than one call, and ShareFile.

use std::{fs, io, net::SocketAddr, time::Duration};

use end_to_end::Scenario;
use job::view::{RunState, RunView};
use local::ShareFileConfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::sleep,
};

/// A line to `server` that carries so many bytes in a second in each direction.
async fn slow_line(server: SocketAddr, bytes_per_second: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = TcpStream::connect(server).await.unwrap().into_split();
            tokio::spawn(carry(from_client, to_server, bytes_per_second));
            tokio::spawn(carry(from_server, to_client, bytes_per_second));
        }
    });
    address
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    bytes_per_second: usize,
) -> io::Result<()> {
    const PER_SECOND: usize = 50;
    let mut buffer = vec![0; bytes_per_second / PER_SECOND];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        sleep(Duration::from_secs(1) / u32::try_from(PER_SECOND).unwrap()).await;
    }
}

#[track_caller]
fn check_succeeded(view: &RunView) -> &Value {
    assert_eq!((view.status, view.failure.as_ref()), (RunState::Succeeded, None));
    view.delivery.as_ref().unwrap()
}

/// How often the run's state machine entered `state`.
async fn entered(scenario: &Scenario, run: &RunView, state: &str) -> usize {
    let machine = &scenario.stack().endpoints().state_machine_arn;
    let execution = machine.replace(":stateMachine:", ":execution:");
    let request = json!({ "executionArn": format!("{execution}:{}", run.run_id) });
    let history = scenario.step_functions("GetExecutionHistory", &request).await;
    let events = history["events"].as_array().unwrap();
    events.iter().filter(|event| event["stateEnteredEventDetails"]["name"] == state).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_takes_longer_than_a_call_is_sent_on_by_the_next() {
    let scenario = Scenario::start_with(|config| {
        config.deployment.function_mut("file-transporter").unwrap().timeout_seconds = 10;
    })
    .await;
    scenario.put_query("lines", "SELECT * FROM lineitem").await;
    let line = slow_line(scenario.stack().endpoints().sftp, 500_000).await;
    let mut job = scenario.job(&["lines"]);
    job["transporter"]["config"]["sftp_port"] = json!(line.port());

    let view = scenario.run(&job).await.unwrap();

    let receipt = check_succeeded(&view);
    let csv = view.queries[0].csv.as_ref().unwrap();
    assert_eq!(receipt["sha256"], csv.sha256);
    assert_eq!(receipt["bytes"], csv.size_bytes);
    assert_eq!(scenario.delivered(), ["inbox/lines.csv"], "no part of the file is left");
    let delivered = fs::metadata(scenario.partner().join("inbox/lines.csv")).unwrap();
    assert_eq!(delivered.len(), csv.size_bytes);
    let calls = entered(&scenario, &view, "TransportFile").await;
    assert!(calls > 1, "{calls} calls for {} bytes", csv.size_bytes);
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharefile_gets_one_complete_file_with_credentials_in_the_job_or_in_a_secret() {
    let scenario =
        Scenario::start_with(|config| config.sharefile = Some(ShareFileConfig::default())).await;
    scenario.put_query("one", "SELECT 1 AS one").await;
    scenario.put_query("two", "SELECT 2 AS two").await;
    let credentials = json!({
        "client_id": "partner", "client_secret": "partner", "username": "partner",
        "password": "partner",
    });
    let secrets = scenario.stack().secrets();
    secrets.put_secret("athena-workflow/dev/sharefile/partner", credentials.to_string()).unwrap();
    let by_reference = json!({ "sharefile_secret": "athena-workflow/dev/sharefile/partner" });
    for (folder, credentials) in [("inline", credentials), ("by reference", by_reference)] {
        let mut config = json!({
            "host": "acme.sharefile.com", "sharefile_folder": "home", "sharefile_path": folder,
            "sharefile_filename": "report.zip",
            "sharefile_endpoint": scenario.stack().endpoints().sharefile,
        });
        config.as_object_mut().unwrap().extend(credentials.as_object().unwrap().clone());
        let mut job = scenario.job(&["one", "two"]);
        job["transporter"] = json!({ "type": "sharefile", "config": config });
        // The second run replaces the file of the first.
        for _ in 0..2 {
            let view = scenario.run(&job).await.unwrap();
            let receipt = check_succeeded(&view);
            let path = format!("home/{folder}/report.zip");
            let file = scenario.partner().join("sharefile").join(&path);
            assert_eq!(
                (&receipt["remote_path"], &receipt["verified"], &receipt["bytes"]),
                (&json!(path), &json!("md5"), &json!(fs::metadata(&file).unwrap().len()))
            );
            end_to_end::other_programs_accept(&file);
        }
    }
    let expected = ["sharefile/home/by reference/report.zip", "sharefile/home/inline/report.zip"];
    assert_eq!(scenario.delivered(), expected);
    scenario.end().await;
}
