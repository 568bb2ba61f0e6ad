//! Athena's CSV to proper CSV, as a stream.
//!
//! Athena writes every value in quotes, doubles the quotes in it, leaves NULL empty and unquoted,
//! and ends each record with LF. That is RFC 4180 already, but everything is quoted. [`Transform`]
//! keeps NULL and the empty string apart, quotes only where it is needed (or always), and changes
//! delimiter, line ending and NULL as the job says. Values survive byte for byte.
//!
//! Memory: one field and what the caller takes out; nothing grows with the number of records.

mod blocks;
mod machine;
mod utf8;

use fearless_simd::Level;
use job::CsvOptions;

use self::{blocks::Blocks, machine::Machine, utf8::Utf8Check};

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

/// The transform of one result, fed with chunks that may be cut anywhere.
#[derive(Debug)]
pub struct Transform {
    machine: Machine,
    /// Some 5 KiB, which futures are not to carry.
    blocks: Box<Blocks>,
    utf8: Utf8Check,
    begun: bool,
}

impl Transform {
    /// A transform to the CSV that `options` describe.
    pub fn new(options: CsvOptions) -> Self {
        Self::for_processor(Level::new(), options)
    }

    fn for_processor(level: Level, options: CsvOptions) -> Self {
        Self {
            machine: Machine::new(options),
            blocks: Box::new(Blocks::new(level)),
            utf8: Utf8Check::default(),
            begun: false,
        }
    }

    /// Takes the next bytes of the result and appends what they give to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), CsvError> {
        if !self.begun {
            self.begun = true;
            if self.machine.options.bom {
                out.extend_from_slice(BOM);
            }
        }
        let Err(offset) = self.utf8.check(chunk) else { return self.walk(chunk, out) };
        // What comes first is reported first. The bad character's first byte is walked too: where
        // the chunks are cut after it, it was walked before it was known to be bad.
        let up_to_bad = (offset + 1).saturating_sub(self.machine.offset);
        self.walk(&chunk[..usize::try_from(up_to_bad).unwrap_or(0)], out)?;
        Err(CsvError::NotUtf8 { record: self.machine.records, offset })
    }

    fn walk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), CsvError> {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = &rest[self.blocks.copy_fields(&mut self.machine, rest, out)..];
            rest = &rest[self.machine.take_field(rest, out)?..];
        }
        Ok(())
    }

    /// Ends the result and says how many records it has, the header not counted.
    pub fn finish(self) -> Result<u64, CsvError> {
        self.machine.finish()
    }
}

#[cfg(test)]
mod tests {
    use fearless_simd::Simd;
    use job::{CsvQuote, LineEnding};
    use proptest::prelude::*;

    use super::*;

    /// The kinds of vectors that this processor has, each of which has its own code.
    fn levels() -> Vec<Level> {
        let newest = Level::new();
        #[cfg(target_arch = "x86_64")]
        let older = [
            newest.as_sse2().map(Simd::level),
            newest.as_sse4_2().map(Simd::level),
            newest.as_avx2().map(Simd::level),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let older = [None];
        older.into_iter().flatten().chain([newest]).collect()
    }

    fn transform(
        options: &CsvOptions,
        input: &[u8],
        chunk: usize,
    ) -> Result<(Vec<u8>, u64), CsvError> {
        let mut results: Vec<_> = levels()
            .into_iter()
            .map(|level| transform_with(level, options, input, chunk))
            .collect();
        let newest = results.pop().unwrap();
        assert!(results.iter().all(|result| *result == newest), "{:?}\n{results:?}", levels());
        newest
    }

    fn transform_with(
        level: Level,
        options: &CsvOptions,
        input: &[u8],
        chunk: usize,
    ) -> Result<(Vec<u8>, u64), CsvError> {
        let mut transform = Transform::for_processor(level, options.clone());
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

    #[test]
    fn text_after_a_closing_quote_comes_before_the_fault_in_it() {
        let error = CsvError::AfterQuote { record: 1, offset: 7 };
        check_error(b"\"a\"\n\"1\"\xC3\n", &error);
        check_error(b"\"a\"\n\"1\"\xFF\n", &error);
    }

    /// A value as Athena writes it.
    fn athena(value: Option<&str>) -> String {
        value.map_or_else(String::new, |text| format!("\"{}\"", text.replace('"', "\"\"")))
    }

    const COLUMNS: usize = 3;

    type Rows = Vec<Vec<Option<String>>>;

    fn result_of(rows: &Rows) -> String {
        let mut result = "\"x\",\"y\",\"z\"\n".to_owned();
        for row in rows {
            let values: Vec<String> = row.iter().map(|value| athena(value.as_deref())).collect();
            result.push_str(&values.join(","));
            result.push('\n');
        }
        result
    }

    /// Few rows for the most part, or enough for several batches. Short values for the most part, and
    /// some that are longer than a block, a batch or a chunk.
    fn rows() -> impl Strategy<Value = Rows> {
        let text = || "[a0\",\r\n;\u{e9}\u{1F600} ]{0,6}|[a-z]{0,40}|NULL|\u{feff}";
        let long =
            |times| (text(), times).prop_map(|(text, times): (String, _)| text.repeat(times));
        let value = prop_oneof![40 => text().boxed(), 4 => long(1..60_usize).boxed(), 1 => long(60..3000).boxed()];
        let row = prop::collection::vec(prop::option::weighted(0.8, value), COLUMNS);
        let rows = |count| prop::collection::vec(row.clone(), count);
        prop_oneof![9 => rows(0..30), 1 => rows(300..600)]
    }

    fn options() -> impl Strategy<Value = CsvOptions> {
        let quote = prop_oneof![Just(CsvQuote::Necessary), Just(CsvQuote::Always)];
        let line_ending = prop_oneof![Just(LineEnding::Lf), Just(LineEnding::Crlf)];
        (",|;|\t|a", quote, "|NULL|a", line_ending, any::<bool>(), any::<bool>()).prop_map(
            |(delimiter, quote, null, line_ending, header, bom)| CsvOptions {
                delimiter,
                quote,
                null,
                line_ending,
                header,
                bom,
            },
        )
    }

    /// A result in which a few bytes are not what they were.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(b"\",\n\ra;\xFF\xC3\x80\xE2".to_vec());
        let faults = prop::collection::vec((any::<prop::sample::Index>(), byte, 0..3_usize), 0..3);
        (rows(), faults).prop_map(|(rows, faults)| {
            let mut result = result_of(&rows).into_bytes();
            for (place, byte, taken) in faults {
                let from = place.index(result.len());
                let to = (from + taken).min(result.len());
                result.splice(from..to, [byte]);
            }
            result
        })
    }

    /// Pieces of results in any order.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "\"",
            "\"\"",
            ",",
            "\n",
            "\r",
            "\r\n",
            "a",
            "\"a\"",
            "\"a\",",
            ",\n",
            "\"\",",
            "\u{e9}",
            "NULL",
            "\"0123456789012345678901234567890123456789\"",
        ]);
        prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat().into_bytes())
    }

    /// A value as the contract has it.
    fn written(options: &CsvOptions, value: Option<&str>, is_first: bool) -> String {
        let Some(value) = value else { return options.null.clone() };
        let special = |c: char| "\"\r\n".contains(c) || options.delimiter.contains(c);
        let is_bare = options.quote == CsvQuote::Necessary
            && !value.is_empty()
            && value != options.null
            && !value.contains(special)
            && !(is_first && value.starts_with('\u{feff}'));
        if is_bare { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\"\"")) }
    }

    proptest! {
        /// Byte by byte, nothing is copied in blocks. Errors are the same, too.
        #[test]
        fn it_does_not_matter_where_the_chunks_are_cut(
            options in options(),
            result in prop_oneof![damaged(), pieces()],
            chunk in prop_oneof![2_usize..200, 200_usize..5000, Just(usize::MAX)],
        ) {
            prop_assert_eq!(transform(&options, &result, chunk), transform(&options, &result, 1));
        }

        /// The contract once more, value by value, for all options.
        #[test]
        fn the_contract_holds_for_all_options(options in options(), rows in rows()) {
            let (out, _) = transform(&options, result_of(&rows).as_bytes(), usize::MAX).unwrap();
            let header = ["x", "y", "z"].map(|name| Some(name.to_owned())).to_vec();
            let records = options.header.then_some(&header).into_iter().chain(&rows);
            let end = if options.line_ending == LineEnding::Crlf { "\r\n" } else { "\n" };
            let mut expected = if options.bom { "\u{feff}" } else { "" }.to_owned();
            for (i, record) in records.enumerate() {
                let values: Vec<String> = record
                    .iter()
                    .enumerate()
                    .map(|(j, value)| written(&options, value.as_deref(), (i, j) == (0, 0)))
                    .collect();
                expected += &values.join(&options.delimiter);
                expected += end;
            }
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }

        /// The second definition of correct is the csv crate's reader: it must see the same values.
        #[test]
        fn another_reader_sees_the_values(rows in rows(), chunk in 1_usize..5000) {
            let (out, count) =
                transform(&CsvOptions::default(), result_of(&rows).as_bytes(), chunk).unwrap();
            prop_assert_eq!(count, rows.len() as u64);
            let mut reader = csv::Reader::from_reader(out.as_slice());
            let read: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.unwrap().iter().map(str::to_owned).collect())
                .collect();
            let expected: Vec<Vec<String>> = rows
                .iter()
                .map(|row| row.iter().map(|value| value.clone().unwrap_or_default()).collect())
                .collect();
            prop_assert_eq!(read, expected);
        }
    }
}
