//! Functions on bytes, regular expressions and JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Captures, Regex};
use sha2::Digest as _;

use super::text::{bytes, invalid, number, owned, text};
use super::value::Gives::{self, BigInt, Bool, Texts};
use super::value::Takes::{self, Bytes, Int};
use super::value::{Body, Function, Overload, Value};
use crate::failure::Failure;

const TEXT: Takes = Takes::Text;

pub(super) fn functions() -> Vec<Function> {
    let one =
        |name, takes, gives, body: Body| Function::new(name, vec![Overload { takes, gives, body }]);
    let extract = |takes| Overload { takes, gives: Gives::Text, body: regexp_extract };
    let replace = |takes| Overload { takes, gives: Gives::Text, body: regexp_replace };
    vec![
        one("to_hex", &[Bytes], Gives::Text, |args| {
            let mut out = String::new();
            for byte in bytes(args, 0) {
                // Writing to a string can not fail.
                let _ = write!(out, "{byte:02X}");
            }
            owned(out)
        }),
        one("to_base64", &[Bytes], Gives::Text, |args| owned(STANDARD.encode(bytes(args, 0)))),
        one("from_base64", &[TEXT], Gives::Bytes, |args| {
            let decoded =
                STANDARD.decode(text(args, 0)).map_err(|error| invalid(error.to_string()))?;
            Ok(Some(Value::Bytes(decoded.into())))
        }),
        one("md5", &[Bytes], Gives::Bytes, |args| {
            Ok(Some(Value::Bytes(md5::Md5::digest(bytes(args, 0)).to_vec().into())))
        }),
        one("sha256", &[Bytes], Gives::Bytes, |args| {
            Ok(Some(Value::Bytes(sha2::Sha256::digest(bytes(args, 0)).to_vec().into())))
        }),
        one("sha512", &[Bytes], Gives::Bytes, |args| {
            Ok(Some(Value::Bytes(sha2::Sha512::digest(bytes(args, 0)).to_vec().into())))
        }),
        one("regexp_like", &[TEXT, TEXT], Bool, |args| {
            Ok(Some(Value::Bool(pattern(args)?.is_match(text(args, 0)))))
        }),
        one("regexp_count", &[TEXT, TEXT], BigInt, |args| {
            let count = pattern(args)?.find_iter(text(args, 0)).count();
            Ok(Some(Value::Int(i64::try_from(count).unwrap_or(i64::MAX))))
        }),
        one("regexp_split", &[TEXT, TEXT], Texts, |args| {
            let parts = pattern(args)?.split(text(args, 0)).map(str::to_owned).collect();
            Ok(Some(Value::Texts(parts)))
        }),
        Function::new("regexp_extract", vec![extract(&[TEXT, TEXT]), extract(&[TEXT, TEXT, Int])]),
        Function::new("regexp_replace", vec![replace(&[TEXT, TEXT]), replace(&[TEXT, TEXT, TEXT])]),
        one("json_extract_scalar", &[TEXT, TEXT], Gives::Text, json_extract_scalar),
        one("json_array_length", &[TEXT], BigInt, |args| {
            let length = match serde_json::from_str(text(args, 0)) {
                Ok(serde_json::Value::Array(items)) => i64::try_from(items.len()).ok(),
                _ => None,
            };
            Ok(length.map(Value::Int))
        }),
    ]
}

thread_local! {
    /// The pattern that was used last: most calls have a constant one.
    static LAST_PATTERN: std::cell::RefCell<Option<(String, Regex)>> =
        const { std::cell::RefCell::new(None) };
}

fn pattern(args: &[Value<'_>]) -> Result<Regex, Failure> {
    let source = text(args, 1);
    let known = LAST_PATTERN.with_borrow(|last| {
        last.as_ref().filter(|(known, _)| known == source).map(|(_, regex)| regex.clone())
    });
    if let Some(regex) = known {
        return Ok(regex);
    }
    let regex = Regex::new(source).map_err(|error| {
        invalid(format!("the regular expression `{source}` is not supported: {error}"))
    })?;
    LAST_PATTERN.set(Some((source.to_owned(), regex.clone())));
    Ok(regex)
}

fn regexp_extract<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let regex = pattern(args)?;
    let group = usize::try_from(number(args, 2)).unwrap_or(usize::MAX);
    if group >= regex.captures_len() {
        let message =
            format!("Pattern has {} groups. Cannot access group {group}", regex.captures_len() - 1);
        return Err(invalid(message));
    }
    let found = regex.captures(text(args, 0));
    let found = found.as_ref().and_then(|captures| captures.get(group));
    Ok(found.map(|found| Value::Text(found.as_str().to_owned().into())))
}

fn regexp_replace<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let regex = pattern(args)?;
    let template = text(args, 2);
    let mut failure = None;
    let replaced = regex.replace_all(text(args, 0), |captures: &Captures<'_>| {
        expand(template, captures).unwrap_or_else(|error| {
            failure = Some(error);
            String::new()
        })
    });
    match failure {
        Some(failure) => Err(failure),
        None => owned(replaced.into_owned()),
    }
}

/// Java's replacement text: `$1`, `${name}`, and `\` before a character that stands for itself.
fn expand(template: &str, captures: &Captures<'_>) -> Result<String, Failure> {
    let bad = || invalid(format!("the replacement `{template}` is not valid"));
    let group =
        |found: Option<regex::Match<'_>>| found.map_or("", |found| found.as_str()).to_owned();
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['$', '\\']) {
        out.push_str(&rest[..at]);
        let (mark, after) = rest[at..].split_at(1);
        if mark == "\\" {
            let c = after.chars().next().ok_or_else(bad)?;
            out.push(c);
            rest = &after[c.len_utf8()..];
        } else if let Some(named) = after.strip_prefix('{') {
            let (name, after) = named.split_once('}').ok_or_else(bad)?;
            out.push_str(&group(captures.name(name)));
            rest = after;
        } else {
            let digit = after.chars().next().and_then(|c| c.to_digit(10)).ok_or_else(bad)?;
            let mut index = digit as usize;
            let mut used = 1;
            while let Some(digit) = after[used..].chars().next().and_then(|c| c.to_digit(10)) {
                let longer = index * 10 + digit as usize;
                if longer >= captures.len() {
                    break;
                }
                index = longer;
                used += 1;
            }
            if index >= captures.len() {
                return Err(invalid(format!(
                    "Illegal replacement sequence: unknown group ${index}"
                )));
            }
            out.push_str(&group(captures.get(index)));
            rest = &after[used..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// One step of a JSON path.
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

fn json_extract_scalar<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let steps = json_path(text(args, 1))
        .ok_or_else(|| invalid(format!("Invalid JSON path: '{}'", text(args, 1))))?;
    let Ok(document) = serde_json::from_str::<serde_json::Value>(text(args, 0)) else {
        return Ok(None);
    };
    let found = steps.iter().try_fold(&document, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    });
    match found {
        Some(serde_json::Value::String(text)) => owned(text.clone()),
        Some(serde_json::Value::Bool(value)) => owned(value.to_string()),
        Some(serde_json::Value::Number(value)) => owned(value.to_string()),
        _ => Ok(None),
    }
}

/// Parses `$.a.b[0]["c"]`.
fn json_path(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(key) = rest.strip_prefix("[\"") {
            let (key, after) = key.split_once("\"]")?;
            steps.push(Step::Key(key));
            rest = after;
        } else if let Some(index) = rest.strip_prefix('[') {
            let (index, after) = index.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        } else {
            let key = rest.strip_prefix('.')?;
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if key[..end].is_empty() || key[..end].contains(['*', '(', '?']) {
                return None;
            }
            steps.push(Step::Key(&key[..end]));
            rest = &key[end..];
        }
    }
    Some(steps)
}
