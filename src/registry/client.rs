//! The client of a registry: questions, put to its URLs in turn.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::redirect;
use reqwest_middleware::ClientWithMiddleware;
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common as common;

use super::answer::Bounded;
use super::compatibility::Compatibility;
use super::endpoint::{Endpoint, Question, Referred};
use super::failure::{Failure, FetchError, RegistryError};
use super::schema::RegisteredSchema;
use super::{references, subject};
use crate::codec::avro::SchemaKey;
use crate::net::{BaseUrl, Trust};

/// The most URLs of a registry: more than any cluster of registries has members, and few enough to be tried in turn.
pub const URLS: usize = 8;
/// The most headers: as many as settings take.
const HEADERS: usize = 64;
/// Who asks.
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// What is understood of an answer.
const ACCEPTED: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// How long a connection is kept that nobody uses. Some servers close theirs after 5 s without a word.
const IDLE: Duration = Duration::from_secs(4);

/// A registry to be asked.
#[derive(Clone)]
pub struct Registry {
    /// Where it is, 1 to [`URLS`] of them: http or https, with the path of its API, without credentials. They are tried in turn.
    pub urls: Vec<String>,
    /// Headers of every question; they may hold credentials, and are never shown.
    pub headers: Vec<(String, String)>,
    /// How long one question to one URL may take, with its connection and its body.
    pub timeout: Duration,
    /// Whether schemas are told with a subject that has them. That is one question more for each, and none of the GUID of a schema is answered.
    pub tells_subjects: bool,
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = format_args!("{} URLs", self.urls.len());
        formatter.debug_struct("Registry").field("urls", &urls).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Asks a registry. Nothing is kept of answers; that is what [`SchemaCache`](super::SchemaCache) is for.
pub struct RegistryClient {
    endpoints: Vec<Endpoint>,
    /// Which of them answered last, and is asked first: one that hangs costs its time once.
    preferred: AtomicUsize,
    /// For what the client of the registry does not ask.
    plain: ClientWithMiddleware,
    tells_subjects: bool,
}

/// The latest version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The id of its schema.
    pub id: u32,
    /// Its number among the versions of the subject.
    pub version: u32,
    /// The text of its schema.
    pub text: Arc<str>,
}

impl RegistryClient {
    /// A client for a registry. Nothing is sent yet; with https, the machine's certificates are read from files.
    ///
    /// # Errors
    ///
    /// What can never work: a URL that leads nowhere, a header that HTTP does not take, https without anybody to trust.
    pub fn new(registry: &Registry) -> Result<RegistryClient, RegistryError> {
        let is_https = registry.urls.iter().any(|url| BaseUrl::parse(url).is_ok_and(|it| it.is_https()));
        // Reading the machine's authorities takes files; without https nobody needs them.
        let trust = if is_https { Trust::of_machine() } else { Trust::of([]) };
        if is_https && trust.is_empty() {
            return Err(RegistryError::NoAuthorities);
        }
        RegistryClient::with_trust(registry, &trust)
    }

    /// A client that believes certain authorities.
    pub(super) fn with_trust(registry: &Registry, trust: &Trust) -> Result<RegistryClient, RegistryError> {
        let no_tls = || RegistryError::Client("TLS cannot be set up".into());
        let tls = trust.tls().ok_or_else(no_tls)?;
        let count = registry.urls.len();
        if !(1..=URLS).contains(&count) {
            return Err(RegistryError::Urls { count, most: URLS });
        }
        let headers = check(&registry.headers)?;
        let builder = || {
            // Paths, headers and targets reach the wire as they were decided.
            let builder = reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).referer(false);
            builder.tls_backend_preconfigured((**tls).clone()).pool_idle_timeout(IDLE).default_headers(headers.clone())
        };
        let timeout_ms = registry.timeout.as_millis();
        let mut endpoints = Vec::with_capacity(count);
        for (index, url) in registry.urls.iter().enumerate() {
            let refused = |problem| RegistryError::Url { position: index + 1, problem };
            let url = BaseUrl::parse(url).map_err(|problem| refused(problem.text()))?.to_string();
            let mut settings = SrSettings::new_builder(url.clone());
            settings.set_timeout(registry.timeout).with_middleware(Bounded);
            let settings = settings.build_with(builder()).map_err(|_| refused("makes no client"))?;
            endpoints.push(Endpoint::new(url, settings, timeout_ms));
        }
        let plain = builder().timeout(registry.timeout).build();
        let plain = plain.map_err(|_| no_tls())?;
        let plain = reqwest_middleware::ClientBuilder::new(plain).with(Bounded).build();
        let tells_subjects = registry.tells_subjects;
        Ok(RegistryClient { endpoints, preferred: AtomicUsize::new(0), plain, tells_subjects })
    }

    /// A schema, with all that it refers to. It takes one question, and one for each reference.
    ///
    /// # Errors
    ///
    /// Unknown if the registry says that it has no such schema; refused if nobody here can use it; else an outage.
    pub async fn fetch(&self, key: SchemaKey) -> Result<RegisteredSchema, FetchError> {
        let what = format!("schema {key}");
        // An older registry has no such path. That a record names its schema so is no reason to hold up all others.
        let is_no_guid = |failure: &Failure| failure.is_not_found() && matches!(key, SchemaKey::Guid(_));
        let may_be_of_one = |failure: &Failure| is_no_guid(failure) || failure.may_be_of_one();
        let ask = |endpoint| Endpoint::ask(endpoint, Question::Schema(key));
        let (endpoint, answer) = self.in_turn(&what, ask, (&Failure::is_no_schema, &may_be_of_one)).await?;
        match answer {
            Ok(found) => {
                let mut resolved = references::resolved(self, key, found).await?;
                if let (true, None, SchemaKey::Id(id)) = (self.tells_subjects, &resolved.subject, key) {
                    resolved.subject = self.subject(id).await?.map(Into::into);
                }
                Ok(resolved)
            }
            Err(failure) if failure.is_no_schema() => Err(FetchError::Unknown(format!(
                "{what} is not in the registry at {}; register it there, or see that the record was written with this registry",
                endpoint.url
            ))),
            Err(failure) if is_no_guid(&failure) => Err(FetchError::Unknown(format!(
                "{what} cannot be looked up: the registry at {} does not know GUIDs; write records with ids, or use a newer registry",
                endpoint.url
            ))),
            Err(failure) => Err(untold(&what, endpoint, &failure)),
        }
    }

    /// Whether one of the URLs answers as a registry does.
    pub async fn answers(&self) -> bool {
        for (index, endpoint) in self.endpoints_in_turn() {
            if endpoint.is_registry().await {
                self.prefer(index);
                return true;
            }
        }
        false
    }

    /// Registers an Avro schema under a subject, if it is not there yet, and says its id.
    ///
    /// # Errors
    ///
    /// Refused if the registry does not take it: it is no schema, or not compatible with those before; else an outage.
    pub async fn register(&self, subject: &str, text: &str) -> Result<u32, FetchError> {
        let encoded = subject::encoded(subject).map_err(FetchError::Refused)?;
        let what = format!("registering a schema under subject {subject}");
        let found = self.ask(&what, Question::Register { subject: &encoded, text }).await?;
        found.map(|it| it.id).ok_or_else(|| {
            FetchError::Outage(format!("{what} failed: the registry has nothing there; see that its URL is right"))
        })
    }

    /// The id under which a subject has an Avro schema; None if it has not.
    ///
    /// # Errors
    ///
    /// Refused if the registry says that it is no schema; else an outage.
    pub async fn registered(&self, subject: &str, text: &str) -> Result<Option<u32>, FetchError> {
        let encoded = subject::encoded(subject).map_err(FetchError::Refused)?;
        let what = format!("looking for a schema under subject {subject}");
        self.of_subjects(&what, |endpoint| endpoint.registered(&self.plain, &encoded, text)).await
    }

    /// Whether an Avro schema may follow the latest version of a subject.
    ///
    /// # Errors
    ///
    /// Refused if the registry says that it is no schema; else an outage.
    pub async fn is_compatible(&self, subject: &str, text: &str) -> Result<Compatibility, FetchError> {
        let encoded = subject::encoded(subject).map_err(FetchError::Refused)?;
        let what = format!("the compatibility of a schema with subject {subject}");
        let verdict = self.of_subjects(&what, |endpoint| endpoint.is_compatible(&self.plain, &encoded, text)).await?;
        Ok(verdict.unwrap_or(Compatibility::Unregistered))
    }

    /// The latest version of a subject; None if it has none.
    ///
    /// # Errors
    ///
    /// Refused if the subject can have no such name; else an outage.
    pub async fn latest(&self, subject: &str) -> Result<Option<Latest>, FetchError> {
        let encoded = subject::encoded(subject).map_err(FetchError::Refused)?;
        let what = format!("the latest version of subject {subject}");
        let found = self.ask(&what, Question::Latest { subject: &encoded }).await?;
        let Some(found) = found else { return Ok(None) };
        let Some(version) = found.version else {
            return Err(FetchError::Outage(format!(
                "{what} came without its number; see that the URL is that of a registry"
            )));
        };
        Ok(Some(Latest { id: found.id, version, text: found.schema.into() }))
    }

    /// A certain version of a subject, also if it was deleted; None if there is none.
    pub(super) async fn version(&self, subject: &str, version: u32) -> Result<Option<Referred>, FetchError> {
        let encoded = subject::encoded(subject).map_err(FetchError::Refused)?;
        let what = format!("version {version} of subject {subject}");
        self.of_subjects(&what, |endpoint| endpoint.version(&self.plain, &encoded, version)).await
    }

    /// A subject that has the schema of an id, the first one of several; None if there is none.
    async fn subject(&self, id: u32) -> Result<Option<String>, FetchError> {
        let what = format!("the subjects of schema id {id}");
        let found = self.of_subjects(&what, |endpoint| endpoint.subjects(&self.plain, id)).await?;
        Ok(found.into_iter().flatten().min())
    }

    /// Asks the URLs in turn for something about subjects. None says that there is no such subject, version or schema.
    async fn of_subjects<'a, T, F>(
        &'a self,
        what: &str,
        ask: impl Fn(&'a Endpoint) -> F,
    ) -> Result<Option<T>, FetchError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let is_none = |failure: &Failure| failure.is_no_version() || failure.is_no_schema();
        let is_said = |failure: &Failure| is_none(failure) || failure.is_refused();
        let (endpoint, answer) = self.in_turn(what, ask, (&is_said, &Failure::may_be_of_one)).await?;
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(failure) if is_none(&failure) => Ok(None),
            Err(failure) if failure.is_refused() => Err(refused(what, endpoint, &failure)),
            Err(failure) => Err(untold(what, endpoint, &failure)),
        }
    }

    /// Asks the URLs in turn until one answers, or fails in a way that is about what was asked for alone: of the failures that `is_said` is
    /// true of, a registry has said so; those that `may_be_of_one` is true of are taken for that if what answers there is a registry. So
    /// whoever names what our credentials may not see, say, holds up nobody else. All others are outages of that URL.
    async fn in_turn<'a, T, F>(
        &'a self,
        what: &str,
        ask: impl Fn(&'a Endpoint) -> F,
        (is_said, may_be_of_one): (&FailureTest<'_>, &FailureTest<'_>),
    ) -> Result<(&'a Endpoint, Result<T, Failure>), FetchError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut outages = Outages::default();
        for (index, endpoint) in self.endpoints_in_turn() {
            let answer = ask(endpoint).await;
            if let Err(failure) = &answer
                && !is_said(failure)
                && !(may_be_of_one(failure) && endpoint.is_registry().await)
            {
                outages.add(endpoint, failure);
                continue;
            }
            self.prefer(index);
            return Ok((endpoint, answer));
        }
        Err(outages.of(what))
    }

    /// Puts a question about a subject to the URLs in turn. None says that there is no such subject or version.
    async fn ask(&self, what: &str, question: Question<'_>) -> Result<Option<common::RegisteredSchema>, FetchError> {
        self.of_subjects(what, |endpoint| endpoint.ask(question)).await
    }

    /// The endpoints with their places, that which answered last first.
    fn endpoints_in_turn(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let first = self.preferred.load(Ordering::Relaxed);
        let places = (first..self.endpoints.len()).chain(0..first);
        places.filter_map(|index| Some((index, self.endpoints.get(index)?)))
    }

    fn prefer(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.endpoints.iter().map(|it| &it.url).collect();
        formatter.debug_struct("RegistryClient").field("urls", &urls).finish_non_exhaustive()
    }
}

/// Why URLs gave no answer to a question.
#[derive(Default)]
struct Outages(Vec<String>);

impl Outages {
    fn add(&mut self, endpoint: &Endpoint, failure: &Failure) {
        self.0.push(format!("{}: {} ({})", endpoint.url, failure.said(), failure.remedy()));
    }

    fn of(self, what: &str) -> FetchError {
        FetchError::Outage(format!("{what} cannot be asked for: {}", self.0.join("; ")))
    }
}

/// Something that failures are looked at for.
type FailureTest<'a> = dyn Fn(&Failure) -> bool + Send + Sync + 'a;

/// A registry works, and does not tell this one thing.
fn untold(what: &str, endpoint: &Endpoint, failure: &Failure) -> FetchError {
    let (url, said, remedy) = (&endpoint.url, failure.said(), failure.remedy());
    FetchError::Unknown(format!("{what} is not told by the registry at {url}: {said}; {remedy}"))
}

fn refused(what: &str, endpoint: &Endpoint, failure: &Failure) -> FetchError {
    FetchError::Refused(format!("{what} is refused by the registry at {}: {}", endpoint.url, failure.said()))
}

/// The headers of every question. Those that are given are marked as secret.
fn check(pairs: &[(String, String)]) -> Result<HeaderMap, RegistryError> {
    if pairs.len() > HEADERS {
        return Err(RegistryError::Headers { count: pairs.len(), most: HEADERS });
    }
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    for (index, (name, value)) in pairs.iter().enumerate() {
        let refused = RegistryError::Header { position: index + 1 };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused.clone())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| refused)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
