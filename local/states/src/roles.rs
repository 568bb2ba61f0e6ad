//! What the role of a state machine may do: a port that the embedding program implements.

/// The roles that state machines act in.
pub trait Roles: Send + Sync {
    /// The `Authorization` header of a role's requests to Lambda, if there is such a role.
    fn authorization(&self, role_arn: &str) -> Option<String>;

    /// Whether a role may do something; if not, AWS's message.
    fn check(&self, role_arn: &str, action: &str, resource: &str) -> Result<(), String>;
}

/// Roles that may do everything, and sign nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unrestricted;

impl Roles for Unrestricted {
    fn authorization(&self, _: &str) -> Option<String> {
        None
    }

    fn check(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}
