//! The registry's client and cache against a server on loopback.

mod cache;
mod client;
mod server;
