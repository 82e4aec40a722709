//! What all that calls other systems over HTTP has in common: where they are, and whose certificates are believed.

mod base_url;
mod trust;

pub use base_url::{BaseUrl, UrlProblem};
pub use trust::Trust;
