//! A schema registry of tests, which answers as Confluent's API says, or as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a registry does.
    Up,
    /// With this status.
    Status(u16),
    /// Not at all.
    Hangs,
    /// With something that is none of its answers.
    Nonsense,
    /// Nobody listens: connections are refused, and those that were open are gone.
    Refuses,
}

struct Inner {
    mode: Mode,
    /// The registry that it stands before, if it is none itself.
    behind: Option<String>,
    schemas: BTreeMap<String, (String, &'static str)>,
    /// The schemas of each subject, as JSON, with their ids.
    subjects: BTreeMap<String, Vec<(Value, u32)>>,
    /// Subjects that take no other schema than they have.
    fixed: BTreeSet<String>,
    /// Subjects that nobody may see.
    hidden: BTreeSet<String>,
    asked: Vec<String>,
}

/// The id of the first schema that is registered.
const FIRST_ID: u32 = 100_000;

/// The registry. It runs until it is dropped.
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Mutex<Inner>>,
    /// What it listens in, with all its connections; None while it does not.
    listens: Mutex<Option<Runtime>>,
}

impl Registry {
    /// One that knows nothing.
    pub fn start() -> Registry {
        Registry::with(None)
    }

    /// One that hands on what is asked to another one, or does not, as it is told.
    pub fn before(url: &str) -> Registry {
        Registry::with(Some(url.to_owned()))
    }

    fn with(behind: Option<String>) -> Registry {
        let shared = Arc::new(Mutex::new(Inner {
            mode: Mode::Up,
            behind,
            schemas: BTreeMap::new(),
            subjects: BTreeMap::new(),
            fixed: BTreeSet::new(),
            hidden: BTreeSet::new(),
            asked: Vec::new(),
        }));
        let (runtime, address) = listen((Ipv4Addr::LOCALHOST, 0).into(), &shared);
        Registry { address, shared, listens: Mutex::new(Some(runtime)) }
    }

    /// The section of the settings that names it.
    pub fn settings(&self) -> String {
        format!("[registry]\nurl = \"http://{}\"\n", self.address)
    }

    /// From now on it knows a schema: `ids/7`, `guids/…`.
    pub fn knows(&self, key: &str, text: &str, kind: &'static str) {
        self.lock().schemas.insert(format!("/schemas/{key}"), (text.to_owned(), kind));
    }

    /// From now on a subject has this schema, under the id that is returned.
    pub fn has(&self, subject: &str, text: &str) -> u32 {
        self.lock().register(subject, text)
    }

    /// From now on a subject has this schema, and takes no other one.
    pub fn keeps(&self, subject: &str, text: &str) {
        let mut inner = self.lock();
        inner.register(subject, text);
        inner.fixed.insert(subject.to_owned());
    }

    /// From now on nobody may see a subject.
    pub fn hides(&self, subject: &str) {
        self.lock().hidden.insert(subject.to_owned());
    }

    /// The ids of the schemas that a subject has.
    pub fn ids(&self, subject: &str) -> Vec<u32> {
        self.lock().subjects.get(subject).into_iter().flatten().map(|(_, id)| *id).collect()
    }

    /// From now on it answers so.
    pub fn answers(&self, mode: Mode) {
        let mut listens = self.listens.lock().unwrap_or_else(PoisonError::into_inner);
        if mode == Mode::Refuses {
            listens.take().into_iter().for_each(Runtime::shutdown_background);
        } else {
            listens.get_or_insert_with(|| listen(self.address, &self.shared).0);
        }
        self.lock().mode = mode;
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let listens = self.listens.get_mut().unwrap_or_else(PoisonError::into_inner);
        listens.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Answers there, in a runtime of its own, whose end closes every connection.
fn listen(address: SocketAddr, shared: &Arc<Mutex<Inner>>) -> (Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(shared.clone());
    runtime.spawn(async move { axum::serve(listener, router).await });
    (runtime, address)
}

impl Inner {
    fn register(&mut self, subject: &str, text: &str) -> u32 {
        let schema: Value = serde_json::from_str(text).unwrap();
        if let Some(id) = self.id(subject, &schema) {
            return id;
        }
        let id = FIRST_ID + self.subjects.values().map(Vec::len).sum::<usize>() as u32;
        self.subjects.entry(subject.to_owned()).or_default().push((schema, id));
        self.schemas.insert(format!("/schemas/ids/{id}"), (text.to_owned(), "AVRO"));
        id
    }

    fn id(&self, subject: &str, schema: &Value) -> Option<u32> {
        self.subjects.get(subject)?.iter().find(|(known, _)| known == schema).map(|(_, id)| *id)
    }

    fn get(&self, path: &str) -> Result<Value, (u32, &'static str)> {
        if let Some(id) = path.strip_prefix("/schemas/ids/").and_then(|it| it.strip_suffix("/subjects")) {
            let has = |versions: &Vec<(Value, u32)>| versions.iter().any(|(_, it)| it.to_string() == id);
            let subjects: Vec<&String> = self.subjects.iter().filter(|(_, it)| has(it)).map(|(it, _)| it).collect();
            return Ok(json!(subjects));
        }
        if let Some(subject) = path.strip_prefix("/subjects/").and_then(|it| it.strip_suffix("/versions/latest")) {
            if self.hidden.contains(subject) {
                return Err((40301, "not for you"));
            }
            let versions = self.subjects.get(subject).ok_or((40401, "Subject not found"))?;
            let (schema, id) = versions.last().ok_or((40402, "Version not found"))?;
            let text = schema.to_string();
            return Ok(json!({ "subject": subject, "version": versions.len(), "id": id, "schema": text }));
        }
        let (text, kind) = self.schemas.get(path).ok_or((40403, "Schema not found"))?;
        Ok(json!({ "schema": text, "schemaType": kind }))
    }

    /// What is asked of a subject: to have a schema, to register it, whether it could.
    fn post(&mut self, path: &str, body: &str) -> Result<Value, (u32, &'static str)> {
        let body: Value = serde_json::from_str(body).map_err(|_| (42201, "Invalid schema"))?;
        let text = body["schema"].as_str().ok_or((42201, "Invalid schema"))?;
        let schema: Value = serde_json::from_str(text).map_err(|_| (42201, "Invalid schema"))?;
        let path: Vec<&str> = path.split('/').skip(1).collect();
        match path[..] {
            ["subjects", subject] => {
                let known = self.subjects.contains_key(subject);
                let id = self.id(subject, &schema);
                let missing = if known { (40403, "Schema not found") } else { (40401, "Subject not found") };
                Ok(json!({ "subject": subject, "id": id.ok_or(missing)?, "version": 1, "schema": text }))
            }
            ["subjects", subject, "versions"] => match self.fixed.contains(subject) {
                true => Err((40901, "Schema being registered is incompatible")),
                false => Ok(json!({ "id": self.register(subject, text) })),
            },
            ["compatibility", "subjects", subject, "versions", "latest"] => match self.subjects.contains_key(subject) {
                true if self.fixed.contains(subject) => {
                    Ok(json!({ "is_compatible": false, "messages": ["the reader has other fields"] }))
                }
                true => Ok(json!({ "is_compatible": true })),
                false => Err((40402, "Version not found")),
            },
            _ => Err((40400, "no such path")),
        }
    }
}

async fn answer(State(shared): State<Arc<Mutex<Inner>>>, method: Method, uri: Uri, body: String) -> Response {
    let (mode, behind, found) = {
        let mut inner = shared.lock().unwrap_or_else(PoisonError::into_inner);
        inner.asked.push(uri.path().to_owned());
        let found = match (inner.mode, method) {
            (Mode::Up, Method::POST) => inner.post(uri.path(), &body),
            _ => inner.get(uri.path()),
        };
        (inner.mode, inner.behind.clone(), found)
    };
    if let (Mode::Up, Some(behind)) = (mode, behind) {
        return handed_on(&format!("{behind}{uri}")).await;
    }
    let content = [("content-type", "application/vnd.schemaregistry.v1+json")];
    let refused = |code: u32, status: u16, message: &str| {
        let body = json!({ "error_code": code, "message": message }).to_string();
        (StatusCode::from_u16(status).unwrap(), content, body).into_response()
    };
    match (mode, found) {
        (Mode::Hangs, _) => std::future::pending().await,
        (Mode::Refuses, _) => refused(50300, 503, "it goes"),
        (Mode::Nonsense, _) => (content, "<html>busy</html>").into_response(),
        (Mode::Status(status), _) => refused(u32::from(status) * 100, status, "as it was told"),
        (Mode::Up, Ok(found)) => (content, found.to_string()).into_response(),
        (Mode::Up, Err((code, message))) => refused(code, (code / 100) as u16, message),
    }
}

/// What another registry answers to a question.
async fn handed_on(url: &str) -> Response {
    // Without TLS, and so without one who provides it.
    let roots = rustls::RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls).build().unwrap();
    let Ok(answer) = client.get(url).send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let content = [("content-type", "application/vnd.schemaregistry.v1+json")];
    (status, content, answer.bytes().await.unwrap_or_default()).into_response()
}
