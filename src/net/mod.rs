//! What all that calls other systems over HTTP has in common: where they are, and whose certificates are believed.

mod base_url;
mod trust;

pub use base_url::{BaseUrl, UrlProblem};
pub use trust::Trust;

/// Headers that say where a message goes and how it is framed, in lower case; whoever sets them can smuggle a second one.
pub const FRAMING_HEADERS: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "expect",
];
