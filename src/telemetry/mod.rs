//! What an instance says of itself: metrics, health, logs, and the address where the first two are asked for.

pub mod admin;
pub mod exposition;
pub mod health;
pub mod lane_metrics;
mod log_line;
pub mod logs;
pub mod metrics;
mod process;
mod recorder;
mod repeats;
