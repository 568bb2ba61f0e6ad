//! Values as text, in the forms that Athena prints.

use std::fmt::Write as _;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, types};
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::failure::{Failure, Kind};

const SECONDS_PER_DAY: i64 = 86_400;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// Appends the text of a value that is not NULL.
///
/// # Errors
///
/// A type that Athena does not have, and a point in time beyond the year 9999.
pub(crate) fn write_value(out: &mut String, array: &dyn Array, row: usize) -> Result<(), Failure> {
    use DataType as T;
    match array.data_type() {
        T::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        T::Utf8View => out.push_str(array.as_string_view().value(row)),
        T::LargeUtf8 => out.push_str(array.as_string::<i64>().value(row)),
        T::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        T::Int8 => display(out, array.as_primitive::<types::Int8Type>().value(row)),
        T::Int16 => display(out, array.as_primitive::<types::Int16Type>().value(row)),
        T::Int32 => display(out, array.as_primitive::<types::Int32Type>().value(row)),
        T::Int64 => display(out, array.as_primitive::<types::Int64Type>().value(row)),
        T::UInt8 => display(out, array.as_primitive::<types::UInt8Type>().value(row)),
        T::UInt16 => display(out, array.as_primitive::<types::UInt16Type>().value(row)),
        T::UInt32 => display(out, array.as_primitive::<types::UInt32Type>().value(row)),
        T::UInt64 => display(out, array.as_primitive::<types::UInt64Type>().value(row)),
        T::Float32 => write_real(out, array.as_primitive::<types::Float32Type>().value(row)),
        T::Float64 => write_double(out, array.as_primitive::<types::Float64Type>().value(row)),
        T::Decimal128(_, _) => {
            out.push_str(&array.as_primitive::<types::Decimal128Type>().value_as_string(row));
        }
        T::Date32 => {
            let days = array.as_primitive::<types::Date32Type>().value(row);
            display(out, civil(i64::from(days) * SECONDS_PER_DAY * 1000)?.date());
        }
        T::Timestamp(unit, zone) => {
            write_timestamp(out, timestamp_millis(array, *unit, row))?;
            if zone.is_some() {
                out.push_str(" UTC");
            }
        }
        T::Interval(unit) => write_interval(out, array, *unit, row),
        T::Binary => write_hex(out, array.as_binary::<i32>().value(row)),
        T::BinaryView => write_hex(out, array.as_binary_view().value(row)),
        T::LargeBinary => write_hex(out, array.as_binary::<i64>().value(row)),
        T::FixedSizeBinary(_) => write_hex(out, array.as_fixed_size_binary().value(row)),
        T::Null => {}
        _ => return write_nested(out, array, row),
    }
    Ok(())
}

fn write_nested(out: &mut String, array: &dyn Array, row: usize) -> Result<(), Failure> {
    match array.data_type() {
        DataType::List(_) => write_list(out, array.as_list::<i32>().value(row).as_ref()),
        DataType::LargeList(_) => write_list(out, array.as_list::<i64>().value(row).as_ref()),
        DataType::FixedSizeList(_, _) => {
            write_list(out, array.as_fixed_size_list().value(row).as_ref())
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            out.push('{');
            for entry in 0..entries.len() {
                separate(out, entry);
                write_item(out, entries.column(0), entry)?;
                out.push('=');
                write_item(out, entries.column(1), entry)?;
            }
            out.push('}');
            Ok(())
        }
        DataType::Struct(fields) => {
            let array = array.as_struct();
            out.push('{');
            for (index, (field, column)) in fields.iter().zip(array.columns()).enumerate() {
                separate(out, index);
                out.push_str(field.name());
                out.push('=');
                write_item(out, column, row)?;
            }
            out.push('}');
            Ok(())
        }
        other => {
            let message = format!("Athena has no type for values of `{other}`");
            Err(Failure::new(Kind::NotSupported, message))
        }
    }
}

fn write_list(out: &mut String, items: &dyn Array) -> Result<(), Failure> {
    out.push('[');
    for index in 0..items.len() {
        separate(out, index);
        write_item(out, items, index)?;
    }
    out.push(']');
    Ok(())
}

fn write_item(out: &mut String, items: &dyn Array, index: usize) -> Result<(), Failure> {
    if items.is_null(index) {
        out.push_str("null");
        return Ok(());
    }
    write_value(out, items, index)
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push_str(", ");
    }
}

fn display(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string can not fail.
    let _ = write!(out, "{value}");
}

fn write_hex(out: &mut String, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        display(out, format_args!("{byte:02x}"));
    }
}

/// Appends a double as Java prints it: `1.0E10`, `3.14`, `NaN`, `Infinity`.
pub(crate) fn write_double(out: &mut String, value: f64) {
    if value.is_finite() {
        write_java(out, value == 0.0 || (1e-3..1e7).contains(&value.abs()), value);
    } else {
        write_not_finite(out, value);
    }
}

fn write_real(out: &mut String, value: f32) {
    if value.is_finite() {
        write_java(out, value == 0.0 || (1e-3..1e7).contains(&value.abs()), value);
    } else {
        write_not_finite(out, f64::from(value));
    }
}

fn write_not_finite(out: &mut String, value: f64) {
    let text = match (value.is_nan(), value > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    };
    out.push_str(text);
}

fn write_java(out: &mut String, plain: bool, value: impl std::fmt::Display + std::fmt::LowerExp) {
    let start = out.len();
    if plain {
        display(out, value);
        if !out[start..].contains('.') {
            out.push_str(".0");
        }
        return;
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    out.push_str(digits);
    if !digits.contains('.') {
        out.push_str(".0");
    }
    out.push('E');
    out.push_str(exponent);
}

/// Milliseconds since 1970, whatever the array's unit; finer digits are cut off.
pub(crate) fn timestamp_millis(array: &dyn Array, unit: TimeUnit, row: usize) -> i64 {
    match unit {
        TimeUnit::Second => {
            array.as_primitive::<types::TimestampSecondType>().value(row).saturating_mul(1000)
        }
        TimeUnit::Millisecond => array.as_primitive::<types::TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => {
            array.as_primitive::<types::TimestampMicrosecondType>().value(row).div_euclid(1000)
        }
        TimeUnit::Nanosecond => {
            array.as_primitive::<types::TimestampNanosecondType>().value(row).div_euclid(1_000_000)
        }
    }
}

/// Appends `2020-01-01 00:00:00.000`.
pub(crate) fn write_timestamp(out: &mut String, millis: i64) -> Result<(), Failure> {
    let at = civil(millis)?;
    display(
        out,
        format_args!(
            "{} {:02}:{:02}:{:02}.{:03}",
            at.date(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        ),
    );
    Ok(())
}

/// The calendar's view of milliseconds since 1970.
pub(crate) fn civil(millis: i64) -> Result<DateTime, Failure> {
    Timestamp::from_millisecond(millis)
        .map(|at| at.to_zoned(TimeZone::UTC).datetime())
        .map_err(|_| Failure::new(Kind::OutOfRange, "a point in time beyond the year 9999"))
}

fn write_interval(out: &mut String, array: &dyn Array, unit: IntervalUnit, row: usize) {
    let (months, days, millis) = match unit {
        IntervalUnit::YearMonth => {
            (array.as_primitive::<types::IntervalYearMonthType>().value(row), 0, 0)
        }
        IntervalUnit::DayTime => {
            let value = array.as_primitive::<types::IntervalDayTimeType>().value(row);
            (0, value.days, i64::from(value.milliseconds))
        }
        IntervalUnit::MonthDayNano => {
            let value = array.as_primitive::<types::IntervalMonthDayNanoType>().value(row);
            (value.months, value.days, value.nanoseconds / 1_000_000)
        }
    };
    if months != 0 {
        let sign = if months < 0 { "-" } else { "" };
        let months = months.unsigned_abs();
        display(out, format_args!("{sign}{}-{}", months / 12, months % 12));
        return;
    }
    let millis = i64::from(days) * MILLIS_PER_DAY + millis;
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    let (seconds, minutes) = (millis / 1000, millis / 60_000);
    display(
        out,
        format_args!(
            "{sign}{} {:02}:{:02}:{:02}.{:03}",
            minutes / 1440,
            minutes / 60 % 24,
            minutes % 60,
            seconds % 60,
            millis % 1000
        ),
    );
}
