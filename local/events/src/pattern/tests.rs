//! Recordings of AWS for `TestEventPattern`, in own examples; and a second definition of matching.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

#[track_caller]
fn check(pattern: &Value, event: &Value, expected: bool) {
    let parsed = Pattern::parse(&pattern.to_string()).unwrap();
    assert_eq!(parsed.matches(event), expected, "{pattern} on {event}");
}

/// Checks one field: patterns for its value, and values that match and that do not.
#[track_caller]
fn check_field(patterns: &Value, matching: &[Value], others: &[Value]) {
    let pattern = json!({ "detail": { "field": patterns } });
    for (values, expected) in [(matching, true), (others, false)] {
        for value in values {
            check(&pattern, &json!({ "detail": { "field": value } }), expected);
        }
    }
}

#[track_caller]
fn check_refused(pattern: &str, reason: &str) {
    let refused = Pattern::parse(pattern).map_err(|PatternError(reason)| reason);
    assert_eq!(refused, Err(reason.to_owned()), "{pattern}");
}

#[track_caller]
fn check_refused_field(patterns: &Value, reason: &str) {
    check_refused(&json!({ "detail": { "field": patterns } }).to_string(), reason);
}

#[test]
fn an_exact_value_is_equal_in_type_and_case() {
    check_field(&json!(["a", "b"]), &[json!("a"), json!("b")], &[json!("A"), json!(""), json!(1)]);
    check_field(&json!([""]), &[json!("")], &[json!(null), json!("a")]);
    check_field(&json!([true]), &[json!(true)], &[json!(false), json!("true")]);
    check_field(&json!([null]), &[json!(null)], &[json!(""), json!("null"), json!([])]);
    check_field(&json!([300]), &[json!(300), json!(300.0), json!(3.0e2)], &[json!("300")]);
    check(&json!({ "Detail": ["a"] }), &json!({ "detail": "a" }), false);
}

#[test]
fn all_fields_of_a_pattern_must_match() {
    let pattern = json!({ "source": ["s"], "detail": { "a": [1], "b": { "c": ["x"] } } });
    check(&pattern, &json!({ "source": "s", "detail": { "a": 1, "b": { "c": "x" } } }), true);
    check(&pattern, &json!({ "source": "s", "detail": { "a": 1, "b": { "c": "y" } } }), false);
    check(&pattern, &json!({ "source": "s", "detail": { "a": 1, "b": "x" } }), false);
    check(&pattern, &json!({ "source": "s", "detail": { "a": 1 } }), false);
    check(&pattern, &json!({ "detail": { "a": 1, "b": { "c": "x" } } }), false);
}

#[test]
fn one_element_of_an_array_is_enough() {
    check_field(&json!(["a", "b"]), &[json!(["z", "b"])], &[json!(["z"]), json!([])]);
    check_field(&json!([{ "anything-but": "a" }]), &[json!(["a", "b"])], &[json!(["a"])]);
}

#[test]
fn the_fields_of_a_match_are_in_one_element() {
    let pattern = json!({ "list": { "id": [1], "name": ["a"] } });
    check(&pattern, &json!({ "list": [{ "id": 1, "name": "a" }, { "id": 2 }] }), true);
    check(
        &pattern,
        &json!({ "list": [{ "id": 1, "name": "b" }, { "id": 2, "name": "a" }] }),
        false,
    );
    let nested = json!({ "list": { "id": [1], "inner": { "x": [2], "y": [3] } } });
    let element = |x, y| json!({ "inner": [{ "x": x, "y": 0 }, { "x": 2, "y": y }], "id": 1 });
    check(&nested, &json!({ "list": [element(2, 3)] }), true);
    check(&nested, &json!({ "list": [{ "id": 1, "inner": [{ "x": 2 }, { "y": 3 }] }] }), false);
}

#[test]
fn keys_joined_by_a_dot_are_nested_keys() {
    let joined = json!({ "detail": { "state.status": ["running"] } });
    let nested = json!({ "detail": { "state": { "status": ["running"] } } });
    for pattern in [&joined, &nested] {
        check(pattern, &json!({ "detail": { "state": { "status": "running" } } }), true);
        check(pattern, &json!({ "detail": { "state.status": "running" } }), true);
        check(pattern, &json!({ "detail": { "state.status": { "status": "running" } } }), false);
    }
    let deeper = json!({ "detail": { "state.status": { "status": ["running"] } } });
    check(&deeper, &json!({ "detail": { "state": { "status": "running" } } }), false);
}

#[test]
fn exists_is_about_scalars() {
    let value = [json!("a"), json!(0), json!(null), json!(false), json!(["a"])];
    let nothing = [json!([]), json!({}), json!({ "deeper": 1 })];
    check_field(&json!([{ "exists": true }]), &value, &nothing);
    check_field(&json!([{ "exists": false }]), &nothing, &value);
    check(&json!({ "a": { "b": [{ "exists": false }] } }), &json!({}), true);
    check(&json!({ "l": { "id": [{ "exists": true }] } }), &json!({ "l": [1, { "id": 2 }] }), true);
    // A missing field of one element is there in another.
    let absent = json!({ "l": { "id": [{ "exists": false }] } });
    check(&absent, &json!({ "l": [{ "x": 1 }, { "id": 2 }] }), false);
    let roses = json!([{ "anything-but": ["roses"] }, { "exists": false }]);
    check_field(&roses, &[json!([]), json!("tulips")], &[json!("roses")]);
}

#[test]
fn prefixes_and_suffixes_are_of_strings() {
    check_field(&json!([{ "prefix": "us-" }]), &[json!("us-east-1")], &[json!("eu"), json!(5)]);
    check_field(&json!([{ "suffix": ".png" }]), &[json!("a.png")], &[json!("a.PNG"), json!(null)]);
    check_field(&json!([{ "prefix": "" }]), &[json!("a"), json!("")], &[json!(1), json!(null)]);
    check_field(&json!([{ "suffix": "" }]), &[json!("a")], &[json!(1)]);
    let prefix = json!([{ "prefix": { "equals-ignore-case": "EventB" } }]);
    check_field(&prefix, &[json!("eventbridge")], &[json!("event")]);
    let suffix = json!([{ "suffix": { "equals-ignore-case": ".Png" } }]);
    check_field(&suffix, &[json!("a.pNG")], &[json!("a.jpg")]);
}

#[test]
fn case_is_ignored_on_demand() {
    let ignoring = json!([{ "equals-ignore-case": "Alice" }]);
    check_field(&ignoring, &[json!("aLICE"), json!("alice")], &[json!("alicia"), json!(1)]);
    check_field(&json!([{ "equals-ignore-case": "" }]), &[json!("")], &[json!("a")]);
}

#[test]
fn a_wildcard_is_any_characters() {
    let bus = json!([{ "wildcard": "arn:*:event-bus/*" }]);
    check_field(&bus, &[json!("arn:aws:event-bus/b"), json!("arn::event-bus/")], &[json!("arn")]);
    let jump = json!([{ "wildcard": "*a*ab" }]);
    check_field(&jump, &[json!("aab"), json!("xaxabab")], &[json!("ab"), json!("aabx")]);
    check_field(&json!([{ "wildcard": "*" }]), &[json!(""), json!("é")], &[json!(1)]);
    check_field(&json!([{ "wildcard": "" }]), &[json!("")], &[json!("a")]);
    check_field(&json!([{ "wildcard": r"\*\\*" }]), &[json!(r"*\x")], &[json!(r"x\x")]);
}

#[test]
fn anything_but_needs_a_value() {
    let but = json!([{ "anything-but": "a" }]);
    check_field(&but, &[json!("b"), json!(null), json!(1)], &[json!("a"), json!([])]);
    check(&json!({ "a": [{ "anything-but": "a" }] }), &json!({ "b": 1 }), false);
    let zero = json!([{ "anything-but": 0 }]);
    check_field(&zero, &[json!(123), json!("0"), json!(null)], &[json!(0), json!(0.0)]);
    let list = json!([{ "anything-but": ["a", 5] }]);
    check_field(&list, &[json!("b"), json!(6), json!("5")], &[json!("a"), json!(5)]);
    for prefixes in [json!("in"), json!(["in", "te"])] {
        let but = json!([{ "anything-but": { "prefix": prefixes } }]);
        check_field(&but, &[json!("out"), json!(12), json!(null)], &[json!("inside")]);
    }
    let but = json!([{ "anything-but": { "suffix": [".png", ".jpg"] } }]);
    check_field(&but, &[json!("a.txt"), json!(null)], &[json!("a.jpg")]);
    let but = json!([{ "anything-but": { "wildcard": ["*/x", "y*"] } }]);
    check_field(&but, &[json!("a/z"), json!(123), json!("")], &[json!("a/x"), json!("y")]);
    let but = json!([{ "anything-but": { "wildcard": "" } }]);
    check_field(&but, &[json!("a")], &[json!("")]);
    let but = json!([{ "anything-but": { "equals-ignore-case": ["A", "b"] } }]);
    check_field(&but, &[json!("c"), json!(null)], &[json!("a"), json!("B")]);
}

#[test]
fn numbers_lie_in_ranges() {
    let range = json!([{ "numeric": [">", 0, "<=", 5] }]);
    check_field(&range, &[json!(5), json!(0.5), json!([9, 1])], &[json!(0), json!(5.1)]);
    check_field(&json!([{ "numeric": ["=", 3.018e2] }]), &[json!(301.8)], &[json!(302)]);
    let above = json!([{ "numeric": [">=", 100] }]);
    check_field(&above, &[json!(100), json!(101.0)], &[json!(99), json!("101"), json!(null)]);
    let or = json!([{ "numeric": ["<", 100] }, { "anything-but": "101" }]);
    check_field(&or, &[json!(99), json!("100"), json!(101)], &[json!("101")]);
}

#[test]
fn addresses_lie_in_blocks() {
    let block = json!([{ "cidr": "10.0.0.0/24" }]);
    let others = [json!("10.0.1.0"), json!("::a"), json!("x"), json!(10)];
    check_field(&block, &[json!("10.0.0.255")], &others);
    check_field(&json!([{ "cidr": "0.0.0.0/0" }]), &[json!("1.2.3.4")], &[json!("::1")]);
    let block = json!([{ "cidr": "2001:db8:1234:1a00::/56" }]);
    check_field(&block, &[json!("2001:db8:1234:1a01::1")], &[json!("2001:db8:1234:1b00::")]);
    check_field(&json!([{ "cidr": "::/0" }]), &[json!("::1")], &[json!("1.2.3.4")]);
}

#[test]
fn or_gives_alternatives() {
    let pattern = json!({ "detail": { "$or": [{ "a": [1] }, { "b": { "c": [2] } }], "d": [3] } });
    check(&pattern, &json!({ "detail": { "a": 1, "d": 3 } }), true);
    check(&pattern, &json!({ "detail": { "b": { "c": 2 }, "d": 3 } }), true);
    check(&pattern, &json!({ "detail": { "a": 2, "d": 3 } }), false);
    check(&pattern, &json!({ "detail": { "a": 1 } }), false);
    let top = json!({ "$or": [{ "a": [1] }, { "$or": [{ "b": [1] }, { "c": [1] }] }] });
    check(&top, &json!({ "c": 1 }), true);
    check(&top, &json!({ "d": 1 }), false);
}

#[test]
fn a_pattern_is_refused_in_the_words_of_aws() {
    check_refused(r#"["a"]"#, "Filter is not an object");
    check_refused(r#"{"int": 42}"#, "\"int\" must be an object or an array");
    check_refused(r#"{"string": "a"}"#, "\"string\" must be an object or an array");
    check_refused(r#"{"a": []}"#, "Empty arrays are not allowed");
    check_refused(r#"{"a": {}}"#, "Empty objects are not allowed");
    check_refused("{}", "Empty objects are not allowed");
    let refused = |operator: Value, reason: &str| check_refused_field(&json!([operator]), reason);
    refused(json!({ "EXISTS": true }), "Unrecognized match type EXISTS");
    refused(json!({ "prefix": "a", "suffix": "b" }), "Only one key allowed in match expression");
    refused(json!(["a"]), "Match value must be String, number, true, false, or null");
    refused(json!({ "exists": 1 }), "exists match pattern must be either true or false.");
    refused(json!({ "prefix": 1 }), "prefix match pattern must be a string");
    refused(json!({ "suffix": ["a"] }), "suffix match pattern must be a string");
    refused(json!({ "wildcard": 1 }), "wildcard match pattern must be a string");
    refused(
        json!({ "wildcard": "arn:aws:events:us-east-1:**:event-bus/*" }),
        "Consecutive wildcard characters at pos 26",
    );
    let not_a_string = "equals-ignore-case match pattern must be a string";
    refused(json!({ "equals-ignore-case": ["a"] }), not_a_string);
    refused(json!({ "cidr": ["a"] }), "prefix match pattern must be a string");
    refused(json!({ "cidr": "10.0.0.0" }), "Malformed CIDR, one '/' required");
    refused(json!({ "cidr": "10.0.0.0/x" }), "Malformed CIDR, mask bits must be an integer");
    refused(json!({ "cidr": "xx.11.xx/8" }), "Nonstandard IP address: xx.11.xx");
    refused(json!({ "cidr": "10.0.0.0/33" }), "Malformed CIDR, mask bits out of range");
    refused(json!({ "numeric": 5 }), "Value of numeric must be an array.");
    refused(json!({ "numeric": ["<", "5"] }), "Value of < must be numeric");
    refused(json!({ "numeric": [">", 0, ">", 5] }), "Bad numeric range operator: >");
    refused(json!({ "numeric": [">", 5, "<", 5] }), "Bottom must be less than top");
    refused(json!({ "numeric": ["<", 5, ">", 0] }), "Too many terms in numeric range expression");
    refused(json!({ "numeric": ["!", 5] }), "Unrecognized numeric range operator: !");
    let types = "Value of anything-but must be an array or single string/number value.";
    refused(json!({ "anything-but": null }), types);
    refused(json!({ "anything-but": { "prefix": { "equals-ignore-case": "a" } } }), types);
    refused(
        json!({ "anything-but": ["a", null] }),
        "Inside anything but list, start|null|boolean is not supported.",
    );
    let affix = "prefix/suffix match pattern must be a string";
    refused(json!({ "anything-but": { "prefix": 1 } }), affix);
    refused(json!({ "anything-but": { "suffix": ["a", 1] } }), affix);
    refused(json!({ "anything-but": { "prefix": "" } }), "Null prefix/suffix not allowed");
    let wildcard = "wildcard match pattern must be a string";
    refused(json!({ "anything-but": { "wildcard": ["a", 1] } }), wildcard);
    let list = "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not \
                supported.";
    refused(json!({ "anything-but": { "equals-ignore-case": [1] } }), list);
    refused(json!({ "anything-but": { "equals-ignore-case": null } }), list);
}

#[test]
fn alternatives_do_not_multiply_without_end() {
    let either = json!([{ "a": [1] }, { "b": [1] }, { "c": [1] }, { "d": [1] }]);
    let mut pattern = Map::new();
    for key in ["k", "l", "m", "n", "o"] {
        pattern.insert(key.to_owned(), json!({ "$or": either }));
    }
    let text = Value::Object(pattern).to_string();
    check_refused(&text, "Rule is too complex - try using fewer conditions in `$or`");
}

/// Matching by descent instead of by fields, for events without arrays and keys without dots.
fn naive(pattern: &Value, event: Option<&Value>) -> bool {
    match pattern {
        Value::Object(fields) => fields.iter().all(|(key, pattern)| match pattern {
            Value::Array(choices) if key == OR => choices.iter().any(|choice| naive(choice, event)),
            _ => naive(pattern, event.and_then(|event| event.get(key))),
        }),
        Value::Array(values) => values.iter().any(|expected| naive_value(expected, event)),
        _ => false,
    }
}

fn naive_value(expected: &Value, found: Option<&Value>) -> bool {
    let found = found.filter(|found| !found.is_object());
    if let Some(exists) = expected.get("exists") {
        return found.is_some() == *exists;
    }
    let Some(found) = found else { return false };
    if let Some(prefix) = expected.get("prefix") {
        return found.as_str().is_some_and(|found| found.starts_with(prefix.as_str().unwrap()));
    }
    if let Some(other) = expected.get("anything-but") {
        return found != other;
    }
    found == expected
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[ab]{0,2}".prop_map(Value::from),
        (0..3_u8).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

fn event() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map("[xyz]", inner, 0..3)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    })
}

fn pattern() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        scalar(),
        any::<bool>().prop_map(|exists| json!({ "exists": exists })),
        "[ab]?".prop_map(|prefix| json!({ "prefix": prefix })),
        "[ab]{0,2}".prop_map(|other| json!({ "anything-but": other })),
    ];
    let leaf = prop::collection::vec(value, 1..3).prop_map(Value::from);
    let object = |inner| {
        prop::collection::btree_map("[xyz]", inner, 1..3)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    };
    let nested = leaf.prop_recursive(3, 12, 3, move |inner| object(inner.boxed()));
    let fields = prop::collection::btree_map("[xyz]", nested, 1..3)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()));
    (fields.clone(), prop::option::of((fields.clone(), fields))).prop_map(|(mut all, either)| {
        if let Some((one, other)) = either {
            all[OR] = json!([one, other]);
        }
        all
    })
}

proptest! {
    #[test]
    fn fields_and_descent_decide_alike(pattern in pattern(), event in event()) {
        let parsed = Pattern::parse(&pattern.to_string()).unwrap();
        prop_assert_eq!(parsed.matches(&event), naive(&pattern, Some(&event)));
    }
}
