//! Access keys, and where they stand in a request.

use axum::http::{header, request::Parts};
use uuid::Uuid;

use super::AccessKey;
use crate::refusal::Refusal;

impl AccessKey {
    /// As AWS forms those of a role: `ASIA` and sixteen more characters.
    pub(super) fn random() -> Self {
        let text = || Uuid::new_v4().simple().to_string();
        Self {
            id: format!("ASIA{}", text()[..16].to_uppercase()),
            secret: text().into(),
            session_token: text().into(),
        }
    }

    /// The `Authorization` header of a request to a service here, for a caller without an SDK. It
    /// names the key; as signatures are not looked at, it has none.
    pub fn authorization(&self, region: &str, service: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={}/19700101/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature=none",
            self.id
        )
    }
}

/// The access key id that a request is signed with: in its `Authorization` header, or, of a request
/// that was signed beforehand, in its address.
pub(crate) fn access_key_id(parts: &Parts) -> Result<String, Refusal> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = match header {
        Some(value) => value
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .and_then(|fields| {
                fields.split(',').find_map(|field| field.trim().strip_prefix("Credential="))
            })
            .map(str::to_owned),
        None => form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .find(|(name, _)| name == "X-Amz-Credential")
            .map(|(_, value)| value.into_owned()),
    };
    let credential = credential.ok_or(Refusal::Unsigned)?;
    let id = credential.split('/').next().filter(|id| !id.is_empty()).ok_or(Refusal::Unsigned)?;
    Ok(id.to_owned())
}
