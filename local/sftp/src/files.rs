//! SFTP version 3 over a directory.
//!
//! The protocol is [draft-ietf-secsh-filexfer-02]; the extensions are those of OpenSSH's
//! [PROTOCOL], section 4.
//!
//! [draft-ietf-secsh-filexfer-02]: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02
//! [PROTOCOL]: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL

mod attributes;
mod extension;
mod habits;

use std::{collections::HashMap, io, os::unix::fs::FileExt, sync::Arc};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use russh_sftp::{
    protocol::{
        Attrs, Data, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
        StatusCode, Version,
    },
    server::{Handler, StatusReply},
};
use tokio_util::sync::CancellationToken;

use self::{
    extension::Extension,
    habits::{Object, OpenFile},
};
use crate::{
    Fault,
    observed::Observed,
    paths::{absolute, below_root},
};

/// The largest read and write; with its header it stays below the largest packet.
const DATA_BYTES_MAX: u32 = 261_120;
/// The largest packet that `russh-sftp` takes.
const PACKET_BYTES_MAX: u32 = 262_144;
/// Handles that one connection may have open.
const HANDLES_MAX: usize = 256;
/// Entries in one answer to a request to list a directory.
const ENTRIES_PER_ANSWER: usize = 100;

/// What one client sees and has open.
pub(crate) struct Files {
    root: Arc<Dir>,
    faults: Vec<Fault>,
    cut: CancellationToken,
    handles: HashMap<String, Opened>,
    handles_made: u64,
    bytes_written: u64,
    renames: u32,
    observed: Arc<Observed>,
}

enum Opened {
    File(OpenFile),
    /// An upload into a store of objects.
    Object(Object),
    Directory(Vec<Entry>),
}

type Answer<T> = Result<T, StatusReply>;

impl Files {
    pub(crate) fn new(
        root: Arc<Dir>,
        faults: Vec<Fault>,
        cut: CancellationToken,
        observed: Arc<Observed>,
    ) -> Self {
        Self {
            root,
            faults,
            cut,
            handles: HashMap::new(),
            handles_made: 0,
            bytes_written: 0,
            renames: 0,
            observed,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn refuse_if(&self, fault: Fault) -> Answer<()> {
        if self.has(fault) { Err(StatusCode::PermissionDenied.into()) } else { Ok(()) }
    }

    /// Runs file operations on the root where they may block.
    async fn on_root<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Dir) -> io::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let root = self.root.clone();
        blocking(move || work(&root)).await
    }

    fn keep(&mut self, opened: Opened) -> Answer<String> {
        if self.handles.len() >= HANDLES_MAX {
            return Err(failure(format!("no more than {HANDLES_MAX} handles can be open")));
        }
        self.handles_made += 1;
        let name = self.handles_made.to_string();
        self.handles.insert(name.clone(), opened);
        Ok(name)
    }

    fn file(&self, handle: &str) -> Answer<Arc<std::fs::File>> {
        match self.handles.get(handle) {
            Some(Opened::File(open)) => Ok(open.file.clone()),
            Some(Opened::Directory(_) | Opened::Object(_)) | None => {
                Err(failure("the handle is not that of an open file"))
            }
        }
    }

    async fn attributes(&self, path: String, follow: bool) -> Answer<FileAttributes> {
        self.refuse_if(Fault::RefuseStat)?;
        let has_no_size = self.has_no_size_yet(&path);
        self.on_root(move |root| {
            let path = below_root(&path);
            let metadata = if follow { root.metadata(path) } else { root.symlink_metadata(path) };
            metadata.map(|metadata| attributes::of_entry(&metadata))
        })
        .await
        .map(|found| if has_no_size { FileAttributes { size: Some(0), ..found } } else { found })
    }
}

impl Handler for Files {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        StatusCode::OpUnsupported.into()
    }

    async fn init(
        &mut self,
        _version: u32,
        _extensions: HashMap<String, String>,
    ) -> Answer<Version> {
        let mut version = Version::new();
        if !self.has(Fault::NoExtensions) {
            let offered = Extension::ALL.iter().filter(|e| !e.is_missing(&self.faults));
            version.extensions = offered.map(|e| (e.name().to_owned(), "1".to_owned())).collect();
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        flags: OpenFlags,
        attrs: FileAttributes,
    ) -> Answer<Handle> {
        if flags.contains(OpenFlags::WRITE) {
            self.refuse_if(Fault::RefuseWriting)?;
            self.refuse_to_write(&filename).await?;
            self.observed.note(format!("open {filename}"));
            if let Some(store) = self.object_store() {
                let object = self.open_object(store, filename, flags).await?;
                let handle = self.keep(Opened::Object(object))?;
                return Ok(Handle { id, handle });
            }
        }
        let path = filename.clone();
        let file = self
            .on_root(move |root| {
                let file =
                    root.open_with(below_root(&path), &open_options(flags, &attrs))?.into_std();
                if file.metadata()?.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Ok(file)
            })
            .await?;
        let writes = flags.contains(OpenFlags::WRITE);
        let open = OpenFile { file: Arc::new(file), path: filename, writes, written: 0 };
        let handle = self.keep(Opened::File(open))?;
        Ok(Handle { id, handle })
    }

    async fn close(&mut self, id: u32, handle: String) -> Answer<Status> {
        match self.handles.remove(&handle) {
            Some(Opened::File(open)) => self.close_file(open).await?,
            Some(Opened::Object(object)) => self.close_object(object).await?,
            Some(Opened::Directory(_)) => {}
            None => return Err(failure("the handle is not open")),
        }
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Answer<Data> {
        let file = self.file(&handle)?;
        let data = blocking(move || {
            let mut data = vec![0; length.min(DATA_BYTES_MAX) as usize];
            let count = file.read_at(&mut data, offset)?;
            data.truncate(count);
            Ok(data)
        })
        .await?;
        if data.is_empty() && length > 0 {
            Err(StatusCode::Eof.into())
        } else {
            Ok(Data { id, data })
        }
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        mut data: Vec<u8>,
    ) -> Answer<Status> {
        let (admitted, fault) = self.admit(data.len() as u64);
        data.truncate(usize::try_from(admitted).unwrap_or(usize::MAX));
        if let Some(Opened::Object(object)) = self.handles.get_mut(&handle) {
            object.write(offset, data);
        } else {
            let file = self.file(&handle)?;
            let offset = self.place_of_write(&handle, offset, data.len() as u64)?;
            blocking(move || file.write_all_at(&data, offset)).await?;
        }
        match fault {
            Some(Fault::DropAfterBytes(_)) => {
                self.cut.cancel();
                Err(StatusCode::ConnectionLost.into())
            }
            Some(Fault::SilentAfterBytes(_)) => std::future::pending().await,
            Some(Fault::DiskFullAfterBytes(_)) => Err(failure("no space left on device")),
            Some(Fault::QuotaAfterBytes(_)) => Err(failure("the quota of this user is exceeded")),
            Some(_) | None => Ok(done(id)),
        }
    }

    async fn lstat(&mut self, id: u32, path: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: self.attributes(path, false).await? })
    }

    async fn stat(&mut self, id: u32, path: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: self.attributes(path, true).await? })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Answer<Attrs> {
        self.refuse_if(Fault::RefuseStat)?;
        if let Some(Opened::Object(object)) = self.handles.get(&handle) {
            let path = object.path_to_tell()?;
            return Ok(Attrs { id, attrs: self.attributes(path, true).await? });
        }
        let file = self.file(&handle)?;
        let attrs =
            blocking(move || file.metadata().map(|metadata| FileAttributes::from(&metadata)))
                .await?;
        Ok(Attrs { id, attrs })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Answer<Status> {
        self.on_root(move |root| {
            let mut options = OpenOptions::new();
            options.read(true).write(attrs.size.is_some());
            let file = root.open_with(below_root(&path), &options)?.into_std();
            attributes::apply(&attrs, &file)
        })
        .await?;
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attrs: FileAttributes) -> Answer<Status> {
        let file = self.file(&handle)?;
        blocking(move || attributes::apply(&attrs, &file)).await?;
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Answer<Handle> {
        let entries = self.on_root(move |root| list(root, &path)).await?;
        let handle = self.keep(Opened::Directory(entries))?;
        Ok(Handle { id, handle })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Answer<Name> {
        match self.handles.get_mut(&handle) {
            Some(Opened::Directory(entries)) if entries.is_empty() => Err(StatusCode::Eof.into()),
            Some(Opened::Directory(entries)) => {
                let rest = entries.split_off(entries.len().min(ENTRIES_PER_ANSWER));
                Ok(Name { id, files: std::mem::replace(entries, rest) })
            }
            Some(Opened::File(_) | Opened::Object(_)) | None => {
                Err(failure("the handle is not that of an open directory"))
            }
        }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Answer<Status> {
        self.refuse_if(Fault::RefuseRemove)?;
        let path = filename.clone();
        self.on_root(move |root| root.remove_file(below_root(&path))).await?;
        self.observed.note(format!("remove {filename}"));
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attrs: FileAttributes) -> Answer<Status> {
        self.refuse_if(Fault::RefuseMkdir)?;
        self.on_root(move |root| {
            let mut builder = DirBuilder::new();
            builder.mode(attrs.permissions.map_or(0o777, |mode| mode & 0o777));
            root.create_dir_with(below_root(&path), &builder)
        })
        .await?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Answer<Status> {
        self.on_root(move |root| root.remove_dir(below_root(&path))).await?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Answer<Name> {
        Ok(Name { id, files: vec![Entry::dummy(absolute(&path))] })
    }

    async fn rename(&mut self, id: u32, old: String, new: String) -> Answer<Status> {
        self.rename_file(&old, &new, false).await?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Answer<Name> {
        let target = self.on_root(move |root| root.read_link(below_root(&path))).await?;
        Ok(Name { id, files: vec![Entry::dummy(target.to_string_lossy())] })
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Answer<Packet> {
        let known =
            Extension::ALL.iter().find(|e| e.name() == request && !e.is_missing(&self.faults));
        let Some(extension) = known.filter(|_| !self.has(Fault::NoExtensions)) else {
            return Err(self.unimplemented());
        };
        let mut arguments = extension::Arguments(&data);
        match extension {
            Extension::PosixRename => {
                let (old, new) = (arguments.text()?, arguments.text()?);
                self.rename_file(&old, &new, true).await?;
                Ok(done(id).into())
            }
            Extension::Fsync => {
                let file = self.file(&arguments.text()?)?;
                blocking(move || file.sync_all()).await?;
                Ok(done(id).into())
            }
            Extension::Limits => Ok(extension::limits(id)),
        }
    }
}

/// Runs what may block outside of the asynchronous threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| status_of(&error)),
        Err(_) => Err(failure("the server has a fault")),
    }
}

fn list(root: &Dir, path: &str) -> io::Result<Vec<Entry>> {
    let mut entries = vec![];
    for entry in root.read_dir(below_root(path))? {
        let entry = entry?;
        // An entry that was removed in the meantime is not an error of the listing.
        if let Ok(metadata) = entry.metadata() {
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry::new(name, attributes::of_entry(&metadata)));
        }
    }
    entries.sort_by(|a, b| a.filename.cmp(&b.filename));
    Ok(entries)
}

fn open_options(flags: OpenFlags, attrs: &FileAttributes) -> OpenOptions {
    let has = |flag| flags.contains(flag);
    let mut options = OpenOptions::new();
    options
        .read(has(OpenFlags::READ))
        .write(has(OpenFlags::WRITE))
        .append(has(OpenFlags::APPEND))
        .truncate(has(OpenFlags::TRUNCATE))
        .create(has(OpenFlags::CREATE))
        .create_new(has(OpenFlags::CREATE) && has(OpenFlags::EXCLUDE))
        .mode(attrs.permissions.map_or(0o666, |mode| mode & 0o777));
    options
}

fn status_of(error: &io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        io::ErrorKind::Unsupported => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn failure(message: impl Into<String>) -> StatusReply {
    StatusCode::Failure.with_message(message)
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".to_owned(),
        language_tag: "en-US".to_owned(),
    }
}

#[cfg(test)]
mod tests;
