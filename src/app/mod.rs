//! The composition: instances made of the edges and the engine.

pub mod alerts;
pub mod breakers;
pub mod caller;
pub mod cluster;
pub mod definitions;
pub mod dev;
pub mod events_file;
pub mod followers;
pub mod group_watch;
pub mod instance;
pub mod ledger;
pub mod observer;
pub mod overrides;
pub mod problems;
pub mod project;
pub mod purge;
pub mod refusals;
pub mod run;
pub mod schemas;
pub mod sources;
pub mod topic_follower;
pub mod topic_watch;
pub mod totals;
pub mod versions;
pub mod waiting;
pub mod why;
