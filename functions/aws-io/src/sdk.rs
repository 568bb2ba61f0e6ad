//! The SDK's configuration.

use aws_config::BehaviorVersion;
pub use aws_config::SdkConfig;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

/// The configuration for all clients: credentials, region and endpoints from the environment, as
/// Lambda sets them, and TLS by rustls with ring.
///
/// The behaviour version is pinned, so that an update of the SDK changes no default unseen.
pub async fn config() -> SdkConfig {
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(https).load().await
}
