//! From a directory of SQL files to a bucket.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use job::Prefix;
use local::{Store, StoreError};

use crate::Error;

/// The name of the index of the queries.
const INDEX: &str = "query_index.json";

/// A file to upload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueryFile {
    /// Its path below the directory, with `/` between the names.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Every `*.sql` and `query_index.json` in `dir` and the directories below it, by name.
///
/// A link to a file counts as one; a link to a directory is not followed, so that a circle of links
/// has an end.
///
/// # Errors
///
/// When a directory can not be read, a path is not UTF-8, or there is no `*.sql` at all.
pub fn find(dir: &Path) -> Result<Vec<QueryFile>, Error> {
    let mut found = Vec::new();
    collect(dir, "", &mut found)?;
    found.sort();
    if found.iter().any(|file| is_sql(&file.name)) {
        Ok(found)
    } else {
        Err(Error::NoQueries { path: dir.to_owned() })
    }
}

fn collect(dir: &Path, prefix: &str, found: &mut Vec<QueryFile>) -> Result<(), Error> {
    let failed =
        |path: &Path, source: io::Error| Error::ReadQueries { path: path.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let entry = entry.map_err(|error| failed(dir, error))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| failed(&path, error))?;
        let name =
            entry.file_name().into_string().map_err(|_| Error::QueryPath { path: path.clone() })?;
        if kind.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), found)?;
        } else if (is_sql(&name) || name == INDEX) && path.is_file() {
            found.push(QueryFile { name: format!("{prefix}{name}"), path });
        }
    }
    Ok(())
}

fn is_sql(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "sql")
}

/// Uploads `files` below `prefix`. A file is held in memory while it is uploaded.
///
/// # Errors
///
/// When a file can not be read or the store does not take it.
pub async fn upload(
    store: &Store,
    bucket: &str,
    prefix: &Prefix,
    files: &[QueryFile],
) -> Result<(), Error> {
    for QueryFile { name, path } in files {
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|source| Error::ReadQueries { path: path.clone(), source })?;
        let key = prefix.key(name);
        let content_type = if is_sql(name) { "application/sql" } else { "application/json" };
        store.put(bucket, &key, Some(content_type), Bytes::from(bytes)).await.map_err(
            |source| Error::Upload {
                path: path.clone(),
                bucket: bucket.to_owned(),
                key: key.clone(),
                source: Box::new(source),
            },
        )?;
    }
    Ok(())
}

/// Removes the queries below `prefix` that are not among `files`, in their order: what an earlier
/// run with the same work directory uploaded, and is there no more.
///
/// # Errors
///
/// When the store can not.
pub async fn remove_others(
    store: &Store,
    bucket: &str,
    prefix: &Prefix,
    files: &[QueryFile],
) -> Result<(), Error> {
    let failed = |source: StoreError| Error::RemoveQueries {
        bucket: bucket.to_owned(),
        source: Box::new(source),
    };
    let prefix = prefix.key("");
    for object in store.list(bucket, &prefix).await.map_err(failed)? {
        let name = &object.key[prefix.len()..];
        let is_query = is_sql(name) || name.rsplit('/').next() == Some(INDEX);
        if is_query && files.binary_search_by(|file| file.name.as_str().cmp(name)).is_err() {
            store.delete(bucket, &object.key).await.map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn sql_files_and_the_index_are_uploaded_below_the_prefix_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.sql",
            "a/c.sql",
            "query_index.json",
            "a/query_index.json",
            "a/notes.md",
            "b.sql.bak",
            ".sql",
        ] {
            write(dir.path(), name, name);
        }
        let files = find(dir.path()).unwrap();

        let store_dir = tempfile::tempdir().unwrap();
        let store = Store::open(store_dir.path()).await.unwrap();
        store.create_bucket("acme-queries").await.unwrap();
        for _ in 0..2 {
            upload(&store, "acme-queries", &Prefix::from("sql".to_owned()), &files).await.unwrap();
        }

        let mut objects = Vec::new();
        for object in store.list("acme-queries", "").await.unwrap() {
            let bytes = store.get("acme-queries", &object.key).await.unwrap();
            objects.push((object.key, String::from_utf8(bytes.to_vec()).unwrap()));
        }
        let expected = ["a/c.sql", "a/query_index.json", "b.sql", "query_index.json"];
        let expected = expected.map(|name| (format!("sql/{name}"), name.to_owned()));
        assert_eq!(objects, expected);

        store.put("acme-queries", "sql/run.json", None, Bytes::new()).await.unwrap();
        let files = &files[..1];
        let prefix = Prefix::from("sql".to_owned());
        remove_others(&store, "acme-queries", &prefix, files).await.unwrap();
        let left = store.list("acme-queries", "").await.unwrap();
        let left: Vec<_> = left.into_iter().map(|object| object.key).collect();
        assert_eq!(left, ["sql/a/c.sql", "sql/run.json"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_circle_of_links_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.sql", "select 1");
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a.sql"), dir.path().join("b.sql")).unwrap();
        let names: Vec<_> = find(dir.path()).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a.sql", "b.sql"]);
    }

    #[test]
    fn a_directory_without_sql_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "query_index.json", "{}");
        let errors = [dir.path().to_owned(), dir.path().join("missing")].map(|path| {
            find(&path).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
        });
        assert_eq!(
            errors,
            ["there is no `.sql` file in `DIR`", "reading the queries in `DIR/missing`"]
        );
    }
}
