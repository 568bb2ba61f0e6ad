//! Whole plans, over an S3 endpoint of this process.

use std::fmt::Write as _;

use aws_io::{Failure as _, Storage, run_files::RunFile, sdk::SdkConfig};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use job::{
    ObjectVersion,
    error::Chain,
    run_record::RunEvent,
    states::{LoadQueries, LoadedQueries, MapMode, PlannedQuery},
};
use local_s3::Store;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Bench {
    _root: TempDir,
    store: Store,
    storage: Storage,
}

impl Bench {
    /// An S3 with these objects in the bucket of the queries.
    async fn with(objects: &[(&str, &str)]) -> Self {
        let root = TempDir::new().unwrap();
        let store = Store::open(root.path()).await.unwrap();
        store.create_bucket("acme-queries").await.unwrap();
        store.create_bucket("acme-results").await.unwrap();
        let router =
            local_s3::fallback(store.clone(), &[local_s3::Credentials::new("test", "test")]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(format!("http://{address}"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let bench = Self { _root: root, store, storage: Storage::new(&config) };
        for (key, text) in objects {
            bench.put(key, text).await;
        }
        bench
    }

    async fn put(&self, key: &str, text: &str) {
        let bytes = text.as_bytes().to_vec();
        self.store.put("acme-queries", key, None, bytes.into()).await.unwrap();
    }

    async fn load(&self, job: Value) -> Result<LoadedQueries, String> {
        self.load_as("arn:e", job).await
    }

    /// Plans the run `r1` for the execution with this ARN.
    async fn load_as(&self, execution: &str, job: Value) -> Result<LoadedQueries, String> {
        let started_at = "2026-01-31T23:59:59Z";
        let task = json!({
            "run_id": "r1", "execution": { "arn": execution, "started_at": started_at },
            "started_at": started_at, "job": job,
        });
        let task: LoadQueries = serde_json::from_value(task).unwrap();
        let loaded = query_loader::load(&self.storage, task).await;
        loaded.map_err(|error| format!("{}: {}", error.name(), Chain(&error)))
    }

    /// Removes the run, so that another job may have its name.
    async fn forget(&self) {
        for key in ["out/r1/run.json", "out/r1/plan.json"] {
            self.store.delete("acme-results", key).await.unwrap();
        }
    }

    /// The plan as it was written.
    async fn plan(&self) -> Vec<PlannedQuery> {
        let bytes = self.store.get("acme-results", "out/r1/plan.json").await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[track_caller]
    fn check_refused(loaded: Result<LoadedQueries, String>, expected: &[&str]) {
        let error = loaded.expect_err("it is refused");
        assert_eq!(error.split("\n$").collect::<Vec<_>>(), expected);
    }
}

/// A job for these names below `q/`.
fn job<N: Into<Value>>(names: N) -> Value {
    json!({
        "query_names": names.into(),
        "query_index_bucket": "acme-queries",
        "query_prefix": "q",
        "output_bucket": "acme-results",
        "output_prefix": "out",
        "zip_prefix": "zip",
    })
}

fn names(queries: &[PlannedQuery]) -> Vec<&str> {
    queries.iter().map(|query| query.name.as_str()).collect()
}

#[tokio::test]
async fn a_query_is_pinned_with_the_bytes_of_its_statement() {
    let bench = Bench::with(&[("q/users.sql", "-- all\nSELECT 'ä;' FROM users;\n-- done\n")]).await;
    let loaded = bench.load(job(["users"])).await.unwrap();
    let etag = &bench.store.head("acme-queries", "q/users.sql").await.unwrap().etag;
    let expected = PlannedQuery {
        name: "users".parse().unwrap(),
        sql: "s3://acme-queries/q/users.sql".parse().unwrap(),
        sql_version: ObjectVersion { version_id: None, etag: format!("\"{etag}\"") },
        sql_bytes: "-- all\nSELECT 'ä;' FROM users".len() as u64,
        database: "default".to_owned(),
        file_name: "users.csv".parse().unwrap(),
    };
    assert_eq!(loaded.queries, bench.plan().await);
    assert_eq!(loaded.queries, [expected]);
    assert_eq!((loaded.run.query_count, loaded.run.file_name.as_str()), (1, "users.csv"));
}

#[tokio::test]
async fn a_run_planned_twice_has_the_same_plan() {
    let bench = Bench::with(&[("q/b.sql", "SELECT 2"), ("q/a.sql", "SELECT 1")]).await;
    let first = bench.load(job(["b", "*"])).await.unwrap();
    let plan = bench.plan().await;
    bench.put("q/a.sql", "SELECT 'another'").await;
    let second = bench.load(job(["b", "*"])).await.unwrap();
    assert_eq!((&second.run, &second.queries), (&first.run, &first.queries));
    assert_eq!(bench.plan().await, plan);
    assert_eq!(names(&plan), ["b", "a"]);
}

#[tokio::test]
async fn a_run_planned_twice_at_the_same_time_has_one_plan() {
    let bench = Bench::with(&[("q/b.sql", "SELECT 2"), ("q/a.sql", "SELECT 1")]).await;
    let calls = (0..8).map(|_| bench.load(job(["b", "*"])));
    let loaded = futures_util::future::join_all(calls).await;
    let plan = bench.plan().await;
    for loaded in loaded {
        assert_eq!(loaded.unwrap().queries, plan);
    }
}

#[tokio::test]
async fn a_name_that_comes_back_conflicts_and_leaves_the_owner_alone() {
    let bench = Bench::with(&[("q/a.sql", "SELECT 1")]).await;
    bench.load_as("arn:first", job(["a"])).await.unwrap();
    let plan = bench.plan().await;
    bench.put("q/a.sql", "SELECT 'another'").await;
    let error = bench.load_as("arn:second", job(["a"])).await.unwrap_err();
    assert!(error.starts_with("Run.Conflict: "), "{error}");
    assert!(error.contains("`arn:first`"), "{error}");
    assert_eq!(bench.plan().await, plan);
}

#[tokio::test]
async fn a_plan_whose_claim_was_removed_is_not_run_by_another_execution() {
    let bench = Bench::with(&[("q/a.sql", "SELECT 1")]).await;
    bench.load_as("arn:first", job(["a"])).await.unwrap();
    bench.store.delete("acme-results", "out/r1/run.json").await.unwrap();
    bench.put("q/a.sql", "SELECT 'another'").await;
    let error = bench.load_as("arn:second", job(["a"])).await.unwrap_err();
    assert!(error.starts_with("Run.Conflict: "), "{error}");
    assert!(error.contains("plan.json` was there before the run"), "{error}");
}

#[tokio::test]
async fn a_run_that_has_ended_is_not_planned() {
    let bench = Bench::with(&[("q/a.sql", "SELECT 1")]).await;
    let loaded = bench.load(job(["a"])).await.unwrap();
    let run = loaded.run;
    let claim = RunFile::find(&bench.storage, run.layout(), &run.run_id, &run.execution).await;
    claim.unwrap().unwrap().advance(RunEvent::Ended).await.unwrap();
    let error = bench.load(job(["a"])).await.unwrap_err();
    assert!(error.starts_with("Run.Ended: "), "{error}");
}

#[tokio::test]
async fn a_pattern_stands_for_the_files_below_the_prefix() {
    let objects = ["a", "b", "daily/c", "daily/d", "daily/old/e"];
    let bench = Bench::with(&[("q/readme.md", "no SQL"), ("other/x.sql", "SELECT 1")]).await;
    for name in objects {
        bench.put(&format!("q/{name}.sql"), "SELECT 1").await;
    }
    for (asked, expected) in [
        (vec!["*"], vec!["a", "b"]),
        (vec!["daily/*", "a"], vec!["daily/c", "daily/d", "a"]),
        (vec!["daily/**"], vec!["daily/c", "daily/d", "daily/old/e"]),
        (vec!["**"], objects.to_vec()),
    ] {
        let loaded = bench.load(job(asked)).await.unwrap();
        assert_eq!(names(&loaded.queries), expected);
        bench.forget().await;
    }
}

#[tokio::test]
async fn a_pattern_stands_for_names_of_the_index() {
    let index = r#"{"queries": {
        "users_b": {"file": "x/b.sql", "database": "crm", "file_name": "B_{date}.csv"},
        "users_a": "x/a.sql",
        "orders": "x/a.sql"
    }}"#;
    let bench = Bench::with(&[
        ("q/query_index.json", index),
        ("q/x/a.sql", "SELECT 1"),
        ("q/x/b.sql", "SELECT 2"),
        ("q/users_c.sql", "SELECT 3"),
    ])
    .await;
    let loaded = bench.load(job(["users_?"])).await.unwrap();
    let found: Vec<_> = loaded
        .queries
        .iter()
        .map(|query| {
            [query.name.as_str(), &query.sql.key, &query.database, query.file_name.as_str()]
        })
        .collect();
    assert_eq!(
        found,
        [
            ["users_a", "q/x/a.sql", "default", "users_a.csv"],
            ["users_b", "q/x/b.sql", "crm", "B_2026-01-31.csv"],
        ]
    );
    assert_eq!(loaded.run.file_name.as_str(), "r1.zip");
}

#[tokio::test]
async fn a_pattern_for_one_query_is_a_job_of_one_query() {
    let bench = Bench::with(&[("q/daily/users.sql", "SELECT 1")]).await;
    let mut job = job(["daily/*"]);
    job["file_name"] = json!("Users {date} {query}.csv");
    let loaded = bench.load(job).await.unwrap();
    assert_eq!(loaded.run.file_name.as_str(), "Users 2026-01-31 daily-users.csv");
    assert_eq!(loaded.queries[0].file_name, loaded.run.file_name);
}

#[tokio::test]
async fn ten_thousand_queries_of_one_pattern_leave_only_the_plan() {
    let mut index = r#"{"queries": {"other": "a.sql""#.to_owned();
    for i in 0..10_000 {
        write!(index, r#", "q{i:05}": "a.sql""#).unwrap();
    }
    let bench =
        Bench::with(&[("q/query_index.json", &(index + "}}")), ("q/a.sql", "SELECT 1")]).await;
    let loaded = bench.load(job(["q*"])).await.unwrap();
    assert_eq!((loaded.map, loaded.queries.len()), (MapMode::Distributed, 0));
    let plan = bench.plan().await;
    assert_eq!((plan.len(), loaded.run.query_count), (10_000, 10_000));
    assert_eq!((plan[0].name.as_str(), plan[9_999].name.as_str()), ("q00000", "q09999"));

    bench.forget().await;
    Bench::check_refused(
        bench.load(job(["*"])).await,
        &[
            "Job.Invalid: the job can not run: $.query_names: the names stand for 10001 queries, and a job has at most 10000",
        ],
    );
}

#[tokio::test]
async fn a_missing_name_says_what_is_near() {
    let bench = Bench::with(&[("q/users_report.sql", "SELECT 1")]).await;
    Bench::check_refused(
        bench.load(job(["user_report", "zzz", "user_*", "users_report"])).await,
        &[
            "Query.NotFound: the queries can not be loaded: $.query_names[0]: there is no query `user_report` below \
             `s3://acme-queries/q/`; did you mean `users_report`?",
            ".query_names[1]: there is no query `zzz` below `s3://acme-queries/q/`",
            ".query_names[2]: no query below `s3://acme-queries/q/` matches `user_*`; did you mean `users_report`?",
        ],
    );

    let bench = Bench::with(&[("users.sql", "SELECT 1")]).await;
    Bench::check_refused(
        bench.load(job(["users"])).await,
        &[
            "Query.NotFound: the queries can not be loaded: $.query_names[0]: there is no query `users` below \
           `s3://acme-queries/q/`; there is no query at all",
        ],
    );
}

#[tokio::test]
async fn an_entry_without_its_file_is_told_from_a_name_that_is_not_there() {
    let index = r#"{"queries": {"users": "u.sql", "orders": "o.sql"}}"#;
    let bench = Bench::with(&[("q/query_index.json", index), ("q/o.sql", "SELECT 1")]).await;
    Bench::check_refused(
        bench.load(job(["users", "order", "orders"])).await,
        &[
            "Query.NotFound: the queries can not be loaded: $.query_names[0]: the SQL of `users` is missing: there is \
             no object `s3://acme-queries/q/u.sql`",
            ".query_names[1]: there is no query `order` in the index; did you mean `orders`?",
        ],
    );
}

#[tokio::test]
async fn many_problems_are_told_in_part_and_counted() {
    let bench = Bench::with(&[("q/a.sql", "SELECT 1")]).await;
    let missing: Vec<String> = (0..150).map(|i| format!("missing{i}")).collect();
    let error = bench.load(job(missing)).await.unwrap_err();
    let problems: Vec<_> = error.split('\n').collect();
    assert_eq!(problems.len(), 101);
    assert!(
        problems[99].starts_with("$.query_names[99]: there is no query `missing99`"),
        "{error}"
    );
    assert_eq!(problems[100], "$.query_names: 50 more problems are not listed");
}

#[tokio::test]
async fn all_problems_of_all_queries_are_told_at_once() {
    let long = " ".repeat(262_145);
    let bench = Bench::with(&[
        ("q/a/b.sql", "SELECT 1"),
        ("q/a-b.sql", "SELECT 1;\nSELECT 2"),
        ("q/c-d.sql", "SELECT 1"),
        ("q/c/d.sql", "SELECT 1"),
        ("q/blank.sql", "\n"),
        ("q/open.sql", "SELECT 'a"),
        ("q/long.sql", &long),
    ])
    .await;
    bench
        .store
        .put("acme-queries", "q/latin.sql", None, b"SELECT '\xe4'".to_vec().into())
        .await
        .unwrap();
    Bench::check_refused(
        bench
            .load(job(["a/b", "a-b", "c-d", "c/d", "c-d", "x*", "blank", "open", "long", "latin"]))
            .await,
        &[
            "Query.NotFound: the queries can not be loaded: $.query_names[1]: the SQL of `a-b` in \
             `s3://acme-queries/q/a-b.sql` has a second statement at line 2, column 1: a query is one statement",
            ".query_names[3]: `c-d` and `c/d` would write the same file",
            ".query_names[4]: `c-d` is there twice: it is `$.query_names[2]` too",
            ".query_names[5]: no query below `s3://acme-queries/q/` matches `x*`",
            ".query_names[6]: the SQL of `blank` in `s3://acme-queries/q/blank.sql` is empty",
            ".query_names[7]: the SQL of `open` in `s3://acme-queries/q/open.sql` opens a string at line 1, column 8 \
             and never closes it",
            ".query_names[8]: the SQL of `long` in `s3://acme-queries/q/long.sql` has 262145 bytes, and Athena takes \
             at most 262144",
            ".query_names[9]: the SQL of `latin` in `s3://acme-queries/q/latin.sql` is not UTF-8 at byte 8",
        ],
    );
    assert!(bench.store.head("acme-results", "out/r1/plan.json").await.is_err());
}

#[tokio::test]
async fn an_index_that_is_not_one_stops_the_job() {
    let index = r#"{"queries": {"a": {"file": "a.sql", "data_base": "crm"}, "b": "../b.sql"}}"#;
    let bench = Bench::with(&[("q/query_index.json", index)]).await;
    Bench::check_refused(
        bench.load(job(["a"])).await,
        &[
            "Query.Invalid: reading the index `s3://acme-queries/q/query_index.json`: $.queries.a.data_base: unknown \
             field `data_base`; did you mean `database`?",
            ".queries.b: a file obeys the rules of a query's name: `../b.sql` is not a query name: a part between its \
             slashes is empty, `.` or `..`, so it would leave the prefix",
        ],
    );
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let bench = Bench::with(&[]).await;
    let mut job = job(["a"]);
    job["query_index_bucket"] = json!("acme-nowhere");
    Bench::check_refused(
        bench.load(job).await,
        &[
            "Query.NotFound: the queries can not be loaded: $.query_index_bucket: there is no bucket `acme-nowhere`",
        ],
    );
}

#[tokio::test]
async fn an_archive_that_would_have_no_name_is_refused_before_anything_is_written() {
    let bench = Bench::with(&[("q/a.sql", "SELECT 1"), ("q/b.sql", "SELECT 1")]).await;
    let mut job = job(["*"]);
    job["file_name"] = json!(format!("{}{{run_id}}{{date}}.zip", "x".repeat(240)));
    let error = bench.load(job).await.unwrap_err();
    assert!(error.starts_with("Job.Invalid: the job can not run: $.file_name: "), "{error}");
    assert!(bench.store.head("acme-results", "out/r1/plan.json").await.is_err());
}
