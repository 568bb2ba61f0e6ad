//! Which state of a state machine contains another.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The states of a definition in the [Amazon States Language], as far as their nesting goes.
///
/// [Amazon States Language]: https://states-language.net/spec.html
#[derive(Debug, Deserialize)]
pub(crate) struct Scope {
    #[serde(rename = "States")]
    states: BTreeMap<String, State>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    item_processor: Option<Scope>,
    /// What `ItemProcessor` was called before.
    iterator: Option<Scope>,
    branches: Vec<Scope>,
}

impl Scope {
    /// The top-level state that is `name` or contains it; a state's name is unique in the whole
    /// definition.
    pub(crate) fn top_level(&self, name: &str) -> Option<&str> {
        let mut states = self.states.iter();
        states
            .find(|(top, state)| *top == name || state.contains(name))
            .map(|(top, _)| top.as_str())
    }
}

impl State {
    fn contains(&self, name: &str) -> bool {
        let scopes = self.item_processor.iter().chain(&self.iterator).chain(&self.branches);
        scopes.into_iter().any(|scope| scope.top_level(name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(definition: &str, expected: &[(&str, Option<&str>)]) {
        let scope: Scope = serde_json::from_str(definition).unwrap();
        for (name, top) in expected {
            assert_eq!(scope.top_level(name), *top, "{name}");
        }
    }

    #[test]
    fn a_state_inside_a_map_or_a_branch_belongs_to_the_top_level_state_around_it() {
        let definition = r#"{"StartAt": "Map", "States": {
            "Map": {"Type": "Map", "ItemProcessor": {"StartAt": "Fork", "States": {
                "Fork": {"Type": "Parallel", "Branches": [
                    {"StartAt": "Left", "States": {"Left": {"Type": "Pass"}}},
                    {"StartAt": "Right", "States": {"Right": {"Type": "Pass"}}}
                ]}
            }}},
            "Old": {"Type": "Map", "Iterator": {"States": {"Item": {"Type": "Pass"}}}},
            "End": {"Type": "Succeed"}
        }}"#;
        check(
            definition,
            &[
                ("Map", Some("Map")),
                ("Fork", Some("Map")),
                ("Right", Some("Map")),
                ("Item", Some("Old")),
                ("End", Some("End")),
                ("Gone", None),
            ],
        );
    }

    #[test]
    fn a_waiting_query_of_the_workflow_is_in_its_map() {
        check(
            include_str!("../../../infra/workflow.asl.json"),
            &[
                ("LoadQueries", Some("LoadQueries")),
                ("WriteResult", Some("RunQueries")),
                ("RunQueryDistributed", Some("RunManyQueries")),
                ("ZipResults", Some("ZipResults")),
            ],
        );
    }
}
