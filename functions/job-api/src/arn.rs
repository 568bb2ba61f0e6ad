//! The names of a state machine and its executions.

use std::str::FromStr;

use job::RunId;
use serde::Deserialize;

/// The ARN of a state machine, neither of a version nor of an alias.
///
/// ```
/// use job_api::StateMachineArn;
///
/// let text = "arn:aws:states:eu-central-1:000000000000:stateMachine:workflow";
/// let machine: StateMachineArn = text.parse().unwrap();
/// assert_eq!(
///     machine.execution(&"r1".parse().unwrap()),
///     "arn:aws:states:eu-central-1:000000000000:execution:workflow:r1"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StateMachineArn {
    /// What comes before the kind of the resource: partition, service, region, account.
    scope: String,
    name: String,
}

/// A text is not the ARN of a state machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the ARN of a state machine: \
     expected `arn:PARTITION:states:REGION:ACCOUNT:stateMachine:NAME`"
)]
pub struct ArnError(String);

impl StateMachineArn {
    /// The ARN of the execution named `run_id`.
    pub fn execution(&self, run_id: &RunId) -> String {
        format!("{}:execution:{}:{run_id}", self.scope, self.name)
    }

    /// The state machine's own ARN.
    pub(crate) fn as_text(&self) -> String {
        format!("{}:stateMachine:{}", self.scope, self.name)
    }
}

impl FromStr for StateMachineArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            ["arn", partition, "states", region, account, "stateMachine", name]
                if [partition, region, account, name].iter().all(|part| !part.is_empty()) =>
            {
                let scope = format!("arn:{partition}:states:{region}:{account}");
                Ok(Self { scope, name: name.to_owned() })
            }
            _ => Err(ArnError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for StateMachineArn {
    type Error = ArnError;

    fn try_from(text: String) -> Result<Self, ArnError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_of_a_state_machine_survives_in_every_partition() {
        for text in [
            "arn:aws:states:us-east-1:000000000000:stateMachine:workflow",
            "arn:aws-cn:states:cn-north-1:000000000000:stateMachine:workflow-1a2b",
        ] {
            assert_eq!(text.parse::<StateMachineArn>().unwrap().as_text(), text);
        }
    }

    #[test]
    fn what_is_no_state_machine_is_refused() {
        for text in [
            "",
            "workflow",
            "arn:aws:states:us-east-1:000000000000:execution:workflow:r1",
            "arn:aws:states:us-east-1:000000000000:stateMachine:workflow:1",
            "arn:aws:states:us-east-1::stateMachine:workflow",
            "arn:aws:lambda:us-east-1:000000000000:function:workflow",
        ] {
            assert_eq!(text.parse::<StateMachineArn>(), Err(ArnError(text.to_owned())));
        }
    }
}
