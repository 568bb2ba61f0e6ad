//! The main job: the 22 queries of TPC-H, zipped and delivered.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use datafusion::{
    arrow::util::display::{ArrayFormatter, FormatOptions},
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};
use end_to_end::{RESULTS_BUCKET, Scenario, other_programs_accept, sample_data};
use job::{
    record::{Manifest, QueryState},
    view::RunState,
};
use serde_json::json;
use zip::ZipArchive;

fn queries() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tpch/queries");
    (1..=22)
        .map(|number| {
            let name = format!("q{number:02}");
            let sql = fs::read_to_string(directory.join(format!("{name}.sql"))).unwrap();
            (name, sql)
        })
        .collect()
}

/// What DataFusion answers without the workflow in between: names and rows as text, NULL apart.
async fn answer(context: &SessionContext, sql: &str) -> (Vec<String>, Vec<Vec<Option<String>>>) {
    let frame = context.sql(sql).await.unwrap();
    let names = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in frame.collect().await.unwrap() {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for i in 0..batch.num_rows() {
            let cell = |(column, text): (usize, &ArrayFormatter)| {
                batch.column(column).is_valid(i).then(|| text.value(i).to_string())
            };
            rows.push(columns.iter().enumerate().map(cell).collect());
        }
    }
    (names, rows)
}

async fn plain_datafusion() -> SessionContext {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let context = SessionContext::new_with_config(config);
    for entry in fs::read_dir(sample_data().join("tpch")).unwrap() {
        let path = entry.unwrap().path();
        let table = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let options = ParquetReadOptions::default();
        context.register_parquet(&table, path.to_str().unwrap(), options).await.unwrap();
    }
    context
}

/// Header and records. The `csv` crate passes over empty lines, which are records of one NULL.
fn read_csv(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let owned = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = owned(reader.headers().unwrap());
    let records = if header.len() == 1 {
        text.lines().skip(1).map(|line| vec![line.to_owned()]).collect()
    } else {
        reader.records().map(|record| owned(&record.unwrap())).collect()
    };
    (header, records)
}

/// Numbers are equal by value (`1.0` is `1`), within what a double keeps; all else by its text.
fn same(csv: &str, expected: Option<&str>) -> bool {
    let Some(expected) = expected else { return csv.is_empty() };
    match (csv.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * b.abs().max(1.0),
        _ => csv == expected,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tpch_queries_arrive_as_one_archive_with_the_rows_that_datafusion_gives() {
    let scenario = Scenario::start().await;
    let queries = queries();
    for (name, sql) in &queries {
        scenario.put_query(name, sql).await;
    }
    let names: Vec<&str> = queries.iter().map(|(name, _)| name.as_str()).collect();
    let mut job = scenario.job(&names);
    job["file_name"] = json!("tpch_{date}.zip");
    let view = scenario.run(&job).await.expect("the job is accepted");
    assert_eq!(view.status, RunState::Succeeded, "{:?}", view.failure);

    let delivered = scenario.delivered();
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    let path = scenario.partner().join(&delivered[0]);
    assert_eq!(format!("inbox/tpch_{}.zip", date_of(&view.started_at.to_string())), delivered[0]);
    let mut archive = ZipArchive::new(File::open(&path).unwrap()).unwrap();
    assert_eq!(archive.len(), 22);

    let context = plain_datafusion().await;
    for (i, (name, sql)) in queries.iter().enumerate() {
        let mut text = String::new();
        let mut member = archive.by_index(i).unwrap();
        assert_eq!(member.name().unwrap(), format!("{name}.csv"));
        member.read_to_string(&mut text).unwrap();
        let (header, records) = read_csv(&text);
        let (columns, rows) = answer(&context, sql).await;
        assert_eq!(header, columns, "{name}");
        assert_eq!(records.len(), rows.len(), "{name}");
        for (record, row) in records.iter().zip(&rows) {
            let equal =
                record.iter().zip(row).all(|(cell, expected)| same(cell, expected.as_deref()));
            assert!(equal && record.len() == row.len(), "{name}: {record:?} is not {row:?}");
        }
        let counted = &view.queries[i];
        assert_eq!((counted.name.as_str(), counted.state), (name.as_str(), QueryState::Succeeded));
        assert_eq!(counted.csv.as_ref().unwrap().rows, rows.len() as u64, "{name}");
    }
    other_programs_accept(&path);

    let key = format!("athena-results/{}/manifest.json", view.run_id);
    let bytes = scenario.stack().store().get(RESULTS_BUCKET, &key).await.unwrap();
    let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(manifest.queries.len(), 22);
    assert!(manifest.data_scanned_bytes > 0);
    let delivery = manifest.delivery.unwrap();
    assert_eq!(delivery["remote_path"], format!("/{}", delivered[0]));
    assert_eq!(delivery["sha256"], manifest.file.unwrap().sha256.unwrap());
    scenario.end().await;
}

fn date_of(timestamp: &str) -> &str {
    &timestamp[..10]
}

#[tokio::test]
async fn one_query_arrives_as_its_csv_with_every_value_intact() {
    let scenario = Scenario::start().await;
    let sql = "SELECT * FROM (VALUES (1, 'plain', ''), (2, 'say \"hi\", ä', CAST(NULL AS varchar)), \
               (3, 'two\nlines', 'x')) AS t (id, text, other) ORDER BY id";
    scenario.put_query("users", sql).await;
    let view = scenario.run(&scenario.job(&["users"])).await.expect("the job is accepted");
    assert_eq!(view.status, RunState::Succeeded, "{:?}", view.failure);
    assert_eq!(scenario.delivered(), ["inbox/users.csv"]);
    let text = fs::read_to_string(scenario.partner().join("inbox/users.csv")).unwrap();
    assert_eq!(text, "id,text,other\n1,plain,\"\"\n2,\"say \"\"hi\"\", ä\",\n3,\"two\nlines\",x\n");
    scenario.end().await;
}

#[tokio::test]
async fn without_a_transporter_the_file_stays_in_the_output_bucket() {
    let scenario = Scenario::start().await;
    scenario.put_query("one", "SELECT 1 AS one").await;
    let mut job = scenario.job(&["one"]);
    job.as_object_mut().unwrap().remove("transporter");
    let view = scenario.run(&job).await.expect("the job is accepted");
    assert_eq!(view.status, RunState::Succeeded, "{:?}", view.failure);
    assert_eq!(scenario.delivered(), Vec::<String>::new());
    let uri = view.file.unwrap().uri;
    let key = uri.strip_prefix("s3://athena-workflow-dev-results/").unwrap();
    let bytes = scenario.stack().store().get(RESULTS_BUCKET, key).await.unwrap();
    assert_eq!(bytes, "one\n1\n");
    let plain: PathBuf = scenario.stack().objects_dir().join(RESULTS_BUCKET).join(key);
    assert_eq!(fs::read_to_string(plain).unwrap(), "one\n1\n");
    scenario.end().await;
}

#[tokio::test]
async fn a_long_list_of_queries_runs_through_the_distributed_map() {
    let scenario = Scenario::start().await;
    let names: Vec<String> = (0..42).map(|i| format!("n{i:02}")).collect();
    for (i, name) in names.iter().enumerate() {
        scenario.put_query(name, &format!("SELECT {i} AS n")).await;
    }
    let mut job = scenario.job(&names.iter().map(String::as_str).collect::<Vec<_>>());
    job["max_concurrency"] = json!(50);
    let view = scenario.run(&job).await.expect("the job is accepted");
    assert_eq!(view.status, RunState::Succeeded, "{:?}", view.failure);
    let delivered = scenario.delivered();
    let mut archive =
        ZipArchive::new(File::open(scenario.partner().join(&delivered[0])).unwrap()).unwrap();
    assert_eq!(archive.len(), 42);
    let mut text = String::new();
    archive.by_name("n41.csv").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "n\n41\n");
    scenario.end().await;
}

/// The CSV is larger than one part of an upload, so it is sent to S3 in several. What was hashed
/// while it was written and what was hashed while it was delivered must be the same bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_of_several_parts_arrives_whole() {
    let scenario = Scenario::start().await;
    let sql = "SELECT l_orderkey, l_comment, n FROM lineitem CROSS JOIN (VALUES (1), (2), (3), (4), (5)) AS t (n)";
    scenario.put_query("large", sql).await;
    let view = scenario.run(&scenario.job(&["large"])).await.expect("the job is accepted");
    assert_eq!(view.status, RunState::Succeeded, "{:?}", view.failure);
    let csv = view.queries[0].csv.clone().unwrap();
    assert!(csv.size_bytes > 8 * 1024 * 1024, "{} bytes are one part", csv.size_bytes);
    assert_eq!(view.delivery.unwrap()["sha256"], csv.sha256);
    let text = fs::read_to_string(scenario.partner().join("inbox/large.csv")).unwrap();
    assert_eq!((text.len() as u64, text.lines().count() as u64), (csv.size_bytes, csv.rows + 1));
    scenario.end().await;
}
