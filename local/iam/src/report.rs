//! What was used of the policies, and what was refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    decision::Call,
    policies::{Policies, Role},
    policy::Statement,
};

/// How often each action of each statement allowed a call, and which calls were refused.
///
/// If several statements allow a call, it counts for all of them. Its `Display` is a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By role, then by the statement's `Sid`, then by the action as the statement has it.
    statements: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
    /// By role, then by action and resource.
    refusals: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Actions of services that are not on a laptop.
const ELSEWHERE: [&str; 6] = ["ec2:", "lakeformation:", "logs:", "sns:", "sqs:", "xray:"];

impl Report {
    /// A report of no calls: all statements that allow something, none of them used.
    pub(crate) fn of(policies: &Policies) -> Self {
        let mut report = Self::default();
        for role in policies.roles.values() {
            let statements = report.statements.entry(role.name.clone()).or_default();
            for statement in role.allowing() {
                let actions = statements.entry(statement.sid.clone()).or_default();
                let names = statement.action.iter().map(|action| action.as_written().to_owned());
                actions.extend(names.map(|name| (name, 0)));
            }
        }
        report
    }

    pub(crate) fn allowed(&mut self, role: &Role, statements: &[&Statement], action: &str) {
        for statement in statements {
            for pattern in statement.action.iter().filter(|pattern| pattern.matches(action)) {
                let sids = self.statements.entry(role.name.clone()).or_default();
                let actions = sids.entry(statement.sid.clone()).or_default();
                *actions.entry(pattern.as_written().to_owned()).or_default() += 1;
            }
        }
    }

    pub(crate) fn refused(&mut self, role: &Role, call: &Call) {
        let refusals = self.refusals.entry(role.name.clone()).or_default();
        *refusals.entry(format!("{} on {}", call.action, call.resource)).or_default() += 1;
    }

    /// What no call used, each as `ROLE SID ACTION`, without the actions of services that are not on
    /// a laptop.
    pub fn unused(&self) -> BTreeSet<String> {
        let mut unused = BTreeSet::new();
        for (role, statements) in &self.statements {
            for (sid, actions) in statements {
                let actions = actions.iter().filter(|(_, count)| **count == 0);
                let actions = actions.filter(|(action, _)| !is_elsewhere(action));
                unused.extend(actions.map(|(action, _)| format!("{role} {sid} {action}")));
            }
        }
        unused
    }

    /// Adds what another run used and was refused.
    pub fn merge(&mut self, other: Self) {
        for (role, sids) in other.statements {
            for (sid, actions) in sids {
                let sum = self.statements.entry(role.clone()).or_default().entry(sid).or_default();
                add(sum, actions);
            }
        }
        for (role, refusals) in other.refusals {
            add(self.refusals.entry(role).or_default(), refusals);
        }
    }

    /// Writes the report behind those of other runs, as one line.
    pub fn append_to(&self, path: &Path) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        let mut file: File = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(line.as_bytes())
    }

    /// Reads and merges all reports of a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut report = Self::default();
        for line in std::fs::read_to_string(path)?.lines() {
            report.merge(serde_json::from_str(line)?);
        }
        Ok(report)
    }
}

fn is_elsewhere(action: &str) -> bool {
    ELSEWHERE.iter().any(|service| action.starts_with(service))
}

fn add(sum: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (name, count) in counts {
        *sum.entry(name).or_default() += count;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (role, statements) in &self.statements {
            writeln!(f, "{role}")?;
            for (sid, actions) in statements {
                for (action, count) in actions {
                    let used = match count {
                        0 if is_elsewhere(action) => "not on a laptop".to_owned(),
                        0 => "never used".to_owned(),
                        count => count.to_string(),
                    };
                    writeln!(f, "  {sid:<22} {action:<38} {used:>15}")?;
                }
            }
            for (call, count) in self.refusals.get(role).into_iter().flatten() {
                writeln!(f, "  REFUSED {count} times: {call}")?;
            }
        }
        Ok(())
    }
}
