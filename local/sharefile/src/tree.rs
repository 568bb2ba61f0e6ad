//! The directory as a tree of items.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use md5::{Digest, Md5};
use serde_json::{Value, json};

/// What ShareFile does not take in a name.
const REFUSED: [char; 9] = ['\\', '*', '<', '>', '?', ':', '|', '"', '/'];

/// The names of places that are not ids.
const ALIASES: [&str; 5] = ["home", "favorites", "allshared", "connectors", "box"];

/// The directory, in which items are found by id and by path.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The path of the item with this id or alias.
    pub(crate) fn by_id(&self, id: &str) -> Option<PathBuf> {
        let path = match id {
            "top" => self.root.clone(),
            alias if ALIASES.contains(&alias) => self.root.join(alias),
            id => return self.find(&self.root, id),
        };
        path.is_dir().then_some(path)
    }

    fn find(&self, folder: &Path, id: &str) -> Option<PathBuf> {
        let children = children(folder);
        children.into_iter().find_map(|path| {
            if self.id(&path) == id {
                Some(path)
            } else if path.is_dir() {
                self.find(&path, id)
            } else {
                None
            }
        })
    }

    /// The id of the item at `path`. A new version of a file has another time, and so another id.
    pub(crate) fn id(&self, path: &Path) -> String {
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().to_lowercase();
        let metadata = path.metadata().ok().filter(fs::Metadata::is_file);
        let time = metadata.and_then(|metadata| metadata.modified().ok());
        let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let kind = if time.is_some() { "fi" } else { "fo" };
        format!("{kind}{:x}", Md5::digest(format!("{name} {time:?}")))
    }

    /// What the API tells of the item at `path`.
    pub(crate) fn describe(&self, path: &Path) -> io::Result<Value> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut item = json!({ "Id": self.id(path), "Name": name, "FileName": name });
        if path.is_dir() {
            item["odata.type"] = "ShareFile.Api.Models.Folder".into();
        } else {
            item["odata.type"] = "ShareFile.Api.Models.File".into();
            item["FileSizeBytes"] = path.metadata()?.len().into();
            item["Hash"] = md5_of(path, u64::MAX)?.into();
        }
        Ok(item)
    }
}

/// The paths of what is in `folder`, in order.
pub(crate) fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The path of `name` in `folder`, whose names are the same in lower and in upper case.
pub(crate) fn child(folder: &Path, name: &str) -> Option<PathBuf> {
    let is_called = |path: &PathBuf| {
        let found = path.file_name().map(|found| found.to_string_lossy().to_lowercase());
        found == Some(name.to_lowercase())
    };
    children(folder).into_iter().find(is_called)
}

/// The path of `path` below `folder`.
pub(crate) fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    names.try_fold(folder.to_owned(), |folder, name| child(&folder, name))
}

/// Whether ShareFile takes this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= 256
        && !name.contains(REFUSED)
        && !name.starts_with([' ', '.'])
        && !name.ends_with([' ', '.'])
}

/// The MD5 of the first `size_bytes` of a file, in hexadecimal.
pub(crate) fn md5_of(path: &Path, size_bytes: u64) -> io::Result<String> {
    let mut md5 = Md5::new();
    io::copy(&mut io::Read::take(fs::File::open(path)?, size_bytes), &mut md5)?;
    Ok(format!("{:x}", md5.finalize()))
}
