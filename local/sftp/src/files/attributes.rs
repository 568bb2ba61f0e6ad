//! Attributes of files, between the protocol and the file system.

use std::{
    fs::{File, FileTimes, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    time::{Duration, UNIX_EPOCH},
};

use cap_std::fs::{Metadata, MetadataExt};
use russh_sftp::protocol::FileAttributes;

/// The attributes of an entry of a directory.
pub(super) fn of_entry(metadata: &Metadata) -> FileAttributes {
    // The protocol has 32 bits for seconds since 1970.
    let seconds = |time: i64| Some(u32::try_from(time).unwrap_or_default());
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: seconds(metadata.atime()),
        mtime: seconds(metadata.mtime()),
        ..FileAttributes::default()
    }
}

/// Sets those attributes that are given and belong to the user; the owner stays.
pub(super) fn apply(attrs: &FileAttributes, file: &File) -> io::Result<()> {
    if let Some(size) = attrs.size {
        file.set_len(size)?;
    }
    if let Some(mode) = attrs.permissions {
        file.set_permissions(Permissions::from_mode(mode & 0o777))?;
    }
    if let (Some(accessed), Some(modified)) = (attrs.atime, attrs.mtime) {
        let time = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
        file.set_times(FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified)))?;
    }
    Ok(())
}
