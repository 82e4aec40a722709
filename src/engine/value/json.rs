//! Values as JSON text. The writer belongs to the engine because templates put lists and objects into text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::document::{Document, Node};
use super::{View, duration_text, timestamp_text};

/// Appends a value as JSON, without white space; a whole document that was read is copied as it was written, so that what a
/// workflow passes on keeps every digit of its numbers. Timestamps become RFC 3339, durations `"1.5s"`, bytes base64. Recurses once
/// a level of nesting, which is bounded wherever values are made.
pub fn write_json<'a>(value: impl Into<View<'a>>, into: &mut Vec<u8>) {
    write_view(value.into(), into);
}

fn write_view(view: View<'_>, into: &mut Vec<u8>) {
    match view {
        View::Null => into.extend_from_slice(b"null"),
        View::Bool(true) => into.extend_from_slice(b"true"),
        View::Bool(false) => into.extend_from_slice(b"false"),
        View::Int(it) => into.extend_from_slice(itoa::Buffer::new().format(it).as_bytes()),
        View::UInt(it) => into.extend_from_slice(itoa::Buffer::new().format(it).as_bytes()),
        // JSON has no NaN and no infinity; no decoder and no expression makes one.
        View::Float(it) if !it.is_finite() => into.extend_from_slice(b"null"),
        View::Float(it) => into.extend_from_slice(ryu::Buffer::new().format_finite(it).as_bytes()),
        View::Text(it) => write_string(it, into),
        View::Bytes(it) => write_plain(&STANDARD.encode(it), into),
        View::Timestamp(it) => write_plain(&timestamp_text(it), into),
        View::Duration(it) => write_plain(&duration_text(it), into),
        View::List(list) => {
            if let Some((document, index)) = list.node() {
                write_node(document, index, into);
                return;
            }
            into.push(b'[');
            for (position, item) in list.iter().enumerate() {
                if position > 0 {
                    into.push(b',');
                }
                write_view(item.view(), into);
            }
            into.push(b']');
        }
        View::Map(map) => {
            if let Some((document, index)) = map.node() {
                write_node(document, index, into);
                return;
            }
            into.push(b'{');
            for (position, (name, field)) in map.iter().enumerate() {
                if position > 0 {
                    into.push(b',');
                }
                write_string(name, into);
                into.push(b':');
                write_view(field.view(), into);
            }
            into.push(b'}');
        }
    }
}

/// Writes an entry of a document straight from the tape, which is faster than through views. Returns the index after it.
fn write_node(document: &Document, index: u32, into: &mut Vec<u8>) -> u32 {
    if let Some(source) = document.source(index) {
        into.extend_from_slice(&source);
        return document.after(index);
    }
    match document.node(index) {
        Node::Null => into.extend_from_slice(b"null"),
        Node::Bool(it) => write_view(View::Bool(it), into),
        Node::Int(it) => write_view(View::Int(it), into),
        Node::UInt(it) => write_view(View::UInt(it), into),
        Node::Float(it) => write_view(View::Float(it), into),
        Node::Text(span) => write_string(document.span(span), into),
        Node::List { end, .. } => {
            into.push(b'[');
            let mut at = index + 1;
            while at < end {
                at = write_node(document, at, into);
                into.push(b',');
            }
            close(b']', into);
            return end;
        }
        Node::Map { end, .. } => {
            into.push(b'{');
            let mut at = index + 1;
            while at < end {
                write_string(document.text(at), into);
                into.push(b':');
                at = write_node(document, at + 1, into);
                into.push(b',');
            }
            close(b'}', into);
            return end;
        }
    }
    index + 1
}

/// Ends a list or an object: in place of the comma behind its last part, if it has one.
fn close(bracket: u8, into: &mut Vec<u8>) {
    match into.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => into.push(bracket),
    }
}

/// Text that needs no escapes.
fn write_plain(text: &str, into: &mut Vec<u8>) {
    into.push(b'"');
    into.extend_from_slice(text.as_bytes());
    into.push(b'"');
}

fn write_string(text: &str, into: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    into.reserve(rest.len() + 2);
    into.push(b'"');
    while let Some(at) = find_escape(rest) {
        into.extend_from_slice(&rest[..at]);
        write_escape(rest[at], into);
        rest = &rest[at + 1..];
    }
    into.extend_from_slice(rest);
    into.push(b'"');
}

fn write_escape(byte: u8, into: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => into.extend_from_slice(b"\\\""),
        b'\\' => into.extend_from_slice(b"\\\\"),
        b'\n' => into.extend_from_slice(b"\\n"),
        b'\r' => into.extend_from_slice(b"\\r"),
        b'\t' => into.extend_from_slice(b"\\t"),
        0x08 => into.extend_from_slice(b"\\b"),
        0x0c => into.extend_from_slice(b"\\f"),
        _ => {
            into.extend_from_slice(b"\\u00");
            into.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// The first byte that JSON must escape: a quote, a backslash or a control character. Looks at eight bytes at once.
fn find_escape(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (position, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        // A borrow can mark a byte wrongly, but only after one that is marked rightly: the lowest mark is exact.
        let marks = control | quote | backslash;
        if marks != 0 {
            return Some(position * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let at = tail.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')?;
    Some(words.len() * 8 + at)
}
