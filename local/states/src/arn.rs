//! The names of Step Functions' resources.

/// The account and region that ARNs are made in.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
}

impl Place {
    fn arn(&self, kind: &str, rest: &str) -> String {
        format!("arn:aws:states:{}:{}:{kind}:{rest}", self.region, self.account)
    }

    pub(crate) fn state_machine(&self, name: &str) -> String {
        self.arn("stateMachine", name)
    }

    /// `machine` is the name of a state machine, with `/label` for a child of a map run.
    pub(crate) fn execution(&self, machine: &str, name: &str) -> String {
        self.arn("execution", &format!("{machine}:{name}"))
    }

    /// The state machine of an execution, both as ARNs.
    pub(crate) fn state_machine_of(&self, execution_arn: &str) -> Option<String> {
        let machine = execution_arn.split(':').nth(6)?;
        Some(self.state_machine(machine))
    }
}

/// Whether a text has the form of an ARN of that kind.
pub(crate) fn is_kind(arn: &str, kind: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(7, ':').collect();
    match parts[..] {
        ["arn", _, "states", _, _, found, rest] => found == kind && !rest.is_empty(),
        _ => false,
    }
}

/// AWS: names have 1 to 80 characters, none of them a space or one of a list.
pub(crate) fn is_name(name: &str) -> bool {
    let is_forbidden =
        |c: char| c.is_whitespace() || c.is_control() || "?*<>{}[]:;,\\|^~$#%&`\"/".contains(c);
    (1..=80).contains(&name.chars().count()) && !name.chars().any(is_forbidden)
}
