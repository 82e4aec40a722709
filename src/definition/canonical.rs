//! Canonical JSON: one spelling per document, whatever the order of its fields and the style of its file. Sorted names, no
//! white space, numbers as the shortest text that reads back as the same number of the same type.

use sha2::{Digest, Sha256};

use super::node::{Kind, Node};
use crate::engine::workflow::ContentHash;

/// The canonical JSON of a document that is [`Node::sorted`].
pub(super) fn canonical(document: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    write(document, &mut out, &|_| true);
    out
}

/// The hash of what makes a version: the document without `status`, which is how a version is used and not what it is. A
/// workflow can be paused without a new version.
pub(super) fn content_hash(document: &Node) -> ContentHash {
    let mut out = Vec::new();
    write(document, &mut out, &|name| name != "status");
    ContentHash(Sha256::digest(&out).into())
}

/// Writes a node; `keeps` chooses among the fields of the outermost object.
fn write(node: &Node, out: &mut Vec<u8>, keeps: &dyn Fn(&str) -> bool) {
    match &node.kind {
        Kind::Null => out.extend_from_slice(b"null"),
        Kind::Bool(true) => out.extend_from_slice(b"true"),
        Kind::Bool(false) => out.extend_from_slice(b"false"),
        Kind::Int(it) => out.extend_from_slice(itoa::Buffer::new().format(*it).as_bytes()),
        Kind::UInt(it) => out.extend_from_slice(itoa::Buffer::new().format(*it).as_bytes()),
        // A float keeps its fraction or exponent, so that `1.0` does not come back as the integer 1.
        Kind::Float(it) => out.extend_from_slice(ryu::Buffer::new().format(*it).as_bytes()),
        Kind::Text(text) => write_text(&text.value, out),
        Kind::List(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(item, out, &|_| true);
            }
            out.push(b']');
        }
        Kind::Map(fields) => {
            out.push(b'{');
            for (position, field) in fields.iter().filter(|field| keeps(&field.name)).enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_text(&field.name, out);
                out.push(b':');
                write(&field.value, out, &|_| true);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\u{1f}' => out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes()),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
