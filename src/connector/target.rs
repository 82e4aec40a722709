//! What a connector calls, and why there can be no connector for it.

use std::fmt;

use crate::net::Trust;

/// What a connector calls. Its URL and its headers may be secret, so neither is ever shown.
#[derive(Clone)]
pub struct Target {
    /// The connector's name.
    pub name: String,
    /// Where it is: http or https, a host, perhaps a port and a path; without credentials, query and fragment.
    pub url: String,
    /// Headers of every call, which win over those of steps.
    pub headers: Vec<(String, String)>,
    /// Calls at once, as its gate grants them; so many connections are kept for the next call.
    pub concurrency: u32,
    /// How many redirects a call follows, all to the origin of the URL; 0 makes them answers like any other.
    pub redirects: u32,
    /// The authorities whose certificates are believed.
    pub trust: Trust,
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a connector can never work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectorError {
    /// Its URL leads nowhere.
    #[error("the URL of connector `{connector}` {problem}")]
    Url {
        /// The connector.
        connector: String,
        /// What is wrong, without the URL.
        problem: &'static str,
    },
    /// One of its headers cannot be sent.
    #[error("the header `{header}` of connector `{connector}` {problem}")]
    Header {
        /// The connector.
        connector: String,
        /// The header's name.
        header: String,
        /// What is wrong, without the value.
        problem: &'static str,
    },
    /// It has more headers than a request may have.
    #[error("connector `{connector}` has more than {most} headers")]
    Headers {
        /// The connector.
        connector: String,
        /// How many it may have.
        most: usize,
    },
    /// It is called over TLS and no certificate could ever be believed.
    #[error(
        "connector `{connector}` is called over https, but this machine has no certificates of authorities; install the package \
         ca-certificates or name a file with them in SSL_CERT_FILE"
    )]
    NoAuthorities {
        /// The connector.
        connector: String,
    },
}
