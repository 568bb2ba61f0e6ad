//! Which rights a request needs, as the
//! [Service Authorization Reference](https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html)
//! says.

pub(crate) mod athena;
mod json;
mod s3;

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::{condition::ConditionKey, decision::Call, policies::Policies};

/// What only the services know about the things that requests name.
pub trait Names: Send + Sync {
    /// The work group that a query runs in, if there is such a query.
    fn work_group_of(&self, query_execution_id: &str) -> Option<String>;

    /// The ARN of the state machine that gave out a task token, `…:NAME/LABEL` for a child of a
    /// distributed map; none if the token is malformed.
    fn state_machine_of_token(&self, token: &str) -> Option<String>;

    /// The ARN of the secret with this name or ARN, if there is one.
    fn secret_arn(&self, id: &str) -> Option<String>;

    /// The tables that a query reads, each with its database.
    fn tables_of(&self, sql: &str, database: &str) -> Vec<(String, String)>;
}

/// What a request needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// All of these must be allowed.
    pub(crate) calls: Vec<Call>,
    /// If the answer is that there is no such object, then this must be allowed, too; who may not
    /// list a bucket is not told what is missing in it.
    pub(crate) if_missing: Option<Call>,
}

/// A request about which is not known what it needs. It is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not known here which rights `{0}` needs, so it is refused")]
pub(crate) struct Unmapped(pub(crate) String);

/// How a service talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// XML, and a request without a body of its own.
    S3,
    /// The operation in `X-Amz-Target`, its parameters in the body.
    Json,
    /// The operation in the path, the body the function's.
    Lambda,
}

impl Protocol {
    pub(crate) fn of(parts: &Parts) -> Self {
        if parts.headers.contains_key(TARGET) {
            Self::Json
        } else if parts.uri.path().starts_with(LAMBDA) {
            Self::Lambda
        } else {
            Self::S3
        }
    }
}

const TARGET: &str = "x-amz-target";
const LAMBDA: &str = "/2015-03-31/functions";

impl Access {
    /// What a request needs. The body matters for [`Protocol::Json`] alone.
    pub(crate) fn of(
        policies: &Policies,
        names: &dyn Names,
        parts: &Parts,
        body: &[u8],
    ) -> Result<Self, Unmapped> {
        match Protocol::of(parts) {
            Protocol::S3 => s3::access(policies, parts),
            Protocol::Lambda => invocation(policies, parts).ok_or_else(|| unmapped(parts)),
            Protocol::Json => {
                let target = parts.headers.get(TARGET).and_then(|target| target.to_str().ok());
                json::access(policies, names, target.unwrap_or_default(), body)
            }
        }
    }
}

/// Names a request, with the names of its parameters and without their values: a signature may be
/// among them.
fn unmapped(parts: &Parts) -> Unmapped {
    let mut request = format!("{} {}", parts.method, parts.uri.path());
    let parameters = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    for (index, (name, _)) in parameters.enumerate() {
        request.push(if index == 0 { '?' } else { '&' });
        request.push_str(&name);
    }
    Unmapped(request)
}

/// `POST /2015-03-31/functions/FUNCTION/invocations`, with a name or an ARN, maybe of a version.
fn invocation(policies: &Policies, parts: &Parts) -> Option<Access> {
    let path = parts.uri.path().strip_prefix(LAMBDA)?.strip_prefix('/')?;
    let function = percent_decode_str(path.strip_suffix("/invocations")?).decode_utf8().ok()?;
    if parts.method != "POST" || function.contains('/') {
        return None;
    }
    let mut arn = if function.starts_with("arn:") {
        function.into_owned()
    } else {
        policies.arn("lambda", &format!("function:{function}"))
    };
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    if let Some((_, qualifier)) = pairs.find(|(name, _)| name == "Qualifier") {
        arn = format!("{arn}:{qualifier}");
    }
    Some(Access { calls: vec![Call::new("lambda:InvokeFunction", arn)], if_missing: None })
}

impl Policies {
    /// What reading an object takes, or a version of it.
    ///
    /// A version takes `s3:GetObjectVersion` and not `s3:GetObject` besides.
    pub(crate) fn reading(&self, bucket: &str, key: &str, is_version: bool) -> Vec<Call> {
        let action = if is_version { "s3:GetObjectVersion" } else { "s3:GetObject" };
        let read = Call::new(action, format!("arn:aws:s3:::{bucket}/{key}"));
        std::iter::once(read).chain(self.with_key_of(bucket, "kms:Decrypt")).collect()
    }

    /// The use of a bucket's key that S3 makes for a caller, if the bucket has a key.
    fn with_key_of(&self, bucket: &str, action: &str) -> Option<Call> {
        let mut call = Call::new(action, self.bucket_keys.get(bucket)?);
        let service = format!("s3.{}.amazonaws.com", self.region);
        call.context = call.context.with(ConditionKey::ViaService, service);
        Some(call)
    }
}

#[cfg(test)]
mod tests;
