//! Functions on text.

use std::borrow::Cow;

use super::value::Gives::{self, BigInt, Bool, Same, Texts};
use super::value::Takes::{self, Bytes, Double, Int};
use super::value::{Body, Function, Overload, Value};
use crate::failure::{Failure, Kind};

const TEXT: Takes = Takes::Text;

fn one(name: &'static str, takes: &'static [Takes], gives: Gives, body: Body) -> Function {
    Function::new(name, vec![Overload { takes, gives, body }])
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        one("length", &[TEXT], BigInt, |args| Ok(Some(int(chars(args, 0))))),
        one("upper", &[TEXT], Gives::Text, |args| owned(text(args, 0).to_uppercase())),
        one("lower", &[TEXT], Gives::Text, |args| owned(text(args, 0).to_lowercase())),
        one("reverse", &[TEXT], Gives::Text, |args| owned(text(args, 0).chars().rev().collect())),
        one("trim", &[TEXT], Gives::Text, |args| owned(text(args, 0).trim().to_owned())),
        one("ltrim", &[TEXT], Gives::Text, |args| owned(text(args, 0).trim_start().to_owned())),
        one("rtrim", &[TEXT], Gives::Text, |args| owned(text(args, 0).trim_end().to_owned())),
        one("split", &[TEXT, TEXT], Texts, split),
        one("split_part", &[TEXT, TEXT, Int], Gives::Text, split_part),
        one("starts_with", &[TEXT, TEXT], Bool, |args| {
            Ok(Some(Value::Bool(text(args, 0).starts_with(text(args, 1)))))
        }),
        one("codepoint", &[TEXT], Gives::Integer, codepoint),
        one("chr", &[Int], Gives::Text, chr),
        one("lpad", &[TEXT, Int, TEXT], Gives::Text, |args| pad(args, true)),
        one("rpad", &[TEXT, Int, TEXT], Gives::Text, |args| pad(args, false)),
        one("strpos", &[TEXT, TEXT], BigInt, |args| Ok(Some(Value::Int(find(args))))),
        one("to_utf8", &[TEXT], Gives::Bytes, |args| {
            Ok(Some(Value::Bytes(text(args, 0).as_bytes().to_vec().into())))
        }),
        one("from_utf8", &[Bytes], Gives::Text, |args| {
            owned(String::from_utf8_lossy(bytes(args, 0)).into_owned())
        }),
        one("$truncate", &[TEXT, Int], Gives::Text, |args| {
            owned(text(args, 0).chars().take(usize_of(args, 1)).collect())
        }),
        one("$like", &[TEXT, TEXT, TEXT], Bool, like),
        Function::new(
            "replace",
            vec![
                Overload { takes: &[TEXT, TEXT, TEXT], gives: Gives::Text, body: replace },
                Overload { takes: &[TEXT, TEXT], gives: Gives::Text, body: replace },
            ],
        ),
        Function::new(
            "substr",
            vec![
                Overload { takes: &[TEXT, Int], gives: Gives::Text, body: substr },
                Overload { takes: &[TEXT, Int, Int], gives: Gives::Text, body: substr },
            ],
        ),
        Function::new(
            "$text",
            vec![
                Overload { takes: &[TEXT], gives: Same, body: |args| Ok(args.first().cloned()) },
                Overload { takes: &[Takes::Date], gives: Gives::Text, body: moment_text },
                Overload { takes: &[Takes::Timestamp], gives: Gives::Text, body: moment_text },
                Overload { takes: &[Double], gives: Gives::Text, body: double_text },
            ],
        ),
    ]
}

/// The text of an argument that its overload says is one.
pub(super) fn text<'v>(args: &'v [Value<'_>], index: usize) -> &'v str {
    match args.get(index) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

pub(super) fn bytes<'v>(args: &'v [Value<'_>], index: usize) -> &'v [u8] {
    match args.get(index) {
        Some(Value::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

pub(super) fn number(args: &[Value<'_>], index: usize) -> i64 {
    match args.get(index) {
        Some(Value::Int(number)) => *number,
        _ => 0,
    }
}

fn usize_of(args: &[Value<'_>], index: usize) -> usize {
    usize::try_from(number(args, index)).unwrap_or(0)
}

fn chars(args: &[Value<'_>], index: usize) -> usize {
    text(args, index).chars().count()
}

fn int(number: usize) -> Value<'static> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[expect(clippy::unnecessary_wraps, reason = "the form of a function's body")]
pub(super) fn owned(text: String) -> Result<Option<Value<'static>>, Failure> {
    Ok(Some(Value::Text(Cow::Owned(text))))
}

pub(super) fn invalid(message: impl AsRef<str>) -> Failure {
    Failure::new(Kind::InvalidArgument, message)
}

fn split<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    if text(args, 1).is_empty() {
        return Err(invalid("The delimiter may not be the empty string"));
    }
    let parts = text(args, 0).split(text(args, 1)).map(str::to_owned).collect();
    Ok(Some(Value::Texts(parts)))
}

fn split_part<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    if number(args, 2) <= 0 {
        return Err(invalid("Index must be greater than zero"));
    }
    let index = usize_of(args, 2) - 1;
    let delimiter = text(args, 1);
    let part = if delimiter.is_empty() {
        text(args, 0).chars().nth(index).map(String::from)
    } else {
        text(args, 0).split(delimiter).nth(index).map(str::to_owned)
    };
    Ok(part.map(|part| Value::Text(part.into())))
}

fn substr<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let length = chars(args, 0);
    let start = number(args, 1);
    let skipped = match start {
        0 => return owned(String::new()),
        1.. => usize_of(args, 1) - 1,
        _ => {
            match length.checked_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)) {
                Some(skipped) => skipped,
                None => return owned(String::new()),
            }
        }
    };
    let taken = if args.len() > 2 { usize_of(args, 2) } else { length };
    owned(text(args, 0).chars().skip(skipped).take(taken).collect())
}

fn replace<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let (from, to) = (text(args, 1), text(args, 2));
    if from.is_empty() && !to.is_empty() {
        let mut out = String::from(to);
        for c in text(args, 0).chars() {
            out.push(c);
            out.push_str(to);
        }
        return owned(out);
    }
    owned(if from.is_empty() { text(args, 0).to_owned() } else { text(args, 0).replace(from, to) })
}

fn codepoint<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let mut chars = text(args, 0).chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(Some(Value::Int(i64::from(u32::from(c))))),
        _ => Err(invalid("Input string must be a single character string")),
    }
}

fn chr<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let found = u32::try_from(number(args, 0)).ok().and_then(char::from_u32);
    let found = found
        .ok_or_else(|| invalid(format!("Not a valid Unicode code point: {}", number(args, 0))))?;
    owned(found.to_string())
}

/// The longest text that padding may make.
const PADDED_CHARS_MAX: usize = 1 << 20;

fn pad<'a>(args: &[Value<'a>], is_left: bool) -> Result<Option<Value<'a>>, Failure> {
    let size = usize_of(args, 1);
    let padding = text(args, 2);
    if number(args, 1) < 0 || size > PADDED_CHARS_MAX {
        return Err(invalid(format!("Target length must be in the range [0..{PADDED_CHARS_MAX}]")));
    }
    if padding.is_empty() {
        return Err(invalid("Padding string must not be empty"));
    }
    let given = chars(args, 0);
    if given >= size {
        return owned(text(args, 0).chars().take(size).collect());
    }
    let filler: String = padding.chars().cycle().take(size - given).collect();
    let given = text(args, 0);
    owned(if is_left { format!("{filler}{given}") } else { format!("{given}{filler}") })
}

fn find(args: &[Value<'_>]) -> i64 {
    let at = text(args, 0).find(text(args, 1));
    let chars = at.map(|at| text(args, 0)[..at].chars().count() + 1);
    chars.map_or(0, |chars| i64::try_from(chars).unwrap_or(i64::MAX))
}

fn moment_text<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let mut out = String::new();
    match args.first() {
        Some(Value::Date(days)) => {
            out = crate::text::civil(i64::from(*days) * 86_400_000)?.date().to_string();
        }
        Some(Value::Timestamp(millis)) => crate::text::write_timestamp(&mut out, *millis)?,
        _ => {}
    }
    owned(out)
}

fn double_text<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let mut out = String::new();
    if let Some(Value::Double(value)) = args.first() {
        crate::text::write_double(&mut out, *value);
    }
    owned(out)
}

/// One piece of a `LIKE` pattern.
#[derive(Clone, Copy)]
enum Piece {
    Char(char),
    AnyChar,
    AnyText,
}

fn like<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let mut escapes = text(args, 2).chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        return Err(invalid("Escape string must be a single character"));
    }
    let mut pieces = Vec::new();
    let mut pattern = text(args, 1).chars();
    while let Some(c) = pattern.next() {
        pieces.push(match c {
            c if Some(c) == escape => match pattern.next() {
                Some(next) if next == '%' || next == '_' || Some(next) == escape => {
                    Piece::Char(next)
                }
                _ => {
                    let message =
                        "Escape character must be followed by '%', '_' or the escape character itself";
                    return Err(invalid(message));
                }
            },
            '%' => Piece::AnyText,
            '_' => Piece::AnyChar,
            c => Piece::Char(c),
        });
    }
    let value: Vec<char> = text(args, 0).chars().collect();
    Ok(Some(Value::Bool(is_like(&value, &pieces))))
}

/// Matches by going back to the last `%` only, which is enough as an earlier one can not do better.
fn is_like(value: &[char], pieces: &[Piece]) -> bool {
    let (mut at, mut piece) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < value.len() {
        match pieces.get(piece) {
            Some(Piece::AnyText) => {
                retry = Some((at, piece));
                piece += 1;
            }
            Some(Piece::AnyChar) => (at, piece) = (at + 1, piece + 1),
            Some(Piece::Char(c)) if *c == value[at] => (at, piece) = (at + 1, piece + 1),
            _ => match retry {
                Some((from, any)) => {
                    retry = Some((from + 1, any));
                    (at, piece) = (from + 1, any + 1);
                }
                None => return false,
            },
        }
    }
    pieces[piece..].iter().all(|piece| matches!(piece, Piece::AnyText))
}
