//! Pages of a result, read back from the result object a bounded piece at a time.

use std::io;

use crate::csv_text::{Value, read_record};
use crate::results::ResultStore;

/// How much of a result object is asked for at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// The longest record that can be shown in a page.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How the records of a result object are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `.csv`, with a header record.
    Csv,
    /// `.txt`: a line per row, columns parted by tabs in one field.
    Lines,
}

/// Some records of a result and where the next page begins, if there is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) next: Option<u64>,
}

/// Reads up to `rows_max` records of an object from a byte offset on.
pub(crate) async fn read_page(
    store: &dyn ResultStore,
    bucket: &str,
    key: &str,
    form: Form,
    offset: u64,
    rows_max: usize,
) -> io::Result<Page> {
    let mut rows = Vec::new();
    let mut offset = offset;
    let mut pending: Vec<u8> = Vec::new();
    loop {
        let position = offset + pending.len() as u64;
        let piece = store.read(bucket, key, position, PIECE_BYTES).await?;
        let is_end = piece.len() < PIECE_BYTES;
        pending.extend_from_slice(&piece);
        let mut used = 0;
        while rows.len() < rows_max {
            let Some((row, length)) = form.read(&pending[used..]) else { break };
            rows.push(row);
            used += length;
        }
        pending.drain(..used);
        offset += used as u64;
        if rows.len() == rows_max || is_end {
            let is_more = !pending.is_empty() || !is_end;
            let is_more = is_more && has_more(store, bucket, key, offset).await?;
            return Ok(Page { rows, next: is_more.then_some(offset) });
        }
        if pending.len() > RECORD_BYTES_MAX {
            let message = format!("a record is longer than {RECORD_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
    }
}

async fn has_more(store: &dyn ResultStore, bucket: &str, key: &str, at: u64) -> io::Result<bool> {
    Ok(!store.read(bucket, key, at, 1).await?.is_empty())
}

impl Form {
    fn read(self, bytes: &[u8]) -> Option<(Vec<Value>, usize)> {
        match self {
            Self::Csv => read_record(bytes),
            Self::Lines => {
                let end = bytes.iter().position(|byte| *byte == b'\n')?;
                let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
                Some((vec![Some(line)], end + 1))
            }
        }
    }
}
