//! The functions Step Functions adds to `JSONata`, and the one it takes away.

use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::value::JValue;
use md5::Md5;
use rand::{RngExt, SeedableRng};
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};

/// The names of the functions which AWS documents beside `JSONata`'s own.
pub(crate) const ADDED: [&str; 6] = ["partition", "range", "hash", "random", "uuid", "parse"];

/// AWS: "`$range` … the array can contain at most 1000 elements".
const RANGE_LENGTH_MAX: usize = 1000;

type Outcome = Result<JValue, EvaluatorError>;

/// Makes the added functions callable, and `$eval` an error.
pub(super) fn register(evaluator: &mut Evaluator) -> Result<(), EvaluatorError> {
    evaluator.register_fn("partition", partition)?;
    evaluator.register_fn("range", range)?;
    evaluator.register_fn("hash", hash)?;
    evaluator
        .register_fn("uuid", |_: &[JValue]| Ok(JValue::from(uuid::Uuid::new_v4().to_string())))?;
    evaluator.register_fn("parse", parse)?;
    evaluator.register_fn_override("random", random)?;
    evaluator.register_fn_override("eval", |_: &[JValue]| {
        Err(refusal("`$eval` is not supported; use `$parse`"))
    })
}

fn refusal(message: impl Into<String>) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.into())
}

/// The argument as a whole number; a fraction is rounded, as AWS does.
fn whole(arguments: &[JValue], index: usize, what: &str) -> Result<i64, EvaluatorError> {
    let number = arguments.get(index).and_then(JValue::as_f64);
    number
        .filter(|number| number.abs() < 9.0e15)
        .map(truncate)
        .ok_or_else(|| refusal(format!("{what} must be a number")))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller keeps the number within the whole numbers a double holds exactly"
)]
fn truncate(number: f64) -> i64 {
    number.round() as i64
}

fn partition(arguments: &[JValue]) -> Outcome {
    let items = match arguments.first() {
        Some(JValue::Undefined) | None => return Ok(JValue::Undefined),
        Some(JValue::Array(items)) => items.to_vec(),
        Some(single) => vec![single.clone()],
    };
    let size = whole(arguments, 1, "the size of a partition")?;
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size > 0)
        .ok_or_else(|| refusal("the size of a partition must be positive"))?;
    let parts = items.chunks(size);
    Ok(JValue::array(parts.map(|part| JValue::array(part.to_vec())).collect()))
}

fn range(arguments: &[JValue]) -> Outcome {
    let first = whole(arguments, 0, "the start of a range")?;
    let last = whole(arguments, 1, "the end of a range")?;
    let step = whole(arguments, 2, "the step of a range")?;
    if step == 0 {
        return Err(refusal("the step of a range must not be 0"));
    }
    let mut items = Vec::new();
    let mut next = first;
    while (step > 0 && next <= last) || (step < 0 && next >= last) {
        if items.len() == RANGE_LENGTH_MAX {
            return Err(refusal(format!("a range may have {RANGE_LENGTH_MAX} elements at most")));
        }
        items.push(JValue::from(next));
        next += step;
    }
    // A sequence, as every query of JSONata: AWS answers `$range(1, 9, 9)` with `1`, not `[1]`.
    // `$partition` makes plain arrays: AWS answers `$partition([0], 1)` with `[[0]]`.
    Ok(JValue::sequence(items))
}

fn hash(arguments: &[JValue]) -> Outcome {
    let data = match arguments.first() {
        Some(JValue::Undefined) | None => return Ok(JValue::Undefined),
        Some(JValue::String(text)) => text.to_string(),
        Some(other) => other.to_json_string().map_err(|error| refusal(error.to_string()))?,
    };
    let algorithm = arguments.get(1).and_then(JValue::as_str);
    let digest = match algorithm.unwrap_or("SHA-256") {
        "MD5" => hex(&Md5::digest(&data)),
        "SHA-1" => hex(&Sha1::digest(&data)),
        "SHA-256" => hex(&Sha256::digest(&data)),
        "SHA-384" => hex(&Sha384::digest(&data)),
        "SHA-512" => hex(&Sha512::digest(&data)),
        other => return Err(refusal(format!("unknown hash algorithm `{other}`"))),
    };
    Ok(JValue::from(digest))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn random(arguments: &[JValue]) -> Outcome {
    let number: f64 = match arguments.first() {
        Some(JValue::Undefined) | None => rand::rng().random(),
        Some(_) => {
            let seed = whole(arguments, 0, "the seed of `$random`")?;
            rand::rngs::StdRng::seed_from_u64(seed.cast_unsigned()).random()
        }
    };
    Ok(JValue::from(number))
}

fn parse(arguments: &[JValue]) -> Outcome {
    match arguments.first() {
        Some(JValue::Undefined) | None => Ok(JValue::Undefined),
        Some(JValue::String(text)) => JValue::from_json_str(text)
            .map_err(|error| refusal(format!("`$parse` was given text that is not JSON: {error}"))),
        Some(_) => Err(refusal("`$parse` takes a string")),
    }
}
