//! What jobs call: an HTTP server on loopback, in a thread and on a runtime of its own, so that it shares nothing with its callers but the
//! machine. Each request says by its path after how long it is answered, and is told apart by its `Idempotency-Key`.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustc_hash::FxHashSet;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use xxhash_rust::xxh3::xxh3_128;

use super::{BenchError, EVENTS_MAX};

/// Calls at once, of R2's connector and of the request loop.
pub const CONCURRENCY: u32 = 256;
/// The header by which requests are told apart.
pub const KEY_HEADER: &str = "idempotency-key";
/// What it answers.
pub const ANSWER: &str = "{\"ok\":true}";

/// Connections at once: those of a run, and what is left of the one before.
const CONNECTIONS: u32 = 4 * CONCURRENCY;
/// The longest body of a request.
const BODY_BYTES: usize = 64 * 1024;
/// The longest time after which it answers.
const AFTER_MS_MAX: u64 = 60_000;
/// The requests that are told apart; more come of no run.
const KEYS_MAX: usize = EVENTS_MAX as usize;
/// The beginning of every path.
const AFTER: &str = "/after/";
/// The pause after no connection could be taken: there are too many open files, say.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// A target for the length of a benchmark.
pub struct Target {
    address: SocketAddr,
    received: Arc<Shared>,
    /// Dropped to end it.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What came of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Requests that were answered as they wanted.
    pub requests: u64,
    /// How many different keys they had.
    pub keys: u64,
    /// Bytes of their paths, headers and bodies; what frames them comes on top.
    pub bytes: u64,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    received: Received,
    /// Hashes wide enough that no two are the same by chance.
    keys: FxHashSet<u128>,
}

/// The path of a request that is answered after so long.
pub fn path(after_ms: u32) -> String {
    format!("{AFTER}{after_ms}")
}

impl Target {
    /// Starts it on a free port.
    pub fn start() -> Result<Target, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Thread)?;
        let (listener, address) = runtime.block_on(async { listen() }).map_err(BenchError::Target)?;
        let received = Arc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let serving = received.clone();
        let thread = std::thread::Builder::new().name("target".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(&listener, &serving) => {}
                    _ = ended => {}
                }
            });
        });
        Ok(Target { address, received, end: Some(end), thread: Some(thread.map_err(BenchError::Thread)?) })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since it was asked last.
    pub fn take(&self) -> Received {
        std::mem::take(&mut *self.received.lock()).received
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the target of the benchmark panicked");
        }
    }
}

/// All connections of a run may come at once: a queue as long as the system has by itself would turn some away, for a second each.
fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(CONNECTIONS)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve(listener: &TcpListener, received: &Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
    loop {
        // It is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let received = received.clone();
                tokio::spawn(async move {
                    converse(stream, received).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(cause = %error, "the target of the benchmark cannot take a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, received: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, received.clone()));
    // An answer that waits for an acknowledgement would be later than it is to be.
    let served = match stream.set_nodelay(true) {
        Ok(()) => hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
        Err(error) => return tracing::debug!(cause = %error, "a connection to the target of the benchmark is gone"),
    };
    if let Err(error) = served {
        // Clients go as they like; whoever misses an answer says so.
        tracing::debug!(cause = %error, "a connection to the target of the benchmark ended early");
    }
}

async fn answer(request: Request<Incoming>, received: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let after_ms = head.uri.path().strip_prefix(AFTER).and_then(|it| it.parse().ok());
    let Some(after_ms) = after_ms.filter(|it| *it <= AFTER_MS_MAX) else { return Ok(refusal(StatusCode::NOT_FOUND)) };
    let Some(key) = head.headers.get(KEY_HEADER) else { return Ok(refusal(StatusCode::BAD_REQUEST)) };
    let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE));
    };
    if after_ms > 0 {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
    }
    let headers: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let bytes = head.uri.path().len() + headers + body.to_bytes().len();
    received.count(key.as_bytes(), bytes as u64);
    let mut response = Response::new(Full::from(ANSWER));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

impl Shared {
    fn count(&self, key: &[u8], bytes: u64) {
        let mut state = self.lock();
        state.received.requests += 1;
        state.received.bytes += bytes;
        if state.keys.len() < KEYS_MAX && state.keys.insert(xxh3_128(key)) {
            state.received.keys += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
