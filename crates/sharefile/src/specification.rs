//! The agreement with ShareFile before an upload.

use serde::Deserialize;
use serde_json::json;

use crate::{
    address::Address,
    error::Error,
    folder::Folder,
    session::{ApiCall, Session},
};

/// The largest file that we ask to send in one request.
const ONE_REQUEST_BYTES_MAX: u64 = 8 << 20;

/// The way of an upload. ShareFile decides, and may decide otherwise than it was asked.
pub(crate) struct Specification {
    pub(crate) method: Method,
    /// Address to request before the first byte.
    pub(crate) prepare: Option<Address>,
    /// Address for the bytes.
    pub(crate) chunks: Address,
    /// Address to request at the end.
    pub(crate) finish: Option<Address>,
    /// The part of an earlier upload that the server still has.
    pub(crate) resume: Option<Resume>,
    /// The most chunks at the same time.
    pub(crate) threads_max: Option<usize>,
    /// Whether the folder has a file of this name.
    pub(crate) is_name_taken: bool,
}

/// The way in which the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// All of them in one request.
    Standard,
    /// In chunks, one after the other; the last one finishes the upload.
    Streamed,
    /// In chunks, several at the same time; another request finishes the upload.
    Threaded,
}

/// The part of a file that the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    /// The number of its last chunk.
    pub(crate) index: u64,
    /// Its size.
    pub(crate) offset: u64,
    /// Their MD5, in hexadecimal.
    pub(crate) md5: String,
}

/// A file to upload.
pub(crate) struct UploadRequest<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) name: &'a str,
    pub(crate) size_bytes: u64,
    /// Whether the part of an earlier upload is of no use.
    pub(crate) start_over: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    method: String,
    prepare_uri: Option<String>,
    chunk_uri: Option<String>,
    finish_uri: Option<String>,
    #[serde(default)]
    is_resume: bool,
    resume_index: Option<u64>,
    resume_offset: Option<u64>,
    resume_file_hash: Option<String>,
    max_number_of_threads: Option<usize>,
    is_duplicate_file_name: Option<bool>,
}

impl Specification {
    /// Asks for the specification of an upload.
    pub(crate) async fn get(
        session: &Session<'_>,
        request: &UploadRequest<'_>,
    ) -> Result<Self, Error> {
        let config = session.config;
        let action = format!("preparing the upload of `{}/{}`", request.folder.path, request.name);
        let in_one = request.size_bytes <= ONE_REQUEST_BYTES_MAX;
        let body = json!({
            "Method": if in_one { "standard" } else { "threaded" },
            "Raw": true,
            "FileName": request.name,
            "FileSize": request.size_bytes,
            "Overwrite": config.sharefile_overwrite,
            "CanResume": !in_one,
            "StartOver": request.start_over,
            "Tool": "athena-workflow",
            "Title": request.name,
            "Details": "",
            "Notify": config.sharefile_notify,
            "ThreadCount": if in_one { 1 } else { config.sharefile_threads.get() },
            "IsSend": false,
            "Unzip": false,
        });
        let address = request.folder.address("/Upload2", &action)?;
        let call = ApiCall { action: &action, address: &address, json: Some(&body) };
        let (value, address) = session.call(&call).await?;
        // The text of a `serde` error may hold an upload address.
        let answer =
            serde_json::from_value(value).map_err(|_| unusable(&action, "a field is missing"))?;
        Self::new(answer, &address).map_err(|fault| unusable(&action, fault))
    }

    fn new(answer: Answer, api: &Address) -> Result<Self, &'static str> {
        let address = |text: Option<String>| {
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| Address::parse(&text, api.is_local())).transpose()
        };
        let method = match answer.method.to_ascii_lowercase().as_str() {
            "standard" => Method::Standard,
            "streamed" => Method::Streamed,
            "threaded" => Method::Threaded,
            _ => return Err("its method is not known"),
        };
        let finish = address(answer.finish_uri)?;
        if method == Method::Threaded && finish.is_none() {
            return Err("it has no address for the end of the upload");
        }
        let resume = Resume {
            index: answer.resume_index.unwrap_or_default(),
            offset: answer.resume_offset.unwrap_or_default(),
            md5: answer.resume_file_hash.unwrap_or_default(),
        };
        Ok(Self {
            method,
            prepare: address(answer.prepare_uri)?,
            chunks: address(answer.chunk_uri)?.ok_or("it has no address for the bytes")?,
            finish,
            resume: (answer.is_resume && resume.offset > 0).then_some(resume),
            threads_max: answer.max_number_of_threads.filter(|threads| *threads > 0),
            is_name_taken: answer.is_duplicate_file_name.unwrap_or_default(),
        })
    }
}

fn unusable(action: &str, fault: &str) -> Error {
    let message = format!("the upload specification: {fault}");
    Error::Protocol { action: action.to_owned(), message }
}
