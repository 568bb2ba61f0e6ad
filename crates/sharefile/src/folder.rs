//! The folder of the file, and the items in it.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    address::{self, Address},
    error::Error,
    request_error::RequestError,
    response::RejectionKind,
    session::{ApiCall, Session},
};

/// The alias of the item that holds an account's folders, and no files.
const TOP: &str = "top";

/// The fields of an item that we ask for.
const SELECTED: (&str, &str) = ("$select", "Id,Name,FileName,FileSizeBytes,Hash,odata.type");

/// A folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    /// The API that knows the folder: the account's, or the one that it pointed to.
    provider: Address,
    id: String,
    /// Path of the folder in errors and receipts.
    pub(crate) path: String,
}

/// A file or a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Item {
    #[serde(rename = "Id")]
    pub(crate) id: String,
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "FileName")]
    file_name: Option<String>,
    #[serde(rename = "FileSizeBytes")]
    pub(crate) size_bytes: Option<u64>,
    /// The MD5, in hexadecimal.
    #[serde(rename = "Hash")]
    pub(crate) md5: Option<String>,
    #[serde(rename = "odata.type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Children {
    value: Vec<Item>,
}

impl Folder {
    /// Finds the folder of the configuration, and makes the missing part of its path.
    pub(crate) async fn find(session: &Session<'_>) -> Result<Self, Error> {
        let config = session.config;
        let alias = config.sharefile_folder.as_str();
        let api = session.token().await?.api;
        let start = Self { provider: api, id: alias.to_owned(), path: alias.to_owned() };
        let segments: Vec<&str> = config.path_segments().collect();
        if alias == TOP {
            return start.below_top(session, &segments).await;
        }
        if segments.is_empty() {
            return start.itself(session).await;
        }
        if let Some(folder) = start.below(session, &segments.join("/")).await? {
            return Ok(folder);
        }
        let mut folder = start.itself(session).await?;
        for segment in segments {
            folder = folder.find_or_make(session, segment).await?;
        }
        Ok(folder)
    }

    /// Returns the folder as the API knows it.
    async fn itself(self, session: &Session<'_>) -> Result<Self, Error> {
        let action = format!("looking for the folder `{}`", self.path);
        let address = self.address("", &action)?.with(&[SELECTED]);
        let call = ApiCall { action: &action, address: &address, json: None };
        match session.call(&call).await {
            Ok((value, address)) => self.found(&action, value, &address, None),
            Err(RequestError { kind: Some(RejectionKind::NotFound), error, .. }) => {
                Err(no_folder(&self, error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the folder at `path` below this one, if it is there.
    async fn below(&self, session: &Session<'_>, path: &str) -> Result<Option<Self>, Error> {
        let action = format!("looking for the folder `{}/{path}`", self.path);
        match self.by_path(session, &action, path).await {
            Ok((value, address)) => self.found(&action, value, &address, Some(path)).map(Some),
            Err(RequestError { kind: Some(RejectionKind::NotFound), .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn by_path(
        &self,
        session: &Session<'_>,
        action: &str,
        path: &str,
    ) -> Result<(Value, Address), RequestError> {
        let path = format!("/{path}");
        let address = self.address("/ByPath", action)?.with(&[("path", &path), SELECTED]);
        session.call(&ApiCall { action, address: &address, json: None }).await
    }

    /// Finds or makes a path below `top`. Its first folder is found among the children of `top`,
    /// because `ByPath` does not begin there.
    async fn below_top(self, session: &Session<'_>, segments: &[&str]) -> Result<Self, Error> {
        let [first, rest @ ..] = segments else {
            return Err(no_file_in_top());
        };
        let mut folder = match self.child(session, first).await? {
            Some(folder) => folder,
            None => match self.make(session, first, "Items/Folder").await {
                Ok(folder) => folder,
                Err(error) => self.child(session, first).await?.ok_or(error)?,
            },
        };
        for segment in rest {
            folder = folder.find_or_make(session, segment).await?;
        }
        Ok(folder)
    }

    async fn child(&self, session: &Session<'_>, name: &str) -> Result<Option<Self>, Error> {
        let action = format!("looking for the folder `{}/{name}`", self.path);
        let address = self.address("/Children", &action)?.with(&[SELECTED]);
        let call = ApiCall { action: &action, address: &address, json: None };
        let (value, address) = session.call(&call).await?;
        let children: Children = read(&action, value)?;
        let child = children.value.into_iter().find(|item| item.is_called(name));
        let path = format!("{}/{name}", self.path);
        child.map(|item| self.as_folder(&action, item, &address, path)).transpose()
    }

    /// Finds or makes the folder `name` in this one. If making it fails, somebody else may just have
    /// made it.
    async fn find_or_make(self, session: &Session<'_>, name: &str) -> Result<Self, Error> {
        if let Some(folder) = self.below(session, name).await? {
            return Ok(folder);
        }
        let suffix = format!("{}/Folder", address::item_path(&self.id));
        match self.make(session, name, &suffix).await {
            Ok(folder) => Ok(folder),
            Err(error) => match self.below(session, name).await? {
                Some(folder) => Ok(folder),
                None => Err(error),
            },
        }
    }

    async fn make(&self, session: &Session<'_>, name: &str, place: &str) -> Result<Self, Error> {
        let action = format!("making the folder `{}/{name}`", self.path);
        let address = self.provider.join(place).map_err(|fault| unusable(&action, fault))?;
        let address = address.with(&[("overwrite", "false"), ("passthrough", "false")]);
        let folder = json!({ "Name": name, "Description": "" });
        let call = ApiCall { action: &action, address: &address, json: Some(&folder) };
        let (value, address) = session.call(&call).await?;
        tracing::info!(remote_path = format!("{}/{name}", self.path), "a folder was made");
        self.found(&action, value, &address, Some(name))
    }

    /// Returns the file `name` in this folder, if it is there. This is one request.
    pub(crate) async fn file(
        &self,
        session: &Session<'_>,
        name: &str,
    ) -> Result<Option<Item>, Error> {
        let action = format!("looking for `{}/{name}`", self.path);
        match self.by_path(session, &action, name).await {
            Ok((value, _)) => {
                let item: Item = read(&action, value)?;
                if item.id.is_empty() { Err(no_id(&action)) } else { Ok(Some(item)) }
            }
            Err(RequestError { kind: Some(RejectionKind::NotFound), .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the address of a part of this folder.
    pub(crate) fn address(&self, rest: &str, action: &str) -> Result<Address, Error> {
        self.provider
            .join(&format!("{}{rest}", address::item_path(&self.id)))
            .map_err(|fault| unusable(action, fault))
    }

    fn found(
        &self,
        action: &str,
        value: Value,
        address: &Address,
        below: Option<&str>,
    ) -> Result<Self, Error> {
        let item = read(action, value)?;
        let path = match below {
            Some(below) => format!("{}/{below}", self.path),
            None => self.path.clone(),
        };
        self.as_folder(action, item, address, path)
    }

    fn as_folder(
        &self,
        action: &str,
        item: Item,
        address: &Address,
        path: String,
    ) -> Result<Self, Error> {
        if item.kind.is_some_and(|kind| kind.ends_with(".File")) {
            let (action, reason) = (action.to_owned(), "it is a file".to_owned());
            return Err(Error::Folder { action, reason });
        }
        if item.id.is_empty() {
            return Err(no_id(action));
        }
        let provider = address.provider().unwrap_or_else(|| self.provider.clone());
        Ok(Self { provider, id: item.id, path })
    }
}

impl Item {
    /// Name of the item, if the API tells it.
    pub(crate) fn stored_name(&self) -> Option<&str> {
        let name = self.file_name.as_deref().or(self.name.as_deref());
        name.filter(|name| !name.is_empty())
    }

    /// Returns whether this is the item's name. Case does not matter.
    fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let is_it = |text: &Option<String>| text.as_ref().is_some_and(|t| t.to_lowercase() == name);
        is_it(&self.name) || is_it(&self.file_name)
    }

    /// Returns whether the file has this size and this MD5. Without an MD5 nobody knows.
    pub(crate) fn has_content(&self, size_bytes: u64, md5: &str) -> bool {
        self.size_bytes == Some(size_bytes)
            && self.md5.as_deref().is_some_and(|theirs| theirs.eq_ignore_ascii_case(md5))
    }
}

/// Reads an answer. One that cannot be read does not say that an item is missing.
fn read<T: DeserializeOwned>(action: &str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|_| unusable(action, "the answer cannot be read"))
}

fn no_id(action: &str) -> Error {
    unusable(action, "the answer has no `Id`")
}

fn unusable(action: &str, fault: &str) -> Error {
    Error::Protocol { action: action.to_owned(), message: fault.to_owned() }
}

fn no_file_in_top() -> Error {
    Error::Folder {
        action: format!("delivering into `{TOP}`"),
        reason: "it holds folders only, and `sharefile_path` names none".to_owned(),
    }
}

fn no_folder(folder: &Folder, error: Error) -> Error {
    match error {
        Error::Folder { action, reason } if folder.id == "home" => Error::Folder {
            action,
            reason: format!(
                "{reason}; only employees of an account have a home folder, and only with the right to it"
            ),
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read<T: DeserializeOwned>(value: Value) -> bool {
        read::<T>("looking", value).is_ok()
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_an_error() {
        assert!(is_read::<Item>(json!({ "Id": "fo1", "Name": null, "FileName": null })));
        assert!(is_read::<Children>(json!({ "value": [{ "Id": "fo1" }] })));
        for value in [json!(null), json!("<html>"), json!({ "Id": 1 })] {
            assert!(!is_read::<Item>(value.clone()), "{value}");
        }
        for value in [json!(null), json!({}), json!({ "value": {} })] {
            assert!(!is_read::<Children>(value.clone()), "{value}");
        }
    }
}
