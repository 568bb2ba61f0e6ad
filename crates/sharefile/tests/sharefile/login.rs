//! Tokens.

use job::{
    ErrorName::{TransportAuth, TransportConfig},
    error::Chain,
    transport::ShareFileConfig,
};
use local_sharefile::{Call, Fault, Faults};
use serde_json::json;
use sharefile::{Error, ShareFile};

use crate::account::{CLIENT_SECRET, Memory, PASSWORD, Partner, file, large_file, summary};

fn logins(partner: &Partner) -> usize {
    partner.server.requests().iter().filter(|(call, _)| *call == Call::Token).count()
}

#[tokio::test]
async fn a_rejected_credential_is_tried_once() {
    for field in ["client_id", "client_secret", "username", "password"] {
        let partner = Partner::start(Faults::default()).await;
        let result = partner.deliver(&json!({ field: "wrong" }), &Memory::new(file())).await;
        assert_eq!(summary(&result), Err(TransportAuth), "{field}: {result:?}");
        assert_eq!((logins(&partner), partner.server.logins_rejected()), (1, 1), "{field}");
    }
}

#[test]
fn a_missing_credential_is_named() {
    let config = json!({
        "host": "acme.sharefile.com",
        "client_secret": CLIENT_SECRET,
        "username": "robot@acme.example",
        "sharefile_secret": "acme",
        "sharefile_folder": "home",
    });
    let config: ShareFileConfig = serde_json::from_value(config).unwrap();
    let Err(error) = ShareFile::new(&config) else { panic!("it is taken") };
    let expected = "the transporter's configuration has problems: `config.client_id` is missing, \
                    also in the secret; `config.password` is missing, also in the secret";
    assert_eq!(error.to_string(), expected);
    assert_eq!(summary(&Err(error)), Err(TransportConfig));
}

#[tokio::test]
async fn a_token_that_is_not_good_any_longer_is_replaced_once() {
    for call in [Call::Look, Call::Specification] {
        let faults = Faults::default().once(call, Fault::ForgetTokens);
        let partner = Partner::start(faults).await;
        let result = partner.deliver(&json!({}), &Memory::new(file())).await;
        assert_eq!((summary(&result), logins(&partner)), (Ok(1), 2), "{call:?}: {result:?}");

        let faults = Faults::default().always(call, Fault::ForgetTokens);
        let partner = Partner::start(faults).await;
        let result = partner.deliver(&json!({}), &Memory::new(file())).await;
        let expected = (Err(TransportAuth), 2);
        assert_eq!((summary(&result), logins(&partner)), expected, "{call:?}: {result:?}");
    }
}

#[tokio::test]
async fn storage_sees_the_token_only_if_it_asks_for_it() {
    let wants = |faults: Faults| {
        let calls = [Call::Standard, Call::Chunk, Call::Finish];
        calls.into_iter().fold(faults, |faults, call| faults.always(call, Fault::WantsToken))
    };
    for source in [file(), large_file()] {
        let partner = Partner::start(wants(Faults::default())).await;
        let changes = json!({ "sharefile_chunk_size": 1_000_000, "sharefile_max_attempts": 1 });
        let result = partner.deliver(&changes, &Memory::new(source)).await;
        assert_eq!((summary(&result), logins(&partner)), (Ok(1), 1), "{result:?}");
    }
    // A token that ends in the middle of an upload is replaced there, too.
    let faults = wants(Faults::default()).after(Call::Chunk, Fault::ForgetTokens, 6, 1);
    let partner = Partner::start(faults).await;
    let changes = json!({ "sharefile_chunk_size": 1_000_000 });
    let result = partner.deliver(&changes, &Memory::new(large_file())).await;
    assert_eq!((summary(&result), logins(&partner)), (Ok(1), 2), "{result:?}");
}

#[tokio::test]
async fn a_server_that_repeats_the_credentials_does_not_get_them_into_an_error() {
    let faults = Faults::default().always(Call::Token, Fault::EchoesCredentials);
    let partner = Partner::start(faults).await;
    let changes = json!({ "client_id": "wrong" });
    let error = partner.deliver(&changes, &Memory::new(file())).await.unwrap_err();
    let shown = format!("{} {error:?}", Chain(&error));
    assert!(shown.contains("***"), "{shown}");
    assert!(!shown.contains(PASSWORD) && !shown.contains(CLIENT_SECRET), "{shown}");
    assert!(matches!(error, Error::Login { .. }), "{shown}");
}
