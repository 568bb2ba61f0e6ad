//! What ShareFile and we agree on before an upload.

use serde::Deserialize;
use serde_json::json;

use super::{
    address::Address,
    folder::Folder,
    session::{Call, Session},
};
use crate::error::Error;

/// Up to this size a file is sent in one request.
const ONE_REQUEST_BYTES_MAX: u64 = 8 << 20;

/// How an upload is to be made. ShareFile decides; what is asked for is a wish.
pub(super) struct Specification {
    pub(super) method: Method,
    /// What is to be requested before anything is sent.
    pub(super) prepare: Option<Address>,
    /// Where the bytes go.
    pub(super) chunks: Address,
    /// What is requested at the end.
    pub(super) finish: Option<Address>,
    /// What an earlier upload of the same file left.
    pub(super) resume: Option<Resume>,
    /// The most chunks at the same time.
    pub(super) threads_max: Option<usize>,
    /// Whether the folder has a file of this name.
    pub(super) is_duplicate: bool,
}

/// How the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// All of them in one request.
    Standard,
    /// In chunks, one after the other; the last one finishes the upload.
    Streamed,
    /// In chunks, several at the same time; another request finishes the upload.
    Threaded,
}

/// What the server has of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    /// The number of its last chunk.
    pub(super) index: u64,
    /// How many bytes it has.
    pub(super) offset: u64,
    /// Their MD5, in hexadecimal.
    pub(super) md5: String,
}

/// What is to be uploaded.
pub(super) struct Wish<'a> {
    pub(super) folder: &'a Folder,
    pub(super) name: &'a str,
    pub(super) size_bytes: u64,
    /// Whether what an earlier upload left is of no use.
    pub(super) start_over: bool,
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
    /// Asks how to upload what `wish` says.
    pub(super) async fn get(session: &Session<'_>, wish: &Wish<'_>) -> Result<Self, Error> {
        let config = session.config;
        let action = format!("preparing the upload of `{}/{}`", wish.folder.path, wish.name);
        let in_one = wish.size_bytes <= ONE_REQUEST_BYTES_MAX;
        let request = json!({
            "Method": if in_one { "standard" } else { "threaded" },
            "Raw": true,
            "FileName": wish.name,
            "FileSize": wish.size_bytes,
            "Overwrite": config.sharefile_overwrite,
            "CanResume": !in_one,
            "StartOver": wish.start_over,
            "Tool": "athena-workflow",
            "Title": wish.name,
            "Details": "",
            "Notify": config.sharefile_notify,
            "ThreadCount": if in_one { 1 } else { config.sharefile_threads.get() },
            "IsSend": false,
            "Unzip": false,
        });
        let address = wish.folder.address("/Upload2", &action)?;
        let call = Call { action: &action, address: &address, json: Some(&request) };
        let (value, address) = session.call(&call).await?;
        // The text of a `serde` error may hold an upload address.
        let answer = serde_json::from_value(value).map_err(|_| unusable(&action, "it is none"))?;
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
            is_duplicate: answer.is_duplicate_file_name.unwrap_or_default(),
        })
    }
}

fn unusable(action: &str, fault: &str) -> Error {
    let message = format!("the specification can not be used: {fault}");
    Error::Unsupported { action: action.to_owned(), message }
}
