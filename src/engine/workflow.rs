//! Workflows as matching sees them: identity, status and triggers. What they do is in their [`super::plan::Plan`], which is
//! compiled at the first match.

use std::sync::Arc;

use super::limits;
use super::trigger::Trigger;

/// A workflow's id: `[a-z0-9-]{1,64}`, unique per environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkflowId(Arc<str>);

impl WorkflowId {
    /// The id, if it is one.
    pub fn new(id: &str) -> Option<WorkflowId> {
        is_id(id).then(|| WorkflowId(id.into()))
    }

    /// The id as text that can be shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `id` is `[a-z0-9-]{1,64}`, the form of workflow ids.
pub fn is_id(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=limits::ID_BYTES).contains(&id.len()) && id.bytes().all(legal)
}

/// The SHA-256 of a definition's canonical JSON without its status: what makes a version immutable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Whether and how a workflow takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not in use yet: matches are only counted.
    Draft,
    /// Events that match start executions.
    Active,
    /// Matches are only counted; executions under way go on.
    Paused,
    /// Matches are only counted; executions under way are cancelled.
    Stopped,
}

impl Status {
    /// Every status, in the order of a workflow's life.
    pub const ALL: [Status; 4] = [Status::Draft, Status::Active, Status::Paused, Status::Stopped];

    /// The name used in definitions and records.
    pub fn name(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::Active => "active",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// One version of a workflow, as far as matching needs it.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
    /// Its version.
    pub version: Arc<str>,
    /// Whether it takes part.
    pub status: Status,
    /// The hash of its definition.
    pub content_hash: ContentHash,
    /// What starts it: any of these.
    pub triggers: Vec<Trigger>,
}
