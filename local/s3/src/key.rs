//! Names: which buckets and keys there can be, and which keys can be paths.

use std::path::PathBuf;

use crate::StoreError;

/// The longest key, in bytes of UTF-8.
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// The longest name of a file on the file systems in use.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Characters that a file name can not have on some system the store runs on.
const FORBIDDEN: &[char] =
    if cfg!(windows) { &['<', '>', ':', '"', '\\', '|', '?', '*'] } else { &['\\'] };

/// Refuses what S3 refuses as a bucket's name. A name that passes is a file name and does not
/// start with a full stop.
pub(crate) fn check_bucket_name(bucket: &str) -> Result<(), StoreError> {
    if s3s::path::check_bucket_name(bucket) {
        Ok(())
    } else {
        Err(StoreError::InvalidBucketName { bucket: bucket.to_owned() })
    }
}

/// Refuses an empty or overlong key. Everything else is a key.
pub(crate) fn check_key(key: &str) -> Result<(), StoreError> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        Ok(())
    } else {
        Err(StoreError::InvalidKey { bytes: key.len() })
    }
}

/// The path of a key below its bucket's folder, if the key can be one: `None` for keys such as
/// `a//b`, `a/`, `/a`, `a/../b`. The path is relative, has no `.` or `..` and so stays below.
pub(crate) fn plain_path(key: &str) -> Option<PathBuf> {
    key.split('/').map(|name| is_file_name(name).then_some(name)).collect()
}

fn is_file_name(name: &str) -> bool {
    let ends_well = !cfg!(windows) || !name.ends_with(['.', ' ']);
    !matches!(name, "" | "." | "..")
        && name.len() <= FILE_NAME_BYTES_MAX
        && !name.contains(|c: char| c.is_control() || FORBIDDEN.contains(&c))
        && ends_well
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(key: &str, path: Option<&str>) {
        assert_eq!(plain_path(key), path.map(PathBuf::from), "{key:?}");
    }

    #[test]
    fn a_key_is_a_path_where_every_name_in_it_is_a_file_name() {
        check("a", Some("a"));
        check("runs/42/csv/users.csv", Some("runs/42/csv/users.csv"));
        check("k/..a", Some("k/..a"));
        check("k/ b+c%20é.txt", Some("k/ b+c%20é.txt"));
        check(".hidden", Some(".hidden"));
        check("", None);
        check("/a", None);
        check("a/", None);
        check("a//b", None);
        check("..", None);
        check("../../etc/passwd", None);
        check("a/../b", None);
        check("a/./b", None);
        check("a\\..\\b", None);
        check("a\0b", None);
        check("line\nbreak", None);
        check(&"x".repeat(256), None);
    }

    proptest! {
        #[test]
        fn a_path_never_leaves_the_bucket(key in "[a./\\\\:\\x00é]{0,12}") {
            if let Some(path) = plain_path(&key) {
                prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_eq!(path.to_str().map(|p| p.replace('\\', "/")), Some(key));
            }
        }
    }
}
