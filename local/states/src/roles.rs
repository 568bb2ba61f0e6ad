//! What the role of a state machine may do: a port that the embedding program implements.

/// The roles that state machines act in.
///
/// Each call names the ARN of the state machine that acts, for the role's trust policy:
/// `…:stateMachine:NAME`, and `…:stateMachine:NAME/LABEL` for a child of a distributed map.
pub trait Roles: Send + Sync {
    /// Returns the `Authorization` header of the role's requests to Lambda, if it signs any.
    ///
    /// # Errors
    ///
    /// A message if the role does not exist or does not let the state machine take it.
    fn authorization(
        &self,
        role_arn: &str,
        state_machine_arn: &str,
    ) -> Result<Option<String>, String>;

    /// Checks that the role may do something.
    ///
    /// # Errors
    ///
    /// AWS's message if the role may not, or does not let the state machine take it.
    fn check(
        &self,
        role_arn: &str,
        state_machine_arn: &str,
        action: &str,
        resource: &str,
    ) -> Result<(), String>;
}

/// Roles that may do everything, and sign nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unrestricted;

impl Roles for Unrestricted {
    fn authorization(&self, _: &str, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn check(&self, _: &str, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}
