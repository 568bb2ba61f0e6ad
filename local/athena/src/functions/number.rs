//! Functions on numbers.

use super::text::{invalid, number};
use super::value::Gives::{self, BigInt, Bool};
use super::value::Takes::{Decimal, Double, Int};
use super::value::{Body, Function, Overload, Value, out_of_range};
use crate::failure::{Failure, Kind};

/// Functions from doubles to a double.
const CURVES: [(&str, Body); 18] = [
    ("sqrt", |args| curve(args, f64::sqrt)),
    ("cbrt", |args| curve(args, f64::cbrt)),
    ("exp", |args| curve(args, f64::exp)),
    ("ln", |args| curve(args, f64::ln)),
    ("log2", |args| curve(args, f64::log2)),
    ("log10", |args| curve(args, f64::log10)),
    ("sin", |args| curve(args, f64::sin)),
    ("cos", |args| curve(args, f64::cos)),
    ("tan", |args| curve(args, f64::tan)),
    ("asin", |args| curve(args, f64::asin)),
    ("acos", |args| curve(args, f64::acos)),
    ("atan", |args| curve(args, f64::atan)),
    ("sinh", |args| curve(args, f64::sinh)),
    ("cosh", |args| curve(args, f64::cosh)),
    ("tanh", |args| curve(args, f64::tanh)),
    ("degrees", |args| curve(args, f64::to_degrees)),
    ("radians", |args| curve(args, f64::to_radians)),
    ("$half_up", |args| curve(args, f64::round)),
];

pub(super) fn functions() -> Vec<Function> {
    let of = |takes, gives, body| Overload { takes, gives, body };
    let curves = CURVES
        .into_iter()
        .map(|(name, body)| Function::new(name, vec![of(&[Double], Gives::Double, body)]));
    let others = vec![
        Function::new(
            "round",
            vec![
                of(&[Int], BigInt, |args| Ok(args.first().cloned())),
                of(&[Decimal], Gives::Whole, |args| whole(args, half_up)),
                of(&[Decimal, Int], Gives::Wider, round_decimal),
                of(&[Double], Gives::Double, |args| Ok(Some(Value::Double(double(args).round())))),
                of(&[Double, Int], Gives::Double, round_double),
            ],
        ),
        rounding(
            "ceil",
            |args| whole(args, ceiling),
            |args| Ok(Some(Value::Double(double(args).ceil()))),
        ),
        rounding(
            "ceiling",
            |args| whole(args, ceiling),
            |args| Ok(Some(Value::Double(double(args).ceil()))),
        ),
        rounding(
            "floor",
            |args| whole(args, i128::div_euclid),
            |args| Ok(Some(Value::Double(double(args).floor()))),
        ),
        Function::new(
            "abs",
            vec![
                of(&[Int], BigInt, |args| {
                    let given = number(args, 0);
                    let found = given.checked_abs().map(Value::Int);
                    found.map(Some).ok_or_else(|| out_of_range("bigint", given))
                }),
                of(&[Decimal], Gives::Same, |args| {
                    Ok(match args.first() {
                        Some(Value::Decimal(digits, scale)) => {
                            Some(Value::Decimal(digits.abs(), *scale))
                        }
                        _ => None,
                    })
                }),
                of(&[Double], Gives::Double, |args| Ok(Some(Value::Double(double(args).abs())))),
            ],
        ),
        Function::new(
            "mod",
            vec![of(&[Int, Int], BigInt, |args| {
                let by = number(args, 1);
                if by == 0 {
                    return Err(Failure::new(Kind::DivisionByZero, "Division by zero"));
                }
                Ok(Some(Value::Int(number(args, 0).wrapping_rem(by))))
            })],
        ),
        Function::new(
            "sign",
            vec![of(&[Int], BigInt, |args| Ok(Some(Value::Int(number(args, 0).signum()))))],
        ),
        Function::new(
            "is_nan",
            vec![of(&[Double], Bool, |args| Ok(Some(Value::Bool(double(args).is_nan()))))],
        ),
        Function::new(
            "is_finite",
            vec![of(&[Double], Bool, |args| Ok(Some(Value::Bool(double(args).is_finite()))))],
        ),
        Function::new(
            "is_infinite",
            vec![of(&[Double], Bool, |args| Ok(Some(Value::Bool(double(args).is_infinite()))))],
        ),
        power("power"),
        power("pow"),
        Function::new(
            "pi",
            vec![of(&[], Gives::Double, |_| Ok(Some(Value::Double(std::f64::consts::PI))))],
        ),
        Function::new(
            "e",
            vec![of(&[], Gives::Double, |_| Ok(Some(Value::Double(std::f64::consts::E))))],
        ),
        bitwise("bitwise_and", |args| Ok(Some(Value::Int(number(args, 0) & number(args, 1))))),
        bitwise("bitwise_or", |args| Ok(Some(Value::Int(number(args, 0) | number(args, 1))))),
        bitwise("bitwise_xor", |args| Ok(Some(Value::Int(number(args, 0) ^ number(args, 1))))),
    ];
    curves.chain(others).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "it is the body of a function, and bodies may fail")]
fn curve<'a>(args: &[Value<'a>], of: fn(f64) -> f64) -> Result<Option<Value<'a>>, Failure> {
    Ok(Some(Value::Double(of(double(args)))))
}

fn power(name: &'static str) -> Function {
    let body: Body = |args| match args {
        [Value::Double(base), Value::Double(exponent)] => {
            Ok(Some(Value::Double(base.powf(*exponent))))
        }
        _ => Ok(None),
    };
    Function::new(name, vec![Overload { takes: &[Double, Double], gives: Gives::Double, body }])
}

fn bitwise(name: &'static str, body: Body) -> Function {
    Function::new(name, vec![Overload { takes: &[Int, Int], gives: BigInt, body }])
}

fn rounding(name: &'static str, decimal: Body, double: Body) -> Function {
    let integer: Body = |args| Ok(args.first().cloned());
    Function::new(
        name,
        vec![
            Overload { takes: &[Int], gives: BigInt, body: integer },
            Overload { takes: &[Decimal], gives: Gives::Whole, body: decimal },
            Overload { takes: &[Double], gives: Gives::Double, body: double },
        ],
    )
}

fn double(args: &[Value<'_>]) -> f64 {
    match args.first() {
        Some(Value::Double(value)) => *value,
        _ => f64::NAN,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is the body of a function, and bodies may fail")]
fn whole<'a>(
    args: &[Value<'a>],
    divide: impl Fn(i128, i128) -> i128,
) -> Result<Option<Value<'a>>, Failure> {
    let Some(Value::Decimal(digits, scale)) = args.first() else { return Ok(None) };
    Ok(Some(Value::Decimal(divide(*digits, power_of_ten(u32::from(scale.unsigned_abs()))), 0)))
}

pub(super) fn power_of_ten(exponent: u32) -> i128 {
    10_i128.saturating_pow(exponent)
}

/// Divides and rounds a half away from zero. The divisor is positive.
pub(super) fn half_up(digits: i128, by: i128) -> i128 {
    let (quotient, rest) = (digits / by, digits % by);
    if rest.unsigned_abs() >= by.unsigned_abs().div_ceil(2) {
        quotient + digits.signum()
    } else {
        quotient
    }
}

fn ceiling(digits: i128, by: i128) -> i128 {
    digits.div_euclid(by) + i128::from(digits.rem_euclid(by) != 0)
}

#[expect(clippy::unnecessary_wraps, reason = "it is the body of a function, and bodies may fail")]
fn round_decimal<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let Some(Value::Decimal(digits, scale)) = args.first() else { return Ok(None) };
    let dropped = i64::from(*scale) - number(args, 1);
    let Ok(dropped) = u32::try_from(dropped) else { return Ok(args.first().cloned()) };
    if dropped > 38 {
        return Ok(Some(Value::Decimal(0, *scale)));
    }
    let by = power_of_ten(dropped);
    Ok(Some(Value::Decimal(half_up(*digits, by) * by, *scale)))
}

fn round_double<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>, Failure> {
    let places = i32::try_from(number(args, 1)).map_err(|_| invalid("too many digits"))?;
    let value = double(args);
    let factor = 10_f64.powi(places);
    let rounded = (value.abs() * factor).round() / factor;
    let is_kept = !value.is_finite() || !rounded.is_finite();
    Ok(Some(Value::Double(if is_kept { value } else { rounded.copysign(value) })))
}
