//! `${env:NAME}` and `${file:PATH}` in settings: read once, at start, and never shown.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::mistake::shown;

/// Whether references are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// Their values are read: an instance starts.
    Resolve,
    /// Only their form is checked, and what holds one is left unchecked: settings are validated on a machine without the secrets.
    /// Such settings are good for nothing else.
    CheckForm,
}

/// Why a reference cannot be resolved. Names the reference, never a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReferenceError {
    #[error("the `${{` is never closed")]
    Unclosed,
    #[error("`${{{0}}}` is no reference")]
    Unknown(String),
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    #[error("the environment variable {0} is not UTF-8")]
    NotText(String),
    #[error("{path} cannot be read: {why}")]
    NoFile { path: PathBuf, why: String },
}

impl ReferenceError {
    pub(super) fn remedy(&self) -> String {
        match self {
            ReferenceError::Unclosed => "write ${env:NAME} or ${file:PATH}; a literal ${ is written $${".into(),
            ReferenceError::Unknown(_) => "write ${env:NAME} or ${file:PATH}".into(),
            ReferenceError::NoVariable(name) => format!("set {name} before the start, or remove the reference"),
            ReferenceError::NotText(name) => format!("give {name} a value in UTF-8"),
            ReferenceError::NoFile { .. } => {
                "name a text file that this user can read, relative to the settings file".into()
            }
        }
    }
}

/// A string without references.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) value: String,
    /// Whether any part of it came through a reference.
    pub(super) secret: bool,
}

/// Resolves references against an environment.
pub(super) struct Resolver<'e> {
    pub(super) environment: &'e dyn Environment,
    pub(super) variables: &'e BTreeMap<String, Result<String, OsString>>,
    pub(super) directory: &'e Path,
    pub(super) references: References,
}

impl Resolver<'_> {
    /// `text` with every reference replaced; what a reference yields is not searched again.
    pub(super) fn resolve(&self, text: &str) -> Result<Resolved, ReferenceError> {
        let mut value = String::with_capacity(text.len());
        let mut secret = false;
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                value.push_str(&rest[..start - 1]);
                value.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            let end = rest[start..].find('}').ok_or(ReferenceError::Unclosed)? + start;
            value.push_str(&rest[..start]);
            value.push_str(&self.read(&rest[start + 2..end])?);
            secret = true;
            rest = &rest[end + 1..];
        }
        value.push_str(rest);
        Ok(Resolved { value, secret })
    }

    fn read(&self, reference: &str) -> Result<String, ReferenceError> {
        let unknown = || ReferenceError::Unknown(shown(reference));
        let (kind, name) = reference.split_once(':').ok_or_else(unknown)?;
        if name.is_empty() || !matches!(kind, "env" | "file") {
            return Err(unknown());
        }
        match (self.references, kind) {
            (References::CheckForm, _) => Ok(String::new()),
            (References::Resolve, "env") => match self.variables.get(name) {
                Some(Ok(value)) => Ok(value.clone()),
                Some(Err(_)) => Err(ReferenceError::NotText(shown(name))),
                None => Err(ReferenceError::NoVariable(shown(name))),
            },
            (References::Resolve, _) => {
                let path = self.directory.join(name);
                let text = self.environment.read_file(&path);
                let text = text.map_err(|error| ReferenceError::NoFile { path, why: error.to_string() })?;
                // Editors and `echo` end a file with a newline that is no part of the secret.
                Ok(text
                    .strip_suffix('\n')
                    .map(|text| text.strip_suffix('\r').unwrap_or(text))
                    .unwrap_or(&text)
                    .to_owned())
            }
        }
    }
}
