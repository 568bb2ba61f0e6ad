//! One value of a pattern: an exact value, or an operator such as `{"prefix": "a"}`
//! ([operators](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html)).
//!
//! The texts of refusals are AWS's own.

use std::net::IpAddr;

use serde_json::{Number, Value};

use super::{PatternError, refuse};

/// Tests one scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matcher {
    /// The same string, boolean or `null`; or the same number, however it is written.
    Equals(Value),
    /// The field is there, or is not there. The latter never matches a field.
    Exists(bool),
    Text(Text),
    /// No value of a list, whatever the type.
    AnythingBut(Vec<Value>),
    /// None of these texts; other types than strings match.
    AnythingButText(Vec<Text>),
    /// All comparisons hold.
    Numeric(Vec<(Comparison, f64)>),
    Cidr(Cidr),
}

/// Tests a string.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Text {
    Prefix(String),
    Suffix(String),
    EqualsIgnoreCase(String),
    PrefixIgnoreCase(String),
    SuffixIgnoreCase(String),
    Wildcard(Vec<Piece>),
}

/// A piece of a wildcard pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Char(char),
    /// Any characters, also none.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    address: IpAddr,
    bits: u32,
}

impl Matcher {
    pub(super) fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Equals(expected) => are_equal(expected, value),
            Self::Exists(expected) => *expected,
            Self::Text(text) => value.as_str().is_some_and(|value| text.matches(value)),
            Self::AnythingBut(values) => !values.iter().any(|other| are_equal(other, value)),
            Self::AnythingButText(texts) => {
                let value = value.as_str();
                !value.is_some_and(|value| texts.iter().any(|text| text.matches(value)))
            }
            Self::Numeric(comparisons) => value.as_f64().is_some_and(|value| {
                comparisons.iter().all(|(comparison, bound)| comparison.holds(value, *bound))
            }),
            Self::Cidr(block) => {
                let address = value.as_str().and_then(|value| value.parse().ok());
                address.is_some_and(|address| block.contains(address))
            }
        }
    }

    pub(super) fn parse(value: &Value) -> Result<Self, PatternError> {
        let Value::Object(object) = value else {
            return match value {
                Value::Array(_) => {
                    refuse("Match value must be String, number, true, false, or null")
                }
                scalar => Ok(Self::Equals(scalar.clone())),
            };
        };
        let mut entries = object.iter();
        let (Some((operator, operand)), None) = (entries.next(), entries.next()) else {
            return refuse("Only one key allowed in match expression");
        };
        match operator.as_str() {
            "exists" => match operand {
                Value::Bool(exists) => Ok(Self::Exists(*exists)),
                _ => refuse("exists match pattern must be either true or false."),
            },
            "prefix" => affix(operator, operand, Text::Prefix, Text::PrefixIgnoreCase),
            "suffix" => affix(operator, operand, Text::Suffix, Text::SuffixIgnoreCase),
            "equals-ignore-case" | "wildcard" => text_of(operator, operand).map(Self::Text),
            "anything-but" => anything_but(operand),
            "numeric" => numeric(operand).map(Self::Numeric),
            "cidr" => cidr(operand).map(Self::Cidr),
            unknown => refuse(format!("Unrecognized match type {unknown}")),
        }
    }
}

/// Returns whether two scalars are equal. AWS takes `300` and `300.0` as equal, against its guide.
fn are_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

impl Text {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Prefix(prefix) => value.starts_with(prefix),
            Self::Suffix(suffix) => value.ends_with(suffix),
            Self::EqualsIgnoreCase(expected) => expected.to_lowercase() == value.to_lowercase(),
            Self::PrefixIgnoreCase(prefix) => {
                value.to_lowercase().starts_with(&prefix.to_lowercase())
            }
            Self::SuffixIgnoreCase(suffix) => {
                value.to_lowercase().ends_with(&suffix.to_lowercase())
            }
            Self::Wildcard(pieces) => wildcard_matches(pieces, value),
        }
    }
}

/// Compares from left to right, and lets the last wildcard take one character more where that fails.
fn wildcard_matches(pieces: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut piece, mut at) = (0, 0);
    let mut last_wildcard = None;
    while at < text.len() {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                last_wildcard = Some((piece, at));
                piece += 1;
            }
            Some(Piece::Char(expected)) if *expected == text[at] => {
                piece += 1;
                at += 1;
            }
            _ => {
                let Some((wildcard, taken)) = last_wildcard else { return false };
                last_wildcard = Some((wildcard, taken + 1));
                (piece, at) = (wildcard + 1, taken + 1);
            }
        }
    }
    pieces[piece..].iter().all(|piece| *piece == Piece::Any)
}

impl Comparison {
    fn parse(operator: &str) -> Option<Self> {
        Some(match operator {
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "=" => Self::Equal,
            ">=" => Self::GreaterOrEqual,
            ">" => Self::Greater,
            _ => return None,
        })
    }

    #[expect(clippy::float_cmp, reason = "numbers of JSON are compared as they are written")]
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Equal => value == bound,
            Self::GreaterOrEqual => value >= bound,
            Self::Greater => value > bound,
        }
    }
}

impl Cidr {
    fn contains(self, address: IpAddr) -> bool {
        let (block, address, width) = match (self.address, address) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                (u128::from(block.to_bits()), u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => (block.to_bits(), address.to_bits(), 128),
            _ => return false,
        };
        let hosts = width - self.bits;
        // A shift by all bits overflows: the whole range contains every address.
        block.checked_shr(hosts).unwrap_or(0) == address.checked_shr(hosts).unwrap_or(0)
    }
}

fn affix(
    operator: &str,
    operand: &Value,
    exact: fn(String) -> Text,
    ignoring_case: fn(String) -> Text,
) -> Result<Matcher, PatternError> {
    let refusal = || refuse(format!("{operator} match pattern must be a string"));
    match operand {
        Value::String(text) => Ok(Matcher::Text(exact(text.clone()))),
        Value::Object(object) if object.len() == 1 => match object.get("equals-ignore-case") {
            Some(Value::String(text)) => Ok(Matcher::Text(ignoring_case(text.clone()))),
            _ => refusal(),
        },
        _ => refusal(),
    }
}

fn text_of(operator: &str, operand: &Value) -> Result<Text, PatternError> {
    let Value::String(text) = operand else {
        return refuse(format!("{operator} match pattern must be a string"));
    };
    if operator == "wildcard" {
        return wildcard(text).map(Text::Wildcard);
    }
    Ok(Text::EqualsIgnoreCase(text.clone()))
}

/// `*` is a wildcard, `\*` and `\\` are characters.
fn wildcard(text: &str) -> Result<Vec<Piece>, PatternError> {
    let mut pieces = Vec::new();
    let mut characters = text.chars().enumerate();
    while let Some((position, character)) = characters.next() {
        match character {
            '*' if pieces.last() == Some(&Piece::Any) => {
                // AWS gives the first of both, and counts from the quotation mark before the text.
                return refuse(format!("Consecutive wildcard characters at pos {position}"));
            }
            '*' => pieces.push(Piece::Any),
            '\\' => match characters.next() {
                Some((_, escaped @ ('*' | '\\'))) => pieces.push(Piece::Char(escaped)),
                _ => return refuse(format!("Invalid escape character at pos {}", position + 1)),
            },
            other => pieces.push(Piece::Char(other)),
        }
    }
    Ok(pieces)
}

fn anything_but(operand: &Value) -> Result<Matcher, PatternError> {
    const TYPES: &str = "Value of anything-but must be an array or single string/number value.";
    match operand {
        Value::String(_) | Value::Number(_) => Ok(Matcher::AnythingBut(vec![operand.clone()])),
        Value::Array(values) if values.is_empty() => refuse("Empty arrays are not allowed"),
        Value::Array(values) => {
            if values.iter().any(|value| !value.is_string() && !value.is_number()) {
                return refuse("Inside anything but list, start|null|boolean is not supported.");
            }
            Ok(Matcher::AnythingBut(values.clone()))
        }
        Value::Object(object) if object.len() == 1 => {
            let Some((operator, operand)) = object.iter().next() else { return refuse(TYPES) };
            match (operator.as_str(), operand) {
                // Without regard to case, AWS knows no such operator.
                ("prefix" | "suffix", Value::Object(_)) => refuse(TYPES),
                ("prefix" | "suffix" | "wildcard" | "equals-ignore-case", _) => {
                    anything_but_texts(operator, operand).map(Matcher::AnythingButText)
                }
                _ => refuse(format!("Unsupported anything-but pattern: {operator}")),
            }
        }
        _ => refuse(TYPES),
    }
}

fn anything_but_texts(operator: &str, operand: &Value) -> Result<Vec<Text>, PatternError> {
    let operands = match operand {
        Value::Array(operands) if operands.is_empty() => {
            return refuse("Empty arrays are not allowed");
        }
        Value::Array(operands) => &operands[..],
        single => std::slice::from_ref(single),
    };
    let text = |operand: &Value| match (operator, operand) {
        ("wildcard", _) => text_of(operator, operand),
        ("equals-ignore-case", Value::String(text)) => Ok(Text::EqualsIgnoreCase(text.clone())),
        ("equals-ignore-case", _) => refuse(
            "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not \
             supported.",
        ),
        (_, Value::String(text)) if text.is_empty() => refuse("Null prefix/suffix not allowed"),
        ("prefix", Value::String(text)) => Ok(Text::Prefix(text.clone())),
        (_, Value::String(text)) => Ok(Text::Suffix(text.clone())),
        _ => refuse("prefix/suffix match pattern must be a string"),
    };
    operands.iter().map(text).collect()
}

/// `["=", 5]`, `["<", 5]`, `[">", 0, "<=", 5]`.
fn numeric(operand: &Value) -> Result<Vec<(Comparison, f64)>, PatternError> {
    let Value::Array(terms) = operand else {
        return refuse("Value of numeric must be an array.");
    };
    let mut comparisons = Vec::new();
    for term in terms.chunks(2) {
        let operator = term[0].as_str().unwrap_or_default();
        let Some(comparison) = Comparison::parse(operator) else {
            return refuse(format!("Unrecognized numeric range operator: {operator}"));
        };
        let Some(bound) = term.get(1).and_then(Value::as_number).and_then(Number::as_f64) else {
            return refuse(format!("Value of {operator} must be numeric"));
        };
        comparisons.push((comparison, bound));
    }
    match &comparisons[..] {
        [] => refuse("Invalid member in numeric match: empty"),
        [_] => Ok(comparisons),
        [(Comparison::Greater | Comparison::GreaterOrEqual, bottom), (upper, top)] => match upper {
            Comparison::Less | Comparison::LessOrEqual if bottom < top => Ok(comparisons),
            Comparison::Less | Comparison::LessOrEqual => refuse("Bottom must be less than top"),
            _ => {
                let operator = terms[2].as_str().unwrap_or_default();
                refuse(format!("Bad numeric range operator: {operator}"))
            }
        },
        _ => refuse("Too many terms in numeric range expression"),
    }
}

fn cidr(operand: &Value) -> Result<Cidr, PatternError> {
    let Value::String(text) = operand else {
        return refuse("prefix match pattern must be a string");
    };
    let Some((address, bits)) = text.split_once('/') else {
        return refuse("Malformed CIDR, one '/' required");
    };
    let Ok(bits) = bits.parse::<u32>() else {
        return refuse("Malformed CIDR, mask bits must be an integer");
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return refuse(format!("Nonstandard IP address: {address}"));
    };
    if bits > if address.is_ipv4() { 32 } else { 128 } {
        return refuse("Malformed CIDR, mask bits out of range");
    }
    Ok(Cidr { address, bits })
}
