//! Functions on arrays and maps.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, ListArray, UInt64Array, types,
};
use datafusion::arrow::compute::{kernels::cmp, take};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::value::unexpected_parameters;
use crate::failure::{Failure, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    Cardinality,
    Contains,
    /// NULL beyond the end; counts from the end if negative.
    ElementAt,
    /// Fails beyond the end.
    Subscript,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayFunction {
    which: Which,
    signature: Signature,
}

pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [Which::Cardinality, Which::Contains, Which::ElementAt, Which::Subscript];
    let make = |which| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(ArrayFunction { which, signature }))
    };
    all.into_iter().map(make).collect()
}

impl ScalarUDFImpl for ArrayFunction {
    fn name(&self) -> &'static str {
        match self.which {
            Which::Cardinality => "cardinality",
            Which::Contains => "contains",
            Which::ElementAt => "element_at",
            Which::Subscript => "$subscript",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match (self.which, given) {
            (Which::Contains, [DataType::List(item), _]) => {
                Ok(vec![given[0].clone(), item.data_type().clone()])
            }
            (Which::ElementAt | Which::Subscript, [DataType::List(_), index])
                if index.is_integer() || index.is_null() =>
            {
                Ok(vec![given[0].clone(), DataType::Int64])
            }
            // `cardinality` takes both as they are. A call that fits nowhere fails in `return_type`: DataFusion keeps that error as it is.
            _ => Ok(given.to_vec()),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match (self.which, given) {
            (Which::Cardinality, [DataType::List(_) | DataType::Map(_, _)]) => Ok(DataType::Int64),
            (Which::Contains, [DataType::List(_), _]) => Ok(DataType::Boolean),
            (Which::ElementAt | Which::Subscript, [DataType::List(item), index])
                if index.is_integer() || index.is_null() =>
            {
                Ok(item.data_type().clone())
            }
            _ => Err(unexpected_parameters(self.name(), given).into_datafusion()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let are_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if are_constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let result = match self.which {
            Which::Cardinality => cardinality(&arrays[0]),
            Which::Contains => contains(arrays[0].as_list(), &arrays[1])?,
            Which::ElementAt | Which::Subscript => {
                let indices = arrays[1].as_primitive::<types::Int64Type>();
                element(arrays[0].as_list(), indices, self.which == Which::Subscript)?
            }
        };
        if are_constant {
            return ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn cardinality(values: &ArrayRef) -> ArrayRef {
    let length = |row| {
        let length = match values.data_type() {
            DataType::Map(_, _) => values.as_map().value_length(row),
            _ => values.as_list::<i32>().value_length(row),
        };
        values.is_valid(row).then(|| i64::from(length))
    };
    Arc::new((0..values.len()).map(length).collect::<Int64Array>())
}

/// NULL if the value is not found and one of the items is NULL.
fn contains(lists: &ListArray, wanted: &ArrayRef) -> Result<ArrayRef> {
    let mut found = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        if lists.is_null(row) || wanted.is_null(row) {
            found.push(None);
            continue;
        }
        let items = lists.value(row);
        let wanted = ScalarValue::try_from_array(wanted, row)?.to_scalar()?;
        let equal = cmp::eq(&items, &wanted)?;
        let is_found = equal.true_count() > 0;
        found.push((is_found || equal.null_count() == 0).then_some(is_found));
    }
    Ok(Arc::new(found.into_iter().collect::<BooleanArray>()))
}

fn element(lists: &ListArray, indices: &Int64Array, is_strict: bool) -> Result<ArrayRef> {
    let mut picked = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        if lists.is_null(row) || indices.is_null(row) {
            picked.push(None);
            continue;
        }
        let length = i64::from(lists.value_length(row));
        let index = indices.value(row);
        let bad =
            |message: &str| Err(Failure::new(Kind::InvalidArgument, message).into_datafusion());
        let from_start = match index {
            0 => return bad("SQL array indices start at 1"),
            1.. => index - 1,
            _ if is_strict => return bad("Array subscript is negative"),
            _ => length + index,
        };
        if !(0..length).contains(&from_start) && is_strict {
            return bad("Array subscript must be less than or equal to array length");
        }
        let start = i64::from(lists.value_offsets()[row]);
        let at = (0..length).contains(&from_start).then(|| start + from_start);
        picked.push(at.and_then(|at| u64::try_from(at).ok()));
    }
    Ok(take(lists.values(), &picked.into_iter().collect::<UInt64Array>(), None)?)
}
