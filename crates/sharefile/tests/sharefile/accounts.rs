//! Kinds of trouble that real accounts have made.

use job::{
    ErrorName::{TransportAuth, TransportConfig, TransportPermission, TransportUnavailable},
    delivery::Verified,
    error::Chain,
};
use local_sharefile::{Call, Fault, Faults};
use serde_json::{Value, json};

use crate::account::{Memory, PLACE, Partner, details, file, large_file, summary};

#[tokio::test]
async fn a_folder_may_be_given_by_its_address_in_a_browser() {
    let partner = Partner::start(Faults::default()).await;
    partner.deliver(&json!({}), &Memory::new(file())).await.unwrap();
    let requests = partner.server.requests();
    let (_, path) = requests.iter().find(|(call, _)| *call == Call::Specification).unwrap();
    let id = path.split(['(', ')']).nth(1).unwrap();
    for address in [
        format!("https://acme.sharefile.com/home/shared/{id}"),
        format!("https://acme.sharefile.com/home/shared/{id}?sort=name#top"),
        format!("https://acme.sharefile.com/app/#/home/shared/{id}"),
    ] {
        let changes = json!({ "sharefile_folder": address, "sharefile_path": "" });
        let receipt = partner.deliver(&changes, &Memory::new(file())).await.unwrap();
        assert_eq!(receipt.remote_path, format!("{id}/report.zip"));
        assert_eq!(partner.files().into_keys().collect::<Vec<_>>(), [PLACE]);
    }
}

#[tokio::test]
async fn a_host_may_be_given_by_its_address_in_a_browser() {
    let partner = Partner::start(Faults::default()).await;
    let changes = json!({ "host": "https://acme.sharefile.com/home/shared/fo12ab34?x#y" });
    assert_eq!(summary(&partner.deliver(&changes, &Memory::new(file())).await), Ok(1));
}

/// Delivers, and compares the name and the text of the error, and the number of logins.
async fn check_login(fault: Fault, expected: Result<(), (job::ErrorName, &str)>, logins: usize) {
    let partner = Partner::start(Faults::default().always(Call::Token, fault)).await;
    let result = partner.deliver(&json!({}), &Memory::new(file())).await;
    let error =
        result.err().map(|error| (aws_io::Failure::name(&error), Chain(&error).to_string()));
    let found = error.as_ref().map_or(Ok(()), |(name, text)| Err((*name, text.as_str())));
    let host = partner.server.address().to_string();
    let expected = expected.map_err(|(name, text)| (name, text.replace("HOST", &host)));
    let expected = match &expected {
        Ok(()) => Ok(()),
        Err((name, text)) => Err((*name, text.as_str())),
    };
    assert_eq!(found, expected, "{fault:?}");
    assert_eq!(partner.count(Call::Token), logins, "{fault:?}");
    assert_eq!(partner.server.bytes_received(), 0);
}

#[tokio::test]
async fn an_account_with_sso_is_told_to_use_a_service_account() {
    let hint = "logging in to `HOST` as `robot@acme.example`: the account logs in by SSO; use a \
                service account without SSO";
    for (fault, answer) in [
        (
            Fault::RedirectsTo("https://login.acme.example/saml?SAMLRequest=abc"),
            "the answer is a redirection to `login.acme.example`",
        ),
        (Fault::RedirectsTo("/saml/login"), "the answer is a redirection to `HOST`"),
        (Fault::Page(200), "the answer is a page of HTML with HTTP 200 OK"),
        (Fault::Page(401), "the answer is a page of HTML with HTTP 401 Unauthorized"),
    ] {
        check_login(fault, Err((TransportAuth, &format!("{hint} ({answer})"))), 1).await;
    }
}

#[tokio::test]
async fn a_page_of_another_kind_is_not_taken_for_sso() {
    let busy = "logging in to `HOST`: the server is busy (HTTP 503 Service Unavailable)";
    check_login(Fault::Page(503), Err((TransportUnavailable, busy)), 2).await;
    let missing = "logging in to `HOST`: the server's answer cannot be used (HTTP 404 Not Found)";
    check_login(Fault::Page(404), Err((TransportConfig, missing)), 1).await;
}

#[tokio::test]
async fn an_upload_address_that_has_ended_is_replaced_once() {
    for fault in
        [Fault::Status(403), Fault::Text(403, "The signature has expired."), Fault::Page(403)]
    {
        for (method, call) in [
            ("standard", Call::Standard),
            ("streamed", Call::Chunk),
            ("streamed", Call::Finish),
            ("threaded", Call::Chunk),
            ("threaded", Call::Finish),
        ] {
            let forced = || Faults::default().always(Call::Specification, Fault::Method(method));
            let partner = Partner::start(forced().once(call, fault)).await;
            let receipt = partner.deliver(&json!({}), &Memory::new(file())).await.unwrap();
            // Nothing was in doubt.
            assert_eq!((receipt.attempts, receipt.settled), (1, None), "{method} {call:?}");
            assert_eq!(partner.count(Call::Specification), 2, "{method} {call:?}");
            assert_eq!(partner.server.published().len(), 1);

            let partner = Partner::start(forced().always(call, fault)).await;
            let result = partner.deliver(&json!({}), &Memory::new(file())).await;
            assert_eq!(summary(&result), Err(TransportPermission), "{method} {call:?}");
            assert_eq!(partner.count(Call::Specification), 2, "{method} {call:?}");
            assert_eq!(partner.files().len(), 0);
        }
    }
}

#[tokio::test]
async fn bytes_behind_an_upload_address_that_has_ended_are_not_sent_again() {
    let faults = Faults::default().after(Call::Chunk, Fault::Status(403), 6, 1);
    let partner = Partner::start(faults).await;
    let changes = json!({ "sharefile_chunk_size": 1_000_000, "sharefile_threads": 1 });
    let receipt = partner.deliver(&changes, &Memory::new(large_file())).await.unwrap();
    assert_eq!(receipt.bytes, 9_000_001);
    assert_eq!(partner.server.bytes_received(), 9_000_001);
}

#[tokio::test]
async fn the_receipt_has_the_name_that_is_stored() {
    for (method, end) in
        [("standard", Call::Standard), ("streamed", Call::Finish), ("threaded", Call::Finish)]
    {
        let faults = Faults::default()
            .always(Call::Specification, Fault::Method(method))
            .always(end, Fault::StoresAs("report (1).zip"));
        let partner = Partner::start(faults).await;
        let receipt = partner.deliver(&json!({}), &Memory::new(file())).await.unwrap();
        assert_eq!(receipt.remote_path, "home/Reports/2026/report (1).zip", "{method}");
        assert_eq!((receipt.seen, receipt.verified), (Some(true), Verified::Md5), "{method}");
        assert!(details(&receipt).1.is_some());
        assert_eq!(partner.files().into_keys().collect::<Vec<_>>(), [receipt.remote_path]);
    }
}

#[tokio::test]
async fn the_receipt_keeps_the_case_of_an_old_file() {
    let partner = Partner::start(Faults::default()).await;
    let upper: Value = json!({ "sharefile_filename": "REPORT.zip" });
    partner.deliver(&upper, &Memory::new(file())).await.unwrap();
    let receipt = partner.deliver(&json!({}), &Memory::new(large_file())).await.unwrap();
    assert_eq!(receipt.remote_path, "home/Reports/2026/REPORT.zip");
    assert_eq!(receipt.seen, Some(true));
}
