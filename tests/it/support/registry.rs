//! A schema registry of tests, which answers as Confluent's API says, or as it is told.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;
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
}

struct Inner {
    mode: Mode,
    schemas: BTreeMap<String, (String, &'static str)>,
    asked: Vec<String>,
}

/// The registry. It runs until it is dropped.
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Mutex<Inner>>,
    runtime: Option<Runtime>,
}

impl Registry {
    /// One that knows nothing.
    pub fn start() -> Registry {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Inner { mode: Mode::Up, schemas: BTreeMap::new(), asked: Vec::new() }));
        let router = Router::new().fallback(answer).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Registry { address, shared, runtime: Some(runtime) }
    }

    /// The section of the settings that names it.
    pub fn settings(&self) -> String {
        format!("[registry]\nurl = \"http://{}\"\n", self.address)
    }

    /// From now on it knows a schema: `ids/7`, `guids/…`.
    pub fn knows(&self, key: &str, text: &str, kind: &'static str) {
        self.lock().schemas.insert(format!("/schemas/{key}"), (text.to_owned(), kind));
    }

    /// From now on it answers so.
    pub fn answers(&self, mode: Mode) {
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
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(State(shared): State<Arc<Mutex<Inner>>>, uri: Uri) -> Response {
    let (mode, found) = {
        let mut inner = shared.lock().unwrap_or_else(PoisonError::into_inner);
        inner.asked.push(uri.path().to_owned());
        (inner.mode, inner.schemas.get(uri.path()).cloned())
    };
    let content = [("content-type", "application/vnd.schemaregistry.v1+json")];
    match (mode, found) {
        (Mode::Hangs, _) => std::future::pending().await,
        (Mode::Nonsense, _) => (content, "<html>busy</html>").into_response(),
        (Mode::Status(status), _) => {
            let body = json!({ "error_code": u32::from(status) * 100, "message": "as it was told" }).to_string();
            (StatusCode::from_u16(status).unwrap(), content, body).into_response()
        }
        (Mode::Up, Some((text, kind))) => {
            (content, json!({ "schema": text, "schemaType": kind }).to_string()).into_response()
        }
        (Mode::Up, None) => {
            let body = json!({ "error_code": 40403, "message": "Schema not found" }).to_string();
            (StatusCode::NOT_FOUND, content, body).into_response()
        }
    }
}
