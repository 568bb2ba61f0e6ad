//! From what a client calls a path to a path below the root.

use std::path::PathBuf;

/// The path below the root that a client means; `.` for the root itself.
///
/// The login directory is the root, so relative and absolute paths begin at the same place. `..`
/// is taken away here, where `/..` is `/` as in every file system; that no symbolic link leads out
/// of the root is the business of [`cap_std`].
pub(crate) fn below_root(path: &str) -> PathBuf {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { PathBuf::from(".") } else { parts.iter().collect() }
}

/// The absolute path that a client is told for a path.
pub(crate) fn absolute(path: &str) -> String {
    match below_root(path).to_string_lossy().as_ref() {
        "." => "/".to_owned(),
        below => format!("/{below}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_path_leads_above_the_root() {
        for (given, expected) in [
            ("", "/"),
            (".", "/"),
            ("/", "/"),
            ("..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("a/../../b", "/b"),
            ("/a//b/./c/", "/a/b/c"),
            ("~/x", "/~/x"),
        ] {
            assert_eq!(absolute(given), expected, "{given:?}");
        }
    }
}
