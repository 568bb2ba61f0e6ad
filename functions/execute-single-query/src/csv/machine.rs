//! The transform byte by byte: the definition of what it does, and the way for whatever is rare.

use job::{CsvOptions, CsvQuote, LineEnding};
use memchr::{memchr, memchr2};

use super::{BOM, CsvError};

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

/// Where the transform stands, between any two bytes.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) options: CsvOptions,
    pub(super) delimiter: u8,
    state: State,
    /// The value so far, its quotes still doubled.
    field: Vec<u8>,
    field_is_null: bool,
    /// Fields of this record that ended.
    pub(super) fields_in_record: u64,
    pub(super) fields_in_header: u64,
    /// Records that ended, the header among them.
    pub(super) records: u64,
    /// Bytes that were taken.
    pub(super) offset: u64,
}

impl Machine {
    pub(super) fn new(options: CsvOptions) -> Self {
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
        }
    }

    /// The first record that is written: the header, or the one after it.
    fn first_record(&self) -> u64 {
        u64::from(!self.options.header)
    }

    /// Whether a field begins here that is not one too many, and that no rule of the header or of the
    /// file's beginning is for.
    pub(super) fn is_at_plain_field(&self) -> bool {
        self.state == State::FieldStart
            && self.records > self.first_record()
            && self.fields_in_record < self.fields_in_header
    }

    /// Takes bytes until a field ends, or all of them, and says how many it took.
    pub(super) fn take_field(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<usize, CsvError> {
        let mut i = 0;
        while i < bytes.len() {
            let byte = bytes[i];
            i += 1;
            match self.state {
                State::Quoted => {
                    let rest = &bytes[i - 1..];
                    let span = memchr(b'"', rest).unwrap_or(rest.len());
                    self.field.extend_from_slice(&rest[..span]);
                    i += span;
                    if span == rest.len() {
                        i -= 1;
                    } else {
                        self.state = State::QuoteInQuoted;
                    }
                }
                State::QuoteInQuoted if byte == b'"' => {
                    self.field.extend_from_slice(b"\"\"");
                    self.state = State::Quoted;
                }
                State::FieldStart if byte == b'"' => {
                    self.field_is_null = false;
                    self.state = State::Quoted;
                }
                _ if byte == b',' => {
                    self.end_field(out);
                    if self.is_written() {
                        out.push(self.delimiter);
                    }
                    break;
                }
                _ if byte == b'\n' => {
                    self.end_record(out)?;
                    break;
                }
                State::FieldStart | State::QuoteInQuoted if byte == b'\r' => {
                    self.state = State::CarriageReturn;
                }
                State::QuoteInQuoted | State::CarriageReturn => {
                    return Err(CsvError::AfterQuote {
                        record: self.records,
                        offset: self.offset + i as u64 - 1,
                    });
                }
                State::FieldStart | State::Unquoted => {
                    self.field_is_null = false;
                    self.field.push(byte);
                    self.state = State::Unquoted;
                }
            }
        }
        self.offset += i as u64;
        Ok(i)
    }

    /// Ends the result and says how many records it has, the header not counted.
    pub(super) fn finish(self) -> Result<u64, CsvError> {
        let at_record_start = self.state == State::FieldStart && self.fields_in_record == 0;
        if !at_record_start || self.records == 0 {
            return Err(CsvError::Truncated { record: self.records, offset: self.offset });
        }
        Ok(self.records - 1)
    }

    fn is_written(&self) -> bool {
        self.records >= self.first_record()
    }

    fn end_field(&mut self, out: &mut Vec<u8>) {
        if self.is_written() {
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
        if self.is_written() {
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
        let begins_the_file = self.records == self.first_record() && self.fields_in_record == 0;
        self.options.quote == CsvQuote::Always
            || field.is_empty()
            || field == self.options.null.as_bytes()
            // A reader would take U+FEFF at the beginning of the file for a byte order mark.
            || (begins_the_file && field.starts_with(BOM))
            || memchr2(b'"', self.delimiter, field).is_some()
            || memchr2(b'\r', b'\n', field).is_some()
    }
}
