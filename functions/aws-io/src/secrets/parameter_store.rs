//! `GetParameter` of Systems Manager.
//!
//! The SDK's crate for Systems Manager has hundreds of operations and takes longer to build than
//! the one for S3. This is its one operation on the same runtime: the same signing, retries,
//! time-outs and connections as any generated client has. Unlike those, it knows no dual-stack
//! endpoints and no `AWS_ENDPOINT_URL_SSM`.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_runtime::{
    auth::{
        SigV4OperationSigningConfig,
        sigv4::{SCHEME_ID, SigV4AuthScheme},
    },
    retries::classifiers::AwsErrorCodeClassifier,
};
use aws_smithy_runtime::client::{
    orchestrator::operation::Operation,
    retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        auth::{
            AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
            static_resolver::StaticAuthSchemeOptionResolver,
        },
        orchestrator::{HttpRequest, HttpResponse, OrchestratorError, SensitiveOutput},
        result::SdkError,
        runtime_components::RuntimeComponentsBuilder,
        runtime_plugin::StaticRuntimePlugin,
    },
};
use aws_smithy_types::{
    body::SdkBody, config_bag::Layer, error::ErrorMetadata, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_types::{SigningName, region::SigningRegion};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The Parameter Store.
#[derive(Debug)]
pub(super) struct ParameterStore {
    get_parameter: Operation<Name, Parameter, ErrorMetadata>,
}

/// A parameter's name or ARN.
#[derive(Debug)]
struct Name(String);

/// A parameter, decrypted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameter {
    pub(super) value: SecretString,
    /// `SecureString` if it is kept encrypted.
    #[serde(rename = "Type")]
    pub(super) kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    parameter: Parameter,
}

/// The body of a refusal; which spelling of the message there is depends on the error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(rename = "__type")]
    kind: String,
    message: String,
    #[serde(rename = "Message")]
    capital_message: String,
}

impl ParameterStore {
    pub(super) fn new(config: &SdkConfig, retries: &RetryConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        let mut operation = Operation::builder()
            .service_name("SSM")
            .operation_name("GetParameter")
            .endpoint_url(&endpoint(config))
            .standard_retry(retries)
            .timeout_config(timeouts)
            .retry_classifier(HttpStatusCodeClassifier::default())
            .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
            .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
            .with_connection_poisoning()
            .runtime_plugin(signing(config));
        if let Some(version) = config.behavior_version() {
            operation = operation.behavior_version(version);
        }
        if let Some(client) = config.http_client() {
            operation = operation.http_client(client);
        }
        if let Some(sleep) = config.sleep_impl() {
            operation = operation.sleep_impl(sleep);
        }
        operation = operation.time_source(config.time_source().unwrap_or_default());
        Self { get_parameter: operation.serializer(request).deserializer(answer).build() }
    }

    /// Reads a parameter by its name or ARN.
    pub(super) async fn get(
        &self,
        id: &str,
    ) -> Result<Parameter, SdkError<ErrorMetadata, HttpResponse>> {
        self.get_parameter.invoke(Name(id.to_owned())).await
    }
}

/// The URL of the service, by the AWS General Reference's "Service endpoints".
fn endpoint(config: &SdkConfig) -> String {
    if let Some(url) = config.endpoint_url() {
        return url.to_owned();
    }
    // Without a region nothing can be signed, so that nothing is sent there.
    let region = config.region().map_or("us-east-1", AsRef::as_ref);
    let fips = if config.use_fips() == Some(true) { "-fips" } else { "" };
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://ssm{fips}.{region}.{suffix}")
}

/// Signature Version 4, and the mark that keeps the answer out of the SDK's own log.
fn signing(config: &SdkConfig) -> StaticRuntimePlugin {
    let mut layer = Layer::new("GetParameter");
    layer.store_put(SensitiveOutput);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig::default());
    layer.store_put(SigningName::from_static("ssm"));
    if let Some(region) = config.region() {
        layer.store_put(SigningRegion::from(region.clone()));
    }
    let mut components = RuntimeComponentsBuilder::new("GetParameter")
        .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()));
    components.set_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
        StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
    )));
    components.set_identity_cache(config.identity_cache());
    if let Some(credentials) = config.credentials_provider() {
        components.set_identity_resolver(SCHEME_ID, credentials);
    }
    StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
}

fn request(Name(name): Name) -> Result<HttpRequest, BoxError> {
    let body = json!({ "Name": name, "WithDecryption": true }).to_string();
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST")?;
    request.set_uri("/")?;
    let headers = request.headers_mut();
    headers.insert("content-type", "application/x-amz-json-1.1");
    headers.insert("x-amz-target", "AmazonSSM.GetParameter");
    Ok(request)
}

/// Reads the answer. Errors of the JSON parser may quote the text, so they are dropped.
fn answer(response: &HttpResponse) -> Result<Parameter, OrchestratorError<ErrorMetadata>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return serde_json::from_slice::<Answer>(body)
            .map(|answer| answer.parameter)
            .map_err(|_| OrchestratorError::other("the answer is not the one of `GetParameter`"));
    }
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    // A service may put its namespace before the code.
    let code = refusal.kind.rsplit('#').next().unwrap_or_default();
    let message =
        if refusal.message.is_empty() { refusal.capital_message } else { refusal.message };
    Err(OrchestratorError::operation(ErrorMetadata::builder().code(code).message(message).build()))
}
