//! Schemas of a Confluent-compatible schema registry: looked up by the ids and GUIDs that records carry, and registered.
//!
//! ```text
//!  record ─▶ SchemaKey ─▶ SchemaCache ── look ─▶ Known · Refused · Unknown · Flooded · Pending
//!                              │ one look-up per key, a bounded number at once
//!                              ▼
//!                        RegistryClient ── endpoint (schema_registry_converter) ─▶ the first URL, the next one on an outage
//!                              │                    └─ answer (bounded, with its status)
//!                              └─ references (what a schema names, in order of dependence)
//! ```
//!
//! The key is chosen by whoever writes the record. So what is not known is asked for a bounded number of times a minute; and only the
//! registry itself can say that it does not know a schema: whatever else goes wrong is an outage, which passes or which operators mend.

mod answer;
mod cache;
mod client;
mod compatibility;
mod endpoint;
mod failure;
mod key;
mod references;
mod schema;
mod subject;
#[cfg(test)]
mod tests;

pub use answer::ANSWER_BYTES;
pub use cache::{
    ASKERS, CacheLimits, Compile, LOOK_UPS, Look, Outage, SEEN, SchemaCache, UNKNOWN_FOR, UNKNOWN_PER_WINDOW,
    UNKNOWN_WINDOW,
};
pub use client::{Latest, Registry, RegistryClient, URLS};
pub use compatibility::Compatibility;
pub use failure::{FetchError, RegistryError};
pub use references::{REFERENCE_DEPTH, REFERENCES, SCHEMA_BYTES};
pub use schema::{Reference, RegisteredSchema, SchemaKind};
