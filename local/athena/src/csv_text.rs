//! Result objects as Athena writes them: every value quoted, NULL empty, LF.

use datafusion::arrow::array::RecordBatch;

use crate::columns::Column;
use crate::failure::Failure;
use crate::text::write_value;

/// One field of a record; `None` is NULL.
pub(crate) type Value = Option<String>;

/// Appends the header record.
pub(crate) fn write_header(out: &mut String, columns: &[Column]) {
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_quoted(out, &column.name);
    }
    out.push('\n');
}

/// Appends the records of a batch.
pub(crate) fn write_batch(out: &mut String, batch: &RecordBatch) -> Result<(), Failure> {
    let mut value = String::new();
    for row in 0..batch.num_rows() {
        for (index, column) in batch.columns().iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            if !column.is_null(row) && !column.data_type().is_null() {
                value.clear();
                write_value(&mut value, column.as_ref(), row)?;
                write_quoted(out, &value);
            }
        }
        out.push('\n');
    }
    Ok(())
}

fn write_quoted(out: &mut String, value: &str) {
    out.push('"');
    for (index, part) in value.split('"').enumerate() {
        if index > 0 {
            out.push_str("\"\"");
        }
        out.push_str(part);
    }
    out.push('"');
}

/// The first complete record of `bytes`: its fields and its length, or nothing if the record does
/// not end within them.
///
/// Reads only what this module writes.
pub(crate) fn read_record(bytes: &[u8]) -> Option<(Vec<Value>, usize)> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let field = if bytes.get(at)? == &b'"' {
            let (field, length) = read_quoted(&bytes[at..])?;
            at += length;
            Some(field)
        } else {
            None
        };
        fields.push(field);
        let end = *bytes.get(at)?;
        at += 1;
        if end == b'\n' {
            return Some((fields, at));
        }
    }
}

fn read_quoted(bytes: &[u8]) -> Option<(String, usize)> {
    let mut field = Vec::new();
    let mut at = 1;
    loop {
        let quote = at + bytes[at..].iter().position(|byte| *byte == b'"')?;
        field.extend_from_slice(&bytes[at..quote]);
        if bytes.get(quote + 1)? == &b'"' {
            field.push(b'"');
            at = quote + 2;
        } else {
            return Some((String::from_utf8_lossy(&field).into_owned(), quote + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: &str) -> Option<(Vec<Value>, usize)> {
        read_record(bytes.as_bytes())
    }

    #[test]
    fn records_are_read_back_as_they_were_written() {
        let fields = |fields: &[Option<&str>]| {
            fields.iter().map(|field| field.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(record("\"a\",,\"\"\nrest"), Some((fields(&[Some("a"), None, Some("")]), 8)));
        assert_eq!(record("\"a\"\"\n,b\"\n"), Some((fields(&[Some("a\"\n,b")]), 9)));
        assert_eq!(record(",\n"), Some((fields(&[None, None]), 2)));
        assert_eq!(record("\n"), Some((fields(&[None]), 1)));
    }

    #[test]
    fn a_record_that_is_cut_off_is_not_read() {
        for cut in ["", "\"a", "\"a\"", "\"a\",", "\"a\"\"", "\"a\",\"b\""] {
            assert_eq!(record(cut), None, "{cut}");
        }
    }
}
