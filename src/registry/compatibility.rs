//! Whether a schema may follow another one.

use serde::Deserialize;

use super::answer::shortened;

/// The most reasons that are told on; the first ones say enough.
const REASONS: usize = 20;

/// A registry's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// It may be registered.
    Compatible,
    /// It may not be registered; why, in the registry's words, at most 20 reasons of 500 bytes. A registry may give none.
    Incompatible(Vec<String>),
    /// The subject has no version that it could be compared with.
    Unregistered,
}

#[derive(Deserialize)]
struct Verdict {
    is_compatible: bool,
    #[serde(default)]
    messages: Option<Vec<String>>,
}

/// A verdict from the body of an answer; None if it is none.
pub(super) fn understood(body: &[u8]) -> Option<Compatibility> {
    let verdict: Verdict = serde_json::from_slice(body).ok()?;
    if verdict.is_compatible {
        return Some(Compatibility::Compatible);
    }
    let reasons = verdict.messages.unwrap_or_default().into_iter().take(REASONS);
    Some(Compatibility::Incompatible(reasons.map(shortened).collect()))
}
