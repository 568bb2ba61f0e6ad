//! The 22 queries of TPC-H: the same rows through the endpoint as from DataFusion by itself.

use std::path::Path;
use std::time::Instant;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use local_athena::write_tpch;

use crate::endpoint::Endpoint;

const SCALE: f64 = 0.01;
const TABLES: [&str; 8] =
    ["nation", "region", "part", "supplier", "partsupp", "customer", "orders", "lineitem"];

/// A value by its meaning: numbers without the digits that their type adds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Typed {
    Null,
    Number(String),
    Text(String),
}

fn number(text: &str) -> Typed {
    let trimmed = match text.split_once('.') {
        Some((whole, digits)) => {
            let digits = digits.trim_end_matches('0');
            if digits.is_empty() { whole.to_owned() } else { format!("{whole}.{digits}") }
        }
        None => text.to_owned(),
    };
    Typed::Number(trimmed)
}

fn typed(value: Option<&str>, is_number: bool) -> Typed {
    match (value, is_number) {
        (None, _) => Typed::Null,
        (Some(text), true) => number(text),
        (Some(text), false) => Typed::Text(text.to_owned()),
    }
}

fn rows_of_batch(batch: &RecordBatch) -> Vec<Vec<Typed>> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| {
        let is_number = column.data_type().is_numeric() && *column.data_type() != DataType::Date32;
        (column, ArrayFormatter::try_new(column.as_ref(), &options).unwrap(), is_number)
    });
    let columns: Vec<_> = columns.collect();
    (0..batch.num_rows())
        .map(|row| {
            let value = |(column, text, is_number): &(_, ArrayFormatter<'_>, bool)| {
                let column: &dyn Array = column;
                let text = (!column.is_null(row)).then(|| text.value(row).to_string());
                typed(text.as_deref(), *is_number)
            };
            columns.iter().map(value).collect()
        })
        .collect()
}

async fn rows_of_datafusion(context: &SessionContext, sql: &str) -> Vec<Vec<Typed>> {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    batches.iter().flat_map(rows_of_batch).collect()
}

async fn rows_of_endpoint(endpoint: &Endpoint, sql: &str) -> Vec<Vec<Typed>> {
    let id = endpoint.submit(sql, "tpch").await;
    let execution = endpoint.wait(&id).await;
    let status = execution.status.unwrap();
    assert_eq!(status.state_change_reason, None, "{sql}");
    let mut rows = Vec::new();
    let mut token = None;
    let mut is_first = true;
    loop {
        let page = endpoint.client.get_query_results().query_execution_id(&id);
        let page = page.set_next_token(token).max_results(100).send().await.unwrap();
        let set = page.result_set.unwrap();
        let columns = set.result_set_metadata.unwrap().column_info.unwrap();
        let is_number = |kind: &str| matches!(kind, "integer" | "bigint" | "double" | "decimal");
        for row in set.rows.unwrap().into_iter().skip(usize::from(is_first)) {
            let values = row.data.unwrap().into_iter().zip(&columns);
            let values = values.map(|(datum, column)| {
                typed(datum.var_char_value.as_deref(), is_number(&column.r#type))
            });
            rows.push(values.collect());
        }
        is_first = false;
        token = page.next_token;
        if token.is_none() {
            return rows;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tpch_queries_give_the_rows_that_datafusion_gives_by_itself() {
    let endpoint = Endpoint::start().await;
    let tables = endpoint.directory.path().join("data/tpch");
    let directory = tables.clone();
    tokio::task::spawn_blocking(move || write_tpch(&directory, SCALE)).await.unwrap().unwrap();
    let context = SessionContext::new();
    for table in TABLES {
        let path = tables.join(format!("{table}.parquet"));
        let options = ParquetReadOptions::default();
        context.register_parquet(table, path.to_str().unwrap(), options).await.unwrap();
    }
    let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tpch/queries");
    let mut rows_total = 0;
    for number in 1..=22 {
        let sql = std::fs::read_to_string(queries.join(format!("q{number:02}.sql"))).unwrap();
        let started = Instant::now();
        let found = rows_of_endpoint(&endpoint, &sql).await;
        let seconds = started.elapsed().as_secs_f64();
        let expected = rows_of_datafusion(&context, &sql).await;
        eprintln!("q{number:02}: {} rows, {seconds:.2} s", found.len());
        rows_total += found.len();
        assert_eq!(found, expected, "q{number:02}");
    }
    assert!(rows_total > 500, "only {rows_total} rows were compared");
}
