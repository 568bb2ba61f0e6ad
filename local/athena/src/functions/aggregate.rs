//! Aggregates whose results DataFusion would type or wrap otherwise.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, types};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};

use super::number::half_up;
use super::value::{out_of_range, unexpected_parameters};
use crate::failure::{Failure, Kind};

/// Which aggregate, over which numbers the sum is kept exactly here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Exact {
    /// `sum` of integers, which fails beyond a bigint.
    SumOfIntegers,
    /// `avg` of decimals, which has their type.
    AverageOfDecimals,
}

/// DataFusion's aggregate, with a rule of Athena's for some types.
#[derive(Debug)]
struct Aggregate {
    inner: Arc<AggregateUDF>,
    exact: Exact,
    signature: Signature,
}

/// The aggregates that stand for DataFusion's of the same name.
pub(super) fn functions(
    sum: Arc<AggregateUDF>,
    average: Arc<AggregateUDF>,
) -> [Arc<AggregateUDF>; 2] {
    let make = |inner, exact| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Aggregate { inner, exact, signature }))
    };
    [make(sum, Exact::SumOfIntegers), make(average, Exact::AverageOfDecimals)]
}

impl Exact {
    fn is_for(self, data_type: &DataType) -> bool {
        match self {
            Self::SumOfIntegers => data_type.is_integer(),
            Self::AverageOfDecimals => matches!(data_type, DataType::Decimal128(_, _)),
        }
    }
}

impl PartialEq for Aggregate {
    fn eq(&self, other: &Self) -> bool {
        self.exact == other.exact
    }
}

impl Eq for Aggregate {}

impl Hash for Aggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.exact.hash(state);
    }
}

/// Whether the rule is for what the aggregate is called with.
fn is_exact(exact: Exact, fields: &[FieldRef]) -> bool {
    fields.first().is_some_and(|field| exact.is_for(field.data_type()))
}

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [DataType::Null] => Ok(vec![DataType::Float64]),
            [number] if number.is_integer() && self.exact == Exact::SumOfIntegers => {
                Ok(vec![DataType::Int64])
            }
            [number] if number.is_integer() => Ok(vec![DataType::Float64]),
            [number] if number.is_numeric() => Ok(vec![number.clone()]),
            // A call that fits nowhere fails in `return_type`: DataFusion keeps that error as it is.
            _ => Ok(given.to_vec()),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match (self.exact, given) {
            (Exact::SumOfIntegers, [number]) if number.is_integer() => Ok(DataType::Int64),
            (Exact::SumOfIntegers, [DataType::Decimal128(_, scale)]) => {
                Ok(DataType::Decimal128(38, *scale))
            }
            (Exact::AverageOfDecimals, [decimal @ DataType::Decimal128(_, _)]) => {
                Ok(decimal.clone())
            }
            (_, [DataType::Float32]) => self.inner.return_type(&[DataType::Float32]),
            (_, [number]) if number.is_numeric() || number.is_null() => Ok(DataType::Float64),
            _ => Err(unexpected_parameters(self.name(), given).into_datafusion()),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_exact(self.exact, args.expr_fields) {
            return self.inner.accumulator(args);
        }
        if args.is_distinct {
            let message = format!("{}(DISTINCT) beside other aggregates", self.name());
            return Err(Failure::new(Kind::NotSupported, message).into_datafusion());
        }
        Ok(Box::new(Total {
            exact: self.exact,
            result: args.return_field.data_type().clone(),
            sum: 0,
            count: 0,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !is_exact(self.exact, args.input_fields) {
            return self.inner.state_fields(args);
        }
        let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
        Ok(vec![field("sum", DataType::Decimal128(38, 0)), field("count", DataType::UInt64)])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !is_exact(self.exact, args.expr_fields) && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_exact(self.exact, args.expr_fields) {
            return self.accumulator(args);
        }
        self.inner.create_sliding_accumulator(args)
    }
}

/// The sum and number of integers, or of the digits of decimals of one scale.
#[derive(Debug)]
struct Total {
    exact: Exact,
    result: DataType,
    sum: i128,
    count: u64,
}

impl Total {
    fn add(&mut self, values: &ArrayRef, sign: i128) -> Result<()> {
        let is_decimal = matches!(values.data_type(), DataType::Decimal128(_, _));
        let wide;
        let digits = if is_decimal {
            values.as_primitive::<types::Decimal128Type>()
        } else {
            wide = cast(values, &DataType::Decimal128(38, 0))?;
            wide.as_primitive::<types::Decimal128Type>()
        };
        for value in digits.iter().flatten() {
            let sum = self.sum.checked_add(sign * value);
            self.sum = sum.ok_or_else(|| out_of_range("decimal(38)", value).into_datafusion())?;
        }
        Ok(())
    }
}

fn present(values: &ArrayRef) -> u64 {
    (values.len() - values.null_count()) as u64
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count += present(&values[0]);
        self.add(&values[0], 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.result);
        }
        match (self.exact, &self.result) {
            (Exact::AverageOfDecimals, DataType::Decimal128(precision, scale)) => {
                let average = half_up(self.sum, i128::from(self.count));
                Ok(ScalarValue::Decimal128(Some(average), *precision, *scale))
            }
            _ => i64::try_from(self.sum)
                .map(|sum| ScalarValue::Int64(Some(sum)))
                .map_err(|_| out_of_range("bigint", self.sum).into_datafusion()),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Decimal128(Some(self.sum), 38, 0),
            ScalarValue::UInt64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.count += states[1].as_primitive::<types::UInt64Type>().iter().flatten().sum::<u64>();
        self.add(&states[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count -= present(&values[0]);
        self.add(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}
