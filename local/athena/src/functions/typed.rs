//! Operators whose meaning depends on the types: overflow, decimal division, casts.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, Decimal128Array, types};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::number::{half_up, power_of_ten};
use super::value::out_of_range;
use crate::columns::trino_type;
use crate::failure::{Failure, Kind};

/// Replaces operators and casts by functions with Athena's meaning, once types are known.
#[derive(Debug)]
pub(super) struct TypedRewrite {
    pub(super) text: Arc<ScalarUDF>,
    pub(super) half_up: Arc<ScalarUDF>,
    pub(super) whole: Arc<ScalarUDF>,
}

impl FunctionRewrite for TypedRewrite {
    fn name(&self) -> &'static str {
        "athena_types"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(binary) => rewrite_binary(binary, schema),
            Expr::InList(list) => {
                let left = list.expr.get_type(schema)?;
                for item in &list.list {
                    check_operands(Operator::Eq, &left, &item.get_type(schema)?)?;
                }
                Ok(Transformed::no(Expr::InList(list)))
            }
            Expr::Between(between) => {
                let left = between.expr.get_type(schema)?;
                for bound in [&between.low, &between.high] {
                    check_operands(Operator::GtEq, &left, &bound.get_type(schema)?)?;
                }
                Ok(Transformed::no(Expr::Between(between)))
            }
            Expr::Cast(cast) => {
                let to = cast.field.data_type();
                Ok(match self.rounded(&cast.expr, to, schema)? {
                    Some(Rounded::Whole(text)) => Transformed::yes(text),
                    Some(Rounded::Argument(inner)) => {
                        let inner = Box::new(inner);
                        Transformed::yes(Expr::Cast(Cast { expr: inner, field: cast.field }))
                    }
                    None => Transformed::no(Expr::Cast(cast)),
                })
            }
            Expr::TryCast(cast) => {
                let to = cast.field.data_type();
                Ok(match self.rounded(&cast.expr, to, schema)? {
                    Some(Rounded::Whole(text)) => Transformed::yes(text),
                    Some(Rounded::Argument(inner)) => {
                        let inner = Box::new(inner);
                        Transformed::yes(Expr::TryCast(TryCast { expr: inner, field: cast.field }))
                    }
                    None => Transformed::no(Expr::TryCast(cast)),
                })
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// What a cast turns into.
enum Rounded {
    /// A function in its place.
    Whole(Expr),
    /// The same cast of something else.
    Argument(Expr),
}

impl TypedRewrite {
    /// Numbers are rounded, not cut, on their way to an integer; some texts have another form.
    fn rounded(&self, expr: &Expr, to: &DataType, schema: &DFSchema) -> Result<Option<Rounded>> {
        let call = |function: &Arc<ScalarUDF>| {
            let args = vec![expr.clone()];
            Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args))
        };
        let from = expr.get_type(schema)?;
        Ok(match (&from, to) {
            (DataType::Float64 | DataType::Float32, to) if to.is_integer() => {
                Some(Rounded::Argument(call(&self.half_up)))
            }
            (DataType::Decimal128(_, _), to) if to.is_integer() => {
                Some(Rounded::Argument(call(&self.whole)))
            }
            (DataType::Float64 | DataType::Timestamp(_, None), DataType::Utf8) => {
                Some(Rounded::Whole(call(&self.text)))
            }
            (DataType::Float32 | DataType::Timestamp(_, Some(_)), DataType::Utf8) => {
                let message = format!("cast of {} to varchar is not supported", trino_type(&from));
                return Err(Failure::new(Kind::NotSupported, message).into_datafusion());
            }
            _ => None,
        })
    }
}

fn rewrite_binary(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let left = binary.left.get_type(schema)?;
    let right = binary.right.get_type(schema)?;
    check_operands(binary.op, &left, &right)?;
    let Some(function) = Arithmetic::for_types(&binary, left, right) else {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    };
    let function = Arc::new(ScalarUDF::new_from_impl(function));
    let call = ScalarFunction::new_udf(function, vec![*binary.left, *binary.right]);
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

/// Refuses what DataFusion would convert in silence and Athena does not: text beside other types.
fn check_operands(op: Operator, left: &DataType, right: &DataType) -> Result<()> {
    let is_odd = |one: &DataType, other: &DataType| {
        one.is_string() && !other.is_string() && !other.is_null()
    };
    let is_text_operator = matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::StringConcat
            | Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
    );
    if is_text_operator && (is_odd(left, right) || is_odd(right, left)) {
        let (left, right) = (trino_type(left), trino_type(right));
        let message = format!("Cannot apply operator: {left} {op} {right}");
        return Err(Failure::new(Kind::TypeMismatch, message).into_datafusion());
    }
    Ok(())
}

/// Arithmetic as a function: of integers with a check for overflow, or division of decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    op: Operator,
    /// The type of both operands.
    operands: [DataType; 2],
    result: DataType,
    signature: Signature,
}

impl Arithmetic {
    fn for_types(binary: &BinaryExpr, left: DataType, right: DataType) -> Option<Self> {
        let op = binary.op;
        let is_checked = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply);
        let signature = Signature::user_defined(Volatility::Immutable);
        let make = |operands, result| Some(Self { op, operands, result, signature });
        if is_checked && left.is_signed_integer() && right.is_signed_integer() {
            let left = integer_type(&binary.left, left);
            let right = integer_type(&binary.right, right);
            let wider = if width(&left) >= width(&right) { left } else { right };
            return make([wider.clone(), wider.clone()], wider);
        }
        let as_decimal = |of: &DataType| match of {
            DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
            DataType::Int8 => Some((3, 0)),
            DataType::Int16 => Some((5, 0)),
            DataType::Int32 => Some((10, 0)),
            DataType::Int64 => Some((19, 0)),
            _ => None,
        };
        let is_decimal = |of: &DataType| matches!(of, DataType::Decimal128(_, _));
        if op == Operator::Divide && (is_decimal(&left) || is_decimal(&right)) {
            let ((p1, s1), (p2, s2)) = (as_decimal(&left)?, as_decimal(&right)?);
            let scale = s1.max(s2);
            let precision = i16::from(p1) + i16::from(s2) + i16::from((s2 - s1).max(0));
            let precision = u8::try_from(precision.clamp(1, 38)).unwrap_or(38);
            let operands = [DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)];
            return make(operands, DataType::Decimal128(precision, scale));
        }
        None
    }
}

/// An integer literal is as narrow as it can be, down to `integer`.
fn integer_type(expr: &Expr, data_type: DataType) -> DataType {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) if i32::try_from(*value).is_ok() => {
            DataType::Int32
        }
        _ => data_type,
    }
}

fn width(data_type: &DataType) -> usize {
    data_type.primitive_width().unwrap_or(0)
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "$add",
            Operator::Minus => "$subtract",
            Operator::Multiply => "$multiply",
            _ => "$divide",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, _given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.operands.to_vec())
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let are_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if are_constant { 1 } else { args.number_rows };
        let left = args.args[0].to_array(rows)?;
        let right = args.args[1].to_array(rows)?;
        let checked = match self.op {
            Operator::Plus => numeric::add(&left, &right),
            Operator::Minus => numeric::sub(&left, &right),
            Operator::Multiply => numeric::mul(&left, &right),
            _ => Ok(divide(&left, &right, &self.result)?),
        };
        let result = checked.map_err(|_| self.overflow().into_datafusion())?;
        if are_constant {
            return ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(result))
    }
}

impl Arithmetic {
    fn overflow(&self) -> Failure {
        let operation = match self.op {
            Operator::Plus => "addition",
            Operator::Minus => "subtraction",
            _ => "multiplication",
        };
        let message = format!("{} {operation} overflow", trino_type(&self.result));
        Failure::new(Kind::OutOfRange, message)
    }
}

/// Divides decimals and rounds a half away from zero.
fn divide(left: &ArrayRef, right: &ArrayRef, result: &DataType) -> Result<ArrayRef> {
    let scale_of = |data_type: &DataType| match data_type {
        DataType::Decimal128(_, scale) => i32::from(*scale),
        _ => 0,
    };
    let shift = scale_of(result) - scale_of(left.data_type()) + scale_of(right.data_type());
    let factor = power_of_ten(u32::try_from(shift).unwrap_or(0));
    let left = left.as_primitive::<types::Decimal128Type>();
    let right = right.as_primitive::<types::Decimal128Type>();
    let limit = match result {
        DataType::Decimal128(precision, _) => power_of_ten(u32::from(*precision)),
        _ => i128::MAX,
    };
    let quotient = |(left, right): (Option<i128>, Option<i128>)| {
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        if right == 0 {
            return Err(Failure::new(Kind::DivisionByZero, "Division by zero"));
        }
        let digits = left.checked_mul(factor).ok_or_else(|| out_of_range("decimal(38)", left))?;
        let quotient = half_up(digits * right.signum(), right.abs());
        if quotient.abs() >= limit {
            return Err(out_of_range(&trino_type(result), quotient));
        }
        Ok(Some(quotient))
    };
    let digits: std::result::Result<Decimal128Array, Failure> =
        left.iter().zip(right.iter()).map(quotient).collect();
    let digits = digits.map_err(Failure::into_datafusion)?;
    Ok(Arc::new(digits.with_data_type(result.clone())) as ArrayRef)
}
