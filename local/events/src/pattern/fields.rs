//! Events as flat lists of fields.

use std::collections::BTreeMap;

use serde_json::Value;

/// A scalar of an event.
pub(super) struct Field<'a> {
    /// The keys that lead to it, joined by dots; elements of arrays have no key.
    pub(super) path: String,
    /// A string, a number, a boolean or `null`.
    pub(super) value: &'a Value,
    pub(super) place: Place,
}

/// The elements of arrays that a field lies in: the index by the array's number.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(BTreeMap<usize, usize>);

impl Place {
    /// Returns both places as one, unless they are in different elements of one array.
    pub(super) fn join(&self, other: &Self) -> Option<Self> {
        let mut joined = self.clone();
        for (array, index) in &other.0 {
            if *joined.0.entry(*array).or_insert(*index) != *index {
                return None;
            }
        }
        Some(joined)
    }
}

/// Returns the fields of an event. An empty object or array has none.
pub(super) fn flatten(event: &Value) -> Vec<Field<'_>> {
    let mut walk = Walk { fields: Vec::new(), arrays: 0 };
    walk.add(String::new(), event, &Place::default());
    walk.fields
}

struct Walk<'a> {
    fields: Vec<Field<'a>>,
    /// Arrays of objects so far.
    arrays: usize,
}

impl<'a> Walk<'a> {
    fn add(&mut self, path: String, value: &'a Value, place: &Place) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.add(path, value, place);
                }
            }
            Value::Array(elements) => {
                let array = self.arrays;
                self.arrays += 1;
                for (index, element) in elements.iter().enumerate() {
                    let mut place = place.clone();
                    place.0.insert(array, index);
                    self.add(path.clone(), element, &place);
                }
            }
            _ => self.fields.push(Field { path, value, place: place.clone() }),
        }
    }
}
