//! Refusals, in AWS's words.

use std::fmt;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    decision::{Call, Denial},
    request::{Protocol, Unmapped},
};

/// Why a request is refused; its text is the message that AWS gives
/// ([access denied messages](https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller may not do this.
    Denied {
        /// The ARN of the role's session, or the service.
        user: String,
        /// What it may not do.
        call: Call,
        /// Why not.
        denial: Denial,
    },
    /// A role's trust policy does not let the service take the role.
    NotTrusted {
        /// The service, such as `lambda.amazonaws.com`.
        service: &'static str,
        /// The ARN of the role.
        role: String,
    },
    /// The request is not signed.
    Unsigned,
    /// The request is signed with an access key that nobody has been given.
    UnknownKey,
    /// Nobody knows what the request needs.
    Unmapped(
        /// The request.
        String,
    ),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { user, call: Call { action, resource, .. }, denial } => {
                write!(f, "User: {user} is not authorized to perform: {action} on resource: ")?;
                // S3 alone puts what the client wrote into quotes.
                if action.starts_with("s3:") {
                    write!(f, "\"{resource}\"")?;
                } else {
                    f.write_str(resource)?;
                }
                match denial {
                    Denial::ByRole => {
                        f.write_str(" with an explicit deny in an identity-based policy")
                    }
                    Denial::ByResource => {
                        f.write_str(" with an explicit deny in a resource-based policy")
                    }
                    Denial::NotByRole => {
                        write!(f, " because no identity-based policy allows the {action} action")
                    }
                    Denial::NotByResource => {
                        write!(f, " because no resource-based policy allows the {action} action")
                    }
                }
            }
            Self::NotTrusted { service: "lambda.amazonaws.com", .. } => {
                f.write_str("The role defined for the function cannot be assumed by Lambda.")
            }
            Self::NotTrusted { service: "states.amazonaws.com", role } => write!(
                f,
                "Neither the global service principal states.amazonaws.com, nor the regional one is \
                 authorized to assume the provided role: {role}"
            ),
            Self::NotTrusted { service: "scheduler.amazonaws.com", .. } => f.write_str(
                "The execution role you provide must allow AWS EventBridge Scheduler to assume the \
                 role.",
            ),
            Self::NotTrusted { service, role } => {
                write!(f, "{service} is not authorized to assume the role: {role}")
            }
            Self::Unsigned => f.write_str("Missing Authentication Token"),
            Self::UnknownKey => {
                f.write_str("The security token included in the request is invalid.")
            }
            Self::Unmapped(request) => Unmapped(request.clone()).fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Unmapped> for Refusal {
    fn from(Unmapped(request): Unmapped) -> Self {
        Self::Unmapped(request)
    }
}

impl Refusal {
    /// The answer to a request of that protocol.
    pub(crate) fn answer(&self, protocol: Protocol) -> Response {
        match protocol {
            Protocol::S3 => self.answer_in_xml(),
            Protocol::Json => self.answer_in_json(StatusCode::BAD_REQUEST),
            Protocol::Lambda => self.answer_in_json(StatusCode::FORBIDDEN),
        }
    }

    /// Step Functions and Lambda name the error in a header, the others in the body.
    fn answer_in_json(&self, status: StatusCode) -> Response {
        let code = match self {
            Self::Unsigned => "MissingAuthenticationTokenException",
            Self::UnknownKey => "UnrecognizedClientException",
            _ => "AccessDeniedException",
        };
        let message = self.to_string();
        let body = json!({ "__type": code, "Message": message, "message": message });
        (status, [("x-amzn-errortype", code)], Json(body)).into_response()
    }

    fn answer_in_xml(&self) -> Response {
        let (code, message) = match self {
            Self::Unsigned => ("AccessDenied", "Access Denied".to_owned()),
            Self::UnknownKey => (
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.".to_owned(),
            ),
            _ => ("AccessDenied", self.to_string()),
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Error><Code>{code}</Code><Message>{}</Message></Error>",
            escaped(&message)
        );
        let content_type = [(header::CONTENT_TYPE, "application/xml")];
        (StatusCode::FORBIDDEN, content_type, body).into_response()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
