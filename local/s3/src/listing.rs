//! Pages of keys: prefixes, delimiters, markers.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Only keys that start with this.
    pub(crate) prefix: String,
    /// Keys that have this after the prefix are folded into one common prefix.
    pub(crate) delimiter: Option<String>,
    /// Only what comes after this key or common prefix.
    pub(crate) after: Option<String>,
    /// How many keys and common prefixes at most.
    pub(crate) limit: usize,
}

/// One page of a listing, in the order of the keys' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<T> {
    /// What is stored under the keys that were not folded.
    pub(crate) items: Vec<T>,
    /// The common prefixes.
    pub(crate) prefixes: Vec<String>,
    /// Where the next page starts, if there is one.
    pub(crate) next_after: Option<String>,
}

/// A page of the map's keys.
pub(crate) fn page<T: Clone>(map: &BTreeMap<String, T>, query: &Query) -> Page<T> {
    let mut page = Page { items: Vec::new(), prefixes: Vec::new(), next_after: None };
    if query.limit == 0 {
        return page;
    }
    let prefix = query.prefix.as_str();
    let start = match query.after.as_deref() {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut last: Option<&str> = None;
    let keys = map.range::<str, _>((start, Bound::Unbounded));
    for (key, item) in keys.take_while(|(key, _)| key.starts_with(prefix)) {
        let folded = fold(key, query);
        let seen = folded.is_some_and(|p| last == Some(p) || query.after.as_deref() == Some(p));
        if seen {
            continue;
        }
        if page.items.len() + page.prefixes.len() == query.limit {
            page.next_after = last.map(str::to_owned);
            break;
        }
        match folded {
            Some(common) => page.prefixes.push(common.to_owned()),
            None => page.items.push(item.clone()),
        }
        last = Some(folded.unwrap_or(key));
    }
    page
}

/// The common prefix that a key belongs to, if there is one.
pub(crate) fn fold<'a>(key: &'a str, query: &Query) -> Option<&'a str> {
    let delimiter = query.delimiter.as_deref().filter(|d| !d.is_empty())?;
    let rest = key.get(query.prefix.len()..)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&key[..query.prefix.len() + end])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys(keys: &[&str]) -> BTreeMap<String, String> {
        keys.iter().map(|key| ((*key).to_owned(), (*key).to_owned())).collect()
    }

    #[track_caller]
    fn check(query: &Query, items: &[&str], prefixes: &[&str], next_after: Option<&str>) {
        let stored = keys(&["asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud"]);
        let expected = Page {
            items: items.iter().map(|s| (*s).to_owned()).collect(),
            prefixes: prefixes.iter().map(|s| (*s).to_owned()).collect(),
            next_after: next_after.map(str::to_owned),
        };
        assert_eq!(page(&stored, query), expected, "{query:?}");
    }

    fn by_folder(after: Option<&str>, limit: usize) -> Query {
        Query {
            prefix: String::new(),
            delimiter: Some("/".to_owned()),
            after: after.map(str::to_owned),
            limit,
        }
    }

    #[test]
    fn a_common_prefix_is_listed_once_and_counts_as_one() {
        check(&by_folder(None, 10), &["asdf"], &["boo/", "cquux/"], None);
        check(&by_folder(None, 1), &["asdf"], &[], Some("asdf"));
        check(&by_folder(Some("asdf"), 1), &[], &["boo/"], Some("boo/"));
        check(&by_folder(Some("boo/"), 1), &[], &["cquux/"], None);
        check(&by_folder(None, 0), &[], &[], None);
    }

    #[test]
    fn a_prefix_may_end_within_a_name() {
        let query = Query { prefix: "boo/ba".to_owned(), limit: 10, ..Query::default() };
        check(&query, &["boo/bar", "boo/baz/xyzzy"], &[], None);
    }

    proptest! {
        /// Pages of any size, put together, are what a plain filter gives.
        #[test]
        fn pages_join_to_the_whole_listing(
            stored in prop::collection::btree_set("[ab/é]{1,5}", 0..30),
            prefix in "[ab/é]{0,2}",
            delimiter in prop::option::of("[/a]"),
            limit in 1_usize..5,
        ) {
            let map: BTreeMap<_, _> = stored.iter().map(|k| (k.clone(), k.clone())).collect();
            let (mut items, mut prefixes, mut after) = (Vec::new(), Vec::new(), None);
            loop {
                let query = Query { prefix: prefix.clone(), delimiter: delimiter.clone(), after, limit };
                let page = page(&map, &query);
                prop_assert!(page.items.len() + page.prefixes.len() <= limit);
                items.extend(page.items);
                prefixes.extend(page.prefixes);
                after = page.next_after;
                if after.is_none() {
                    break;
                }
            }
            let mut expected_items = Vec::new();
            let mut expected_prefixes = BTreeSet::new();
            for key in stored.iter().filter(|key| key.starts_with(&prefix)) {
                let rest = &key[prefix.len()..];
                match delimiter.as_deref().and_then(|d| rest.split_once(d).map(|(head, _)| (head, d))) {
                    Some((head, d)) => { expected_prefixes.insert(format!("{prefix}{head}{d}")); }
                    None => expected_items.push(key.clone()),
                }
            }
            prop_assert_eq!(items, expected_items);
            prop_assert_eq!(prefixes, expected_prefixes.into_iter().collect::<Vec<_>>());
        }
    }
}
