//! Scalar functions written over single values: arguments in, a value or NULL out.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Float64Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMillisecondBuilder, types,
};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::columns::trino_type;
use crate::failure::{Failure, Kind};

/// A value that is not NULL.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Days since 1970.
    Date(i32),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// The digits, and how many of them follow the point.
    Decimal(i128, i8),
    Texts(Vec<String>),
}

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    Bytes,
    Int,
    /// Any number, as a double.
    Double,
    /// A decimal and nothing else.
    Decimal,
    Date,
    Timestamp,
}

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Text,
    Bytes,
    Integer,
    BigInt,
    Double,
    Bool,
    Date,
    Timestamp,
    Texts,
    /// The type of the first argument, before it is widened.
    Same,
    /// A decimal like the first argument, with one digit more before the point.
    Wider,
    /// A decimal without digits after the point, for the first argument's value.
    Whole,
}

/// The body of a function: what it gives for arguments none of which is NULL.
pub(super) type Body = for<'a> fn(&[Value<'a>]) -> Result<Option<Value<'a>>, Failure>;

/// One way to call a function.
#[derive(Clone, Copy)]
pub(super) struct Overload {
    pub(super) takes: &'static [Takes],
    pub(super) gives: Gives,
    pub(super) body: Body,
}

/// A function with its overloads, of which the first that fits is called. A NULL argument gives
/// NULL, as almost everywhere in Trino.
pub(super) struct Function {
    name: &'static str,
    overloads: Vec<Overload>,
    signature: Signature,
}

impl Function {
    pub(super) fn new(name: &'static str, overloads: Vec<Overload>) -> Self {
        Self { name, overloads, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn find(&self, types: &[DataType]) -> Result<&Overload> {
        let fits = |overload: &&Overload| {
            overload.takes.len() == types.len()
                && overload.takes.iter().zip(types).all(|(takes, given)| takes.fits(given))
        };
        let found = self.overloads.iter().find(fits);
        found.ok_or_else(|| unexpected_parameters(self.name, types).into_datafusion())
    }
}

/// The failure of a call with arguments of the wrong types or number.
pub(super) fn unexpected_parameters(name: &str, types: &[DataType]) -> Failure {
    let types: Vec<String> = types.iter().map(trino_type).collect();
    let message = format!("Unexpected parameters ({}) for function {name}", types.join(", "));
    Failure::new(Kind::FunctionNotFound, message)
}

impl Takes {
    fn fits(self, given: &DataType) -> bool {
        match self {
            _ if given.is_null() => true,
            Self::Text => given.is_string(),
            Self::Bytes => matches!(given, DataType::Binary | DataType::BinaryView),
            Self::Int => given.is_integer(),
            Self::Double => given.is_numeric(),
            Self::Decimal => matches!(given, DataType::Decimal128(_, _)),
            Self::Date => matches!(given, DataType::Date32),
            Self::Timestamp => matches!(given, DataType::Timestamp(_, _) | DataType::Date32),
        }
    }

    fn data_type(self, given: &DataType) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Int => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Decimal if given.is_null() => DataType::Decimal128(1, 0),
            Self::Decimal => given.clone(),
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
        }
    }
}

impl Gives {
    fn data_type(self, given: &[DataType]) -> DataType {
        let first = given.first().cloned().unwrap_or(DataType::Null);
        match (self, first) {
            (Self::Text, _) => DataType::Utf8,
            (Self::Bytes, _) => DataType::Binary,
            (Self::Integer, _) => DataType::Int32,
            (Self::BigInt, _) => DataType::Int64,
            (Self::Double, _) => DataType::Float64,
            (Self::Bool, _) => DataType::Boolean,
            (Self::Date, _) => DataType::Date32,
            (Self::Timestamp, _) => DataType::Timestamp(TimeUnit::Millisecond, None),
            (Self::Texts, _) => DataType::new_list(DataType::Utf8, true),
            (Self::Wider, DataType::Decimal128(precision, scale)) => {
                DataType::Decimal128((precision + 1).min(38), scale)
            }
            (Self::Whole, DataType::Decimal128(precision, scale)) => {
                let whole = i16::from(precision) - i16::from(scale) + i16::from(scale > 0);
                DataType::Decimal128(u8::try_from(whole.clamp(1, 38)).unwrap_or(38), 0)
            }
            (Self::Same | Self::Wider | Self::Whole, first) => first,
        }
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

// A function is what its name says: there is one of each name.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        // A call that fits nowhere fails in `return_type`: DataFusion keeps that error as it is.
        let Ok(overload) = self.find(given) else { return Ok(given.to_vec()) };
        Ok(overload.takes.iter().zip(given).map(|(takes, given)| takes.data_type(given)).collect())
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(self.find(given)?.gives.data_type(given))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let overload = self.find(&given)?;
        let are_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if are_constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let result = evaluate(overload.body, &arrays, rows, args.return_field.data_type())?;
        if are_constant {
            return datafusion::common::ScalarValue::try_from_array(&result, 0)
                .map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn evaluate(
    body: Body,
    arrays: &[ArrayRef],
    rows: usize,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let mut builder = Builder::new(data_type)?;
    let mut values = Vec::with_capacity(arrays.len());
    for row in 0..rows {
        values.clear();
        values.extend(arrays.iter().map_while(|array| read(array.as_ref(), row)));
        let value = if values.len() == arrays.len() {
            body(&values).map_err(Failure::into_datafusion)?
        } else {
            None
        };
        builder.push(value)?;
    }
    Ok(builder.finish())
}

/// The value at a row of an array of a type that [`Takes`] gives, unless it is NULL.
fn read(array: &dyn Array, row: usize) -> Option<Value<'_>> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).into()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<types::Int64Type>().value(row)),
        DataType::Float64 => Value::Double(array.as_primitive::<types::Float64Type>().value(row)),
        DataType::Date32 => Value::Date(array.as_primitive::<types::Date32Type>().value(row)),
        DataType::Timestamp(unit, _) => {
            Value::Timestamp(crate::text::timestamp_millis(array, *unit, row))
        }
        DataType::Decimal128(_, scale) => {
            Value::Decimal(array.as_primitive::<types::Decimal128Type>().value(row), *scale)
        }
        _ => return None,
    })
}

enum Builder {
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Integer(Int32Builder),
    BigInt(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMillisecondBuilder),
    Decimal(Decimal128Builder, u8, i8),
    Texts(ListBuilder<StringBuilder>),
}

impl Builder {
    fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Int32 => Self::Integer(Int32Builder::new()),
            DataType::Int64 => Self::BigInt(Int64Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Timestamp(TimeUnit::Millisecond, None) => {
                Self::Timestamp(TimestampMillisecondBuilder::new())
            }
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(data_type.clone());
                Self::Decimal(builder, *precision, *scale)
            }
            DataType::List(_) => {
                let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
                Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(item))
            }
            other => {
                let message = format!("a function's result of type `{other}`");
                return Err(Failure::new(Kind::Internal, message).into_datafusion());
            }
        })
    }

    fn push(&mut self, value: Option<Value>) -> Result<()> {
        match (self, value) {
            (Self::Text(b), Some(Value::Text(v))) => b.append_value(v),
            (Self::Bytes(b), Some(Value::Bytes(v))) => b.append_value(v),
            (Self::Integer(b), Some(Value::Int(v))) => b.append_value(to_integer(v)?),
            (Self::BigInt(b), Some(Value::Int(v))) => b.append_value(v),
            (Self::Double(b), Some(Value::Double(v))) => b.append_value(v),
            (Self::Bool(b), Some(Value::Bool(v))) => b.append_value(v),
            (Self::Date(b), Some(Value::Date(v))) => b.append_value(v),
            (Self::Timestamp(b), Some(Value::Timestamp(v))) => b.append_value(v),
            (Self::Decimal(b, precision, scale), Some(Value::Decimal(v, given))) => {
                b.append_value(checked_decimal(v, given, *precision, *scale)?);
            }
            (Self::Texts(b), Some(Value::Texts(v))) => b.append_value(v.into_iter().map(Some)),
            (builder, None) => builder.push_null(),
            (_, Some(value)) => {
                let message = format!("a function gave `{value:?}`, of another type than it says");
                return Err(Failure::new(Kind::Internal, message).into_datafusion());
            }
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Self::Text(b) => b.append_null(),
            Self::Bytes(b) => b.append_null(),
            Self::Integer(b) => b.append_null(),
            Self::BigInt(b) => b.append_null(),
            Self::Double(b) => b.append_null(),
            Self::Bool(b) => b.append_null(),
            Self::Date(b) => b.append_null(),
            Self::Timestamp(b) => b.append_null(),
            Self::Decimal(b, _, _) => b.append_null(),
            Self::Texts(b) => b.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut b) => Arc::new(b.finish()),
            Self::Bytes(mut b) => Arc::new(b.finish()),
            Self::Integer(mut b) => Arc::new(b.finish()),
            Self::BigInt(mut b) => Arc::new(b.finish()),
            Self::Double(mut b) => Arc::new(b.finish()),
            Self::Bool(mut b) => Arc::new(b.finish()),
            Self::Date(mut b) => Arc::new(b.finish()),
            Self::Timestamp(mut b) => Arc::new(b.finish()),
            Self::Decimal(mut b, _, _) => Arc::new(b.finish()),
            Self::Texts(mut b) => Arc::new(b.finish()),
        }
    }
}

fn to_integer(value: i64) -> Result<i32> {
    i32::try_from(value).map_err(|_| out_of_range("integer", value).into_datafusion())
}

/// A number that a type has no room for.
pub(super) fn out_of_range(kind: &str, value: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::OutOfRange, format!("Out of range for {kind}: {value}"))
}

fn checked_decimal(digits: i128, given: i8, precision: u8, scale: i8) -> Result<i128> {
    let limit = 10_i128.pow(u32::from(precision));
    if given == scale && digits.abs() < limit {
        return Ok(digits);
    }
    Err(out_of_range(&format!("decimal({precision},{scale})"), digits).into_datafusion())
}
