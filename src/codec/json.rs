//! JSON text to values and back, as the engine does it.

pub use crate::engine::value::{JsonError, JsonLimits as Limits, read_json as parse, write_json as write};
