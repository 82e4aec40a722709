//! How a record says which schema it was written with: [Confluent's wire
//! format](https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format).
//!
//! Either a prefix of the datum, `0x00` and an id of four bytes or `0x01` and a GUID of sixteen, or a header that holds the latter. The header
//! counts where there is one; the datum is bare then.

use std::fmt;

use bytes::Bytes;

/// The header that names the schema of a value.
pub const VALUE_HEADER: &str = "__value_schema_id";
/// The header that names the schema of a key.
pub const KEY_HEADER: &str = "__key_schema_id";

/// The first byte of a prefix with an id.
const BY_ID: u8 = 0;
/// The first byte of a prefix, or of a header, with a GUID.
const BY_GUID: u8 = 1;
/// Bytes of an id, big-endian.
const ID_BYTES: usize = 4;
/// Bytes of a GUID, big-endian.
const GUID_BYTES: usize = 16;

/// What a registry knows a schema by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaKey {
    /// Its number in one registry.
    Id(u32),
    /// Its number in all registries.
    Guid(u128),
}

impl fmt::Display for SchemaKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaKey::Id(id) => write!(formatter, "id {id}"),
            SchemaKey::Guid(guid) => write!(formatter, "guid {}", uuid::Uuid::from_u128(*guid)),
        }
    }
}

/// The schema of a datum, and the datum. `header` is the value of the header that names it, if the record has one.
///
/// # Errors
///
/// Says what is no such frame.
pub fn read(header: Option<&[u8]>, bytes: &Bytes) -> Result<(SchemaKey, Bytes), String> {
    if let Some(header) = header {
        return match header.split_first() {
            Some((&BY_GUID, rest)) if rest.len() == GUID_BYTES => Ok((guid(rest), bytes.clone())),
            _ => Err(format!(
                "the header that names the schema has {} bytes; it has to be a byte 1 and a GUID of {GUID_BYTES} bytes",
                header.len()
            )),
        };
    }
    let short = |what: &str, least: usize| {
        Err(format!("the record has {} bytes; with its {what} it has at least {least}", bytes.len()))
    };
    match bytes.first() {
        Some(&BY_ID) if bytes.len() <= ID_BYTES => short("schema's id", 1 + ID_BYTES),
        Some(&BY_ID) => {
            let id = bytes[1..=ID_BYTES].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
            Ok((SchemaKey::Id(id), bytes.slice(1 + ID_BYTES..)))
        }
        Some(&BY_GUID) if bytes.len() <= GUID_BYTES => short("schema's GUID", 1 + GUID_BYTES),
        Some(&BY_GUID) => Ok((guid(&bytes[1..=GUID_BYTES]), bytes.slice(1 + GUID_BYTES..))),
        Some(other) => Err(format!(
            "the record begins with the byte {other:#04x}; records that name their schema begin with 0x00 and its id, or 0x01 and its GUID"
        )),
        None => Err("the record is empty, but it has to name its schema".into()),
    }
}

/// Begins a record whose schema has an id.
pub fn write(into: &mut Vec<u8>, id: u32) {
    into.push(BY_ID);
    into.extend_from_slice(&id.to_be_bytes());
}

fn guid(bytes: &[u8]) -> SchemaKey {
    SchemaKey::Guid(bytes.iter().fold(0, |guid, byte| guid << 8 | u128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: Option<&[u8]>, bytes: &'static [u8]) -> Result<(SchemaKey, Bytes), String> {
        read(header, &Bytes::from_static(bytes))
    }

    #[test]
    fn a_schema_is_named_by_a_prefix_or_a_header() {
        let guid = SchemaKey::Guid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let long = b"\x01\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
        assert_eq!(frame(None, b"\x00\x00\x01\x02\x03ab"), Ok((SchemaKey::Id(0x0001_0203), "ab".into())));
        assert_eq!(frame(None, b"\x00\xff\xff\xff\xff"), Ok((SchemaKey::Id(u32::MAX), Bytes::new())));
        assert_eq!(frame(None, long), Ok((guid, Bytes::new())));
        assert_eq!(frame(Some(long), b"\x00ab"), Ok((guid, "\0ab".into())), "the datum is bare");
        assert_eq!(guid.to_string(), "guid 01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(SchemaKey::Id(7).to_string(), "id 7");
    }

    #[test]
    fn what_names_no_schema_says_what_it_is() {
        let refused = |header: Option<&[u8]>, bytes, words: &str| {
            let message = frame(header, bytes).unwrap_err();
            assert!(message.contains(words), "{message}");
        };
        refused(None, b"", "is empty");
        refused(None, b"\x00", "has 1 bytes; with its schema's id it has at least 5");
        refused(None, b"\x00\x00\x00\x01", "has 4 bytes");
        refused(None, b"\x01abc", "has 4 bytes; with its schema's GUID it has at least 17");
        refused(None, b"{}", "begins with the byte 0x7b");
        refused(Some(b""), b"ab", "has 0 bytes");
        refused(Some(b"\x00\x00\x00\x00\x01"), b"ab", "has 5 bytes; it has to be a byte 1 and a GUID");
    }
}
