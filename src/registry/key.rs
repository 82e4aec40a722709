//! What a record says of its schema: which one it is, not what it is.

use std::fmt;

use uuid::Uuid;

/// The name of a schema in a registry, as records carry it. A registry never gives the same one to another schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaKey {
    /// The number of the classic prefix.
    Id(u32),
    /// The GUID of newer prefixes and headers, in the order of its bytes there.
    Guid([u8; 16]),
}

impl SchemaKey {
    /// The GUID as it is written in paths; None if it is an id.
    pub(super) fn guid(&self) -> Option<String> {
        match self {
            SchemaKey::Id(_) => None,
            SchemaKey::Guid(bytes) => Some(Uuid::from_bytes(*bytes).hyphenated().to_string()),
        }
    }
}

impl fmt::Display for SchemaKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaKey::Id(id) => write!(formatter, "id {id}"),
            SchemaKey::Guid(bytes) => write!(formatter, "guid {}", Uuid::from_bytes(*bytes).hyphenated()),
        }
    }
}
