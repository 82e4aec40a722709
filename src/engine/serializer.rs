//! What makes bytes of the values that steps produce, where a schema says how. The schemas lie elsewhere; the engine knows only of whom to
//! ask.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::expression::Budget;
use super::plan::ErrorClass;
use super::value::Value;

/// Makes bytes of values. It answers from memory.
pub trait Serializer: Debug + Send + Sync {
    /// The bytes of a value. The work is taken of the budget.
    ///
    /// # Errors
    ///
    /// The value does not fit, there is no schema, or the budget is spent.
    fn serialize(&self, value: &Value, budget: &mut Budget) -> Result<Bytes, Unserialized>;
}

/// Why there are no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserialized {
    /// What can be done about it.
    pub class: ErrorClass,
    /// What is wrong.
    pub message: String,
}

/// A subject that a step names: what its schema registry knows a line of schemas by.
#[derive(Debug)]
pub struct Subject {
    /// Its name.
    pub name: Arc<str>,
    serializer: OnceLock<Arc<dyn Serializer>>,
}

impl Subject {
    /// A subject whose schema is not known here.
    pub fn new(name: impl Into<Arc<str>>) -> Subject {
        Subject { name: name.into(), serializer: OnceLock::new() }
    }

    /// Says who makes bytes of its values. The first one counts.
    pub fn bind(&self, serializer: Arc<dyn Serializer>) {
        let _ = self.serializer.set(serializer);
    }

    /// The bytes of a value; None where nobody makes them, offline say.
    ///
    /// # Errors
    ///
    /// See [`Serializer::serialize`].
    pub fn serialize(&self, value: &Value, budget: &mut Budget) -> Result<Option<Bytes>, Unserialized> {
        self.serializer.get().map(|serializer| serializer.serialize(value, budget)).transpose()
    }
}
