//! The records of the `workflows` topic. `id@version` holds a version, which never changes; `id` holds the pointer to the
//! version in use and its status.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::document::is_version;
use super::head::{HeadError, head, parse_status};
use crate::engine::workflow::{ContentHash, Status, Workflow, WorkflowId};

/// A record of the `workflows` topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A version of a workflow.
    Version(VersionRecord),
    /// Which version of a workflow is in use, and how.
    Pointer(WorkflowId, Pointer),
    /// A version was deleted, which `tidegate` never does.
    NoVersion(WorkflowId, Arc<str>),
    /// A workflow is no longer in use at all, which `tidegate` says by its status instead.
    NoPointer(WorkflowId),
}

/// A version of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    /// The workflow's id.
    pub id: WorkflowId,
    /// The version.
    pub version: Arc<str>,
    /// The document as canonical JSON.
    pub document: Arc<[u8]>,
    /// The hash of its content.
    pub content_hash: ContentHash,
}

/// The version of a workflow that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The version.
    pub version: Arc<str>,
    /// Whether and how the workflow takes part, whatever the document of the version says.
    pub status: Status,
    /// The hash of the version's content.
    pub content_hash: ContentHash,
}

/// Why a record of the `workflows` topic is none. Such a record is reported and passed over.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The key is missing or no `id` or `id@version`.
    #[error("the key {0:?} is no workflow id and no `id@version`")]
    Key(String),
    /// The value is not what the key asks for.
    #[error("the record {key:?} does not hold {expected}")]
    Value {
        /// The key.
        key: String,
        /// What its value should be.
        expected: &'static str,
        /// What is wrong with the JSON.
        #[source]
        source: serde_json::Error,
    },
    /// A field of the value cannot be.
    #[error("the record {key:?} has a wrong `{field}`")]
    Field {
        /// The key.
        key: String,
        /// The field's name.
        field: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionValue<'a> {
    content_hash: String,
    #[serde(borrow)]
    document: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PointerValue {
    version: String,
    status: String,
    content_hash: String,
}

impl Record {
    /// Reads a record; a null value is a tombstone.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Record, RecordError> {
        let key = key.unwrap_or_default();
        let wrong_key = || RecordError::Key(String::from_utf8_lossy(&key[..key.len().min(200)]).into_owned());
        let key = std::str::from_utf8(key).map_err(|_| wrong_key())?;
        let (id, version) = key.split_once('@').map_or((key, None), |(id, version)| (id, Some(version)));
        let id = WorkflowId::new(id).ok_or_else(wrong_key)?;
        if version.is_some_and(|version| !is_version(version)) {
            return Err(wrong_key());
        }
        match (version, value) {
            (Some(version), None) => Ok(Record::NoVersion(id, version.into())),
            (Some(version), Some(value)) => decode_version(key, id, version, value),
            (None, None) => Ok(Record::NoPointer(id)),
            (None, Some(value)) => decode_pointer(key, id, value),
        }
    }

    /// The workflow that the record is about.
    pub fn id(&self) -> &WorkflowId {
        match self {
            Record::Version(VersionRecord { id, .. })
            | Record::Pointer(id, _)
            | Record::NoVersion(id, _)
            | Record::NoPointer(id) => id,
        }
    }

    /// The record's key.
    pub fn key(&self) -> String {
        match self {
            Record::Version(VersionRecord { id, version, .. }) | Record::NoVersion(id, version) => {
                format!("{}@{version}", id.as_str())
            }
            Record::Pointer(id, _) | Record::NoPointer(id) => id.as_str().to_owned(),
        }
    }

    /// The record's value; None for a tombstone.
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Record::Version(version) => {
                let mut value = format!("{{\"contentHash\":\"{}\",\"document\":", version.content_hash).into_bytes();
                value.extend_from_slice(&version.document);
                value.push(b'}');
                Some(value)
            }
            Record::Pointer(_, Pointer { version, status, content_hash }) => Some(
                format!(r#"{{"version":"{version}","status":"{}","contentHash":"{content_hash}"}}"#, status.name())
                    .into_bytes(),
            ),
            Record::NoVersion(..) | Record::NoPointer(_) => None,
        }
    }
}

fn decode_version(key: &str, id: WorkflowId, version: &str, value: &[u8]) -> Result<Record, RecordError> {
    let expected = "a version: {contentHash, document}";
    let value: VersionValue<'_> =
        serde_json::from_slice(value).map_err(|source| RecordError::Value { key: key.into(), expected, source })?;
    let content_hash =
        parse_hash(&value.content_hash).ok_or(RecordError::Field { key: key.into(), field: "contentHash" })?;
    let document = value.document.get().as_bytes().into();
    Ok(Record::Version(VersionRecord { id, version: version.into(), document, content_hash }))
}

fn decode_pointer(key: &str, id: WorkflowId, value: &[u8]) -> Result<Record, RecordError> {
    let expected = "a pointer: {version, status, contentHash}";
    let value: PointerValue =
        serde_json::from_slice(value).map_err(|source| RecordError::Value { key: key.into(), expected, source })?;
    let wrong = |field| RecordError::Field { key: key.into(), field };
    let status = parse_status(&value.status).ok_or_else(|| wrong("status"))?;
    let content_hash = parse_hash(&value.content_hash).ok_or_else(|| wrong("contentHash"))?;
    if !is_version(&value.version) {
        return Err(wrong("version"));
    }
    Ok(Record::Pointer(id, Pointer { version: value.version.into(), status, content_hash }))
}

impl VersionRecord {
    /// What matching needs of it. Refused if the document is another workflow's or version's than the key says.
    pub fn head(&self) -> Result<Workflow, HeadError> {
        let workflow = head(&self.document, self.content_hash)?;
        let wrong = |field| HeadError::Field { field, message: "it is not that of the record's key".into() };
        if workflow.id != self.id {
            return Err(wrong("id"));
        }
        if workflow.version != self.version {
            return Err(wrong("version"));
        }
        Ok(workflow)
    }
}

/// Reads a content hash: 64 hexadecimal digits.
pub fn parse_hash(text: &str) -> Option<ContentHash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(ContentHash(hash))
}
