//! Resources out of the file of a stack, and everything that is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// The resources of a file: by type, and then by Pulumi's name.
pub(super) type Resources = BTreeMap<String, BTreeMap<String, Value>>;

/// A resource, as far as it is read.
#[derive(Deserialize)]
pub(super) struct Resource<I, O> {
    /// AWS's id.
    pub(super) id: String,
    pub(super) inputs: I,
    pub(super) outputs: O,
}

/// One thing that is wrong with the file of a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The resource: its type and Pulumi's name of it, or its type alone if it is missing.
    pub resource: String,
    /// The property of it, if it is one: `inputs.timeout`.
    pub property: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`", self.resource)?;
        if !self.property.is_empty() {
            write!(formatter, ", `{}`", self.property)?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

/// Reads resources, and goes on after a fault.
pub(super) struct Reader<'a> {
    resources: &'a Resources,
    arns: BTreeSet<&'a str>,
    /// Sorted, and each once however many others meet it.
    faults: BTreeSet<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(resources: &'a Resources) -> Self {
        let all = resources.values().flat_map(BTreeMap::values);
        let arns = all.filter_map(|resource| resource["outputs"]["arn"].as_str()).collect();
        Self { resources, arns, faults: BTreeSet::new() }
    }

    /// All resources of a type that can be read, each with what its faults are told under.
    pub(super) fn all<I: DeserializeOwned, O: DeserializeOwned>(
        &mut self,
        kind: &str,
    ) -> Vec<(String, Resource<I, O>)> {
        let mut read = Vec::new();
        for (name, resource) in self.resources.get(kind).into_iter().flatten() {
            let place = format!("{kind} {name}");
            match serde_path_to_error::deserialize(resource) {
                Ok(resource) => read.push((place, resource)),
                Err(error) => {
                    self.fault(&place, &error.path().to_string(), error.inner().to_string());
                }
            }
        }
        read
    }

    /// The only resource of a type.
    pub(super) fn one<I: DeserializeOwned, O: DeserializeOwned>(
        &mut self,
        kind: &str,
    ) -> Option<(String, Resource<I, O>)> {
        let count = self.resources.get(kind).map_or(0, BTreeMap::len);
        if count != 1 {
            self.fault(kind, "", format!("there are {count} of it, and a stack has one"));
            return None;
        }
        self.all(kind).pop()
    }

    /// Makes sure that a property names a resource of the stack.
    pub(super) fn refer(&mut self, resource: &str, property: &str, arn: &str) {
        if !self.arns.contains(arn) {
            self.fault(resource, property, format!("no resource of the stack is `{arn}`"));
        }
    }

    /// Makes sure that a property has the only value that the stack on a laptop can follow.
    pub(super) fn expect(&mut self, resource: &str, property: &str, found: &str, expected: &str) {
        if found != expected {
            let problem = format!("it is `{found}`, and only `{expected}` runs on a laptop");
            self.fault(resource, property, problem);
        }
    }

    pub(super) fn fault(&mut self, resource: &str, property: &str, problem: impl Into<String>) {
        let (resource, property) = (resource.to_owned(), property.to_owned());
        self.faults.insert(Fault { resource, property, problem: problem.into() });
    }

    /// Everything that was wrong.
    pub(super) fn faults(self) -> Vec<Fault> {
        self.faults.into_iter().collect()
    }
}
