//! The integration tests, in one binary.

mod admin;
mod architecture;
mod avro;
mod codec;
mod commands;
mod conformance;
mod connector;
mod definition;
mod exactly_once;
mod figures;
mod logs;
mod metrics;
mod positions;
mod promtool;
mod replay;
mod simulation;
mod support;
mod waiting;
