//! `s3://bucket/key` to its parts.

use aws_io::Failure;
use job::{
    ErrorName, S3Location,
    s3::S3UriError,
    states::{ExtractTask, Extracted},
};

/// A text that is not an S3 URI.
#[derive(Debug, thiserror::Error)]
#[error("taking the URI of the file apart")]
pub struct ExtractError(#[from] S3UriError);

impl Failure for ExtractError {
    fn name(&self) -> ErrorName {
        ErrorName::JobInvalid
    }
}

/// Takes an S3 URI apart.
///
/// ```
/// let task = job::states::ExtractTask { uri: "s3://acme-results/zipped/r1.zip".to_owned() };
/// let parts = extract_s3_key::extract(&task).unwrap();
/// assert_eq!((parts.bucket.as_str(), parts.file_name.as_str()), ("acme-results", "r1.zip"));
/// ```
///
/// # Errors
///
/// When the text is not `s3://bucket/key`.
pub fn extract(task: &ExtractTask) -> Result<Extracted, ExtractError> {
    let location: S3Location = task.uri.parse()?;
    let file_name = location.file_name().to_owned();
    Ok(Extracted { bucket: location.bucket, key: location.key, file_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_taken_apart_and_anything_else_is_refused() {
        let task = ExtractTask { uri: "s3://acme-data/a/b c.csv".to_owned() };
        let parts = Extracted {
            bucket: "acme-data".to_owned(),
            key: "a/b c.csv".to_owned(),
            file_name: "b c.csv".to_owned(),
        };
        assert_eq!(extract(&task).unwrap(), parts);
        let error = extract(&ExtractTask { uri: "/tmp/a".to_owned() }).unwrap_err();
        assert_eq!(error.name(), ErrorName::JobInvalid);
    }
}
