//! The composition: instances made of the edges and the engine.

pub mod alerts;
pub mod cluster;
pub mod definitions;
pub mod dev;
pub mod events_file;
pub mod instance;
pub mod observer;
pub mod problems;
pub mod project;
pub mod run;
pub mod sources;
pub mod totals;
