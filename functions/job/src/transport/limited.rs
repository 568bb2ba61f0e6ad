//! Numbers with limits.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// A number from `MIN` to `MAX`, `DEFAULT` where none is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited<const MIN: u32, const MAX: u32, const DEFAULT: u32>(u32);

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Limited<MIN, MAX, DEFAULT> {
    const DEFAULT_IS_WITHIN: () = assert!(MIN <= DEFAULT && DEFAULT <= MAX);

    /// The number, unless it is out of range.
    pub fn new(number: u32) -> Option<Self> {
        (MIN..=MAX).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as a count of things in memory.
    pub const fn count(self) -> usize {
        self.0 as usize
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Default for Limited<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        let () = Self::DEFAULT_IS_WITHIN;
        Self(DEFAULT)
    }
}

impl<'de, const MIN: u32, const MAX: u32, const DEFAULT: u32> Deserialize<'de>
    for Limited<MIN, MAX, DEFAULT>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const MIN: u32, const MAX: u32, const DEFAULT: u32>;

        impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> de::Visitor<'_>
            for Visitor<MIN, MAX, DEFAULT>
        {
            type Value = Limited<MIN, MAX, DEFAULT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from {MIN} to {MAX}")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                u32::try_from(number)
                    .ok()
                    .and_then(Limited::new)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_u64(Visitor::<MIN, MAX, DEFAULT>)
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> JsonSchema for Limited<MIN, MAX, DEFAULT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Limited_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX, "default": DEFAULT })
    }
}
