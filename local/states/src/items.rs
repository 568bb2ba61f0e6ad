//! From the content of an object, or a listing, to the items of a distributed map.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::definition::{Format, Headers};
use crate::machine::Failure;
use crate::map_run::Source;
use crate::objects::{ObjectEntry, ObjectError, Objects};

/// Reads all items of a source.
pub(crate) async fn read(source: Source, objects: &dyn Objects) -> Result<Vec<Value>, Failure> {
    match source {
        Source::Items(items) => Ok(items),
        Source::Object { bucket, key, format, max_items } => {
            let limit = limit(max_items)?;
            let content = objects.get(&bucket, &key).await.map_err(unreadable)?;
            parse(&content, &format, limit)
        }
        Source::Listing { bucket, prefix, max_items } => {
            let limit = limit(max_items)?;
            let entries = objects.list(&bucket, &prefix).await.map_err(unreadable)?;
            Ok(entries.iter().take(limit).map(entry).collect())
        }
    }
}

fn failed(cause: impl Into<String>) -> Failure {
    Failure::named("States.ItemReaderFailed", cause)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unreadable(error: ObjectError) -> Failure {
    failed(error.to_string())
}

/// `MaxItems`; 0 is as good as none.
fn limit(max_items: Option<i64>) -> Result<usize, Failure> {
    match max_items {
        None | Some(0) => Ok(usize::MAX),
        Some(most) => usize::try_from(most).map_err(|_| failed("field MaxItems must be positive")),
    }
}

fn entry(entry: &ObjectEntry) -> Value {
    json!({
        "Etag": format!("\"{}\"", entry.etag),
        "Key": entry.key,
        "LastModified": entry.last_modified.as_second(),
        "Size": entry.size_bytes,
        "StorageClass": "STANDARD",
    })
}

/// The items in the content of an object.
fn parse(content: &[u8], format: &Format, limit: usize) -> Result<Vec<Value>, Failure> {
    match format {
        Format::Json { pointer } => parse_json(content, pointer.as_deref(), limit),
        Format::JsonLines => parse_json_lines(content, limit),
        Format::Csv { headers, delimiter } => parse_csv(content, headers, *delimiter, limit),
    }
}

fn parse_json(content: &[u8], pointer: Option<&str>, limit: usize) -> Result<Vec<Value>, Failure> {
    let mut document: Value = serde_json::from_slice(content)
        .map_err(|error| failed(format!("The object is not JSON: {error}")))?;
    let found = document.pointer_mut(pointer.unwrap_or_default());
    match found.map(Value::take) {
        Some(Value::Array(mut items)) => {
            items.truncate(limit);
            Ok(items)
        }
        _ => Err(failed("Attempting to map over non-iterable node.")),
    }
}

fn parse_json_lines(content: &[u8], limit: usize) -> Result<Vec<Value>, Failure> {
    let lines = content.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let items = lines.take(limit).map(|(number, line)| {
        serde_json::from_slice(line)
            .map_err(|error| failed(format!("Line {} is not JSON: {error}", number + 1)))
    });
    items.collect()
}

fn parse_csv(
    content: &[u8],
    headers: &Headers,
    delimiter: u8,
    limit: usize,
) -> Result<Vec<Value>, Failure> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .has_headers(false)
        .from_reader(content);
    let mut rows = reader
        .records()
        .map(|row| row.map_err(|error| failed(format!("The object is not CSV: {error}"))));
    let headers: Vec<String> = match headers {
        Headers::Given(headers) => headers.clone(),
        Headers::FirstRow => match rows.next() {
            Some(row) => row?.iter().map(str::to_string).collect(),
            None => return Ok(Vec::new()),
        },
    };
    if headers.iter().collect::<BTreeSet<_>>().len() < headers.len() {
        return Err(failed("CSV headers cannot contain duplicates."));
    }
    let items = rows.take(limit).map(|row| {
        let row = row?;
        // A short row lacks its last fields, and what a long one has beyond the headers is lost.
        let fields = headers.iter().enumerate().map(|(column, header)| {
            let field = row.get(column).unwrap_or_default();
            (header.clone(), json!(field))
        });
        Ok(Value::Object(fields.collect::<Map<_, _>>()))
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &str, format: &Format, limit: usize, expected: Result<Value, &str>) {
        let items = parse(content.as_bytes(), format, limit);
        let items = items.map(Value::from);
        assert_eq!(items, expected.map_err(failed));
    }

    #[test]
    fn items_are_read_in_each_format() {
        let json = |pointer: Option<&str>| Format::Json { pointer: pointer.map(str::to_string) };
        let csv = |headers: Headers| Format::Csv { headers, delimiter: b',' };
        let given = |names: &[&str]| {
            csv(Headers::Given(names.iter().map(|name| (*name).to_string()).collect()))
        };
        let all = usize::MAX;
        check("[1,[2],null]", &json(None), all, Ok(json!([1, [2], null])));
        check("[1,2,3]", &json(None), 2, Ok(json!([1, 2])));
        check(
            r#"{"queries":[{"name":"a"}]}"#,
            &json(Some("/queries")),
            all,
            Ok(json!([{"name": "a"}])),
        );
        check(
            r#"{"queries":[]}"#,
            &json(None),
            all,
            Err("Attempting to map over non-iterable node."),
        );
        check("{\"a\":1}\n\n2\n", &Format::JsonLines, all, Ok(json!([{"a": 1}, 2])));
        check(
            "a,b\n1,2,3\n\"x\"\"y\"\n",
            &csv(Headers::FirstRow),
            all,
            Ok(json!([{"a": "1", "b": "2"}, {"a": "x\"y", "b": ""}])),
        );
        check("1\n2\n", &given(&["n"]), 1, Ok(json!([{"n": "1"}])));
        check("1,2\n", &given(&["n", "n"]), all, Err("CSV headers cannot contain duplicates."));
    }
}
