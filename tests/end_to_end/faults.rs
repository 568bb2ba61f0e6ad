//! Every function under every fault of an invocation: killed, doubled, its answer lost.

use std::{
    collections::BTreeMap, fs, os::unix::fs::symlink, path::Path, process::Command, time::Duration,
};

use end_to_end::{RESULTS_BUCKET, Scenario, WORK_GROUP, binaries};
use local::{Deployment, StackConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The queries of a run, and their CSVs.
const QUERIES: [(&str, &str, &str); 2] =
    [("a", "SELECT 1 AS x", "x\n1\n"), ("b", "SELECT 'ä' AS x, '' AS y", "x,y\nä,\"\"\n")];

/// A fault of an invocation.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its process is killed after so many requests to S3: at first after one, then after more.
    Killed,
    /// It is invoked twice at the same time.
    Doubled,
    /// Nobody waits for its answer, and it is invoked again while it still runs.
    AnswerLost,
}

/// A stack whose processes can be told from those of other stacks.
pub(crate) struct Faulty {
    pub(crate) scenario: Scenario,
    programs: TempDir,
}

impl Faulty {
    pub(crate) async fn start_with(change: impl FnOnce(&mut StackConfig)) -> Self {
        let programs = TempDir::new().unwrap();
        for function in Deployment::dev().functions {
            let link = programs.path().join(&function.binary);
            if !link.exists() {
                symlink(binaries().join(&function.binary), link).unwrap();
            }
        }
        let directory = programs.path().to_owned();
        let scenario = Scenario::start_with(|config| {
            config.functions_dir = directory;
            change(config);
        })
        .await;
        Self { scenario, programs }
    }

    async fn start() -> Self {
        let faulty = Self::start_with(|_| {}).await;
        let scenario = &faulty.scenario;
        for (name, sql, _) in QUERIES {
            scenario.put_query(name, sql).await;
        }
        // Long enough for a process to be killed between two requests.
        scenario.stack().store().faults().delay(Duration::from_millis(20));
        let held = Duration::from_millis(300);
        scenario.stack().athena().faults().hold_starts(|_| true, held);
        faulty
    }

    fn requests(&self) -> u64 {
        let counts = self.scenario.stack().store().traffic().all();
        counts.values().map(|count| count.requests).sum()
    }

    async fn requests_reach(&self, count: u64) {
        while self.requests() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Kills every process of a program of this stack.
    pub(crate) fn kill(&self, program: &str) {
        let path = self.programs.path().join(program);
        let listed = Command::new("ps").args(["-eo", "pid=,args="]).output().unwrap();
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            if let Some((process, arguments)) = line.trim().split_once(' ')
                && Path::new(arguments.trim()) == path
            {
                // One that has ended meanwhile is fine.
                _ = Command::new("kill").args(["-9", process]).status();
            }
        }
    }

    /// Invokes a function whose process is killed once it has made so many requests.
    async fn invoke_killed(&self, function: &str, event: &Value, requests: u64) -> Value {
        let until = self.requests() + requests;
        let program = self.scenario.stack().deployment().function(function).unwrap().binary.clone();
        let call = self.scenario.invoke(function, event);
        tokio::pin!(call);
        tokio::select! {
            answer = &mut call => return answer,
            () = self.requests_reach(until) => self.kill(&program),
        }
        call.await
    }

    /// Invokes a function under a fault, and then once more.
    async fn invoke(&self, fault: Fault, function: &str, event: &Value) -> Value {
        let Self { scenario, .. } = self;
        match fault {
            Fault::Killed => {
                let mut killed = 0;
                // On a busy machine a call may end before the signal reaches it.
                for requests in [1, 1, 1, 1, 2, 3, 5, 8] {
                    let answer = self.invoke_killed(function, event, requests).await;
                    match &answer["errorType"] {
                        Value::Null if killed > 0 => break,
                        Value::Null => continue,
                        _ => {}
                    }
                    assert_eq!(answer["errorType"], "Runtime.ExitError", "{function}: {answer}");
                    killed += 1;
                }
                // This one sends no request that it could be killed after.
                assert!(killed > 0 || function == "extract-s3-key", "{function} is not killed");
            }
            Fault::Doubled => {
                let both = tokio::join!(
                    scenario.invoke(function, event),
                    scenario.invoke(function, event)
                );
                for answer in [&both.0, &both.1] {
                    assert_eq!(answer["errorType"], Value::Null, "{function}: {answer}");
                }
            }
            Fault::AnswerLost => {
                let until = self.requests() + 1;
                tokio::select! {
                    _ = scenario.invoke(function, event) => {}
                    () = self.requests_reach(until) => {}
                }
            }
        }
        let mut answer = scenario.invoke(function, event).await;
        if matches!(fault, Fault::Killed) && answer["errorType"] == "Runtime.ExitError" {
            // The last kill came when its own call had answered, and hit this one.
            answer = scenario.invoke(function, event).await;
        }
        assert_eq!(answer["errorType"], Value::Null, "{function} after {fault:?}: {answer}");
        answer
    }

    async fn object(&self, key: &str) -> Vec<u8> {
        let read = self.scenario.stack().store().get(RESULTS_BUCKET, key).await;
        read.unwrap_or_else(|error| panic!("{key}: {error}")).to_vec()
    }

    /// The final records of the run, by their keys, with what each write changes.
    async fn final_records(&self, run_id: &str) -> BTreeMap<String, String> {
        let store = self.scenario.stack().store();
        let prefix = format!("athena-results/{run_id}/results/");
        let mut records = BTreeMap::new();
        for object in store.list(RESULTS_BUCKET, &prefix).await.unwrap() {
            let record: Value = serde_json::from_slice(&self.object(&object.key).await).unwrap();
            if record["state"] == "WRITTEN" {
                records.insert(object.key, object.etag);
            }
        }
        records
    }
}

/// Walks through a run, each function under the fault.
async fn check_run(fault: Fault) {
    let faulty = Faulty::start().await;
    let scenario = &faulty.scenario;
    let job = scenario.job(&QUERIES.map(|(name, ..)| name));
    let loaded = faulty.invoke(fault, "query-loader", &Scenario::load("r1", job.clone())).await;
    let run = &loaded["run"];
    for index in 0..QUERIES.len() {
        let run_query = Scenario::run_query(&loaded, index);
        assert_eq!(faulty.invoke(fault, "execute-single-query", &run_query).await, json!({}));
        scenario.run_to_end(&loaded, index).await;
        let write_result = Scenario::write_result(&loaded, index);
        faulty.invoke(fault, "execute-single-query-result", &write_result).await;
    }
    let records = faulty.final_records("r1").await;
    assert_eq!(records.len(), QUERIES.len());

    let gather = json!({ "action": "gather", "run": run });
    let gathered = faulty.invoke(fault, "results-gatherer", &gather).await;
    assert_eq!(gathered, json!({ "succeeded": 2, "failed": 0, "archive": true, "file": null }));
    let zipped = faulty.invoke(fault, "zip-s3-folder", &json!({ "run": run })).await;
    let file = &zipped["file"];
    let extract = json!({ "uri": file["uri"] });
    let source = faulty.invoke(fault, "extract-s3-key", &extract).await;
    let deliver = json!({
        "run_id": "r1",
        "run": run,
        "source": {
            "bucket": source["bucket"], "key": source["key"], "version_id": file["version_id"],
            "etag": file["etag"], "size_bytes": file["size_bytes"],
        },
        "file_name": file["file_name"],
        "transporter": job["transporter"],
    });
    let receipt = faulty.invoke(fault, "file-transporter", &deliver).await;
    let finish = json!({ "action": "finish", "run": run, "file": file, "delivery": receipt });
    faulty.invoke(fault, "results-gatherer", &finish).await;
    // What comes too late: the failure and the end of a run that has succeeded.
    let failure = json!({ "state": "a", "error": "Lambda.Unknown", "cause": "killed" });
    let query = &loaded["queries"][0];
    for task in [
        json!({ "action": "fail_query", "run": run, "query": query, "failure": failure }),
        json!({ "action": "stop", "run": run }),
        json!({
            "action": "fail", "run": run, "run_id": "r1", "execution": run["execution"],
            "failure": failure,
        }),
    ] {
        faulty.invoke(fault, "results-gatherer", &task).await;
    }
    check_truth(&faulty, &records).await;
    faulty.scenario.end().await;
}

/// The run has one of everything.
async fn check_truth(faulty: &Faulty, records: &BTreeMap<String, String>) {
    assert_eq!(faulty.final_records("r1").await, *records, "final records stay as they are");
    let manifest = faulty.object("athena-results/r1/manifest.json").await;
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!((&manifest["status"], &manifest["succeeded"]), (&json!("SUCCEEDED"), &json!(2)));
    let attempts: Vec<_> =
        manifest["queries"].as_array().unwrap().iter().map(|query| &query["attempts"]).collect();
    assert_eq!(attempts, [&json!(1), &json!(1)]);

    let archive = faulty.object("zipped-results/r1.zip").await;
    let mut members = zip::ZipArchive::new(std::io::Cursor::new(&archive)).unwrap();
    assert_eq!(members.len(), QUERIES.len());
    for (name, _, csv) in QUERIES {
        assert_eq!(
            faulty.object(&format!("athena-results/r1/csv/{name}.csv")).await,
            csv.as_bytes()
        );
        let mut text = String::new();
        let mut member = members.by_name(&format!("{name}.csv")).unwrap();
        std::io::Read::read_to_string(&mut member, &mut text).unwrap();
        assert_eq!(text, csv);
    }
    assert_eq!(faulty.scenario.delivered(), ["inbox/r1.zip"]);
    assert!(fs::read(faulty.scenario.partner().join("inbox/r1.zip")).unwrap() == archive);

    let objects = faulty.scenario.stack().store().list(RESULTS_BUCKET, "athena/").await.unwrap();
    let is_csv = |key: &str| Path::new(key).extension().is_some_and(|extension| extension == "csv");
    let executed = objects.iter().filter(|object| is_csv(&object.key)).count();
    assert_eq!(executed, QUERIES.len(), "each query ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_are_killed_again_and_again_leave_one_truth() {
    check_run(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_are_invoked_twice_at_the_same_time_leave_one_truth() {
    check_run(Fault::Doubled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_whose_answers_are_lost_leave_one_truth() {
    check_run(Fault::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_that_is_held_until_the_csv_is_there_changes_nothing() {
    let scenario = Scenario::start().await;
    for (name, sql, _) in QUERIES {
        scenario.put_query(name, sql).await;
    }
    let load = Scenario::load("r1", scenario.job(&["a", "b"]));
    let loaded = scenario.invoke("query-loader", &load).await;
    let run_query = Scenario::run_query(&loaded, 0);
    let faults = scenario.stack().athena().faults();
    faults.hold_starts(|_| true, Duration::from_secs(5));
    let truth = async {
        // The duplicate's start is under way once its query is there.
        while scenario.athena("ListQueryExecutions", &json!({ "WorkGroup": WORK_GROUP }))
            .await["QueryExecutionIds"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        faults.clear();
        scenario.run_to_end(&loaded, 0).await;
        let written = scenario
            .invoke("execute-single-query-result", &Scenario::write_result(&loaded, 0))
            .await;
        assert_eq!(written, json!({}));
        let record = scenario.record(&loaded, "a").await;
        assert_eq!(record["state"], "WRITTEN");
        record
    };
    let mut duplicate = Box::pin(scenario.invoke("execute-single-query", &run_query));
    let record = tokio::select! {
        answer = &mut duplicate => panic!("the duplicate was not held: {answer}"),
        record = truth => record,
    };
    assert_eq!(duplicate.as_mut().await, json!({}));
    drop(duplicate);
    assert_eq!(scenario.record(&loaded, "a").await, record);

    scenario.run_to_end(&loaded, 1).await;
    scenario.invoke("execute-single-query-result", &Scenario::write_result(&loaded, 1)).await;
    let gather = json!({ "action": "gather", "run": loaded["run"] });
    let gathered = scenario.invoke("results-gatherer", &gather).await;
    assert_eq!(gathered["succeeded"], 2, "{gathered}");
    let zipped = scenario.invoke("zip-s3-folder", &json!({ "run": loaded["run"] })).await;
    assert_eq!(zipped["errorType"], Value::Null, "{zipped}");
    let archive =
        scenario.stack().store().get(RESULTS_BUCKET, "zipped-results/r1.zip").await.unwrap();
    assert_eq!(zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap().len(), 2);
    scenario.end().await;
}
