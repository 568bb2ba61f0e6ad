//! Invariants of a run when nothing is left to do.

use std::collections::{BTreeMap, BTreeSet};

use job::record::{QueryRecord, QueryStage};

use super::{QUERIES, World, services::Services};

/// The CSV of each query.
const CSV: &[u8] = b"x\n1\n";

/// Finds what is wrong with the run.
pub(super) fn check(world: &World, is_stopped: bool) -> Result<(), String> {
    let services = world.desk.services();
    if let Some(fault) = services.faults.first() {
        return Err(fault.clone());
    }
    for query in 0..QUERIES {
        records_go_forward(&services, query)?;
        record_is_true(&services, query, is_stopped)?;
    }
    written_once(&services, "acme-results/r1/gathered.json", !is_stopped)?;
    written_once(&services, "acme-results/r1/manifest.json", is_stopped)?;
    claim_goes_forward(&services)?;
    if let Some(left) = services.executions.iter().find(|query| query.runs()) {
        return Err(format!("a query runs on after the end of the run: {left:?}"));
    }
    Ok(())
}

/// The writes of an object, oldest first.
fn writes<'a>(services: &'a Services, place: &str) -> Vec<&'a [u8]> {
    let written = services.writes.iter().filter(|(written, _)| written == place);
    written.map(|(_, bytes)| bytes.as_slice()).collect()
}

/// The place of a record in the order that records go through.
fn rank(record: &QueryRecord) -> (bool, u32, u8) {
    let stage = match record.stage {
        QueryStage::Queued => 0,
        QueryStage::Starting { .. } => 1,
        QueryStage::Running { .. } => 2,
        QueryStage::Ended { .. } => 3,
        QueryStage::Written { .. } | QueryStage::Failed { .. } | QueryStage::Cancelled { .. } => 4,
    };
    (stage == 4, record.attempt, stage)
}

fn records_go_forward(services: &Services, query: usize) -> Result<(), String> {
    let records = writes(services, &services.records[query]);
    let records: Vec<QueryRecord> =
        records.into_iter().map(|bytes| serde_json::from_slice(bytes).expect("a record")).collect();
    let mut tokens = BTreeSet::new();
    let mut ids = BTreeMap::new();
    for (position, record) in records.iter().enumerate() {
        let before = position.checked_sub(1).map(|before| &records[before]);
        if let Some(before) = before
            && (rank(before).0 || rank(before) >= rank(record))
        {
            return Err(format!("a record goes back, from {before:?} to {record:?}"));
        }
        match &record.stage {
            QueryStage::Queued => return Err(format!("a record of nothing: {record:?}")),
            QueryStage::Starting { token } if !tokens.insert(token) => {
                return Err(format!("an intent is written twice: {record:?}"));
            }
            _ => {}
        }
        if let Some(id) = record.query_execution_id() {
            let known = ids.entry(record.attempt).or_insert(id);
            if *known != id {
                return Err(format!("an attempt has two executions: {known} and {id}"));
            }
        }
    }
    Ok(())
}

fn record_is_true(services: &Services, query: usize, is_stopped: bool) -> Result<(), String> {
    let Some(record) = services.record(query) else {
        return if is_stopped { Ok(()) } else { Err(format!("query {query} has no record")) };
    };
    let record: QueryRecord = serde_json::from_value(record).expect("a record");
    let sql = format!("SELECT {query} AS x");
    let own =
        services.executions.iter().filter(|started| started.request["QueryString"] == sql.as_str());
    if own.clone().count() > record.attempt as usize {
        return Err(format!("query {query} was started too often: {:?}", own.collect::<Vec<_>>()));
    }
    match &record.stage {
        QueryStage::Written { query_execution_id, csv, member: None } => {
            let succeeded = own
                .clone()
                .any(|started| started.id == *query_execution_id && started.state == "SUCCEEDED");
            let place = format!("{}/{}", csv.location.bucket, csv.location.key);
            let id = csv.version.version_id.as_deref().unwrap_or_default();
            let bytes = services.version(&place, id).map(|version| version.bytes.as_slice());
            if bytes != Some(CSV) || !succeeded {
                return Err(format!(
                    "the CSV of query {query} is not there: {record:?}, {bytes:?}"
                ));
            }
            Ok(())
        }
        QueryStage::Failed { .. } | QueryStage::Cancelled { .. } => Ok(()),
        // The intent of a call that saw the end before it started anything.
        QueryStage::Starting { .. } if is_stopped => Ok(()),
        _ => Err(format!("query {query} does not end: {record:?}")),
    }
}

fn written_once(services: &Services, place: &str, is_due: bool) -> Result<(), String> {
    match (writes(services, place).len(), is_due) {
        (0, false) | (1, _) => Ok(()),
        // No query succeeded: there is nothing to gather.
        (0, true) if place.ends_with("gathered.json") => {
            let states = (0..QUERIES).map(|query| services.record(query));
            let any = states.flatten().any(|record| record["state"] == "WRITTEN");
            if any { Err("the results are not gathered".to_owned()) } else { Ok(()) }
        }
        (times, _) => Err(format!("`{place}` is written {times} times")),
    }
}

fn claim_goes_forward(services: &Services) -> Result<(), String> {
    // The first one is the loader's.
    match writes(services, "acme-results/r1/run.json").len() {
        0 | 1 => Ok(()),
        times => Err(format!("the run ends {times} times")),
    }
}
