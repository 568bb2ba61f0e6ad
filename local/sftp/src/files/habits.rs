//! Habits of servers that are not a file system behind SFTP, as [`Fault`] names them.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use cap_std::fs::{Dir, OpenOptions};
use russh_sftp::{
    protocol::{OpenFlags, StatusCode},
    server::StatusReply,
};

use super::{Answer, Files, Opened, failure};
use crate::{Fault, ObjectStore, paths::below_root};

/// A file that a client has open.
pub(super) struct OpenFile {
    pub(super) file: Arc<std::fs::File>,
    pub(super) path: String,
    pub(super) writes: bool,
    /// The number of bytes that were written through the handle.
    pub(super) written: u64,
}

/// An upload into a store of objects.
pub(super) struct Object {
    store: ObjectStore,
    path: String,
    parts: BTreeMap<u64, Vec<u8>>,
}

impl Object {
    pub(super) fn write(&mut self, offset: u64, data: Vec<u8>) {
        self.parts.insert(offset, data);
    }

    /// The path whose size an open handle has.
    pub(super) fn path_to_tell(&self) -> Answer<String> {
        if self.store.tells_size {
            Ok(self.path.clone())
        } else {
            Err(StatusCode::OpUnsupported.into())
        }
    }

    /// Makes the object. What was not written of it is zeros.
    fn store(self, root: &Dir) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = root.open_with(below_root(&self.path), &options)?;
        let mut at = 0;
        for (offset, part) in self.parts {
            let gap = usize::try_from(offset.saturating_sub(at)).unwrap_or_default();
            file.write_all(&vec![0; gap])?;
            file.write_all(&part)?;
            at = offset + part.len() as u64;
        }
        Ok(())
    }
}

impl Files {
    /// How much of a write of `length` bytes is done, before what happens then.
    pub(super) fn admit(&mut self, length: u64) -> (u64, Option<Fault>) {
        let before = self.bytes_written;
        self.bytes_written += length;
        let limit = |fault| match fault {
            Fault::DropAfterBytes(limit)
            | Fault::SilentAfterBytes(limit)
            | Fault::DiskFullAfterBytes(limit)
            | Fault::QuotaAfterBytes(limit)
            | Fault::LoseBytesAfter(limit) => Some(limit),
            _ => None,
        };
        let hit = self.faults.iter().copied().find_map(|fault| {
            let room = limit(fault)?.saturating_sub(before);
            (length > room).then_some((room, Some(fault)))
        });
        hit.unwrap_or((length, None))
    }

    pub(super) async fn rename_file(&mut self, from: &str, to: &str, replace: bool) -> Answer<()> {
        self.refuse_if(Fault::RefuseRename)?;
        self.renames += 1;
        if self.has(Fault::FailRename(self.renames)) {
            return Err(failure("this rename fails"));
        }
        if self.has(Fault::HoldRename) {
            self.observed.hold().await;
        }
        self.refuse_rename(from, to, replace).await?;
        let renamed = format!("rename {from} {to}");
        let to = if self.has(Fault::OtherName) { format!("{to}.20260101") } else { to.to_owned() };
        let (from, to) = (below_root(from), below_root(&to));
        let collect = self.has(Fault::CollectAtOnce);
        let grow = self.faults.iter().find_map(|fault| match fault {
            Fault::GrowWhenRenamed(bytes) => Some(*bytes),
            _ => None,
        });
        let renamed_bytes = self.on_root(move |root| {
            if !replace && root.symlink_metadata(&to).is_ok() {
                return Err(io::Error::other("the new name is taken"));
            }
            root.rename(from, root, &to)?;
            let size_bytes = root.symlink_metadata(&to)?.len();
            if let Some(more) = grow {
                let file = root.open_with(&to, OpenOptions::new().write(true))?;
                file.set_len(file.metadata()?.len() + more)?;
            }
            if collect {
                root.remove_file(to)?;
            }
            Ok(size_bytes)
        });
        let renamed_bytes = renamed_bytes.await?;
        self.observed.note(format!("{renamed} {renamed_bytes}"));
        if self.has(Fault::LoseRenameAnswer) {
            self.cut.cancel();
        }
        Ok(())
    }

    pub(super) fn object_store(&self) -> Option<ObjectStore> {
        self.find(|fault| match fault {
            Fault::ObjectStore(store) => Some(store),
            _ => None,
        })
    }

    pub(super) async fn open_object(
        &self,
        store: ObjectStore,
        path: String,
        flags: OpenFlags,
    ) -> Answer<Object> {
        let below = below_root(&path);
        let is_new = flags.contains(OpenFlags::EXCLUDE);
        self.on_root(move |root| {
            let parent = below.parent().filter(|parent| !parent.as_os_str().is_empty());
            parent.map(|parent| root.metadata(parent)).transpose()?;
            if is_new && root.symlink_metadata(&below).is_ok() {
                return Err(io::Error::other("the object is there"));
            }
            Ok(())
        })
        .await?;
        Ok(Object { store, path, parts: BTreeMap::new() })
    }

    pub(super) async fn close_object(&self, object: Object) -> Answer<()> {
        self.observed.note(format!("close {}", object.path));
        self.on_root(move |root| object.store(root)).await
    }

    /// Returns where a write goes, and counts its bytes.
    pub(super) fn place_of_write(&mut self, handle: &str, offset: u64, length: u64) -> Answer<u64> {
        let (in_order, ignores) = (self.has(Fault::OnlyInOrder), self.has(Fault::IgnoreOffsets));
        let Some(Opened::File(open)) = self.handles.get_mut(handle) else { return Ok(offset) };
        let at = open.written;
        if in_order && offset != at {
            return Err(failure(format!("seek {offset} not supported with cursor {at}")));
        }
        open.written += length;
        Ok(if ignores { at } else { offset })
    }

    pub(super) async fn close_file(&self, open: OpenFile) -> Answer<()> {
        let OpenFile { file, path, writes, .. } = open;
        drop(file);
        let is_taken = if writes { Fault::TakeOnClose } else { Fault::TakeOnceRead };
        if self.has(is_taken) {
            let path = below_root(&path);
            self.on_root(move |root| root.remove_file(path)).await?;
        }
        if writes {
            self.observed.note(format!("close {path}"));
            self.observed.close(&path);
            let slow = self.find(|fault| match fault {
                Fault::SlowClose(time) => Some(time),
                _ => None,
            });
            tokio::time::sleep(slow.unwrap_or_default()).await;
        }
        Ok(())
    }

    pub(super) fn has_no_size_yet(&self, path: &str) -> bool {
        let time = self.find(|fault| match fault {
            Fault::NoSizeAfterClose(time) => Some(time),
            _ => None,
        });
        time.is_some_and(|time| self.observed.was_closed_within(path, time))
    }

    /// Refuses a file that must not be written.
    pub(super) async fn refuse_to_write(&self, path: &str) -> Answer<()> {
        self.refuse_name(path)?;
        if self.has(Fault::RefuseExisting) && self.exists(path).await {
            return Err(StatusCode::PermissionDenied.into());
        }
        Ok(())
    }

    pub(super) async fn refuse_rename(&self, from: &str, to: &str, replace: bool) -> Answer<()> {
        self.refuse_name(to)?;
        let locked = self.find(|fault| match fault {
            Fault::LockedAfterClose(time, code) => Some((time, code)),
            _ => None,
        });
        if let Some((time, code)) = locked
            && self.observed.was_closed_within(from, time)
        {
            return Err(refusal(code, "the file is being used by another process"));
        }
        let refused = self.find(|fault| match fault {
            Fault::RefusePosixRename(code) if replace => Some(code),
            _ => None,
        });
        if let Some(code) = refused {
            return Err(refusal(code, "this kind of rename is not done"));
        }
        let onto = self.find(|fault| match fault {
            Fault::RefuseRenameOnto(code) => Some(code),
            Fault::RefuseExisting => Some(3),
            _ => None,
        });
        match onto {
            Some(code) if self.exists(to).await => Err(refusal(code, "the target exists")),
            _ => Ok(()),
        }
    }

    fn refuse_name(&self, path: &str) -> Answer<()> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let code = self.find(|fault| match fault {
            Fault::RefuseDotNames(code) if name.starts_with('.') => Some(code),
            Fault::OnlyExtension(only, code) if extension != only => Some(code),
            _ => None,
        });
        code.map_or(Ok(()), |code| Err(refusal(code, "this name is not allowed")))
    }

    async fn exists(&self, path: &str) -> bool {
        let path = below_root(path);
        self.on_root(move |root| root.symlink_metadata(path)).await.is_ok()
    }

    fn find<T>(&self, wanted: impl Fn(Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().copied().find_map(wanted)
    }
}

/// A server may make objects of what a broken connection left.
impl Drop for Files {
    fn drop(&mut self) {
        for (_, opened) in self.handles.drain() {
            if let Opened::Object(object) = opened
                && object.store.keeps_broken
            {
                // Nobody is left to be told.
                drop(object.store(&self.root));
            }
        }
    }
}

fn refusal(code: u32, message: &str) -> StatusReply {
    let code = match code {
        2 => StatusCode::NoSuchFile,
        3 => StatusCode::PermissionDenied,
        8 => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    code.with_message(message)
}
