//! Source files as the rules look at them: with their text, and with comments and literals blanked out.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the project.
pub struct Source {
    /// Its path from the project's root, with `/`.
    pub path: String,
    /// Its whole text.
    pub text: String,
    /// The text in which comments and what stands in quotes are spaces; as long and in as many lines as the text.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// The code before the file's unit tests; all of a file that is nothing but tests is none.
    pub fn product_code(&self) -> &str {
        let is_test =
            self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let end = self.code.find("#[cfg(test)]\nmod tests {").unwrap_or(self.code.len());
        if is_test { "" } else { &self.code[..end] }
    }

    /// The number of the line, from 1, in which a byte of text or code lies.
    pub fn line_of(&self, position: usize) -> usize {
        self.text[..position].matches('\n').count() + 1
    }
}

/// All Rust sources of the project.
pub fn rust_sources() -> Vec<Source> {
    files(&["src", "tests", "benches"]).into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

/// All texts that are shipped: sources, documents, what is deployed.
pub fn shipped_texts() -> Vec<Source> {
    let mut texts = files(&["src", "tests", "benches", "deploy", "schemas", "topics", "examples", "docs", ".ci"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top_level = ["Cargo.toml", "README.md", "ARCHITECTURE.md", "CHANGELOG.md"];
    texts.extend(
        top_level.iter().filter_map(|name| Some(Source::new(name, &fs::read_to_string(root.join(name)).ok()?))),
    );
    texts
}

fn files(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(path) = pending.pop() {
        if let Ok(entries) = fs::read_dir(&path) {
            pending.extend(entries.map(|entry| entry.expect("a readable folder").path()));
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).expect("a path below the root");
            sources.push(Source::new(&relative.to_string_lossy().replace('\\', "/"), &text));
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

/// Blanks out comments, strings and characters, keeping every newline and the length in bytes.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blanked = bytes.to_vec();
    let mut position = 0;
    while position < bytes.len() {
        let end = literal_end(bytes, position);
        for byte in &mut blanked[position..end.unwrap_or(position)] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        position = end.unwrap_or(position + 1);
    }
    String::from_utf8(blanked).expect("only whole characters are blanked out")
}

/// Where the comment or literal that starts here ends; None if none starts here.
fn literal_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = &bytes[start..];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let after_word = start.checked_sub(1).is_some_and(|before| is_word(&bytes[before]));
    match rest {
        [b'/', b'/', ..] => Some(start + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(start + find(rest, b"*/").map_or(rest.len(), |end| end + 2)),
        [b'"', ..] => Some(start + quoted_length(rest, b'"')),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string_end(bytes, start),
        [b'b', b'r', b'"' | b'#', ..] if !after_word => raw_string_end(bytes, start + 1),
        // A lifetime is no character: it has no second quote right behind its first letter.
        [b'\'', b'\\', ..] => Some(start + quoted_length(rest, b'\'')),
        [b'\'', ..] => {
            let letter = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .map_or(1, |text| text.chars().next().map_or(1, char::len_utf8));
            let letter = if rest.get(1).is_some_and(|first| first.is_ascii()) { 1 } else { letter.max(2) };
            (rest.get(1 + letter) == Some(&b'\'')).then_some(start + letter + 2)
        }
        _ => None,
    }
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut length = 1;
    while length < rest.len() && rest[length] != quote {
        length += if rest[length] == b'\\' { 2 } else { 1 };
    }
    (length + 1).min(rest.len())
}

/// `start` is at the `r`.
fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
    Some(open + 1 + find(&bytes[open + 1..], &close).map_or(bytes.len() - open - 1, |end| end + close.len()))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
