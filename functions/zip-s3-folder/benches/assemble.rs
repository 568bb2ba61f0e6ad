//! What putting an archive together costs: bytes through the function, requests, and CPU time, for
//! 20 members of 10 MB and for 20 of 50 MB, over the local S3 endpoint.
//!
//! The time of a whole run is not what is measured: here it is the disk's, for the local endpoint
//! copies what S3 on AWS copies.

#![expect(clippy::print_stdout, reason = "the table is what the bench is for")]

use std::{fs, thread, time::Duration};

use archive::{Deflated, Directory, Entry, MemberName};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_io::Storage;
use aws_sdk_s3::config::Credentials;
use aws_smithy_http_client::Builder;
use criterion::{Criterion, criterion_group, criterion_main};
use job::{
    CsvOptions, FileName, ObjectVersion, OnQueryFailure, Prefix, QueryName,
    record::{CsvFile, MemberFile, QueryState, QuerySummary, Statistics},
    run_record::{ExecutionId, RunRecord},
    snapshot::Snapshot,
    states::{Run, ZipTask},
};
use local_s3::Store;
use tokio::{net::TcpListener, runtime};

const MEMBERS: usize = 20;

/// Without optimisation only whether it runs is of interest.
const SIZES_BYTES: [usize; 2] =
    if cfg!(debug_assertions) { [6_000_000, 7_000_000] } else { [10_000_000, 50_000_000] };

/// What one run took.
struct Taken {
    archive_bytes: u64,
    carried_bytes: u64,
    requests: u64,
    cpu_time: Duration,
}

fn assemble(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("assemble");
    group.sample_size(10);
    let mut rows = Vec::new();
    for size_bytes in SIZES_BYTES {
        let scenario = Scenario::start(size_bytes);
        let mut taken = Vec::new();
        let name = format!("{MEMBERS} members of {} MB, CPU time", size_bytes / 1_000_000);
        group.bench_function(&name, |bencher| {
            bencher.iter_custom(|count| {
                let runs: Vec<Taken> = (0..count).map(|_| scenario.zip()).collect();
                let time = runs.iter().map(|run| run.cpu_time).sum();
                taken.extend(runs);
                time
            });
        });
        if let Some(last) = taken.pop() {
            rows.push((size_bytes, last));
        }
    }
    group.finish();
    println!("members          archive     carried bytes   requests   CPU time");
    for (size_bytes, taken) in rows {
        println!(
            "{MEMBERS} x {:>2} MB  {:>13}  {:>8} ({:.4} %)  {:>6}   {:>6.1} ms",
            size_bytes / 1_000_000,
            taken.archive_bytes,
            taken.carried_bytes,
            percent(taken.carried_bytes, taken.archive_bytes),
            taken.requests,
            taken.cpu_time.as_secs_f64() * 1000.0
        );
    }
}

/// A run with its members in a local S3, which has a thread of its own.
struct Scenario {
    store: Store,
    storage: Storage,
    runtime: runtime::Runtime,
    run: Run,
    _directory: tempfile::TempDir,
}

impl Scenario {
    fn start(member_bytes: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (sender, receiver) = std::sync::mpsc::channel();
        let root = directory.path().to_owned();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let store = Store::open(root).await.expect("a store");
                store.create_bucket("acme-results").await.expect("a bucket");
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("a bound listener has an address");
                sender.send((store.clone(), address)).expect("somebody waits");
                let keys = [local_s3::Credentials::new("test", "test")];
                axum::serve(listener, local_s3::fallback(store, &keys)).await.expect("it serves");
            });
        });
        let (store, address) = receiver.recv().expect("the endpoint starts");
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let storage = Storage::new(&config(format!("http://{address}")));
        let run = run();
        runtime.block_on(write_members(&storage, &run, member_bytes));
        Self { store, storage, runtime, run, _directory: directory }
    }

    fn zip(&self) -> Taken {
        self.store.traffic().clear();
        let before = thread_cpu_time();
        let zipped = self.runtime.block_on(async {
            let task = ZipTask::Run(self.run.clone());
            zip_s3_folder::zip(&self.storage, task).await.expect("the archive is made")
        });
        let cpu_time = thread_cpu_time().saturating_sub(before);
        assert_eq!(zipped.members, MEMBERS);
        let traffic = self.store.traffic().all();
        Taken {
            archive_bytes: zipped.file.size_bytes,
            carried_bytes: traffic
                .values()
                .map(|count| count.received_bytes + count.sent_bytes)
                .sum(),
            requests: traffic.values().map(|count| count.requests).sum(),
            cpu_time,
        }
    }
}

async fn write_members(storage: &Storage, run: &Run, member_bytes: usize) {
    let layout = run.layout();
    let content: Vec<u8> = (0..member_bytes as u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    let sizes = Deflated {
        crc32: crc32fast::hash(&content),
        compressed_bytes: content.len() as u64,
        uncompressed_bytes: content.len() as u64,
    };
    let mut queries = Vec::new();
    for i in 0..MEMBERS {
        let query: QueryName = format!("q{i:02}").parse().expect("a query name");
        let file_name: FileName = format!("q{i:02}.csv").parse().expect("a file name");
        let name = MemberName::safe(file_name.as_str()).expect("a short name");
        let entry = Entry::new(name, run.started_at, run.zip_level, sizes);
        let mut directory = Directory::default();
        directory.push(&entry);
        let location = layout.member(&query);
        let mut writer = storage.headless_writer(location.clone(), "application/zip");
        writer.write(&content).await.expect("the member is written");
        writer.write(&directory.finish()).await.expect("the member is written");
        let info = writer.finish_with_head(&entry.local_header()).await.expect("it is written");
        queries.push(QuerySummary {
            name: query.clone(),
            state: QueryState::Succeeded,
            query_execution_id: None,
            attempts: 1,
            file_name,
            csv: Some(CsvFile {
                location: layout.csv(&query),
                version: ObjectVersion::default(),
                rows: 1,
                size_bytes: sizes.uncompressed_bytes,
                sha256: String::new(),
            }),
            member: Some(MemberFile {
                location,
                version: info.version,
                size_bytes: info.size_bytes,
                crc32: sizes.crc32,
                compressed_bytes: sizes.compressed_bytes,
            }),
            statistics: Statistics::default(),
            failure: None,
        });
    }
    let snapshot = Snapshot::new(run.run_id.clone(), run.execution.clone(), queries);
    storage.put_json(&layout.gathered(), &snapshot).await.expect("it is written");
    let claim = RunRecord::claimed(run.run_id.clone(), run.execution.clone(), None);
    storage.put_json(&layout.run(), &claim).await.expect("it is written");
}

fn run() -> Run {
    Run {
        run_id: "r1".parse().expect("a run id"),
        execution: ExecutionId {
            arn: "arn:e".to_owned(),
            started_at: "2026-01-31T12:30:44Z".parse().expect("a time"),
        },
        started_at: "2026-01-31T12:30:44Z".parse().expect("a time"),
        output_bucket: "acme-results".parse().expect("a bucket name"),
        output_prefix: Prefix::default(),
        zip_prefix: Prefix::default(),
        query_count: MEMBERS,
        max_concurrency: 20,
        query_timeout_minutes: 240,
        query_wait_seconds: 1_205,
        on_query_failure: OnQueryFailure::Fail,
        work_group: "primary".to_owned(),
        catalog: "AwsDataCatalog".to_owned(),
        csv: CsvOptions::default(),
        zip_level: 0,
        file_name: "r1.zip".parse().expect("a file name"),
    }
}

fn config(endpoint: String) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(Credentials::new(
            "test", "test", None, None, "test",
        )))
        .http_client(Builder::new().build_http())
        .build()
}

/// The CPU time of this thread, on which the function runs; the endpoint has another. Nothing where
/// the system does not tell: <https://docs.kernel.org/scheduler/sched-stats.html>.
fn thread_cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

criterion_group!(benches, assemble);
criterion_main!(benches);
