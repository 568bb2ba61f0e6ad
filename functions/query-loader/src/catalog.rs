//! Which queries there are: what the index says, or the `.sql` files below the prefix.

use std::{borrow::Cow, collections::BTreeSet};

use aws_io::{Storage, StorageError};
use job::{BucketName, Job, Prefix, QueryName, S3Location, nearest};
use tokio::sync::OnceCell;

use crate::{
    LoadError,
    index::{Entry, Index},
    one_problem,
};

/// The largest index: some 10,000 entries with a description each.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many keys below the prefix are looked through: a hundred pages of a listing.
const KEYS_MAX: usize = 100_000;

/// The queries of one bucket and prefix.
pub(crate) struct Catalog<'a> {
    storage: &'a Storage,
    bucket: &'a BucketName,
    prefix: &'a Prefix,
    index: Option<Index>,
    /// What is below the prefix, listed when it is first needed.
    listed: OnceCell<Names>,
}

/// The names that there are, in order.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) names: BTreeSet<QueryName>,
    /// The limit that the listing was cut at.
    pub(crate) cut_at: Option<usize>,
}

impl<'a> Catalog<'a> {
    /// Reads the index, if there is one.
    pub(crate) async fn open(storage: &'a Storage, job: &'a Job) -> Result<Self, LoadError> {
        let (bucket, prefix) = (&job.query_index_bucket, &job.query_prefix);
        let location = S3Location::new(bucket.as_str(), prefix.key("query_index.json"));
        let index = match storage.get_bytes(&location, None, INDEX_BYTES_MAX).await {
            Ok((bytes, _)) => {
                let parsed = Index::parse(&bytes);
                Some(parsed.map_err(|source| LoadError::Index { location, source })?)
            }
            Err(StorageError::NotFound { code, .. }) if code == "NoSuchBucket" => {
                let message = format!("there is no bucket `{bucket}`");
                return Err(LoadError::NotFound(one_problem("$.query_index_bucket", message)));
            }
            Err(StorageError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { storage, bucket, prefix, index, listed: OnceCell::new() })
    }

    /// What a name stands for, as far as that can be said without reading its file.
    pub(crate) fn entry(&self, name: &QueryName) -> Option<Cow<'_, Entry>> {
        match &self.index {
            Some(index) => index.queries.get(name).map(Cow::Borrowed),
            None => Some(Cow::Owned(Entry::file(format!("{name}.sql")))),
        }
    }

    /// Whether a name that has no file is a name at all.
    pub(crate) fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Where an entry's SQL is.
    pub(crate) fn sql(&self, entry: &Entry) -> S3Location {
        S3Location::new(self.bucket.as_str(), self.prefix.key(&entry.file))
    }

    /// All names. Keys that no name can stand for are left out.
    pub(crate) async fn names(&self) -> Result<&Names, StorageError> {
        self.listed.get_or_try_init(|| self.list()).await
    }

    async fn list(&self) -> Result<Names, StorageError> {
        if let Some(index) = &self.index {
            return Ok(Names { names: index.queries.keys().cloned().collect(), cut_at: None });
        }
        let prefix = self.prefix.as_str();
        let keys = self.storage.list(self.bucket.as_str(), prefix, KEYS_MAX + 1).await?;
        let names = keys
            .iter()
            .take(KEYS_MAX)
            .filter_map(|key| key.strip_prefix(prefix)?.strip_suffix(".sql")?.parse().ok())
            .filter(|name: &QueryName| !name.is_pattern());
        Ok(Names { names: names.collect(), cut_at: (keys.len() > KEYS_MAX).then_some(KEYS_MAX) })
    }

    /// Where names are looked up, as part of a sentence.
    pub(crate) fn place(&self) -> String {
        let Self { bucket, prefix, index, .. } = self;
        match index {
            Some(_) => "in the index".to_owned(),
            None => format!("below `s3://{bucket}/{prefix}`"),
        }
    }

    /// What else a name could have meant, to be put behind a sentence.
    pub(crate) async fn hint(&self, name: &QueryName) -> Result<String, StorageError> {
        let Names { names, .. } = self.names().await?;
        let others = names.iter().filter(|other| *other != name).map(QueryName::as_str);
        Ok(match nearest(name.as_str(), others) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if names.is_empty() => "; there is no query at all".to_owned(),
            None => String::new(),
        })
    }
}
