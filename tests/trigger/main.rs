//! Which events start a workflow: patterns, the index over them, the registry.

mod cost;
mod index;
mod pattern;
mod registry;
mod support;
