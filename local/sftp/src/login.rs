//! Who may log in, and with what.

use russh::{
    MethodKind, MethodSet,
    keys::{PublicKey, ssh_key::public::KeyData},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{Error, Fault, Faults};

/// The only user and its credentials.
#[derive(Debug)]
pub(crate) struct Accounts {
    user: String,
    password: SecretString,
    keys: Vec<KeyData>,
}

impl Accounts {
    pub(crate) fn new(
        user: String,
        password: SecretString,
        authorized_keys: &[String],
    ) -> Result<Self, Error> {
        let keys = authorized_keys.iter().enumerate().map(|(index, line)| {
            PublicKey::from_openssh(line)
                .map(|key| key.key_data().clone())
                .map_err(|source| Error::AuthorizedKey { number: index + 1, source })
        });
        Ok(Self { user, password, keys: keys.collect::<Result<_, _>>()? })
    }

    /// The methods that the server offers to start with.
    pub(crate) fn methods(&self, faults: &Faults) -> MethodSet {
        // What is offered is the same for all connections; the first has every fault there is.
        let has = |fault| faults.has(0, fault);
        let mut methods = MethodSet::empty();
        if has(Fault::KeyboardInteractiveOnly) {
            methods.push(MethodKind::KeyboardInteractive);
            return methods;
        }
        if !self.keys.is_empty() {
            methods.push(MethodKind::PublicKey);
        }
        if !has(Fault::KeyThenPassword) {
            methods.push(MethodKind::Password);
            methods.push(MethodKind::KeyboardInteractive);
        }
        methods
    }

    pub(crate) fn has_password(&self, user: &str, password: &str) -> bool {
        user == self.user && password == self.password.expose_secret()
    }

    pub(crate) fn has_key(&self, user: &str, key: &PublicKey) -> bool {
        user == self.user && self.keys.contains(key.key_data())
    }
}
