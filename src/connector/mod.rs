//! Calls of other systems over HTTP/1.1, one attempt at a time. Whether and when one is made is decided before, by gates and owners; what its
//! answer means, after.
//!
//! ```text
//!  Call ─▶ outgoing (address + headers + body) ─▶ client ── dial (TCP, TLS) ──▶ target
//!             ▲                                        │
//!             └───────── redirect, if it is followed ──┤
//!  Answer ◀── answer (headers, body, Retry-After) ◀────┘
//!         ◀── failure (whatever went wrong, in words without secrets)
//! ```
//!
//! Compression is not asked for: answers are at most [`BODY_BYTES`] long, and what is not compressed cannot become more than it was.

mod address;
mod answer;
mod dial;
mod failure;
mod headers;
mod http;
mod outgoing;
mod redirect;
mod retry_after;
mod target;

pub use answer::BODY_BYTES;
pub use http::{ANSWER_FIELDS, ANSWER_HEAD_BYTES, HttpConnector};
pub use target::{ConnectorError, Target};
