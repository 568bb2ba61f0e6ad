//! Uploads, from their specification to their end.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Query, State as Shared},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use uuid::Uuid;

use crate::{
    State,
    fault::Fault,
    items::{failure, refusal},
    lock,
    serving::Shown,
    token,
    tree::{child, is_name, md5_of},
};

/// The code of an upload that is not known.
const UNRECOGNIZED: u32 = 605;
/// The code of bytes that are not what they are said to be.
const WRONG_BYTES: u32 = 420;

/// The uploads that have not ended.
#[derive(Debug)]
pub(crate) struct Uploads {
    directory: PathBuf,
    pending: Mutex<HashMap<String, Upload>>,
}

/// What a client says that it wants to upload.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_excessive_bools, reason = "the protocol has them")]
struct Wish {
    method: String,
    raw: bool,
    file_name: String,
    file_size: u64,
    overwrite: bool,
    can_resume: bool,
    start_over: bool,
}

#[derive(Clone, Debug)]
struct Upload {
    /// Whoever knows it may upload.
    signature: String,
    folder: PathBuf,
    wish: Wish,
    /// Where the bytes are.
    file: PathBuf,
    /// What has arrived: where a chunk begins, where it ends, and its number.
    chunks: BTreeMap<u64, (u64, u64)>,
}

impl Upload {
    /// How many bytes have arrived without a gap, and the number of the last chunk of them.
    fn arrived(&self) -> (u64, u64) {
        let mut arrived = (0, 0);
        while let Some(next) = self.chunks.get(&arrived.0).filter(|next| next.0 > arrived.0) {
            arrived = *next;
        }
        arrived
    }
}

/// The query of an upload address.
#[derive(Debug, Deserialize)]
pub(crate) struct Address {
    uploadid: String,
    signature: String,
    #[serde(default)]
    index: u64,
    #[serde(default, rename = "byteOffset")]
    offset: u64,
    hash: Option<String>,
    #[serde(default)]
    finish: bool,
    #[serde(rename = "fileHash", alias = "filehash")]
    file_hash: Option<String>,
}

impl Uploads {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, pending: Mutex::default() }
    }

    fn get(&self, address: &Address) -> Option<Upload> {
        let known = lock(&self.pending).get(&address.uploadid).cloned();
        known.filter(|upload| upload.signature == address.signature)
    }

    /// An unfinished upload of the same file, which is taken out.
    fn take_earlier(&self, folder: &PathBuf, wish: &Wish) -> Option<Upload> {
        let mut pending = lock(&self.pending);
        let same = |upload: &Upload| {
            upload.folder == *folder
                && upload.wish.file_name == wish.file_name
                && upload.wish.file_size == wish.file_size
                && upload.wish.can_resume
        };
        let id = pending.iter().find(|(_, upload)| same(upload))?.0.clone();
        pending.remove(&id)
    }
}

/// The answer to `Upload2`.
pub(crate) fn specify(state: &State, faults: &Shown, folder: PathBuf, body: Value) -> Response {
    let mut wish: Wish = match serde_json::from_value(body) {
        Ok(wish) => wish,
        Err(error) => {
            return refusal(StatusCode::BAD_REQUEST, "BadRequest", &error.to_string());
        }
    };
    if !is_name(&wish.file_name) || !wish.raw {
        return refusal(StatusCode::BAD_REQUEST, "InvalidTarget", "the name is not allowed");
    }
    for fault in &faults.0 {
        if let Fault::Method(method) = fault {
            (*method).clone_into(&mut wish.method);
        }
    }
    let earlier = wish.can_resume.then(|| state.uploads.take_earlier(&folder, &wish)).flatten();
    let forgets = faults.has(Fault::ForgetsResume);
    let earlier = earlier.filter(|_| !wish.start_over && !forgets);
    let id = format!("rsu-{}", Uuid::new_v4().simple());
    let file = state.uploads.directory.join(&id);
    let mut upload = Upload {
        signature: Uuid::new_v4().simple().to_string(),
        folder,
        wish,
        file,
        chunks: BTreeMap::new(),
    };
    if let Err(error) = fs::File::create(&upload.file) {
        return failure(&error);
    }
    if let Some(earlier) = earlier {
        (upload.file, upload.chunks) = (earlier.file, earlier.chunks);
    }
    let specification = match specification(state, faults, &id, &upload) {
        Ok(specification) => specification,
        Err(error) => return failure(&error),
    };
    lock(&state.uploads.pending).insert(id, upload);
    Json(specification).into_response()
}

fn specification(state: &State, faults: &Shown, id: &str, upload: &Upload) -> io::Result<Value> {
    let other = faults.has(Fault::OtherHost);
    let host = if other { "http://storage.example".to_owned() } else { state.url() };
    let address = |kind: &str| {
        format!("{host}/upload/{kind}?uploadid={id}&raw=1&signature={}", upload.signature)
    };
    let standard = upload.wish.method == "standard";
    let (offset, index) = upload.arrived();
    let hash = match offset {
        0 => String::new(),
        _ if faults.has(Fault::WrongResumeHash) => md5_of(&upload.file, 0)?,
        _ => md5_of(&upload.file, offset)?,
    };
    let threads = faults.0.iter().find_map(|fault| match fault {
        Fault::ThreadsMax(threads) => Some(*threads),
        _ => None,
    });
    let duplicate = child(&upload.folder, &upload.wish.file_name);
    Ok(json!({
        "odata.type": "ShareFile.Api.Models.UploadSpecification",
        "Method": upload.wish.method,
        "PrepareUri": faults.has(Fault::WantsPrepare).then(|| address("prepare")),
        "ChunkUri": address(if standard { "standard" } else { "chunk" }),
        "FinishUri": (upload.wish.method == "threaded").then(|| address("finish")),
        "ProgressData": "",
        "IsResume": offset > 0, "ResumeIndex": index, "ResumeOffset": offset,
        "ResumeFileHash": hash,
        "MaxNumberOfThreads": threads.unwrap_or(8),
        "CanAcceptParamsInHeaders": false,
        "IsDuplicateFileName": duplicate.is_some(),
    }))
}

fn error(code: u32, message: &str) -> Response {
    Json(json!({ "error": true, "errorMessage": message, "errorCode": code })).into_response()
}

/// The upload that an address is for, unless the address is not good.
fn find(
    state: &State,
    faults: &Shown,
    headers: &HeaderMap,
    address: &Address,
) -> Result<Upload, Response> {
    if faults.has(Fault::ForgetUpload) {
        lock(&state.uploads.pending).remove(&address.uploadid);
    }
    if faults.has(Fault::WantsToken) && !token::is_known(state, headers) {
        return Err(refusal(StatusCode::UNAUTHORIZED, "NotAuthenticated", "no valid token"));
    }
    state.uploads.get(address).ok_or_else(|| error(UNRECOGNIZED, "Unrecognized Upload ID"))
}

/// What is to be requested before the first byte.
pub(crate) async fn prepare(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    Query(address): Query<Address>,
    headers: HeaderMap,
) -> Response {
    match find(&state, &faults, &headers, &address) {
        Ok(_) => "OK".into_response(),
        Err(refusal) => refusal,
    }
}

/// A file in one request.
pub(crate) async fn standard(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    Query(address): Query<Address>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let upload = match find(&state, &faults, &headers, &address) {
        Ok(upload) => upload,
        Err(refusal) => return refusal,
    };
    let md5 = match receive(&state, &upload, 0, body).await {
        Ok((_, md5)) => md5,
        Err(error) => return failure(&error),
    };
    match publish(&state, &faults, &address.uploadid, &upload, Some(&md5)) {
        Ok(path) => published(&state, &faults, &address, &path),
        Err(refusal) => refusal,
    }
}

/// A chunk of a file.
pub(crate) async fn chunk(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    Query(address): Query<Address>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let upload = match find(&state, &faults, &headers, &address) {
        Ok(upload) => upload,
        Err(refusal) => return refusal,
    };
    let (received, md5) = match receive(&state, &upload, address.offset, body).await {
        Ok(received) => received,
        Err(error) => return failure(&error),
    };
    if address.hash.as_ref() != Some(&md5) {
        return error(WRONG_BYTES, "the hash of the chunk differs");
    }
    let mut pending = lock(&state.uploads.pending);
    let Some(known) = pending.get_mut(&address.uploadid) else {
        return error(UNRECOGNIZED, "Unrecognized Upload ID");
    };
    known.chunks.insert(address.offset, (address.offset + received, address.index));
    let upload = known.clone();
    drop(pending);
    if !address.finish {
        return Json(json!({ "error": false, "value": received.to_string() })).into_response();
    }
    match publish(&state, &faults, &address.uploadid, &upload, address.file_hash.as_deref()) {
        Ok(path) => published(&state, &faults, &address, &path),
        Err(refusal) => refusal,
    }
}

/// The end of an upload in chunks side by side.
pub(crate) async fn finish(
    Shared(state): Shared<Arc<State>>,
    Extension(faults): Extension<Shown>,
    Query(address): Query<Address>,
    headers: HeaderMap,
) -> Response {
    let upload = match find(&state, &faults, &headers, &address) {
        Ok(upload) => upload,
        Err(refusal) => return refusal,
    };
    match publish(&state, &faults, &address.uploadid, &upload, address.file_hash.as_deref()) {
        Ok(path) => published(&state, &faults, &address, &path),
        Err(refusal) => refusal,
    }
}

/// Writes what comes to its place in the hidden file; its length and MD5.
async fn receive(
    state: &State,
    upload: &Upload,
    offset: u64,
    mut body: Body,
) -> io::Result<(u64, String)> {
    let mut file = tokio::fs::OpenOptions::new().write(true).open(&upload.file).await?;
    file.seek(io::SeekFrom::Start(offset)).await?;
    let (mut received, mut md5) = (0, Md5::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        md5.update(&data);
        received += data.len() as u64;
        state.bytes_received.fetch_add(data.len() as u64, Ordering::SeqCst);
        file.write_all(&data).await?;
    }
    file.flush().await?;
    Ok((received, format!("{:x}", md5.finalize())))
}

/// Gives a complete file its name.
fn publish(
    state: &State,
    faults: &Shown,
    id: &str,
    upload: &Upload,
    md5: Option<&str>,
) -> Result<PathBuf, Response> {
    let size = upload.file.metadata().map_err(|error| failure(&error))?.len();
    let arrived = if upload.wish.method == "standard" { size } else { upload.arrived().0 };
    let expected = upload.wish.file_size;
    if size != expected || arrived != expected {
        return Err(error(WRONG_BYTES, &format!("{arrived} of {expected} bytes are there")));
    }
    let found = md5_of(&upload.file, u64::MAX).map_err(|error| failure(&error))?;
    if md5.is_some_and(|md5| md5 != found) {
        return Err(error(WRONG_BYTES, "the hash of the file differs"));
    }
    let old = child(&upload.folder, &upload.wish.file_name);
    if old.is_some() && !upload.wish.overwrite {
        return Err(refusal(StatusCode::CONFLICT, "Conflict", "the file exists"));
    }
    let other_name = faults.0.iter().find_map(|fault| match fault {
        Fault::StoresAs(name) => Some(*name),
        _ => None,
    });
    let path = match other_name {
        Some(name) => upload.folder.join(name),
        None => old.unwrap_or_else(|| upload.folder.join(&upload.wish.file_name)),
    };
    fs::rename(&upload.file, &path).map_err(|error| failure(&error))?;
    lock(&state.published).push((path.clone(), found));
    lock(&state.uploads.pending).remove(id);
    Ok(path)
}

/// The answer to the end of an upload.
fn published(state: &State, faults: &Shown, address: &Address, path: &std::path::Path) -> Response {
    if faults.has(Fault::NoDetails) {
        return "OK".into_response();
    }
    let (size, md5) = match (path.metadata(), md5_of(path, u64::MAX)) {
        (Ok(metadata), Ok(md5)) => (metadata.len(), md5),
        (Err(error), _) | (_, Err(error)) => return failure(&error),
    };
    let size = if faults.has(Fault::WrongSize) { size + 1 } else { size };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut file = json!({
        "uploadid": address.uploadid, "id": state.tree.id(path),
        "parentid": path.parent().map(|parent| state.tree.id(parent)),
        "streamid": Uuid::new_v4().simple().to_string(),
        "filename": name, "displayname": name, "size": size.to_string(),
    });
    if faults.has(Fault::WrongMd5) {
        file["md5"] = "d41d8cd98f00b204e9800998ecf8427e".into();
    } else if !faults.has(Fault::NoMd5) {
        file["md5"] = md5.into();
    }
    Json(json!({ "error": false, "value": [file] })).into_response()
}
