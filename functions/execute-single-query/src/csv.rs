//! Athena's CSV to proper CSV, as a stream.
//!
//! Athena writes every value in quotes, doubles the quotes in it, leaves NULL empty and unquoted,
//! and ends each record with LF. That is RFC 4180 already, but everything is quoted. [`Transform`]
//! keeps NULL and the empty string apart, quotes only where it is needed (or always), and changes
//! delimiter, line ending and NULL as the job says. Values survive byte for byte.
//!
//! Memory: one field and what the caller takes out; nothing grows with the number of records.

use job::{CsvOptions, CsvQuote, LineEnding};
use memchr::{memchr, memchr2};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What is wrong with a result object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// A byte that no UTF-8 text has there.
    #[error("record {record} is not UTF-8 at byte {offset} of the result")]
    NotUtf8 {
        /// The record, the header being 0.
        record: u64,
        /// The byte's offset in the object.
        offset: u64,
    },
    /// Something other than a separator follows a closing quote.
    #[error(
        "in record {record}, a closing quote is followed by more text at byte {offset} of the result"
    )]
    AfterQuote {
        /// The record, the header being 0.
        record: u64,
        /// The byte's offset in the object.
        offset: u64,
    },
    /// A record has more or fewer fields than the header.
    #[error("record {record} has {found} fields where the header has {expected}")]
    FieldCount {
        /// The record, the header being 0.
        record: u64,
        /// How many fields it has.
        found: u64,
        /// How many the header has.
        expected: u64,
    },
    /// The object ends inside a record.
    #[error("the result ends in the middle of record {record}, at byte {offset}")]
    Truncated {
        /// The record, the header being 0.
        record: u64,
        /// The object's size.
        offset: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    FieldStart,
    Quoted,
    /// After a quote in a quoted field: its end, or the first of a doubled one.
    QuoteInQuoted,
    /// After a carriage return that follows a closed or an empty field.
    CarriageReturn,
    Unquoted,
}

/// The transform of one result, fed with chunks that may be cut anywhere.
#[derive(Debug)]
pub struct Transform {
    options: CsvOptions,
    delimiter: u8,
    state: State,
    /// The value so far, its quotes still doubled.
    field: Vec<u8>,
    field_is_null: bool,
    fields_in_record: u64,
    fields_in_header: u64,
    /// Records that ended, the header among them.
    records: u64,
    offset: u64,
    utf8: Utf8Check,
    begun: bool,
}

impl Transform {
    /// A transform to the CSV that `options` describe.
    pub fn new(options: CsvOptions) -> Self {
        Self {
            delimiter: options.delimiter_byte(),
            options,
            state: State::FieldStart,
            field: Vec::new(),
            field_is_null: true,
            fields_in_record: 0,
            fields_in_header: 0,
            records: 0,
            offset: 0,
            utf8: Utf8Check::default(),
            begun: false,
        }
    }

    /// Takes the next bytes of the result and appends what they give to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), CsvError> {
        if !self.begun {
            self.begun = true;
            if self.options.bom {
                out.extend_from_slice(BOM);
            }
        }
        if let Err(offset) = self.utf8.check(chunk) {
            // Walking up to the bad byte counts the records before it.
            let valid = offset
                .checked_sub(self.offset)
                .and_then(|valid| usize::try_from(valid).ok())
                .unwrap_or(0);
            self.walk(&chunk[..valid], out)?;
            return Err(CsvError::NotUtf8 { record: self.records, offset });
        }
        self.walk(chunk, out)
    }

    fn walk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), CsvError> {
        let mut i = 0;
        while i < chunk.len() {
            let byte = chunk[i];
            match self.state {
                State::Quoted => {
                    let rest = &chunk[i..];
                    let span = memchr(b'"', rest).unwrap_or(rest.len());
                    self.field.extend_from_slice(&rest[..span]);
                    i += span;
                    if span < rest.len() {
                        self.state = State::QuoteInQuoted;
                        i += 1;
                    }
                    continue;
                }
                State::QuoteInQuoted if byte == b'"' => {
                    self.field.extend_from_slice(b"\"\"");
                    self.state = State::Quoted;
                }
                State::FieldStart if byte == b'"' => {
                    self.field_is_null = false;
                    self.state = State::Quoted;
                }
                _ if byte == b',' => self.end_field(out),
                _ if byte == b'\n' => self.end_record(out)?,
                State::FieldStart | State::QuoteInQuoted if byte == b'\r' => {
                    self.state = State::CarriageReturn;
                }
                State::QuoteInQuoted | State::CarriageReturn => {
                    return Err(CsvError::AfterQuote {
                        record: self.records,
                        offset: self.offset + i as u64,
                    });
                }
                State::FieldStart | State::Unquoted => {
                    self.field_is_null = false;
                    self.field.push(byte);
                    self.state = State::Unquoted;
                }
            }
            i += 1;
        }
        self.offset += chunk.len() as u64;
        Ok(())
    }

    /// Ends the result and says how many records it has, the header not counted.
    pub fn finish(self) -> Result<u64, CsvError> {
        let at_record_start = self.state == State::FieldStart && self.fields_in_record == 0;
        if !at_record_start || self.records == 0 {
            return Err(CsvError::Truncated { record: self.records, offset: self.offset });
        }
        if self.utf8.is_open() {
            return Err(CsvError::NotUtf8 { record: self.records, offset: self.offset });
        }
        Ok(self.records - 1)
    }

    fn end_field(&mut self, out: &mut Vec<u8>) {
        let is_written = self.records > 0 || self.options.header;
        if is_written {
            if self.fields_in_record > 0 {
                out.push(self.delimiter);
            }
            if self.field_is_null {
                out.extend_from_slice(self.options.null.as_bytes());
            } else if self.must_be_quoted() {
                out.push(b'"');
                out.extend_from_slice(&self.field);
                out.push(b'"');
            } else {
                out.extend_from_slice(&self.field);
            }
        }
        self.field.clear();
        self.field_is_null = true;
        self.fields_in_record += 1;
        self.state = State::FieldStart;
    }

    fn end_record(&mut self, out: &mut Vec<u8>) -> Result<(), CsvError> {
        self.end_field(out);
        if self.records == 0 {
            self.fields_in_header = self.fields_in_record;
        } else if self.fields_in_record != self.fields_in_header {
            return Err(CsvError::FieldCount {
                record: self.records,
                found: self.fields_in_record,
                expected: self.fields_in_header,
            });
        }
        if self.records > 0 || self.options.header {
            out.extend_from_slice(match self.options.line_ending {
                LineEnding::Crlf => b"\r\n",
                LineEnding::Lf => b"\n",
            });
        }
        self.records += 1;
        self.fields_in_record = 0;
        Ok(())
    }

    fn must_be_quoted(&self) -> bool {
        let field = self.field.as_slice();
        self.options.quote == CsvQuote::Always
            || field.is_empty()
            || field == self.options.null.as_bytes()
            // A reader would take U+FEFF at the beginning of the file for a byte order mark.
            || (self.records == 0 && self.fields_in_record == 0 && field.starts_with(BOM))
            || (!self.options.header && self.records == 1 && self.fields_in_record == 0 && field.starts_with(BOM))
            || memchr2(b'"', self.delimiter, field).is_some()
            || memchr2(b'\r', b'\n', field).is_some()
    }
}

/// UTF-8 over chunks that may be cut inside a character.
#[derive(Debug, Default)]
struct Utf8Check {
    /// How many bytes were checked.
    offset: u64,
    /// The beginning of a character that the last chunk ended in: up to 3 bytes.
    open: [u8; 4],
    open_len: usize,
}

impl Utf8Check {
    fn is_open(&self) -> bool {
        self.open_len > 0
    }

    /// Checks the next bytes; an error is the offset of the first bad character since the beginning.
    fn check(&mut self, chunk: &[u8]) -> Result<(), u64> {
        let mut rest = chunk;
        while self.is_open() {
            let Some((first, tail)) = rest.split_first() else { return Ok(()) };
            self.open[self.open_len] = *first;
            self.open_len += 1;
            self.offset += 1;
            rest = tail;
            match std::str::from_utf8(&self.open[..self.open_len]) {
                Ok(_) => self.open_len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.offset - self.open_len as u64),
            }
        }
        let (valid, fault) = match std::str::from_utf8(rest) {
            Ok(_) => (rest.len(), None),
            Err(error) => (error.valid_up_to(), Some(error)),
        };
        if fault.is_some_and(|error| error.error_len().is_some()) {
            return Err(self.offset + valid as u64);
        }
        let open = &rest[valid..];
        self.open[..open.len()].copy_from_slice(open);
        self.open_len = open.len();
        self.offset += rest.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transform(
        options: &CsvOptions,
        input: &[u8],
        chunk: usize,
    ) -> Result<(Vec<u8>, u64), CsvError> {
        let mut transform = Transform::new(options.clone());
        let mut out = Vec::new();
        for chunk in input.chunks(chunk.max(1)) {
            transform.push(chunk, &mut out)?;
        }
        Ok((out, transform.finish()?))
    }

    #[track_caller]
    fn check_with(options: &CsvOptions, input: &str, output: &str, rows: u64) {
        for chunk in [1, 2, 3, 7, usize::MAX] {
            let (out, counted) = transform(options, input.as_bytes(), chunk).unwrap();
            assert_eq!(
                (String::from_utf8(out).unwrap().as_str(), counted),
                (output, rows),
                "chunks of {chunk}"
            );
        }
    }

    #[track_caller]
    fn check(input: &str, output: &str, rows: u64) {
        check_with(&CsvOptions::default(), input, output, rows);
    }

    #[test]
    fn null_is_empty_and_the_empty_string_is_quoted() {
        check("\"a\",\"b\"\n,\"\"\n\"\",\n", "a,b\n,\"\"\n\"\",\n", 2);
    }

    #[test]
    fn a_value_is_quoted_only_where_it_must_be() {
        check(
            "\"a\"\n\"x\"\n\"x,y\"\n\"say \"\"hi\"\"\"\n\"l1\nl2\"\n\"c\rr\"\n\" s \"\n",
            "a\nx\n\"x,y\"\n\"say \"\"hi\"\"\"\n\"l1\nl2\"\n\"c\rr\"\n s \n",
            6,
        );
    }

    #[test]
    fn an_empty_result_is_a_header_alone() {
        check("\"a\",\"b\"\n", "a,b\n", 0);
    }

    #[test]
    fn an_empty_line_is_a_record_of_one_null() {
        check("\"a\"\n\n\n", "a\n\n\n", 2);
    }

    #[test]
    fn a_first_field_that_begins_like_a_byte_order_mark_is_quoted() {
        check(
            "\"\u{feff}a\",\"\u{feff}b\"\n\"\u{feff}\",\n",
            "\"\u{feff}a\",\u{feff}b\n\u{feff},\n",
            1,
        );
    }

    #[test]
    fn duplicate_columns_and_their_order_survive() {
        check("\"b\",\"a\",\"b\"\n\"1\",\"2\",\"3\"\n", "b,a,b\n1,2,3\n", 1);
    }

    #[test]
    fn a_result_with_crlf_is_read_the_same() {
        check("\"a\",\"b\"\r\n\"1\",\r\n", "a,b\n1,\n", 1);
    }

    #[test]
    fn the_options_of_the_job_are_followed() {
        let options = CsvOptions {
            delimiter: ";".to_owned(),
            quote: CsvQuote::Necessary,
            null: "NULL".to_owned(),
            line_ending: LineEnding::Crlf,
            header: true,
            bom: true,
        };
        check_with(
            &options,
            "\"a\",\"b\",\"c\"\n\"1;2\",,\"NULL\"\n\"1,2\",\"\",\"x\"\n",
            "\u{feff}a;b;c\r\n\"1;2\";NULL;\"NULL\"\r\n1,2;\"\";x\r\n",
            2,
        );
        let options =
            CsvOptions { quote: CsvQuote::Always, header: false, ..CsvOptions::default() };
        check_with(&options, "\"a\",\"b\"\n\"1\",\n", "\"1\",\n", 1);
    }

    #[track_caller]
    fn check_error(input: &[u8], expected: &CsvError) {
        for chunk in [1, 2, 5, usize::MAX] {
            let error = transform(&CsvOptions::default(), input, chunk).unwrap_err();
            assert_eq!(&error, expected, "chunks of {chunk}");
        }
    }

    #[test]
    fn a_result_that_ends_too_early_is_an_error() {
        check_error(b"", &CsvError::Truncated { record: 0, offset: 0 });
        check_error(b"\"a\"\n\"1", &CsvError::Truncated { record: 1, offset: 6 });
        check_error(b"\"a\"\n\"1\"", &CsvError::Truncated { record: 1, offset: 7 });
        check_error(
            b"\"a\",\"b\"\n\"1\"\n",
            &CsvError::FieldCount { record: 1, found: 1, expected: 2 },
        );
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_an_error_that_says_where() {
        check_error(b"\"a\"\n\"x\xFFy\"\n", &CsvError::NotUtf8 { record: 1, offset: 6 });
        check_error(b"\"a\"\n\"\xC3\x28\"\n", &CsvError::NotUtf8 { record: 1, offset: 5 });
        check_error(
            b"\"a\"\n\"1\"\n\"\xF0\x9F\x98\"\n",
            &CsvError::NotUtf8 { record: 2, offset: 9 },
        );
    }

    #[test]
    fn text_after_a_closing_quote_is_an_error() {
        check_error(b"\"a\"\n\"1\"x\n", &CsvError::AfterQuote { record: 1, offset: 7 });
    }

    /// A cell as Athena writes it.
    fn athena(cell: Option<&str>) -> String {
        cell.map_or_else(String::new, |text| format!("\"{}\"", text.replace('"', "\"\"")))
    }

    proptest! {
        /// The second definition of correct is the csv crate's reader: it must see the same values,
        /// wherever the chunks are cut.
        #[test]
        fn another_reader_sees_the_values(
            rows in prop::collection::vec(prop::collection::vec(prop::option::of("[a\",\r\n;é😀 ]{0,6}"), 3), 0..8),
            chunk in 1_usize..40,
        ) {
            let mut input = "\"x\",\"y\",\"z\"\n".to_owned();
            for row in &rows {
                input.push_str(&row.iter().map(|cell| athena(cell.as_deref())).collect::<Vec<_>>().join(","));
                input.push('\n');
            }
            let (out, count) = transform(&CsvOptions::default(), input.as_bytes(), chunk).unwrap();
            prop_assert_eq!(count, rows.len() as u64);
            let mut reader = csv::Reader::from_reader(out.as_slice());
            let read: Vec<Vec<String>> =
                reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
            let expected: Vec<Vec<String>> =
                rows.iter().map(|row| row.iter().map(|cell| cell.clone().unwrap_or_default()).collect()).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
