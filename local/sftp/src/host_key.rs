//! The host key: read from a file, or made.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use russh::keys::{
    Algorithm, PrivateKey, decode_secret_key,
    key::safe_rng,
    ssh_key::{self, LineEnding},
};

use crate::Error;

/// Reads the host key from the file, or makes one and keeps it there.
pub(crate) fn load_or_make(path: Option<&Path>) -> Result<PrivateKey, Error> {
    let Some(path) = path else { return make() };
    let file_error = |source| Error::HostKeyFile { path: path.to_owned(), source };
    match std::fs::read_to_string(path) {
        Ok(text) => decode_secret_key(&text, None).map_err(Error::HostKey),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = make()?;
            let text = key.to_openssh(LineEnding::LF).map_err(made_badly)?;
            write_private(path, text.as_bytes()).map_err(file_error)?;
            Ok(key)
        }
        Err(error) => Err(file_error(error)),
    }
}

fn make() -> Result<PrivateKey, Error> {
    PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(made_badly)
}

fn made_badly(error: ssh_key::Error) -> Error {
    Error::HostKey(error.into())
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_of_the_first_start_is_the_key_of_the_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/host");
        let first = load_or_make(Some(&path)).unwrap();
        let second = load_or_make(Some(&path)).unwrap();
        assert_eq!(first.public_key().key_data(), second.public_key().key_data());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_no_key_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host");
        std::fs::write(&path, "notes").unwrap();
        assert!(matches!(load_or_make(Some(&path)), Err(Error::HostKey(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes");
    }
}
