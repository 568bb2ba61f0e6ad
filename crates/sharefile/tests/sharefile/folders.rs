//! The folder of the file.

use std::fs;

use job::ErrorName::{self, TransportConfig, TransportPermission};
use local_sharefile::{Call, Fault, Faults};
use serde_json::{Value, json};

use crate::account::{Memory, Partner, file, summary};

/// Delivers into a folder of an account with some folders, and says where the file then is.
async fn check(
    changes: Value,
    faults: Faults,
    expected: Result<(&str, &str), ErrorName>,
) -> Partner {
    let partner = Partner::start(faults).await;
    fs::create_dir_all(partner.path().join("allshared/Partners/Acme")).unwrap();
    fs::create_dir_all(partner.path().join("favorites")).unwrap();
    let result = partner.deliver(&changes, &Memory::new(file())).await;
    let place = partner.files().into_keys().next();
    let found = match &result {
        Ok(receipt) => Ok((receipt.remote_path.as_str(), place.as_deref().unwrap_or_default())),
        Err(_) => Err(summary(&result).unwrap_err()),
    };
    assert_eq!(found, expected, "{changes}: {result:?}");
    partner
}

#[tokio::test]
async fn a_folder_is_named_by_alias_and_path_and_made_when_missing() {
    for (folder, path, told, place) in [
        ("home", "", "home/report.zip", "home/report.zip"),
        ("home", "A", "home/A/report.zip", "home/A/report.zip"),
        ("home", "/A//B c/D/", "home/A/B c/D/report.zip", "home/A/B c/D/report.zip"),
        ("favorites", "", "favorites/report.zip", "favorites/report.zip"),
        (
            "allshared",
            "partners/ACME/täglich",
            "allshared/partners/ACME/täglich/report.zip",
            "allshared/Partners/Acme/täglich/report.zip",
        ),
        (
            "top",
            "allshared/Partners",
            "top/allshared/Partners/report.zip",
            "allshared/Partners/report.zip",
        ),
        ("top", "New", "top/New/report.zip", "New/report.zip"),
    ] {
        let changes = json!({ "sharefile_folder": folder, "sharefile_path": path });
        check(changes, Faults::default(), Ok((told, place))).await;
    }
}

#[tokio::test]
async fn a_folder_is_named_by_its_id() {
    let partner = Partner::start(Faults::default()).await;
    let receipt = partner.deliver(&json!({}), &Memory::new(file())).await.unwrap();
    assert_eq!(receipt.remote_path, "home/Reports/2026/report.zip");
    let upload =
        partner.server.requests().into_iter().find(|(call, _)| *call == Call::Specification);
    let (_, path) = upload.unwrap();
    let id = path.split(['(', ')']).nth(1).unwrap();
    let changes =
        json!({ "sharefile_folder": id, "sharefile_path": "", "sharefile_filename": "b" });
    let receipt = partner.deliver(&changes, &Memory::new(file())).await.unwrap();
    assert_eq!(receipt.remote_path, format!("{id}/b"));
    let names: Vec<_> = partner.files().into_keys().collect();
    assert_eq!(names, ["home/Reports/2026/b", "home/Reports/2026/report.zip"]);
}

#[tokio::test]
async fn a_folder_that_somebody_else_makes_at_the_same_time_is_used() {
    for (folder, place) in [("home", "home/A/B/report.zip"), ("top", "A/B/report.zip")] {
        let faults = Faults::default().always(Call::Folder, Fault::JustMade);
        let changes = json!({ "sharefile_folder": folder, "sharefile_path": "A/B" });
        let told = format!("{folder}/A/B/report.zip");
        check(changes, faults, Ok((told.as_str(), place))).await;
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let missing = json!({ "sharefile_folder": "fo404", "sharefile_path": "" });
    check(missing, Faults::default(), Err(TransportConfig)).await;
    let below = json!({ "sharefile_folder": "fo404", "sharefile_path": "A" });
    check(below, Faults::default(), Err(TransportConfig)).await;
    let denied = Faults::default().always(Call::Folder, Fault::Reason(403, "Forbidden"));
    check(json!({ "sharefile_path": "A" }), denied, Err(TransportPermission)).await;

    let partner = Partner::start(Faults::default()).await;
    fs::write(partner.path().join("home/Reports"), b"a file").unwrap();
    let error = partner.deliver(&json!({}), &Memory::new(file())).await.unwrap_err();
    assert_eq!(error.to_string(), "looking for the folder `home/Reports`: it is a file");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_does_not_say_that_nothing_is_there() {
    let (good, bad) = (Faults::default, || Faults::default().always(Call::Look, Fault::Gibberish));
    for folder in ["home", "top"] {
        let changes = json!({ "sharefile_folder": folder, "sharefile_path": "allshared" });
        let partner = check(changes.clone(), bad(), Err(TransportConfig)).await;
        let requests = partner.server.requests();
        assert!(requests.iter().all(|(call, _)| *call != Call::Folder), "{requests:?}");
        let told = format!("{folder}/allshared/report.zip");
        let place = if folder == "top" { "allshared/report.zip" } else { told.as_str() };
        check(changes, good(), Ok((told.as_str(), place))).await;
    }
}

#[tokio::test]
async fn a_folder_elsewhere_is_used_where_it_is() {
    for fault in [Fault::Redirects, Fault::RedirectsByObject] {
        let faults = Faults::default().once(Call::Look, fault);
        let changes = json!({ "sharefile_folder": "allshared", "sharefile_path": "Partners/Acme" });
        let place = "allshared/Partners/Acme/report.zip";
        let partner = check(changes, faults, Ok((place, place))).await;
        let requests = partner.server.requests();
        let upload = requests.iter().find(|(call, _)| *call == Call::Specification).unwrap();
        assert!(upload.1.starts_with("/other/v3/Items("), "{}", upload.1);
        let faults = Faults::default().always(Call::Look, fault);
        check(json!({ "sharefile_folder": "home" }), faults, Err(TransportConfig)).await;
    }
}

#[tokio::test]
async fn a_name_that_sharefile_does_not_take_is_found_before_anything_is_sent() {
    let partner = Partner::start(Faults::default()).await;
    let changes = json!({ "sharefile_filename": "Q3: {basename}" });
    let error = partner.deliver(&changes, &Memory::new(file())).await.unwrap_err();
    let expected = "the transporter's configuration has problems: `config.sharefile_filename` \
                    gives `Q3: report.zip`, which is no name for ShareFile: one of the characters `/ \\ * < > ? : | \"` is in it";
    assert_eq!(error.to_string(), expected);
    assert_eq!(partner.server.requests(), []);
}
