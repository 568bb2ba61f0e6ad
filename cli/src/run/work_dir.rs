//! Where a stack keeps its files while it runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::Error;

/// The directory that the user named, or one that goes away with this value.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl WorkDir {
    /// Makes `named` if it is not there, or a temporary directory if none is named.
    ///
    /// # Errors
    ///
    /// When it can not be made.
    pub fn open(named: Option<&Path>) -> Result<Self, Error> {
        let failed = |path: &Path, source| Error::MakeDirectory { path: path.to_owned(), source };
        if let Some(path) = named {
            fs::create_dir_all(path).map_err(|error| failed(path, error))?;
            return Ok(Self { path: path.to_owned(), temporary: None });
        }
        let made = tempfile::Builder::new().prefix("athena-workflow-").tempdir();
        let temporary = made.map_err(|error| failed(&std::env::temp_dir(), error))?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory where it is, because somebody wants to look at it.
    pub fn keep(&mut self) -> &Path {
        if let Some(temporary) = self.temporary.take() {
            drop(temporary.keep());
        }
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_temporary_directory_that_nobody_wants_goes_away() {
        let parent = tempfile::tempdir().unwrap();
        let named = parent.path().join("a/b");
        drop(WorkDir::open(Some(&named)).unwrap());
        assert!(named.is_dir());

        let unwanted = WorkDir::open(None).unwrap();
        let path = unwanted.path().to_owned();
        assert!(path.is_dir());
        drop(unwanted);
        assert!(!path.exists());

        let mut wanted = WorkDir::open(None).unwrap();
        let path = wanted.keep().to_owned();
        drop(wanted);
        assert!(path.is_dir());
        fs::remove_dir_all(path).unwrap();
    }
}
