//! Every limit of the engine, each with its reason. Nothing that comes from outside is kept, walked or repeated without one.

use std::time::Duration;

/// The longest error message that a record carries: dead letters must stay readable and within their topic's limit.
pub const ERROR_MESSAGE_BYTES: usize = 1024;
/// The deepest nesting of a decoded document: parsers and writers recurse once a level.
pub const DOCUMENT_DEPTH: usize = 64;
/// The longest document: brokers take 1 MiB by default and hardly ever more than this; offsets in a document are 32 bits.
pub const DOCUMENT_BYTES: usize = 64 * 1024 * 1024;
/// Scalars, lists, objects and field names of one document: each takes 16 bytes of memory, and two bytes of text may be one.
pub const DOCUMENT_NODES: usize = 1_000_000;
/// The longest definition: the `workflows` topic must take it as one record beside its headers.
pub const DEFINITION_BYTES: usize = 512 * 1024;
/// Steps of one workflow.
pub const STEPS_PER_WORKFLOW: usize = 256;
/// Triggers of one workflow.
pub const TRIGGERS_PER_WORKFLOW: usize = 64;
/// Dependencies of one step.
pub const DEPENDENCIES_PER_STEP: usize = 64;
/// The longest id of a workflow or a step.
pub const ID_BYTES: usize = 64;
/// The longest source text of one expression.
pub const EXPRESSION_BYTES: usize = 4096;
/// The deepest nesting of comprehensions in one expression.
pub const COMPREHENSION_DEPTH: usize = 2;
/// The deepest nesting of brackets in the source of one expression: its parser recurses several times a level.
pub const EXPRESSION_BRACKETS: usize = 32;
/// Operators, dots and indices in the source of one expression: a chain of them is as deep for the parser as it is long.
pub const EXPRESSION_OPERATORS: usize = 512;
/// The deepest nesting of a compiled expression: evaluation recurses once a level, on the stack of a lane.
pub const EXPRESSION_DEPTH: usize = 64;
/// The longest source of a regular expression: building one takes up to 70 µs a byte, for classes like `(?i)\pL`.
pub const PATTERN_BYTES: usize = 512;
/// Memory that a compiled regular expression may take; it bounds the work for each byte that is searched. Room for
/// `^[\w.+-]+@[\w-]+\.[\w.]+$`, whose classes are large because they know all of Unicode.
pub const PATTERN_COMPILED_BYTES: usize = 256 * 1024;
/// The deepest nesting of a computed value: room to wrap the deepest document, and readers with the usual limit of 128 can
/// still read it inside of a record.
pub const VALUE_DEPTH: usize = 100;
/// Work that all expressions of one execution may do together between two waits, in evaluated nodes; the bound on time that
/// needs no clock.
pub const EXECUTION_BUDGET: u64 = 2_000_000;
/// Outputs of all steps of one execution together, serialised; beyond, it fails as too large.
pub const EXECUTION_OUTPUT_BYTES: usize = 4 * 1024 * 1024;
/// How deep sub-workflows nest: one that starts itself must end.
pub const CHILD_DEPTH: u32 = 10;
/// How old an execution that waits becomes whose workflow does not say: what waits for longer is forgotten by those it is for.
pub const EXECUTION_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Work that the `where`s of one workflow may do for one event, in evaluated nodes; many workflows may have one.
pub const CONDITION_BUDGET: u64 = 100_000;
/// The longest event type, source or topic that a trigger names, and the longest text in a pattern: more than any real name.
pub const TRIGGER_TEXT_BYTES: usize = 1024;
/// Segments of an event type that a type pattern with wildcards names: the index walks one level for each.
pub const TYPE_SEGMENTS: usize = 32;
/// Fields and values of one `match` pattern together: a match looks at each of them at most once per value of the event.
pub const PATTERN_NODES: usize = 2048;
/// Nesting of one `match` pattern: matching recurses once a level.
pub const PATTERN_DEPTH: usize = 32;
/// Mistakes that are reported of one `match` pattern: nobody reads more at once.
pub const PATTERN_MISTAKES: usize = 100;
/// Values of one leaf of a `match` pattern, and of one list inside an operator.
pub const VALUES_PER_LEAF: usize = 512;
/// Stars of one wildcard: each is one search through the event's text.
pub const STARS_PER_WILDCARD: usize = 16;
/// Installed workflows of an environment: bounds the memory of the index at about 1.5 GB.
pub const WORKFLOWS: usize = 1_000_000;
