//! The address that orchestrators and Prometheus ask: `/metrics`, `/livez`, `/readyz`. Bounded in connections, time and size, because it
//! must answer when everything else is in trouble.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::exposition::Exposition;
use super::health::{Health, Problem};
use super::metrics::Metrics;

/// Connections at once: a few scrapers and probes. Further ones wait in the system's queue.
const CONNECTIONS: usize = 64;
/// How long a request's head may take to arrive, and an idle connection may stay.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long an answer may take to be made. They are made from memory.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long a connection lives in all, so that one that reads slowly does not hold its place for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
/// The longest head of a request and the buffer of a connection.
const HEAD_BYTES: usize = 16 * 1024;
/// The most headers of a request.
const HEADERS: usize = 64;
/// How long to wait when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the address is not served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on: choose another one.
    #[error("cannot listen on {address}; choose another `admin` address")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A server that runs until it is stopped or dropped.
pub struct AdminServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl AdminServer {
    /// Listens on an address and serves `router` there, which is [`router`] or one that it was merged into. Needs a tokio runtime.
    pub async fn start(address: SocketAddr, router: Router) -> Result<AdminServer, AdminError> {
        let bind_error = |source| AdminError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let bound = listener.local_addr().map_err(bind_error)?;
        let (stop, stopped) = watch::channel(false);
        let router = router.layer(middleware::from_fn(bound_answer_time));
        let task = tokio::spawn(accept(listener, router, stopped));
        Ok(AdminServer { address: bound, stop, task })
    }

    /// The address that is really listened on: port 0 became a free one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections, lets answers under way end, and cuts off what is left at the deadline.
    pub async fn stop(mut self, deadline: Duration) {
        // Nobody listens any more only if the server has ended already.
        let _ = self.stop.send(true);
        if tokio::time::timeout(deadline, &mut self.task).await.is_err() {
            tracing::warn!("admin connections were cut off at the deadline");
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // Connections are the task's own and end with it.
        self.task.abort();
    }
}

/// The routes of every instance.
pub fn router(metrics: Metrics, health: Health) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(show_liveness))
        .route("/readyz", get(show_readiness))
        .with_state(Arc::new(Subjects { metrics, health }))
}

struct Subjects {
    metrics: Metrics,
    health: Health,
}

async fn show_metrics(State(subjects): State<Arc<Subjects>>, request: Request) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::negotiate(accept.unwrap_or_default());
    subjects.metrics.observe(&subjects.health.readiness(Instant::now()));
    let content_type = HeaderValue::from_static(exposition.content_type());
    let headers = [(header::CONTENT_TYPE, content_type), (header::VARY, HeaderValue::from_static("accept"))];
    (headers, subjects.metrics.render(exposition)).into_response()
}

async fn show_liveness(State(subjects): State<Arc<Subjects>>) -> Response {
    let hanging = subjects.health.hanging_lanes(Instant::now());
    json_response(hanging.is_empty(), json!({ "live": hanging.is_empty(), "hangingLanes": hanging }))
}

async fn show_readiness(State(subjects): State<Arc<Subjects>>) -> Response {
    let readiness = subjects.health.readiness(Instant::now());
    let problems: Vec<Value> = readiness.problems.iter().map(problem_json).collect();
    let body = json!({ "ready": readiness.ready, "reasons": readiness.reasons, "problems": problems });
    json_response(readiness.ready, body)
}

fn problem_json(problem: &Problem) -> Value {
    let Problem { kind, subject, message, since } = problem;
    let since = DateTime::<Utc>::from(*since).to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({ "kind": kind, "subject": subject, "message": message, "since": since })
}

fn json_response(well: bool, body: Value) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

async fn bound_answer_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // A place comes before the connection, so that what cannot be served waits outside of this process. The semaphore is never closed.
        let next = async {
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        tokio::select! {
            biased; // Stopping comes first, else a busy client could keep it from happening.
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = next => match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, router.clone(), stopped.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::time::timeout(CONNECTION_TIME, async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    });
    // At the end of its time the connection is dropped, which closes it.
    if let Ok(ended) = served.await {
        report(ended);
    }
}

fn report(ended: Result<(), hyper::Error>) {
    // Clients that go away are theirs to mend.
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}
