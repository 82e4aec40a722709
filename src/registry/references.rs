//! What a schema refers to: found in the registry, and put in an order in which each can be parsed after those it needs.

use std::collections::HashSet;
use std::sync::Arc;
use std::vec;

use schema_registry_converter::schema_registry_common as common;

use super::client::RegistryClient;
use super::endpoint::Referred;
use super::failure::FetchError;
use super::schema::{Reference, RegisteredSchema, SchemaKind};
use crate::codec::avro::SchemaKey;

/// The most schemas that one refers to, directly or not. Each costs a question.
pub const REFERENCES: usize = 64;
/// How far a reference may be from the schema: as deep as people nest what they share, several times over.
pub const REFERENCE_DEPTH: usize = 16;
/// The most bytes of a schema together with all that it refers to. It is held, compiled, for as long as records use it.
pub const SCHEMA_BYTES: usize = 4 * 1024 * 1024;

/// A schema whose references are being looked up.
struct Open {
    /// How it is referred to; None for the schema itself.
    reference: Option<Reference>,
    left: vec::IntoIter<common::RegisteredReference>,
}

/// A schema with its references looked up.
pub(super) async fn resolved(
    client: &RegistryClient,
    key: SchemaKey,
    found: common::RegisteredSchema,
) -> Result<RegisteredSchema, FetchError> {
    let refused = |problem: String| FetchError::Refused(format!("schema {key} cannot be used: {problem}"));
    let kind = kind(&found.schema_type).map_err(refused)?;
    let text: Arc<str> = found.schema.into();
    let mut bytes = text.len();
    let mut references = Vec::new();
    let mut names: HashSet<String> = HashSet::new();
    // What others refer to, nobody here reads.
    let references_read = if kind == SchemaKind::Avro { found.references } else { Vec::new() };
    let mut open = vec![Open { reference: None, left: references_read.into_iter() }];
    while let Some(last) = open.last_mut() {
        let Some(next) = last.left.next() else {
            references.extend(open.pop().and_then(|it| it.reference));
            continue;
        };
        let is_open = |it: &Open| it.reference.as_ref().is_some_and(|it| *it.name == *next.name);
        if open.iter().any(is_open) {
            return Err(refused(format!("its references lead in a circle through {}", shown(&next.name))));
        }
        // The same name means the same schema wherever it is used within one.
        if !names.insert(next.name.clone()) {
            continue;
        }
        check(names.len(), open.len()).map_err(refused)?;
        let child = child(client, key, &next).await?;
        let reference = Reference { name: next.name.into(), text: child.schema.into() };
        bytes += reference.bytes();
        if bytes > SCHEMA_BYTES {
            return Err(refused(format!("with what it refers to it has more than {SCHEMA_BYTES} bytes")));
        }
        open.push(Open { reference: Some(reference), left: child.references.into_iter() });
    }
    Ok(RegisteredSchema { text, kind, references, subject: found.subject.map(Into::into) })
}

fn check(count: usize, depth: usize) -> Result<(), String> {
    if count > REFERENCES {
        return Err(format!("it refers to more than {REFERENCES} schemas"));
    }
    if depth > REFERENCE_DEPTH {
        return Err(format!("its references are more than {REFERENCE_DEPTH} deep"));
    }
    Ok(())
}

async fn child(
    client: &RegistryClient,
    key: SchemaKey,
    reference: &common::RegisteredReference,
) -> Result<Referred, FetchError> {
    let common::RegisteredReference { subject, version, .. } = reference;
    // Versions that are referred to can be deleted after what refers to them was: records outlive both.
    client.version(subject, *version).await?.ok_or_else(|| {
        FetchError::Unknown(format!(
            "schema {key} refers to version {version} of subject {}, which its registry does not have; register it again there",
            shown(subject)
        ))
    })
}

fn kind(kind: &common::SchemaType) -> Result<SchemaKind, String> {
    match kind {
        common::SchemaType::Avro => Ok(SchemaKind::Avro),
        common::SchemaType::Json => Ok(SchemaKind::Json),
        common::SchemaType::Protobuf => Ok(SchemaKind::Protobuf),
        common::SchemaType::Other(name) => {
            Err(format!("it is of type {}; AVRO, JSON and PROTOBUF can be read", shown(name)))
        }
        _ => Err("it is of a type that is not known; AVRO, JSON and PROTOBUF can be read".to_owned()),
    }
}

/// A name from the registry, as it is shown.
fn shown(name: &str) -> String {
    super::answer::shortened(name.to_owned())
}
