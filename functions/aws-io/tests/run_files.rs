//! The documents of a run, written by several calls at the same time.

use std::net::SocketAddr;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_io::{
    Storage,
    run_files::{QueryFile, RunFile, RunFileError, keep_snapshot, records_of, snapshot},
    waits::Waits,
};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::Builder;
use futures_util::future::join_all;
use job::{
    CsvOptions, ObjectVersion, OnQueryFailure, Prefix, S3Location,
    record::{Failure, QueryEvent, QueryStage, QuerySummary},
    run_record::{ExecutionId, RunEvent, RunRecord, RunStage},
    snapshot::Snapshot,
    states::{Callback, PlannedQuery, Run},
};
use local_s3::{BucketSettings, Store};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Bucket {
    _root: TempDir,
    store: Store,
    storage: Storage,
}

impl Bucket {
    async fn start() -> Self {
        let root = TempDir::new().unwrap();
        let store = Store::open(root.path()).await.unwrap();
        let settings = BucketSettings { versioned: true, kms: true };
        store.create_bucket_with("acme-results", settings).await.unwrap();
        let keys = [local_s3::Credentials::new("test", "test")];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = local_s3::fallback(store.clone(), &keys);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { _root: root, store, storage: Storage::new(&config(address)) }
    }
}

fn config(address: SocketAddr) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(format!("http://{address}"))
        .http_client(Builder::new().build_http())
        .build()
}

fn execution(arn: &str) -> ExecutionId {
    ExecutionId { arn: arn.to_owned(), started_at: "2026-01-31T12:00:00Z".parse().unwrap() }
}

fn run(arn: &str) -> Run {
    Run {
        run_id: "r1".parse().unwrap(),
        execution: execution(arn),
        started_at: "2026-01-31T12:00:00Z".parse().unwrap(),
        output_bucket: "acme-results".parse().unwrap(),
        output_prefix: Prefix::default(),
        zip_prefix: Prefix::default(),
        query_count: 1,
        max_concurrency: 20,
        query_timeout_minutes: 240,
        query_wait_seconds: 1_205,
        on_query_failure: OnQueryFailure::Fail,
        work_group: "primary".to_owned(),
        catalog: "AwsDataCatalog".to_owned(),
        csv: CsvOptions::default(),
        zip_level: 6,
        file_name: "r1.zip".parse().unwrap(),
    }
}

fn query(name: &str) -> PlannedQuery {
    PlannedQuery {
        name: name.parse().unwrap(),
        sql: S3Location::new("acme-queries", "q.sql"),
        sql_version: ObjectVersion::default(),
        sql_bytes: 8,
        database: "default".to_owned(),
        file_name: format!("{name}.csv").parse().unwrap(),
    }
}

fn claim(arn: &str) -> RunRecord {
    RunRecord::claimed("r1".parse().unwrap(), execution(arn), None)
}

#[tokio::test]
async fn of_executions_that_claim_a_run_at_once_one_has_it() {
    let Bucket { storage, .. } = &Bucket::start().await;
    let layout = run("arn:0").layout();
    let arns: Vec<String> = (0..8).map(|i| format!("arn:{i}")).collect();
    let claims = arns.iter().map(|arn| RunFile::claim(storage, layout.clone(), claim(arn)));
    let claims = join_all(claims).await;
    let winners: Vec<_> = claims.iter().flatten().map(RunFile::record).collect();
    assert_eq!(winners.len(), 1);
    for lost in claims.iter().filter_map(|claim| claim.as_ref().err()) {
        let RunFileError::Conflict { owner, .. } = lost else { panic!("{lost:?}") };
        assert_eq!(owner, &winners[0].execution);
    }
    let again = RunFile::claim(storage, layout, claim(&winners[0].execution.arn)).await.unwrap();
    assert_eq!(again.record(), winners[0]);
}

#[tokio::test]
async fn a_run_that_ends_while_it_is_planned_stays_ended() {
    let Bucket { storage, .. } = &Bucket::start().await;
    let run = run("arn:0");
    let mut planner = RunFile::claim(storage, run.layout(), claim("arn:0")).await.unwrap();
    let mut ender = RunFile::claim(storage, run.layout(), claim("arn:0")).await.unwrap();
    ender.advance(RunEvent::Ended).await.unwrap();
    planner.advance(RunEvent::Planned(Box::new(run))).await.unwrap();
    assert_eq!(planner.record().stage, RunStage::Ended);
    assert!(matches!(planner.expect_live(), Err(RunFileError::Ended { .. })));
}

/// The late duplicate of a call that was faster: it has read the record before.
#[tokio::test]
async fn a_late_call_reads_the_record_of_the_faster_one() {
    let Bucket { storage, .. } = &Bucket::start().await;
    let (run, query) = (run("arn:0"), query("a"));
    let mut fast = QueryFile::open(storage, &run, &query).await.unwrap();
    let mut late = QueryFile::open(storage, &run, &query).await.unwrap();
    let (at, query_execution_id) = (run.started_at, "q1".to_owned());
    fast.advance(QueryEvent::Intended { token: "t".to_owned() }).await.unwrap();
    fast.advance(QueryEvent::Started { query_execution_id, at }).await.unwrap();
    late.advance(QueryEvent::Intended { token: "t".to_owned() }).await.unwrap();
    assert_eq!(late.record(), fast.record());
    let running = QueryStage::Running { query_execution_id: "q1".to_owned() };
    assert_eq!(late.record().stage, running);
}

#[tokio::test]
async fn a_record_of_another_execution_is_a_conflict() {
    let Bucket { storage, .. } = &Bucket::start().await;
    let (owner, query) = (run("arn:0"), query("a"));
    let mut file = QueryFile::open(storage, &owner, &query).await.unwrap();
    file.advance(QueryEvent::Intended { token: "t".to_owned() }).await.unwrap();
    let other = run("arn:1");
    let opened = QueryFile::open(storage, &other, &query).await;
    assert!(matches!(opened, Err(RunFileError::Conflict { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_does_not_hide_the_others() {
    let bucket = Bucket::start().await;
    let run = run("arn:0");
    let key = run.layout().record(&query("a").name).key;
    bucket.store.put("acme-results", &key, None, "no JSON".into()).await.unwrap();
    let queries = vec![query("a"), query("b")];
    let records =
        records_of(&bucket.storage, &run.layout(), &run.execution, queries).await.unwrap();
    let QueryStage::Failed { failure: Failure { error, .. }, .. } = &records[0].stage else {
        panic!("{records:?}")
    };
    assert_eq!((error.as_str(), &records[1].stage), ("Run.RecordInvalid", &QueryStage::Queued));
}

#[tokio::test]
async fn of_snapshots_written_at_once_one_counts() {
    let Bucket { storage, .. } = &Bucket::start().await;
    let run = run("arn:0");
    let layout = run.layout();
    let made = |name: &str| {
        let queued = job::record::QueryRecord::queued(&query(name), &run.execution);
        Snapshot::new(run.run_id.clone(), run.execution.clone(), vec![QuerySummary::from(queued)])
    };
    let names = ["a", "b", "c", "d"];
    let kept = join_all(names.map(|name| keep_snapshot(storage, &layout, made(name)))).await;
    let counts = snapshot(storage, &layout, &run.execution).await.unwrap().unwrap();
    for kept in kept {
        assert_eq!(kept.unwrap(), counts);
    }
}

#[tokio::test]
async fn a_late_call_does_not_put_its_closed_token_in_the_place_of_the_one_that_waits() {
    let Bucket { storage, .. } = &Bucket::start().await;
    let waits = Waits::new(storage.clone(), "acme-results".parse().unwrap());
    let (run, query) = (run("arn:0"), query("a"));
    let keep = async |token: &str, retry_count| {
        let callback = Callback { token: token.into(), retry_count, redrive_count: 0 };
        waits.keep("q1", &run, &query, &callback).await.unwrap();
    };
    keep("first", 0).await;
    keep("second", 1).await;
    keep("first", 0).await;
    let wait = waits.find("q1").await.unwrap().unwrap();
    assert_eq!((wait.token.expose_secret(), wait.retry_count), ("second", 1));
    assert!(waits.find("q2").await.unwrap().is_none());
    assert!(!format!("{wait:?}").contains("second"), "a token is not printed");
}
