//! The digest of a job, which the claim of its run holds.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Returns the SHA-256 of the job, in hexadecimal, without its transporter: a password there could
/// be guessed from the digest.
pub(crate) fn of_job(job: &Value) -> String {
    let mut job = job.clone();
    if let Some(fields) = job.as_object_mut() {
        fields.remove("transporter");
    }
    format!("{:x}", Sha256::digest(job.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_password_does_not_change_the_digest() {
        let with = json!({ "query_names": ["a"], "transporter": { "config": { "p": "x" } } });
        let without = json!({ "query_names": ["a"] });
        assert_eq!(of_job(&with), of_job(&without));
        assert_ne!(of_job(&with), of_job(&json!({ "query_names": ["b"] })));
    }
}
