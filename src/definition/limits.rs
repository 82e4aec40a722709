//! Every limit on definitions beyond those of the engine, each with its reason.

use std::time::Duration;

/// Lists, objects and scalars of one document: bounds its memory at a few megabytes however short each of them is.
pub const NODES: usize = 50_000;
/// Mistakes that are listed of one file: nobody mends more before trying again.
pub const MISTAKES_PER_FILE: usize = 100;
/// Definition files of one project: bounds the time and memory of reading a directory that is something else.
pub const FILES: usize = 100_000;
/// Expressions of one workflow: each takes up to milliseconds to compile, and an instance compiles at the first match.
pub const EXPRESSIONS_PER_WORKFLOW: usize = 1_000;
/// Texts with expressions of one workflow, together: each KiB takes milliseconds to compile, and its lane waits.
pub const EXPRESSION_BYTES_PER_WORKFLOW: usize = 128 * 1024;
/// The longest version: it is part of the key of a record and of every dead letter.
pub const VERSION_BYTES: usize = 64;
/// The longest name of a workflow, a step or a case: tables and labels must stay readable.
pub const NAME_BYTES: usize = 256;
/// The longest name of a subject of a schema registry: topics have at most 249 characters, full names of records far fewer than the rest.
pub const SUBJECT_BYTES: usize = 1024;
/// The longest description, and the longest text in `metadata`.
pub const DESCRIPTION_BYTES: usize = 8 * 1024;
/// Cases of one switch: they are tried one after the other.
pub const CASES_PER_SWITCH: usize = 64;
/// Headers of one record that a step produces, and of one call that it makes.
pub const HEADERS_PER_RECORD: usize = 64;
/// Query parameters of one call: more make lines that servers refuse.
pub const QUERY_PARAMETERS_PER_CALL: usize = 64;
/// Statuses that one call expects: each answer is compared with all of them.
pub const EXPECTED_PER_CALL: usize = 64;
/// The longest that one attempt of a call may take: it holds one of the connector's calls all the while.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The longest duration, and the longest delay of a step: longer ones are mistakes, and sums of several stay far from any overflow.
pub const DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// The longest text of a document that a message quotes.
pub const QUOTED_CHARACTERS: usize = 60;
/// The most steps that a message spells out.
pub const SPELLED_STEPS: usize = 16;
/// The most names that a message lists.
pub const LISTED_NAMES: usize = 12;
