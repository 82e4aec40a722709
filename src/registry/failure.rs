//! How questions to a registry fail: whether the schema is at fault, or the registry, in words that say what would be right.

use std::error::Error;

use schema_registry_converter::error::SRCError;

use super::answer::{Refusal, shortened};

/// The registry's codes: no such subject, no such version, no such schema.
const NO_SUBJECT: u32 = 40401;
const NO_VERSION: u32 = 40402;
const NO_SCHEMA: u32 = 40403;

/// Why there is no answer to a question. Messages say what was asked, where, and what would be right; they hold no header and no query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The registry works, and does not know the schema. It may be registered a moment later, so this holds for a while only.
    #[error("{0}")]
    Unknown(String),
    /// The registry works, and what it has or was given cannot be used: a schema in a language or of a size that nobody here reads, one
    /// that is not compatible, a name that is none. Asked again it says the same.
    #[error("{0}")]
    Refused(String),
    /// Nothing can be concluded: nobody answers, or what answers is not the registry, not in order, or does not let us in. It passes, or
    /// operators mend it.
    #[error("{0}")]
    Outage(String),
}

/// What can never work about a registry's settings. It shows no URL and no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// There are too many URLs, or none.
    #[error("the registry has {count} URLs; write 1 to {most}")]
    Urls {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A URL leads nowhere.
    #[error("URL {position} of the registry {problem}; write one like https://registry.example.com")]
    Url {
        /// Which one it is, from 1.
        position: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// HTTP does not take a header.
    #[error(
        "header {position} of the registry is none that HTTP takes; write a name of letters, digits and - and a value of visible ASCII"
    )]
    Header {
        /// Which one it is, from 1.
        position: usize,
    },
    /// There are too many headers.
    #[error("the registry has {count} headers; write at most {most}")]
    Headers {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A URL is https, and there is nobody whose certificates are believed.
    #[error(
        "the registry is called over https, and the machine believes no authority; install one, or name a file in SSL_CERT_FILE"
    )]
    NoAuthorities,
    /// No client can be made.
    #[error("no client of the registry can be made: {0}")]
    Client(String),
}

/// One question, put to one URL, without an answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// An answer that is none to the question.
    Refusal(Refusal),
    /// An answer of success that is none of a registry, in words.
    Strange(String),
    /// No whole answer, in words.
    Broken(String),
}

impl Failure {
    /// From what the client of the registry says. `timeout_ms` is how long it waits.
    pub fn of_client(error: &SRCError, timeout_ms: u128) -> Failure {
        match error.source().and_then(|it| it.downcast_ref::<reqwest_middleware::Error>()) {
            Some(error) => Failure::of_call(error, timeout_ms),
            // It got an answer of success, and does not understand it.
            None => {
                let cause = if error.source().is_some() { detail(error) } else { shortened(error.error.clone()) };
                Failure::Strange(format!("its answer is none that a registry gives ({cause})"))
            }
        }
    }

    /// From an answer of success that is none to the question.
    pub fn of_no_registry() -> Failure {
        Failure::Strange("its answer is none that a registry gives".into())
    }

    /// From a call that has failed.
    pub fn of_call(error: &reqwest_middleware::Error, timeout_ms: u128) -> Failure {
        let error = match error {
            reqwest_middleware::Error::Middleware(refusal) => match refusal.downcast_ref::<Refusal>() {
                Some(refusal) => return Failure::Refusal(refusal.clone()),
                None => return Failure::Broken("its answer could not be read".into()),
            },
            reqwest_middleware::Error::Reqwest(error) => error,
        };
        // What reqwest says itself names the URL with its query; what it was caused by does not.
        Failure::Broken(match () {
            () if error.is_timeout() => format!("no whole answer within {timeout_ms} ms"),
            () if error.is_connect() => format!("no connection: {}", detail(error)),
            () => format!("the call broke off: {}", detail(error)),
        })
    }

    /// Whether the registry says that it has no such schema.
    pub fn is_no_schema(&self) -> bool {
        self.code() == Some((404, NO_SCHEMA))
    }

    /// Whether the registry says that it has no such subject, or no version of it.
    pub fn is_no_version(&self) -> bool {
        matches!(self.code(), Some((404, NO_SUBJECT | NO_VERSION)))
    }

    /// Whether there is nothing at this path, whoever says so.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Failure::Refusal(Refusal::Status { status: 404, .. }))
    }

    /// Whether it may be about what was asked for alone, so that others may have answers: what is asked for is chosen by whoever writes
    /// records, and must not hold them up.
    pub fn may_be_of_one(&self) -> bool {
        match self {
            Failure::Strange(_) | Failure::Refusal(Refusal::TooLarge) => true,
            Failure::Refusal(Refusal::Status { status, .. }) => {
                matches!(status, 400..=499) && !matches!(status, 401 | 408 | 425 | 429)
            }
            Failure::Broken(_) => false,
        }
    }

    /// Whether the registry understood what it was given, and does not take it.
    pub fn is_refused(&self) -> bool {
        matches!(self.code(), Some((409 | 422, _)))
    }

    fn code(&self) -> Option<(u16, u32)> {
        match self {
            Failure::Refusal(Refusal::Status { status, code: Some(code), .. }) => Some((*status, *code)),
            _ => None,
        }
    }

    /// What went wrong.
    pub fn said(&self) -> String {
        match self {
            Failure::Refusal(refusal) => refusal.to_string(),
            Failure::Strange(said) | Failure::Broken(said) => said.clone(),
        }
    }

    /// What would be right.
    pub fn remedy(&self) -> &'static str {
        let refusal = match self {
            Failure::Refusal(refusal) => refusal,
            Failure::Strange(_) => return "see that the URL is that of the registry, with the path of its API",
            Failure::Broken(_) => return "it is asked again; see that the registry runs there",
        };
        match refusal {
            Refusal::TooLarge => "see that the URL is that of the registry, and the schema of a size that fits",
            Refusal::Status { status: 401 | 403, .. } => "write headers with credentials that may read schemas",
            Refusal::Status { status: 408 | 425 | 429 | 500.., .. } => {
                "it is asked again; see that the registry is well"
            }
            Refusal::Status { status: 300..=399, .. } => "redirects are not followed; write the URL they lead to",
            Refusal::Status { .. } => "see that the URL is that of the registry, with the path of its API",
        }
    }
}

/// The last cause of an error, which says most and names no URL.
fn detail(error: &(dyn Error + 'static)) -> String {
    let last = std::iter::successors(error.source(), |it: &&(dyn Error + 'static)| (*it).source()).last();
    shortened(last.map_or_else(|| "no cause is known".to_owned(), ToString::to_string))
}
