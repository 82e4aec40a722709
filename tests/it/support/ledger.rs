//! A target of calls that keeps a ledger of them, and answers as it is told.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The longest body that a call of a test has.
const BODY_BYTES: usize = 1024 * 1024;

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its `Idempotency-Key`.
    pub key: String,
    /// Its `traceparent`.
    pub trace: String,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Bytes,
    /// Who makes it, as the header `x-instance` says.
    pub who: String,
    /// When it came.
    pub at: Instant,
}

/// What a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status; 0 ends the connection without an answer, after the work.
    pub status: u16,
    /// How long it takes.
    pub after: Duration,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `Location`.
    pub location: Option<&'static str>,
}

impl Reply {
    /// At once, with a status.
    pub fn now(status: u16) -> Reply {
        Reply { status, after: Duration::ZERO, retry_after: None, location: None }
    }
}

type Behaviour = dyn FnMut(&Entry, usize) -> Reply + Send;

/// The target. It runs until it is dropped.
pub struct Ledger {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    entries: Vec<Entry>,
    behaviour: Box<Behaviour>,
    under_way: usize,
    most_under_way: usize,
}

impl Ledger {
    /// A target that answers every call as `behaviour` says, which is told the call and how many came before it.
    pub fn start(behaviour: impl FnMut(&Entry, usize) -> Reply + Send + 'static) -> Ledger {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { entries: Vec::new(), behaviour: Box::new(behaviour), under_way: 0, most_under_way: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let serving = shared.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                let service = service_fn(move |request| serve(shared.clone(), request));
                tokio::spawn(async move {
                    // A client may go at any time, and some answers end the connection.
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ledger { address, shared, runtime: Some(runtime) }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers so.
    pub fn behave(&self, behaviour: impl FnMut(&Entry, usize) -> Reply + Send + 'static) {
        let mut state = self.shared.lock();
        (state.behaviour, state.most_under_way) = (Box::new(behaviour), state.under_way);
    }

    /// Every call so far, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.shared.lock().entries.clone()
    }

    /// How many calls came so far.
    pub fn len(&self) -> usize {
        self.shared.lock().entries.len()
    }

    /// How many calls were under way at once, at most, since it behaves as it does.
    pub fn most_under_way(&self) -> usize {
        self.shared.lock().most_under_way
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection ends without an answer.
#[derive(Debug)]
struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("no answer")
    }
}

impl std::error::Error for NoAnswer {}

async fn serve(
    shared: Arc<Shared>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), BODY_BYTES).await?;
    let header = |name: &str| head.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let (key, trace, who) = (header("idempotency-key"), header("traceparent"), header("x-instance"));
    let entry = Entry { key, trace, path: head.uri.path().to_owned(), body, who, at: Instant::now() };
    let reply = {
        let mut state = shared.lock();
        let before = state.entries.len();
        let reply = (state.behaviour)(&entry, before);
        state.entries.push(entry);
        state.under_way += 1;
        state.most_under_way = state.most_under_way.max(state.under_way);
        reply
    };
    if !reply.after.is_zero() {
        tokio::time::sleep(reply.after).await;
    }
    shared.lock().under_way -= 1;
    if reply.status == 0 {
        return Err(Box::new(NoAnswer));
    }
    let mut response = Response::builder().status(reply.status).header("content-type", "application/json");
    if let Some(seconds) = reply.retry_after {
        response = response.header("retry-after", seconds.to_string());
    }
    if let Some(location) = reply.location {
        response = response.header("location", location);
    }
    let answer: Result<_, Infallible> = Ok(response.body(Body::from("{\"ok\":true}"))?);
    Ok(answer?)
}
