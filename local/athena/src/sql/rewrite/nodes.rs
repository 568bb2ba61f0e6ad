//! Expressions with a syntax of their own: casts, `LIKE`, `EXTRACT`, and the like.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, CeilFloorKind, CharacterLength, DataType, DateTimeField, Expr, Spanned,
    Subscript, TrimWhereField, UnaryOperator, Value,
};

use super::calls::call;
use crate::failure::{Failure, Kind, Position};
use crate::sql::position;

/// What stands for an expression, if not itself.
pub(super) fn rewrite(expr: &Expr) -> Result<Option<Expr>, Failure> {
    Ok(match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if digits.contains(['e', 'E']) => {
                Some(as_double(Value::SingleQuotedString(digits.clone())))
            }
            Value::DoubleQuotedString(_) | Value::NationalStringLiteral(_) => {
                return Err(unsupported(expr, "this kind of literal"));
            }
            _ => None,
        },
        Expr::Cast { kind, expr: inner, data_type, .. } => cast(expr, kind, inner, data_type)?,
        Expr::Extract { field, expr: inner, .. } => {
            let name =
                part_name(field).ok_or_else(|| unsupported(expr, "this field of EXTRACT"))?;
            Some(call(name, vec![inner.as_ref().clone()]))
        }
        Expr::Substring { expr: inner, substring_from, substring_for, .. } => {
            let mut args = vec![inner.as_ref().clone()];
            args.extend(substring_from.as_deref().cloned());
            args.extend(substring_for.as_deref().cloned());
            Some(call("substr", args))
        }
        Expr::Position { expr: part, r#in } => {
            Some(call("strpos", vec![r#in.as_ref().clone(), part.as_ref().clone()]))
        }
        Expr::Trim { trim_where, trim_what: None, expr: inner, trim_characters: None } => {
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                Some(TrimWhereField::Both) | None => "trim",
            };
            Some(call(name, vec![inner.as_ref().clone()]))
        }
        Expr::Trim { .. } => return Err(unsupported(expr, "TRIM of given characters")),
        Expr::Ceil { expr: inner, field } => Some(call("ceil", vec![rounded(expr, inner, field)?])),
        Expr::Floor { expr: inner, field } => {
            Some(call("floor", vec![rounded(expr, inner, field)?]))
        }
        Expr::Like { negated, any: false, expr: value, pattern, escape_char } => {
            let escape = match escape_char.as_ref().map(|escape| &escape.value) {
                None => None,
                Some(Value::SingleQuotedString(escape)) => Some(escape.as_str()),
                Some(_) => return Err(unsupported(expr, "this kind of ESCAPE")),
            };
            like(*negated, value, pattern, escape)
        }
        Expr::Like { .. } => return Err(unsupported(expr, "LIKE ANY")),
        Expr::CompoundFieldAccess { root, access_chain } => subscripts(expr, root, access_chain)?,
        _ => None,
    })
}

fn unsupported(expr: &Expr, what: &str) -> Failure {
    let at = position(expr.span().start).unwrap_or(Position { line: 1, column: 1 });
    Failure::at(Kind::NotSupported, at, format!("{what} is not supported"))
}

/// A double literal: its digits with an exponent would make a decimal.
fn as_double(digits: Value) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(digits)),
        data_type: DataType::DoublePrecision,
        array: false,
        format: None,
    }
}

fn cast(
    whole: &Expr,
    kind: &CastKind,
    inner: &Expr,
    data_type: &DataType,
) -> Result<Option<Expr>, Failure> {
    if *kind == CastKind::DoubleColon {
        return Err(unsupported(whole, "`::`"));
    }
    match data_type {
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, unit: None })) => {
            let text = Expr::Cast {
                kind: kind.clone(),
                expr: Box::new(inner.clone()),
                data_type: DataType::Varchar(None),
                array: false,
                format: None,
            };
            let length = Expr::value(Value::Number(length.to_string(), false));
            Ok(Some(call("$truncate", vec![text, length])))
        }
        DataType::Varchar(None)
        | DataType::Boolean
        | DataType::TinyInt(None)
        | DataType::SmallInt(None)
        | DataType::Int(None)
        | DataType::Integer(None)
        | DataType::BigInt(None)
        | DataType::Real
        | DataType::DoublePrecision
        | DataType::Double(_)
        | DataType::Decimal(_)
        | DataType::Date
        | DataType::Timestamp(None, _) => Ok(None),
        other => Err(unsupported(whole, &format!("a cast to {other}"))),
    }
}

fn part_name(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Year => "year",
        DateTimeField::Quarter => "quarter",
        DateTimeField::Month => "month",
        DateTimeField::Week(None) => "week",
        DateTimeField::Day => "day",
        DateTimeField::Dow | DateTimeField::DayOfWeek => "day_of_week",
        DateTimeField::Doy | DateTimeField::DayOfYear => "day_of_year",
        DateTimeField::Hour => "hour",
        DateTimeField::Minute => "minute",
        DateTimeField::Second => "second",
        DateTimeField::Custom(name) => match name.value.to_lowercase().as_str() {
            "day_of_month" => "day",
            "day_of_week" => "day_of_week",
            "day_of_year" => "day_of_year",
            "year_of_week" | "yow" => "year_of_week",
            _ => return None,
        },
        _ => return None,
    })
}

fn rounded(whole: &Expr, inner: &Expr, field: &CeilFloorKind) -> Result<Expr, Failure> {
    match field {
        CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => Ok(inner.clone()),
        _ => Err(unsupported(whole, "rounding to a field")),
    }
}

/// DataFusion takes a backslash in a pattern for an escape, which Trino does not, and knows no
/// `ESCAPE`.
fn like(negated: bool, value: &Expr, pattern: &Expr, escape: Option<&str>) -> Option<Expr> {
    let is_plain = match pattern {
        Expr::Value(pattern) => match &pattern.value {
            Value::SingleQuotedString(pattern) => !pattern.contains('\\'),
            _ => false,
        },
        _ => false,
    };
    if is_plain && escape.is_none() {
        return None;
    }
    let escape = Expr::value(Value::SingleQuotedString(escape.unwrap_or("").to_owned()));
    let found = call("$like", vec![value.clone(), pattern.clone(), escape]);
    Some(if negated {
        Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(found) }
    } else {
        found
    })
}

fn subscripts(whole: &Expr, root: &Expr, chain: &[AccessExpr]) -> Result<Option<Expr>, Failure> {
    let mut found = root.clone();
    for access in chain {
        match access {
            AccessExpr::Subscript(Subscript::Index { index }) => {
                found = call("$subscript", vec![found, index.clone()]);
            }
            AccessExpr::Subscript(_) => return Err(unsupported(whole, "a slice")),
            AccessExpr::Dot(_) => return Ok(None),
        }
    }
    Ok(Some(found))
}
