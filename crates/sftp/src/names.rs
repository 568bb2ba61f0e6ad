//! The names that a file has on its way to the recipient.

use delivery::Parcel;
use job::{
    FileName,
    delivery::Intent,
    name::NameError,
    transport::{RemoteDirectory, SftpConfig, Sidecar, WriteMode, remote_file_name},
};

/// The longest name that file systems take.
const NAME_BYTES_MAX: usize = 255;

/// The paths of one file of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Path under which the recipient expects the file.
    pub(crate) last: String,
    /// Path under which it is written. It belongs to one attempt: a request of an earlier one that
    /// the server carries out late finds another file. In the write mode `direct` it is the last.
    pub(crate) temporary: String,
    /// Path of an old file while the new one takes its place.
    pub(crate) backup: String,
}

impl Paths {
    /// Returns the paths of `name` for the attempt with this nonce.
    pub(crate) fn new(
        config: &SftpConfig,
        directory: &RemoteDirectory,
        name: &FileName,
        nonce: &str,
    ) -> Self {
        let path =
            |suffix: &str| directory.join(&beside(&config.sftp_temp_prefix, name, nonce, suffix));
        let last = directory.join(name.as_str());
        Self {
            temporary: match config.sftp_write_mode {
                WriteMode::Temp => path(&config.sftp_temp_suffix),
                WriteMode::Direct => last.clone(),
            },
            backup: path(".bak"),
            last,
        }
    }

    /// Takes over the file of an earlier attempt that was about to publish.
    ///
    /// The backup path stays this attempt's own: a late request of the earlier one may still move
    /// the published file to its backup path.
    pub(crate) fn adopt(&mut self, intent: &Intent) {
        self.last.clone_from(&intent.remote_path);
        if let Some(path) = &intent.temporary_path {
            self.temporary.clone_from(path);
        }
    }
}

/// Returns the name of the file at the recipient.
pub(crate) fn file_name(config: &SftpConfig, parcel: &Parcel<'_>) -> Result<FileName, NameError> {
    remote_file_name(&config.sftp_filename, parcel.file_name, parcel.run_id)
}

/// Returns the name of the second file.
pub(crate) fn sidecar_name(name: &FileName, sidecar: Sidecar) -> Result<FileName, NameError> {
    format!("{name}{}", sidecar.suffix()).parse()
}

fn beside(prefix: &str, name: &FileName, nonce: &str, suffix: &str) -> String {
    let room = NAME_BYTES_MAX.saturating_sub(prefix.len() + 1 + nonce.len() + suffix.len());
    let kept = name.as_str().floor_char_boundary(room);
    format!("{prefix}{}.{nonce}{suffix}", &name.as_str()[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_fits_into_a_file_system_however_long_the_name_is() {
        let check = |name: &str, expected: &str| {
            let found = beside(".", &name.parse().unwrap(), "0a1b2c3d", ".part");
            assert!(found.len() <= NAME_BYTES_MAX);
            assert_eq!(found, expected);
        };
        check("x.zip", ".x.zip.0a1b2c3d.part");
        check(&"x".repeat(255), &format!(".{}.0a1b2c3d.part", "x".repeat(240)));
        check(&"ä".repeat(127), &format!(".{}.0a1b2c3d.part", "ä".repeat(120)));
    }
}
