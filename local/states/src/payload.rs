//! A JSON value that goes from state to state, with the text it has in the history.

use std::sync::Arc;

use serde_json::Value;

/// The most bytes of UTF-8 one input, output, result or variable may have.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 262_144;

/// A JSON value together with its text. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Payload {
    text: Arc<str>,
    value: Arc<Value>,
}

impl Payload {
    /// Reads JSON text, which is kept as it is.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_str(text)?;
        Ok(Self { text: text.into(), value: Arc::new(value) })
    }

    /// The JSON text: as it was given from outside, and compact where it was made here.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// The length of the text in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.size_bytes() > PAYLOAD_BYTES_MAX
    }

    /// One array of many payloads, in their order.
    pub(crate) fn array<'a>(items: impl Iterator<Item = &'a Payload> + Clone) -> Self {
        let mut text = String::from("[");
        for (index, item) in items.clone().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&item.text);
        }
        text.push(']');
        let value = Value::Array(items.map(|item| item.value().clone()).collect());
        Self { text: text.into(), value: Arc::new(value) }
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self { text: value.to_string().into(), value: Arc::new(value) }
    }
}
