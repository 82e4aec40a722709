//! Definitions: workflow files become [`Workflow`]s and [`Plan`]s, and every mistake in them comes at once, as
//! `file:line:column: what; what would be right`.
//!
//! ```text
//! YAML ─┐                                      ┌─▶ Workflow, Plan
//!       ├─▶ nodes with places ─▶ read, checked ┤
//! JSON ─┘                                      └─▶ canonical JSON, content hash ─▶ records of the `workflows` topic
//! ```
//!
//! What was applied is trusted by its hash: an instance reads only the [`head`] of a definition when it learns of it, and
//! [`compile`]s its plan at the first match.

mod action;
mod call;
mod canonical;
mod change;
mod config;
mod diagnostic;
mod document;
mod expression;
mod files;
mod graph;
mod head;
mod installed;
mod json;
pub mod limits;
mod node;
mod reader;
mod record;
mod retry;
mod source;
mod step;
mod trigger;
mod wait;
mod yaml;

use std::path::Path;
use std::sync::Arc;

pub use change::{Change, ChangeKind, diff, plan_apply, plan_delete};
pub use diagnostic::{Diagnostic, Refused};
pub use files::{find_files, read_file, read_files};
pub use head::{HeadError, head};
pub use installed::{InUse, Installed, InstalledError, InstalledWorkflow};
pub use reader::parse_duration;
pub use record::{Pointer, Record, RecordError, VersionRecord, parse_hash};

use self::document::Document;
use self::node::Node;
use self::reader::Reader;
use self::source::Source;
use crate::engine::limits as engine_limits;
use crate::engine::plan::Plan;
use crate::engine::workflow::{ContentHash, Workflow};

/// A definition that can run.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name for people, if it has one beside its id.
    pub name: Option<Arc<str>>,
    /// What matching needs.
    pub workflow: Arc<Workflow>,
    /// What its steps do.
    pub plan: Arc<Plan>,
    /// The document as canonical JSON: sorted names, no white space, numbers in one spelling.
    pub canonical: Vec<u8>,
    /// What makes its version: the SHA-256 of the canonical JSON without `status`.
    pub content_hash: ContentHash,
    /// What is allowed in it, and does not do what its author may think.
    pub warnings: Vec<Diagnostic>,
    /// Line and column of the id, for mistakes between files.
    id_place: (usize, usize),
}

/// The language of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// YAML 1.2, core schema.
    Yaml,
    /// JSON.
    Json,
}

/// Reads one document, or lists all that is wrong with it. `path` is for the diagnostics only.
pub fn parse(path: &Path, bytes: &[u8], syntax: Syntax) -> Result<Definition, Refused> {
    let text = text(path, bytes)?;
    let source = Source::new(path, text);
    let refused = |mistakes| Refused { diagnostics: source.diagnostics(mistakes) };
    let root: Node = match syntax {
        Syntax::Yaml => yaml::read(&source),
        Syntax::Json => json::read(text),
    }
    .map_err(refused)?
    .sorted();
    let mut reader = Reader::new(&source);
    let Some(document) = document::read(&mut reader, &root) else { return Err(refused(reader.into_mistakes())) };
    let canonical = canonical::canonical(&root);
    if canonical.len() > engine_limits::DEFINITION_BYTES {
        return Err(Refused { diagnostics: vec![too_large(path, canonical.len() as u64)] });
    }
    let content_hash = canonical::content_hash(&root);
    let Document { id, id_at, name, version, status, triggers, plan } = document;
    let workflow = Arc::new(Workflow { id, version, status, content_hash, triggers });
    let id_place = source.place(id_at);
    let warnings = source.diagnostics(reader.into_warnings());
    Ok(Definition { name, workflow, plan: Arc::new(plan), canonical, content_hash, warnings, id_place })
}

/// Compiles the plan of an applied definition from its JSON. An error means that it was applied by something else, or by a
/// version that knew more.
pub fn compile(json: &[u8]) -> Result<Arc<Plan>, Refused> {
    parse(Path::new("definition"), json, Syntax::Json).map(|definition| definition.plan)
}

/// The text of a document: UTF-8 of bounded length, without a byte order mark.
fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Refused> {
    let refused = |diagnostic| Refused { diagnostics: vec![diagnostic] };
    if bytes.len() > engine_limits::DEFINITION_BYTES {
        return Err(refused(too_large(path, bytes.len() as u64)));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let (line, column) = Source::new(path, &valid).place(valid.len());
        let (message, remedy) = ("the file is not UTF-8 from here on".into(), Some("save it as UTF-8".into()));
        refused(Diagnostic { path: path.to_owned(), line, column, message, remedy })
    })
}

fn too_large(path: &Path, bytes: u64) -> Diagnostic {
    let most = engine_limits::DEFINITION_BYTES / 1024;
    let message = format!("the definition has {bytes} bytes; at most {most} KiB are allowed");
    Diagnostic::of_file(path, message, "move data out of it, or split the workflow")
}
