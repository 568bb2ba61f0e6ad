//! A query's way from `QUEUED` to its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures_util::StreamExt;
use jiff::Timestamp;

use crate::access::{AccessDenied, QueryAccess};
use crate::columns::Column;
use crate::engine::Engine;
use crate::execution::{Execution, Location, Outcome, millis_between};
use crate::failure::{Failure, Kind};
use crate::results::ResultWriter;
use crate::session::Planned;
use crate::sql::Statement;
use crate::{csv_text, metadata, show, sql};

/// Text that is gathered before it is written to the result object.
const WRITE_BYTES: usize = 1024 * 1024;
/// How long a query that is sent back to the queue stays in each state, so that it can be seen.
const REQUEUE_PAUSE: Duration = Duration::from_millis(100);

/// Takes a queued query to its end.
pub(crate) async fn drive(engine: Arc<Engine>, execution: Arc<Execution>) {
    let mut work = tokio::spawn(attempt(engine, Arc::clone(&execution)));
    let outcome = tokio::select! {
        biased;
        () = execution.stopped() => {
            work.abort();
            return;
        }
        ended = &mut work => ended,
    };
    let outcome = outcome.unwrap_or_else(|error| {
        tracing::error!(query.id = execution.id, %error, "query crashed");
        Outcome::Failed(Failure::new(Kind::Internal, "the query's task crashed"))
    });
    execution.finish(outcome);
    let state = execution.state();
    tracing::debug!(query.id = execution.id, query.state = state.name(), "query ended");
}

async fn attempt(engine: Arc<Engine>, execution: Arc<Execution>) -> Outcome {
    loop {
        let Ok(_slot) = engine.slots.acquire().await else {
            return Outcome::Cancelled("the endpoint is shutting down".to_owned());
        };
        execution.set_running();
        if !engine.faults.next_requeue() {
            tokio::time::sleep(engine.faults.delay(&execution.request.query)).await;
            return match run(&engine, &execution).await {
                Ok(outcome) => outcome,
                Err(failure) => Outcome::Failed(failure),
            };
        }
        tokio::time::sleep(REQUEUE_PAUSE).await;
        execution.set_queued();
        tokio::time::sleep(REQUEUE_PAUSE).await;
    }
}

async fn run(engine: &Engine, execution: &Execution) -> Result<Outcome, Failure> {
    if let Some(failure) = engine.faults.next_failure() {
        return Err(failure);
    }
    check_access(engine, execution)?;
    let request = &execution.request;
    let planning = Timestamp::now();
    match sql::parse(&request.query, &request.parameters)? {
        Statement::Query(query) => {
            let planned = engine.sessions.plan(*query, request).await?;
            execution.set_planning_millis(millis_between(planning, Timestamp::now()));
            run_query(engine, execution, planned).await
        }
        Statement::Show(show) => {
            let output = show::run(&show, &engine.data, request).await?;
            let mut text = output.lines.join("\n");
            if !text.is_empty() {
                text.push('\n');
            }
            let mut writer = open(engine, &execution.output).await?;
            write(&mut writer, text.as_bytes(), &execution.output).await?;
            close(engine, execution, writer, output.columns).await?;
            Ok(Outcome::Succeeded)
        }
    }
}

/// Fails a query whose caller lacks a right, before anything is read.
fn check_access(engine: &Engine, execution: &Execution) -> Result<(), Failure> {
    let (Some(access), Some(caller)) = (&engine.config.access, &execution.caller) else {
        return Ok(());
    };
    let request = &execution.request;
    let checked = access.check(&QueryAccess {
        caller,
        query: &request.query,
        catalog: request.catalog.as_deref(),
        database: request.database.as_deref(),
        result_bucket: &execution.output.bucket,
        result_key: &execution.output.key,
    });
    checked.map_err(|denied| match denied {
        AccessDenied::Catalog(reason) => Failure::new(
            Kind::Denied,
            format!("Insufficient permissions to execute the query. {reason}"),
        ),
        AccessDenied::Results => {
            write_failure(&execution.output, &io::ErrorKind::PermissionDenied.into())
        }
    })
}

async fn run_query(
    engine: &Engine,
    execution: &Execution,
    planned: Planned,
) -> Result<Outcome, Failure> {
    let output = &execution.output;
    let mut writer = open(engine, output).await?;
    let mut text = String::new();
    csv_text::write_header(&mut text, &planned.columns);
    let mut batches = execute_stream(Arc::clone(&planned.plan), planned.context)?;
    while let Some(batch) = batches.next().await {
        csv_text::write_batch(&mut text, &batch?)?;
        if text.len() >= WRITE_BYTES {
            write(&mut writer, text.as_bytes(), output).await?;
            text.clear();
        }
        let bytes = bytes_scanned(planned.plan.as_ref());
        execution.set_bytes_scanned(bytes);
        if execution.bytes_scanned_max.is_some_and(|max| bytes > max) {
            return Ok(Outcome::Cancelled(
                "Query cancelled! : Bytes scanned limit was exceeded".into(),
            ));
        }
    }
    execution.set_bytes_scanned(bytes_scanned(planned.plan.as_ref()));
    write(&mut writer, text.as_bytes(), output).await?;
    close(engine, execution, writer, planned.columns).await?;
    Ok(Outcome::Succeeded)
}

/// Makes the result visible: the metadata first, so that a result is never without it.
async fn close(
    engine: &Engine,
    execution: &Execution,
    writer: Box<dyn ResultWriter>,
    columns: Vec<Column>,
) -> Result<(), Failure> {
    let location = execution.output.with_suffix(".metadata");
    let mut beside = open(engine, &location).await?;
    write(&mut beside, &metadata::encode(&execution.id, &columns), &location).await?;
    beside.finish().await.map_err(|error| write_failure(&location, &error))?;
    execution.set_columns(columns);
    writer.finish().await.map_err(|error| write_failure(&execution.output, &error))
}

async fn open(engine: &Engine, location: &Location) -> Result<Box<dyn ResultWriter>, Failure> {
    let writer = engine.config.results.writer(&location.bucket, &location.key).await;
    writer.map_err(|error| write_failure(location, &error))
}

async fn write(
    writer: &mut Box<dyn ResultWriter>,
    bytes: &[u8],
    location: &Location,
) -> Result<(), Failure> {
    writer.write(bytes).await.map_err(|error| write_failure(location, &error))
}

fn write_failure(location: &Location, error: &io::Error) -> Failure {
    let Location { bucket, .. } = location;
    let uri = location.uri();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Kind::BucketNotFound,
            format!("Unable to verify/create output bucket {bucket}"),
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            Kind::ResultDenied,
            format!(
                "Access denied when writing output to url: {uri} . Please ensure you are allowed \
                 to access the S3 bucket."
            ),
        ),
        _ => Failure::new(Kind::ResultWrite, format!("writing `{uri}`: {error}")),
    }
}

/// The bytes that the scans of a plan have read so far.
///
/// A scan that does not count them, as that of CSV files, reads its files as a whole.
fn bytes_scanned(plan: &dyn ExecutionPlan) -> u64 {
    let counted = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let own = match counted {
        Some(value) => value.as_usize() as u64,
        None => file_bytes(plan),
    };
    own + plan.children().into_iter().map(|child| bytes_scanned(child.as_ref())).sum::<u64>()
}

fn file_bytes(plan: &dyn ExecutionPlan) -> u64 {
    let scan = plan.downcast_ref::<DataSourceExec>();
    let files = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
    let files = files.iter().flat_map(|scan| &scan.file_groups).flat_map(FileGroup::iter);
    let length = |file: &PartitionedFile| match &file.range {
        Some(range) => u64::try_from(range.end - range.start).unwrap_or(0),
        None => file.object_meta.size,
    };
    files.map(length).sum()
}
