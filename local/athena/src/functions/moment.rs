//! Functions on dates and timestamps.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan, Unit};

use super::text::{invalid, number, owned, text};
use super::value::Gives::{self, BigInt, Double};
use super::value::Takes::{self, Int};
use super::value::{Body, Function, Overload, Value, out_of_range};
use crate::failure::{Failure, Kind};
use crate::text::civil;

const DATE: Takes = Takes::Date;
const TIMESTAMP: Takes = Takes::Timestamp;
const TEXT: Takes = Takes::Text;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// A part of a date or timestamp, and how it is read.
const PARTS: [(&str, Body); 17] = [
    ("year", |args| part(args, |at| at.year().into())),
    ("quarter", |args| part(args, |at| i64::from((at.month() + 2) / 3))),
    ("month", |args| part(args, |at| at.month().into())),
    ("week", |args| part(args, |at| at.date().iso_week_date().week().into())),
    ("week_of_year", |args| part(args, |at| at.date().iso_week_date().week().into())),
    ("year_of_week", |args| part(args, |at| at.date().iso_week_date().year().into())),
    ("yow", |args| part(args, |at| at.date().iso_week_date().year().into())),
    ("day", |args| part(args, |at| at.day().into())),
    ("day_of_month", |args| part(args, |at| at.day().into())),
    ("day_of_week", |args| part(args, |at| at.weekday().to_monday_one_offset().into())),
    ("dow", |args| part(args, |at| at.weekday().to_monday_one_offset().into())),
    ("day_of_year", |args| part(args, |at| at.day_of_year().into())),
    ("doy", |args| part(args, |at| at.day_of_year().into())),
    ("hour", |args| part(args, |at| at.hour().into())),
    ("minute", |args| part(args, |at| at.minute().into())),
    ("second", |args| part(args, |at| at.second().into())),
    ("millisecond", |args| part(args, |at| at.millisecond().into())),
];

/// Parts that a date does not have.
const TIME_PARTS: [&str; 4] = ["hour", "minute", "second", "millisecond"];

pub(super) fn functions() -> Vec<Function> {
    let parts = PARTS.into_iter().map(|(name, body)| {
        let of = |takes| Overload { takes, gives: BigInt, body };
        let mut overloads = vec![of(&[TIMESTAMP])];
        if !TIME_PARTS.contains(&name) {
            overloads.insert(0, of(&[DATE]));
        }
        Function::new(name, overloads)
    });
    let same = |takes, gives, body| Overload { takes, gives, body };
    let moments = [
        Function::new(
            "date_trunc",
            vec![
                same(&[TEXT, DATE], Gives::Date, date_trunc),
                same(&[TEXT, TIMESTAMP], Gives::Timestamp, date_trunc),
            ],
        ),
        Function::new(
            "date_add",
            vec![
                same(&[TEXT, Int, DATE], Gives::Date, date_add),
                same(&[TEXT, Int, TIMESTAMP], Gives::Timestamp, date_add),
            ],
        ),
        Function::new(
            "date_diff",
            vec![
                same(&[TEXT, DATE, DATE], BigInt, date_diff),
                same(&[TEXT, TIMESTAMP, TIMESTAMP], BigInt, date_diff),
            ],
        ),
        Function::new(
            "last_day_of_month",
            vec![
                same(&[DATE], Gives::Date, last_day_of_month),
                same(&[TIMESTAMP], Gives::Date, last_day_of_month),
            ],
        ),
        Function::new("date_format", vec![same(&[TIMESTAMP, TEXT], Gives::Text, date_format)]),
        Function::new("date_parse", vec![same(&[TEXT, TEXT], Gives::Timestamp, date_parse)]),
        Function::new("to_unixtime", vec![same(&[TIMESTAMP], Double, to_unixtime)]),
        Function::new("from_iso8601_date", vec![same(&[TEXT], Gives::Date, from_iso8601_date)]),
    ];
    parts.chain(moments).collect()
}

/// The calendar's view of an argument.
fn moment(args: &[Value<'_>], index: usize) -> Result<DateTime, Failure> {
    match args.get(index) {
        Some(Value::Date(days)) => civil(i64::from(*days) * MILLIS_PER_DAY),
        Some(Value::Timestamp(millis)) => civil(*millis),
        _ => civil(0),
    }
}

/// A point in time, in the form that an argument has.
fn like_argument(
    args: &[Value<'_>],
    index: usize,
    at: DateTime,
) -> Result<Value<'static>, Failure> {
    match args.get(index) {
        Some(Value::Date(_)) => days(at.date()),
        _ => millis(at).map(Value::Timestamp),
    }
}

fn days(date: Date) -> Result<Value<'static>, Failure> {
    let days = millis(date.into())?.div_euclid(MILLIS_PER_DAY);
    i32::try_from(days).map(Value::Date).map_err(|_| out_of_range("date", days))
}

fn millis(at: DateTime) -> Result<i64, Failure> {
    let zoned = at.to_zoned(TimeZone::UTC).map_err(|_| out_of_range("timestamp", at))?;
    Ok(zoned.timestamp().as_millisecond())
}

fn part<'a>(
    args: &[Value<'a>],
    read: impl Fn(DateTime) -> i64,
) -> Result<Option<Value<'a>>, Failure> {
    Ok(Some(Value::Int(read(moment(args, 0)?))))
}

fn is_date(args: &[Value<'_>], index: usize) -> bool {
    matches!(args.get(index), Some(Value::Date(_)))
}

/// The unit that an argument names, of those that the type has.
fn unit(args: &[Value<'_>], of: usize) -> Result<(Unit, i64), Failure> {
    let name = text(args, 0).to_lowercase();
    let found = match name.as_str() {
        "millisecond" => Some((Unit::Millisecond, 1)),
        "second" => Some((Unit::Second, 1)),
        "minute" => Some((Unit::Minute, 1)),
        "hour" => Some((Unit::Hour, 1)),
        "day" => Some((Unit::Day, 1)),
        "week" => Some((Unit::Week, 1)),
        "month" => Some((Unit::Month, 1)),
        "quarter" => Some((Unit::Month, 3)),
        "year" => Some((Unit::Year, 1)),
        _ => None,
    };
    let kind = if is_date(args, of) { "DATE" } else { "TIMESTAMP" };
    let has = |unit: &(Unit, i64)| !is_date(args, of) || unit.0 >= Unit::Day;
    found.filter(has).ok_or_else(|| invalid(format!("'{name}' is not a valid {kind} field")))
}

fn date_trunc<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let at = moment(args, 1)?;
    let midnight = DateTime::from(at.date());
    let time = |at: DateTime| at.with();
    let cut = match unit(args, 1)? {
        (Unit::Millisecond, _) => Ok(at),
        (Unit::Second, _) => time(at).subsec_nanosecond(0).build(),
        (Unit::Minute, _) => time(at).second(0).subsec_nanosecond(0).build(),
        (Unit::Hour, _) => time(at).minute(0).second(0).subsec_nanosecond(0).build(),
        (Unit::Day, _) => Ok(midnight),
        (Unit::Week, _) => {
            midnight.checked_sub(i32::from(at.weekday().to_monday_zero_offset()).days())
        }
        (Unit::Month, 3) => time(midnight).day(1).month((at.month() - 1) / 3 * 3 + 1).build(),
        (Unit::Month, _) => time(midnight).day(1).build(),
        (_, _) => time(midnight).day(1).month(1).build(),
    };
    let cut = cut.map_err(|_| out_of_range("timestamp", at))?;
    like_argument(args, 1, cut).map(Some)
}

fn date_add<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let (unit, factor) = unit(args, 2)?;
    let at = moment(args, 2)?;
    let bad = || out_of_range("timestamp", number(args, 1));
    let count = number(args, 1).checked_mul(factor).ok_or_else(bad)?;
    let span = span(unit, count).ok_or_else(bad)?;
    let moved = at.checked_add(span).map_err(|_| bad())?;
    like_argument(args, 2, moved).map(Some)
}

fn span(unit: Unit, count: i64) -> Option<Span> {
    let span = Span::new();
    let span = match unit {
        Unit::Year => span.try_years(count),
        Unit::Month => span.try_months(count),
        Unit::Week => span.try_weeks(count),
        Unit::Day => span.try_days(count),
        Unit::Hour => span.try_hours(count),
        Unit::Minute => span.try_minutes(count),
        Unit::Second => span.try_seconds(count),
        _ => span.try_milliseconds(count),
    };
    span.ok()
}

fn date_diff<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let (unit, factor) = unit(args, 1)?;
    let (from, to) = (moment(args, 1)?, moment(args, 2)?);
    let millis = millis(to)? - millis(from)?;
    let count = match unit {
        Unit::Year => whole_months(from, to) / 12,
        Unit::Month => whole_months(from, to) / factor,
        Unit::Week => millis / (7 * MILLIS_PER_DAY),
        Unit::Day => millis / MILLIS_PER_DAY,
        Unit::Hour => millis / 3_600_000,
        Unit::Minute => millis / 60_000,
        Unit::Second => millis / 1000,
        _ => millis,
    };
    Ok(Some(Value::Int(count)))
}

/// Complete months from one time to another; a month is complete on the same day and time.
fn whole_months(from: DateTime, to: DateTime) -> i64 {
    if to < from {
        return -whole_months(to, from);
    }
    let years = i64::from(to.year()) - i64::from(from.year());
    let months = years * 12 + i64::from(to.month()) - i64::from(from.month());
    let is_complete = (to.day(), to.time()) >= (from.day(), from.time())
        || (to.date() == to.date().last_of_month() && from.day() > to.day());
    months - i64::from(!is_complete)
}

fn last_day_of_month<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    days(moment(args, 0)?.date().last_of_month()).map(Some)
}

#[expect(clippy::cast_precision_loss, reason = "to_unixtime gives a double")]
fn to_unixtime<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    Ok(Some(Value::Double(millis(moment(args, 0)?)? as f64 / 1000.0)))
}

fn from_iso8601_date<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let date: Date = text(args, 0)
        .parse()
        .map_err(|_| invalid(format!("Invalid format: \"{}\"", text(args, 0))))?;
    days(date).map(Some)
}

/// MySQL's specifiers, and the same in jiff's words.
fn to_strftime(format: &str) -> Result<String, Failure> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let specifier = chars.next().unwrap_or('%');
        out.push_str(match specifier {
            'a' => "%a",
            'b' => "%b",
            'c' => "%-m",
            'd' => "%d",
            'e' => "%-d",
            'f' => "%6f",
            'H' => "%H",
            'h' | 'I' => "%I",
            'i' => "%M",
            'j' => "%j",
            'k' => "%-H",
            'l' => "%-I",
            'M' => "%B",
            'm' => "%m",
            'p' => "%p",
            'r' => "%I:%M:%S %p",
            'S' | 's' => "%S",
            'T' => "%H:%M:%S",
            'v' => "%V",
            'W' => "%A",
            'x' => "%G",
            'Y' => "%Y",
            'y' => "%y",
            '%' => "%%",
            other => {
                let message = format!("the date format specifier %{other} is not supported");
                return Err(Failure::new(Kind::NotSupported, message));
            }
        });
    }
    Ok(out)
}

fn date_format<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let format = to_strftime(text(args, 1))?;
    let formatted = jiff::fmt::strtime::format(&format, moment(args, 0)?);
    formatted.map_err(|error| invalid(error.to_string())).and_then(owned)
}

fn date_parse<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let format = to_strftime(text(args, 1))?;
    let bad = || {
        let message = format!("Invalid format: \"{}\"", text(args, 0));
        invalid(message)
    };
    let parsed = jiff::fmt::strtime::parse(&format, text(args, 0)).map_err(|_| bad())?;
    let date = parsed.to_date().map_err(|_| bad())?;
    let at = date.to_datetime(parsed.to_time().unwrap_or_default());
    millis(at).map(Value::Timestamp).map(Some)
}
