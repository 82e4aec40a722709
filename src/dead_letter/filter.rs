//! Which dead letters are meant.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::record::{DeadLetter, FailedExecution};

/// Which dead letters are meant: those that have all of this. Empty means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Filter {
    /// One of these ids; empty = any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_version: Option<String>,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The class of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// A part of the error's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The source topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// It failed last longer ago than this, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_ms: Option<u64>,
    /// It failed last within this time, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than_ms: Option<u64>,
}

impl Filter {
    /// Whether a dead letter is meant, as of now, milliseconds since the Unix epoch.
    pub fn takes(&self, letter: &DeadLetter, now_ms: i64) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|it| Some(it) == found);
        let execution = letter.execution.as_ref();
        let workflow = |it: &FailedExecution| it.workflow.clone();
        let workflow = execution.map(workflow);
        let age = Duration::from_millis(u64::try_from(now_ms.saturating_sub(letter.last_failure_ms)).unwrap_or(0));
        (self.ids.is_empty() || self.ids.contains(&letter.id.to_string()))
            && is(&self.workflow, workflow.as_ref().map(|it| it.id.as_str()))
            && is(&self.workflow_version, workflow.as_ref().map(|it| &*it.version))
            && is(&self.step, letter.failure.step.as_deref())
            && is(&self.reason, Some(letter.reason.name()))
            && is(&self.class, Some(letter.failure.class.name()))
            && is(&self.topic, Some(&letter.record.origin.topic.name))
            && self.error.as_deref().is_none_or(|part| letter.failure.message.contains(part))
            && self.older_than_ms.is_none_or(|limit| age > Duration::from_millis(limit))
            && self.newer_than_ms.is_none_or(|limit| age < Duration::from_millis(limit))
    }
}
