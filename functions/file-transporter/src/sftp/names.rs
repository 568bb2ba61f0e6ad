//! The names that a delivery uses in the recipient's directory.

use job::{
    FileName,
    transport::{RemoteDirectory, SftpConfig, Sidecar, WriteMode, remote_file_name},
};
use sha2::{Digest, Sha256};

use crate::{delivery::Parcel, error::Error, hexadecimal::hexadecimal};

/// The longest name that file systems take.
const NAME_BYTES_MAX: usize = 255;

/// Where a file goes and what it is called on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Which version of the file they are for.
    pub(super) version: String,
    /// The path under which the recipient expects the file.
    pub(super) last: String,
    /// The path under which it is written. The same file of the same run has the same one, so a
    /// later attempt finds what an earlier one left behind. Where the configuration asks for
    /// writing in place it is the last one.
    pub(super) temporary: String,
    /// The path where an old file waits while the new one takes its place.
    pub(super) aside: String,
}

impl Names {
    /// The names for version `version` of what `parcel` holds.
    pub(super) fn new(
        config: &SftpConfig,
        directory: &RemoteDirectory,
        parcel: &Parcel<'_>,
        version: &str,
    ) -> Result<Self, Error> {
        Ok(Self::of(config, directory, parcel, &file_name(config, parcel)?, version))
    }

    /// The names for the second file beside what `parcel` holds.
    pub(super) fn of_sidecar(
        config: &SftpConfig,
        directory: &RemoteDirectory,
        parcel: &Parcel<'_>,
        sidecar: Sidecar,
    ) -> Result<Self, Error> {
        let name = format!("{}{}", file_name(config, parcel)?, sidecar.suffix());
        let name = name.parse().map_err(Error::FileName)?;
        Ok(Self::of(config, directory, parcel, &name, sidecar.suffix()))
    }

    fn of(
        config: &SftpConfig,
        directory: &RemoteDirectory,
        parcel: &Parcel<'_>,
        name: &FileName,
        version: &str,
    ) -> Self {
        let mark = mark(parcel.run_id.as_str(), version);
        let path =
            |suffix: &str| directory.join(&beside(&config.sftp_temp_prefix, name, &mark, suffix));
        let last = directory.join(name.as_str());
        Self {
            version: version.to_owned(),
            temporary: match config.sftp_write_mode {
                WriteMode::Temp => path(&config.sftp_temp_suffix),
                WriteMode::Direct => last.clone(),
            },
            last,
            aside: path(".bak"),
        }
    }
}

/// What the recipient sees the file as.
pub(super) fn file_name(config: &SftpConfig, parcel: &Parcel<'_>) -> Result<FileName, Error> {
    remote_file_name(&config.sftp_filename, parcel.file_name, parcel.run_id)
        .map_err(Error::FileName)
}

/// Eight hexadecimal digits that stand for the run and the version of its file.
fn mark(run_id: &str, version: &str) -> String {
    hexadecimal(&Sha256::digest(format!("{run_id}\n{version}"))[..4])
}

fn beside(prefix: &str, name: &FileName, mark: &str, suffix: &str) -> String {
    let room = NAME_BYTES_MAX.saturating_sub(prefix.len() + 1 + mark.len() + suffix.len());
    let kept = name.as_str().floor_char_boundary(room);
    format!("{prefix}{}.{mark}{suffix}", &name.as_str()[..kept])
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

    #[test]
    fn the_mark_differs_between_runs_and_between_versions() {
        assert_eq!(mark("run-1", "v1"), mark("run-1", "v1"));
        assert_ne!(mark("run-1", "v1"), mark("run-2", "v1"));
        assert_ne!(mark("run-1", "v1"), mark("run-1", "v2"));
    }
}
