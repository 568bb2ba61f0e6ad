//! Replies, as they are decoded.

use bytes::Bytes;

use super::{Attributes, Malformed, STATUS_OK, StatusCode, VERSION, fields::Fields};

const TYPE_VERSION: u8 = 2;
const TYPE_STATUS: u8 = 101;
const TYPE_HANDLE: u8 = 102;
const TYPE_DATA: u8 = 103;
const TYPE_ATTRS: u8 = 105;
const TYPE_EXTENDED_REPLY: u8 = 201;

const ATTR_SIZE: u32 = 0x0000_0001;
const ATTR_UIDGID: u32 = 0x0000_0002;
const ATTR_PERMISSIONS: u32 = 0x0000_0004;
const ATTR_ACMODTIME: u32 = 0x0000_0008;
const ATTR_EXTENDED: u32 = 0x8000_0000;

/// A reply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Success,
    Refusal {
        code: StatusCode,
        /// The server's text, with replacement characters for what is not UTF-8.
        message: String,
    },
    Handle(Bytes),
    Data(Bytes),
    Attributes(Attributes),
    /// The body has a format of its own for every extension.
    Extended(Bytes),
}

impl Reply {
    /// Returns the reply's name, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refusal { .. } => "a refusal",
            Self::Handle(_) => "a handle",
            Self::Data(_) => "data",
            Self::Attributes(_) => "attributes",
            Self::Extended(_) => "an extended reply",
        }
    }
}

/// The server's answer to INIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: u32,
    /// Names and data of the extensions; none of another version than 3.
    pub(crate) extensions: Vec<(Bytes, Bytes)>,
}

/// Reads the packet that answers INIT.
pub(crate) fn decode_version(packet: Bytes) -> Result<Version, Malformed> {
    let mut fields = Fields::new(packet);
    let kind = fields.u8("its type")?;
    if kind != TYPE_VERSION {
        return Err(unexpected_type(kind));
    }
    let number = fields.u32("a version")?;
    let mut extensions = Vec::new();
    while number == VERSION && !fields.is_empty() {
        let name = fields.string("the name of an extension")?;
        extensions.push((name, fields.string("the data of an extension")?));
    }
    Ok(Version { number, extensions })
}

/// Reads the id of the request that a reply answers.
pub(crate) fn head(packet: &Bytes) -> Result<u32, Malformed> {
    let mut fields = Fields::new(packet.clone());
    fields.u8("its type")?;
    fields.u32("its id")
}

/// Reads a reply. Bytes behind its last field are ignored.
pub(crate) fn decode(packet: Bytes) -> Result<Reply, Malformed> {
    let mut fields = Fields::new(packet);
    let kind = fields.u8("its type")?;
    fields.u32("its id")?;
    match kind {
        TYPE_STATUS => status(&mut fields),
        TYPE_HANDLE => fields.string("a handle").map(Reply::Handle),
        TYPE_DATA => fields.string("data").map(Reply::Data),
        TYPE_ATTRS => attributes(&mut fields).map(Reply::Attributes),
        TYPE_EXTENDED_REPLY => Ok(Reply::Extended(fields.into_rest())),
        kind => Err(unexpected_type(kind)),
    }
}

/// Reads a status, which may end behind its code or behind its text: servers of version 2 and
/// careless ones leave out the rest. The language tag is of no use.
fn status(fields: &mut Fields) -> Result<Reply, Malformed> {
    Ok(match fields.u32("a status code")? {
        STATUS_OK => Reply::Success,
        code => Reply::Refusal { code: code.into(), message: fields.text() },
    })
}

fn attributes(fields: &mut Fields) -> Result<Attributes, Malformed> {
    let flags = fields.u32("the flags of attributes")?;
    let mut attributes = Attributes::default();
    if flags & ATTR_SIZE != 0 {
        attributes.size_bytes = Some(fields.u64("a size")?);
    }
    if flags & ATTR_UIDGID != 0 {
        fields.u32("a user id")?;
        fields.u32("a group id")?;
    }
    if flags & ATTR_PERMISSIONS != 0 {
        attributes.permissions = Some(fields.u32("permissions")?);
    }
    if flags & ATTR_ACMODTIME != 0 {
        fields.u32("an access time")?;
        attributes.modified = Some(fields.u32("a modification time")?);
    }
    if flags & ATTR_EXTENDED != 0 {
        // A false count ends at the packet's end: every attribute takes at least 8 bytes of it.
        for _ in 0..fields.u32("the count of extended attributes")? {
            fields.string("the name of an extended attribute")?;
            fields.string("the value of an extended attribute")?;
        }
    }
    Ok(attributes)
}

fn unexpected_type(kind: u8) -> Malformed {
    Malformed(format!("a packet of type {kind}"))
}
