//! Which crate may depend on which.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

/// The crates of the workspace that `package` is built from, itself left out.
fn dependencies(metadata: &Value, package: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let members: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let of = packages.iter().find(|p| p["name"] == package).unwrap_or_else(|| panic!("{package}"));
    let dependencies = of["dependencies"].as_array().unwrap();
    dependencies
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap())
        .filter(|name| members.contains(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_crates_depend_on_each_other_as_the_plan_says() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let functions = [
        "query-loader",
        "execute-single-query",
        "results-gatherer",
        "zip-s3-folder",
        "extract-s3-key",
        "file-transporter",
        "job-api",
    ];
    let local = [
        "local-athena",
        "local-events",
        "local-iam",
        "local-lambda",
        "local-s3",
        "local-scheduler",
        "local-secrets",
        "local-sftp",
        "local-sharefile",
        "local-states",
    ];
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();

    assert_eq!(dependencies(&metadata, "job"), set(&[]));
    assert_eq!(dependencies(&metadata, "aws-io"), set(&["job"]));
    assert_eq!(dependencies(&metadata, "archive"), set(&[]));
    assert_eq!(dependencies(&metadata, "delivery"), set(&["aws-io", "job"]));
    for transport in ["sftp", "sharefile"] {
        assert_eq!(dependencies(&metadata, transport), set(&["aws-io", "delivery", "job"]));
    }
    for function in functions {
        let mut allowed = dependencies(&metadata, function);
        if function == "file-transporter" {
            for transport in ["sftp", "sharefile"] {
                assert!(allowed.remove(transport), "{transport}");
            }
        }
        // One writes the journals of deliveries, the other closes them.
        if ["file-transporter", "results-gatherer"].contains(&function) {
            assert!(allowed.remove("delivery"), "{function}");
        }
        // The two that write archives share their format.
        if ["execute-single-query", "zip-s3-folder"].contains(&function) {
            assert!(allowed.remove("archive"), "{function}");
        }
        assert_eq!(allowed, set(&["aws-io", "job"]), "{function}");
    }
    for part in local {
        assert_eq!(dependencies(&metadata, part), set(&[]), "{part}");
    }
    assert_eq!(dependencies(&metadata, "local"), set(&local));
}
