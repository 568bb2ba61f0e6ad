//! What was read in the last minutes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use job::SecretReference;
use secrecy::SecretString;

/// How long a value is used: as long as AWS's own extension for Lambda keeps one.
const KEPT: Duration = Duration::from_mins(5);

/// How many values are kept, of 64 KiB at the most each.
const ENTRIES_MAX: usize = 64;

/// Values with the moments at which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Cache(HashMap<SecretReference, (SecretString, Instant)>);

impl Cache {
    pub(super) fn get(&self, reference: &SecretReference, now: Instant) -> Option<SecretString> {
        let (text, asked) = self.0.get(reference)?;
        (now.duration_since(*asked) < KEPT).then(|| text.clone())
    }

    pub(super) fn put(&mut self, reference: SecretReference, text: SecretString, asked: Instant) {
        self.0.retain(|_, (_, other)| asked.duration_since(*other) < KEPT);
        if self.0.len() >= ENTRIES_MAX {
            self.0.clear();
        }
        self.0.insert(reference, (text, asked));
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn reference(name: &str) -> SecretReference {
        name.parse().unwrap()
    }

    fn found(cache: &Cache, name: &str, now: Instant) -> Option<String> {
        cache.get(&reference(name), now).map(|text| text.expose_secret().to_owned())
    }

    #[test]
    fn a_value_is_kept_for_five_minutes() {
        let begun = Instant::now();
        let mut cache = Cache::default();
        cache.put(reference("a"), "1".into(), begun);
        assert_eq!(found(&cache, "a", begun + Duration::from_secs(299)), Some("1".to_owned()));
        assert_eq!(found(&cache, "a", begun + KEPT), None);
        assert_eq!(found(&cache, "b", begun), None);
        cache.put(reference("a"), "2".into(), begun + Duration::from_secs(10));
        assert_eq!(found(&cache, "a", begun + KEPT), Some("2".to_owned()));
    }

    #[test]
    fn the_number_of_values_has_a_limit() {
        let begun = Instant::now();
        let mut cache = Cache::default();
        for i in 0..1000 {
            cache.put(reference(&i.to_string()), "x".into(), begun);
            assert!(cache.0.len() <= ENTRIES_MAX);
        }
        cache.put(reference("late"), "x".into(), begun + KEPT);
        assert_eq!(cache.0.len(), 1);
    }
}
