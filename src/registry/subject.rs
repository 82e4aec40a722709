//! Names of subjects, as parts of paths.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The longest name of a subject. Names of topics have at most 249 characters, full names of records are far shorter than what is left.
const SUBJECT_BYTES: usize = 1024;
/// What is written as it is: what is unreserved (RFC 3986). The client below encodes slashes only, and finds none left.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A subject as a part of a path. The error says what is wrong with it, and what would be right.
pub(super) fn encoded(subject: &str) -> Result<String, String> {
    if subject.is_empty() || subject.len() > SUBJECT_BYTES {
        return Err(format!("a subject has {} bytes; names have 1 to {SUBJECT_BYTES}", subject.len()));
    }
    // Clients walk these, encoded or not, and the question would be another one.
    if matches!(subject, "." | "..") {
        return Err("a subject is called `.` or `..`, which no path can name; register it under another name".into());
    }
    Ok(utf8_percent_encode(subject, ENCODED).to_string())
}
