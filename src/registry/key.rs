//! What a record says of its schema, as paths of a registry have it.

use uuid::Uuid;

use crate::codec::avro::SchemaKey;

/// The GUID as it is written in paths; None if it is an id.
pub(super) fn guid(key: SchemaKey) -> Option<String> {
    match key {
        SchemaKey::Id(_) => None,
        SchemaKey::Guid(guid) => Some(Uuid::from_u128(guid).hyphenated().to_string()),
    }
}
