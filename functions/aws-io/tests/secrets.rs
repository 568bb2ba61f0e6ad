//! Secrets over a real socket: both stores, their faults, and the time that values are kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_io::{
    Failure as _,
    secrets::{Freshness, SECRET_BYTES_MAX, SecretError, Secrets},
};
use aws_sdk_secretsmanager::{
    config::Credentials, operation::get_secret_value::builders::GetSecretValueFluentBuilder,
    primitives::Blob,
};
use aws_smithy_http_client::Builder;
use job::{ErrorName, error::Chain};
use local_secrets::{Config, Fault, SecretStores};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Two stores behind an endpoint, the reader under test, and its clock.
struct Scene {
    stores: SecretStores,
    secrets: Secrets,
    seconds: Arc<AtomicU64>,
    client: aws_sdk_secretsmanager::Client,
}

impl Scene {
    async fn start() -> Self {
        let config = Config { account: "000000000000".into(), region: "eu-central-1".into() };
        let stores = SecretStores::new(&config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = local_secrets::router(stores.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let sdk = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .endpoint_url(format!("http://{address}"))
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(Builder::new().build_http())
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
            .load()
            .await;
        let (begun, seconds) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let passed = seconds.clone();
        let now = move || begun + Duration::from_secs(passed.load(Ordering::Relaxed));
        let client = aws_sdk_secretsmanager::Client::new(&sdk);
        Self { stores, secrets: Secrets::new(&sdk, now), seconds, client }
    }

    async fn get(&self, reference: &str, freshness: Freshness) -> Result<String, SecretError> {
        let text = self.secrets.get(&reference.parse().unwrap(), freshness).await?;
        Ok(text.expose_secret().to_owned())
    }

    async fn cached(&self, reference: &str) -> Result<String, ErrorName> {
        self.get(reference, Freshness::Cached).await.map_err(|error| error.name())
    }
}

#[tokio::test]
async fn a_secret_is_read_by_its_name_and_by_its_arn_and_a_parameter_too() {
    let scene = Scene::start().await;
    let arn = scene.stores.put_secret("sftp/acme", "one").unwrap();
    scene.stores.put_parameter("/sftp/acme", "two").unwrap();
    let parameter = "arn:aws:ssm:eu-central-1:000000000000:parameter/sftp/acme";
    let references = ["sftp/acme", &arn, "ssm:/sftp/acme", "ssm:/sftp/acme:1", parameter];
    let mut found = Vec::new();
    for reference in references {
        found.push(scene.cached(reference).await);
    }
    assert_eq!(found, ["one", "one", "two", "two", "two"].map(|text| Ok(text.to_owned())));
}

#[tokio::test]
async fn a_value_is_read_again_after_five_minutes_or_when_it_must_be_fresh() {
    for reference in ["acme", "ssm:acme"] {
        let scene = Scene::start().await;
        let put = |text: &str| {
            scene.stores.put_secret("acme", text).unwrap();
            scene.stores.put_parameter("acme", text).unwrap();
        };
        put("old");
        assert_eq!(scene.cached(reference).await, Ok("old".to_owned()));
        put("new");
        scene.seconds.store(299, Ordering::Relaxed);
        assert_eq!(scene.cached(reference).await, Ok("old".to_owned()));
        assert_eq!(scene.stores.reads(), 1);
        scene.seconds.store(300, Ordering::Relaxed);
        assert_eq!(scene.cached(reference).await, Ok("new".to_owned()));
        put("newer");
        assert_eq!(scene.get(reference, Freshness::Now).await.unwrap(), "newer");
        assert_eq!(scene.cached(reference).await, Ok("newer".to_owned()));
        assert_eq!(scene.stores.reads(), 3);
    }
}

/// Refuses the next requests in this way, and checks what comes of a read.
async fn check_refused(count: usize, fault: Fault, expected: Result<&str, ErrorName>, reads: u64) {
    for reference in ["acme", "ssm:acme"] {
        let scene = Scene::start().await;
        scene.stores.put_secret("acme", "hunter2").unwrap();
        scene.stores.put_parameter("acme", "hunter2").unwrap();
        scene.stores.faults().refuse_next(count, fault);
        let found = scene.cached(reference).await;
        assert_eq!(found, expected.map(str::to_owned), "{reference} {fault:?}");
        assert_eq!(scene.stores.reads(), reads, "{reference} {fault:?}");
    }
}

#[tokio::test]
async fn throttling_and_failures_are_waited_out_and_a_denial_is_final() {
    check_refused(3, Fault::Throttle, Ok("hunter2"), 4).await;
    check_refused(3, Fault::Fail, Ok("hunter2"), 4).await;
    check_refused(9, Fault::Throttle, Err(ErrorName::SecretUnavailable), 4).await;
    check_refused(9, Fault::Fail, Err(ErrorName::SecretUnavailable), 4).await;
    check_refused(1, Fault::Deny, Err(ErrorName::SecretDenied), 1).await;
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let scene = Scene::start().await;
    for (reference, code) in
        [("sftp/acme", "ResourceNotFoundException"), ("ssm:/sftp/acme", "ParameterNotFound")]
    {
        let error = scene.get(reference, Freshness::Cached).await.unwrap_err();
        let text = format!("reading the secret `{reference}`: there is no such secret ({code})");
        assert_eq!((error.name(), error.to_string()), (ErrorName::SecretNotFound, text));
    }
}

#[tokio::test]
async fn a_binary_secret_and_one_that_is_marked_for_deletion_can_not_be_used() {
    let scene = Scene::start().await;
    let binary = scene.client.create_secret().name("binary").secret_binary(Blob::new("hunter2"));
    binary.send().await.unwrap();
    let error = scene.get("binary", Freshness::Cached).await.unwrap_err();
    let text = "reading the secret `binary`: it is binary; a text is expected";
    assert_eq!((error.name(), error.to_string().as_str()), (ErrorName::SecretInvalid, text));

    scene.stores.put_secret("deleted", "hunter2").unwrap();
    scene.client.delete_secret().secret_id("deleted").send().await.unwrap();
    let error = scene.get("deleted", Freshness::Cached).await.unwrap_err();
    assert_eq!(error.name(), ErrorName::SecretInvalid);
    assert!(error.to_string().contains("marked for deletion"), "{error}");
}

#[tokio::test]
async fn a_long_secret_is_read_whole() {
    let scene = Scene::start().await;
    let long = "x".repeat(SECRET_BYTES_MAX);
    scene.stores.put_secret("long", long.as_str()).unwrap();
    assert_eq!(scene.cached("long").await, Ok(long));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable() {
    // Port 1 of the loopback: nobody listens there.
    let secrets = secrets_at("http://127.0.0.1:1").await;
    for reference in ["acme", "ssm:acme"] {
        let error = secrets.get(&reference.parse().unwrap(), Freshness::Cached).await.unwrap_err();
        assert_eq!(error.name(), ErrorName::SecretUnavailable);
    }
}

#[tokio::test]
async fn an_answer_that_can_not_be_read_is_not_part_of_the_error() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = r#"{"SecretString":"hunter2","Parameter":{"Value":"hunter2""#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Both requests fit into one read, or into what is left unread.
            let read = stream.read(&mut [0; 8192]).await.unwrap();
            assert!(read > 0, "a request arrives");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let secrets = secrets_at(&url).await;
    for reference in ["acme", "ssm:acme"] {
        let error = secrets.get(&reference.parse().unwrap(), Freshness::Cached).await.unwrap_err();
        assert_eq!(error.name(), ErrorName::SecretUnavailable);
        let shown = format!("{error:?} {}", Chain(&error));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    answering.abort();
}

async fn secrets_at(url: &str) -> Secrets {
    let sdk = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .endpoint_url(url)
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(Builder::new().build_http())
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .load()
        .await;
    Secrets::new(&sdk, Instant::now)
}

/// The generated client reads what the endpoint gives beyond the functions' needs.
#[tokio::test]
async fn the_sdk_creates_describes_lists_and_deletes_secrets() {
    let scene = Scene::start().await;
    let value =
        |id: &str| -> GetSecretValueFluentBuilder { scene.client.get_secret_value().secret_id(id) };
    let made = scene.client.create_secret().name("a/b").secret_string("1").description("d");
    let made = made.send().await.unwrap();
    let arn = made.arn.clone().unwrap();
    assert!(arn.starts_with("arn:aws:secretsmanager:eu-central-1:000000000000:secret:a/b-"));
    let again = scene.client.create_secret().name("a/b").secret_string("1").send().await;
    assert!(again.unwrap_err().into_service_error().is_resource_exists_exception());

    let put = scene.client.put_secret_value().secret_id(&arn).secret_string("2");
    put.send().await.unwrap();
    assert_eq!(value("a/b").send().await.unwrap().secret_string(), Some("2"));
    let previous = value("a/b").version_stage("AWSPREVIOUS").send().await.unwrap();
    assert_eq!(
        (previous.secret_string(), previous.version_id()),
        (Some("1"), made.version_id.as_deref())
    );

    let described = scene.client.describe_secret().secret_id("a/b").send().await.unwrap();
    assert_eq!((described.arn(), described.description()), (Some(arn.as_str()), Some("d")));
    assert_eq!(described.version_ids_to_stages().unwrap().len(), 2);
    let listed = scene.client.list_secrets().send().await.unwrap();
    assert_eq!(listed.secret_list()[0].name(), Some("a/b"));

    let delete = scene.client.delete_secret().secret_id("a/b").force_delete_without_recovery(true);
    delete.send().await.unwrap();
    let gone = value("a/b").send().await.unwrap_err().into_service_error();
    assert!(gone.is_resource_not_found_exception());
}
