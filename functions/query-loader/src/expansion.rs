//! From a job's names, patterns among them, to the names of its queries.

use std::collections::{BTreeMap, btree_map::Entry};

use job::{QUERY_NAMES_MAX, QueryName};
use regex::Regex;

use crate::{
    catalog::Names,
    fault::{Fault, FaultKind},
};

/// How many patterns a job may have: each is held against every name there is.
const PATTERNS_MAX: usize = 100;

/// One query of a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Which name of the job asks for it, from 0.
    pub(crate) at: usize,
    /// Its own name.
    pub(crate) name: QueryName,
}

/// What a job asks for.
#[derive(Debug)]
pub(crate) struct Expansion {
    /// The queries, in the order of the job; what a pattern stands for, by name.
    pub(crate) queries: Vec<Asked>,
    /// What is wrong with single names.
    pub(crate) faults: Vec<Fault>,
}

/// Whether a job needs to know all names.
pub(crate) fn has_pattern(asked: &[QueryName]) -> bool {
    asked.iter().any(QueryName::is_pattern)
}

/// Replaces every pattern by the names it matches, unless they are asked for already.
///
/// # Errors
///
/// The job asks for more than a job may: the message has both numbers.
pub(crate) fn expand(asked: &[QueryName], known: Option<&Names>) -> Result<Expansion, String> {
    let patterns = asked.iter().filter(|name| name.is_pattern()).count();
    if patterns > PATTERNS_MAX {
        return Err(format!(
            "{patterns} of the names are patterns, and a job has at most {PATTERNS_MAX}"
        ));
    }
    if let Some(limit) = known.and_then(|known| known.cut_at) {
        return Err(format!(
            "there are more than {limit} objects below the prefix, too many to look for what a pattern matches: \
             use a longer prefix or an index"
        ));
    }
    let mut first_at = BTreeMap::new();
    for (at, name) in asked.iter().enumerate() {
        first_at.entry(name).or_insert(at);
    }
    let mut queries = Vec::new();
    let mut faults = Vec::new();
    for (at, name) in asked.iter().enumerate() {
        let first = first_at[name];
        if first != at {
            let message = format!("`{name}` is there twice: it is `$.query_names[{first}]` too");
            faults.push(Fault { at, kind: FaultKind::Invalid(message) });
        } else if name.is_pattern() {
            let pattern = expression(name.as_str());
            let known = known.into_iter().flat_map(|known| &known.names);
            let mut matched = known.filter(|name| pattern.is_match(name.as_str())).peekable();
            if matched.peek().is_none() {
                faults.push(Fault { at, kind: FaultKind::Unmatched(name.clone()) });
            }
            for name in matched {
                if let Entry::Vacant(vacant) = first_at.entry(name) {
                    vacant.insert(at);
                    queries.push(Asked { at, name: name.clone() });
                }
            }
        } else {
            queries.push(Asked { at, name: name.clone() });
        }
    }
    if queries.len() > QUERY_NAMES_MAX {
        return Err(format!(
            "the names stand for {} queries, and a job has at most {QUERY_NAMES_MAX}",
            queries.len()
        ));
    }
    Ok(Expansion { queries, faults })
}

/// A pattern as an expression: `?` is one character but `/`, `*` any number of them, `**` any
/// number of any characters, and a part `**/` any number of whole parts, none among them.
///
/// That is how shells, `.gitignore` and most tools read them. Every other character stands for
/// itself, since names may have brackets and braces.
fn expression(pattern: &str) -> Regex {
    let mut expression = r"(?s)\A".to_owned();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let before = &pattern[..pattern.len() - rest.len()];
        let begins_part = before.is_empty() || before.ends_with('/');
        let (taken, means) = match c {
            '*' if begins_part && rest.starts_with("**/") => (3, "(?:.*/)?".to_owned()),
            '*' if rest.starts_with("**") => (2, ".*".to_owned()),
            '*' => (1, "[^/]*".to_owned()),
            '?' => (1, "[^/]".to_owned()),
            c => (c.len_utf8(), regex::escape(c.encode_utf8(&mut [0; 4]))),
        };
        expression.push_str(&means);
        rest = &rest[taken..];
    }
    expression.push_str(r"\z");
    Regex::new(&expression).expect("an escaped pattern of 200 bytes is a small expression")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> QueryName {
        text.parse().unwrap()
    }

    fn names(texts: &[&str]) -> Vec<QueryName> {
        texts.iter().map(|text| name(text)).collect()
    }

    #[track_caller]
    fn check_match(pattern: &str, matches: &[&str], others: &[&str]) {
        let expression = expression(pattern);
        for text in matches {
            assert!(expression.is_match(text), "{pattern} {text}");
        }
        for text in others {
            assert!(!expression.is_match(text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_reads_as_in_a_shell() {
        check_match(
            "users_*",
            &["users_", "users_a"],
            &["users", "users_a/b", "x_users_a", "Users_a"],
        );
        check_match("report_?", &["report_1", "report_ä"], &["report_", "report_12", "report_/"]);
        check_match("*", &["a", "a.b"], &["a/b"]);
        check_match("*/*", &["a/b"], &["a", "a/b/c"]);
        check_match("**", &["a", "a/b/c"], &[]);
        check_match("daily/**", &["daily/a", "daily/a/b"], &["daily", "weekly/a"]);
        check_match("**/users", &["users", "a/users", "a/b/users"], &["a-users", "a/users/b"]);
        check_match("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb"]);
        check_match("a**/b", &["a/b", "ax/b", "a/x/b"], &["b"]);
        check_match("[a]{b,c}!.*", &["[a]{b,c}!.x"], &["ab", "a!.x"]);
    }

    /// Expands names over a few known ones and compares the queries with who asks for each.
    #[track_caller]
    fn check(asked: &[&str], expected: &[(usize, &str)], faults: &[(usize, &str)]) {
        let known =
            Names { names: names(&["a", "b1", "b2", "d/b3"]).into_iter().collect(), cut_at: None };
        let expansion = expand(&names(asked), Some(&known)).unwrap();
        let queries: Vec<_> =
            expansion.queries.iter().map(|asked| (asked.at, asked.name.as_str())).collect();
        assert_eq!(queries, expected);
        let found: Vec<_> =
            expansion.faults.iter().map(|fault| (fault.at, format!("{:?}", fault.kind))).collect();
        let faults: Vec<_> = faults.iter().map(|(at, text)| (*at, (*text).to_owned())).collect();
        assert_eq!(found, faults);
    }

    #[test]
    fn a_pattern_stands_for_what_is_not_asked_for_otherwise() {
        check(&["c", "b*", "a"], &[(0, "c"), (1, "b1"), (1, "b2"), (2, "a")], &[]);
        check(&["b2", "b*"], &[(0, "b2"), (1, "b1")], &[]);
        check(&["b*", "b2", "**"], &[(0, "b1"), (1, "b2"), (2, "a"), (2, "d/b3")], &[]);
        check(&["b1", "b1*"], &[(0, "b1")], &[]);
    }

    #[test]
    fn a_name_twice_and_a_pattern_for_nothing_are_faults() {
        check(
            &["a", "x*", "a", "b?", "b?"],
            &[(0, "a"), (3, "b1"), (3, "b2")],
            &[
                (1, r#"Unmatched(QueryName("x*"))"#),
                (2, r#"Invalid("`a` is there twice: it is `$.query_names[0]` too")"#),
                (4, r#"Invalid("`b?` is there twice: it is `$.query_names[3]` too")"#),
            ],
        );
    }

    #[test]
    fn more_than_a_job_may_have_is_refused_with_both_numbers() {
        let many = |count| (0..count).map(|i| name(&format!("q{i}"))).collect();
        let known = Names { names: many(10_001), cut_at: None };
        assert_eq!(
            expand(&names(&["*"]), Some(&known)).unwrap_err(),
            "the names stand for 10001 queries, and a job has at most 10000"
        );
        let patterns: Vec<_> = (0..101).map(|i| name(&format!("{i}*"))).collect();
        assert_eq!(
            expand(&patterns, Some(&known)).unwrap_err(),
            "101 of the names are patterns, and a job has at most 100"
        );
        let cut = Names { names: many(3), cut_at: Some(100_000) };
        assert_eq!(
            expand(&names(&["*"]), Some(&cut)).unwrap_err(),
            "there are more than 100000 objects below the prefix, too many to look for what a pattern matches: \
             use a longer prefix or an index"
        );
    }
}
