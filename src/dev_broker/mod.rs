//! The embedded broker of `tidegate dev` and of the tests: Kafka's protocol, in process, with real transactions.
//!
//! One node. What librdkafka, the Java client and kcat need of it: produce and fetch with isolation, idempotent and
//! transactional producers with fencing, classic consumer groups, admin calls, compaction. It stores record batches as they
//! come, in memory, and appends every change to one file, so that a process that is killed goes on where it was. Never for
//! production: one copy of the data, no authentication, no fsync; it says so when it starts, and listens on loopback only.
//!
//! ```text
//!  connection ─ request ─▶ api/* ─▶ State (one lock): topics ─ partition ─ batch
//!                                    │                groups · producers and their transactions
//!                                    └─ every change ─▶ storage (append-only file, replayed at start)
//! ```

mod api;
mod batch;
mod compaction;
mod connection;
mod group;
mod lengths;
mod partition;
mod producer;
mod record;
mod state;
mod storage;
mod topic;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

pub use kafka_protocol::messages::ApiKey;

use state::State;
pub use storage::StorageError;

/// How many connections are served at once; each may hold one request in memory.
const CONNECTIONS: usize = 1_000;
/// How often time-outs of groups and transactions are looked at.
const TICK: Duration = Duration::from_millis(20);

/// What a broker is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens: a loopback address; port 0 = any free one.
    pub listen: SocketAddr,
    /// What clients are told of where it is, if that is not where it listens: a proxy, say.
    pub advertised: Option<SocketAddr>,
    /// Where it keeps its data; None = in memory only.
    pub data_dir: Option<PathBuf>,
    /// Partitions of topics that are created without a number.
    pub default_partitions: i32,
    /// Whether a topic that somebody asks for is created.
    pub auto_create_topics: bool,
    /// What a partition of a topic without `retention.bytes` keeps, in bytes: memory is what it is kept in.
    pub retention_bytes_per_partition: usize,
    /// How long the first members of an empty group are waited for.
    pub initial_rebalance_delay: Duration,
    /// How often compacted topics are compacted and old records deleted.
    pub clean_every: Duration,
    /// Topics that nobody may write to, as if an access rule said so.
    pub read_only_topics: Vec<String>,
    /// Whether it behaves like real Kafka where that is less pleasant: a transaction that begins just after another ended is told
    /// to wait, and transactions that took too long are looked for every ten seconds only.
    pub behave_like_kafka: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertised: None,
            data_dir: None,
            default_partitions: 4,
            auto_create_topics: true,
            retention_bytes_per_partition: 256 * 1024 * 1024,
            initial_rebalance_delay: Duration::ZERO,
            clean_every: Duration::from_secs(5),
            read_only_topics: Vec::new(),
            behave_like_kafka: false,
        }
    }
}

/// Why a broker cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is reachable from elsewhere.
    #[error("the embedded broker listens on loopback only; use 127.0.0.1 or [::1] instead of {address}")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}; is another broker running there? use --kafka with another port, 0 for any free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The data cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no runtime to run it on.
    #[error("cannot start the threads of the embedded broker")]
    Runtime(#[source] std::io::Error),
}

/// Something that goes wrong on purpose, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is answered so much later.
    Delay(Duration),
    /// The connection is cut instead of handling the request.
    Disconnect,
    /// The request is handled, and the connection is cut instead of answering.
    LoseAnswer,
}

/// A broker that runs. Dropping it stops it.
pub struct DevBroker {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What connections share.
struct Shared {
    options: Options,
    address: SocketAddr,
    /// Where clients are told that it is.
    advertised: SocketAddr,
    state: Mutex<State>,
    /// Somebody wrote, or made something readable.
    news: Notify,
    faults: Mutex<HashMap<i16, VecDeque<Fault>>>,
}

impl DevBroker {
    /// Starts a broker on the runtime that this is called on.
    pub async fn start(options: Options) -> Result<DevBroker, StartError> {
        let address = options.listen;
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback { address });
        }
        let listener = TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let bound = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let state = State::open(&options)?;
        let advertised = options.advertised.unwrap_or(bound);
        tracing::info!(address = %bound, "the embedded broker listens; it is for development and tests, never for production");
        let shared = Arc::new(Shared {
            options,
            address: bound,
            advertised,
            state: Mutex::new(state),
            news: Notify::new(),
            faults: Mutex::default(),
        });
        let tasks = vec![tokio::spawn(accept(listener, shared.clone())), tokio::spawn(tick(shared.clone()))];
        Ok(DevBroker { shared, tasks, runtime: None })
    }

    /// Starts a broker with threads of its own, for callers that have no runtime.
    pub fn start_blocking(options: Options) -> Result<DevBroker, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("dev-broker")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let mut broker = runtime.block_on(DevBroker::start(options))?;
        broker.runtime = Some(runtime);
        Ok(broker)
    }

    /// Where clients connect: `HOST:PORT`.
    pub fn bootstrap(&self) -> String {
        self.shared.address.to_string()
    }

    /// Queues a fault for the next request of that kind.
    pub fn inject(&self, api: ApiKey, fault: Fault) {
        let mut faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.entry(api as i16).or_default().push_back(fault);
    }

    /// How many faults have not hit a request yet.
    pub fn faults_left(&self) -> usize {
        let faults = self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.values().map(VecDeque::len).sum()
    }

    /// Forgets the faults that have not hit a request yet.
    pub fn heal(&self) {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for DevBroker {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A handler that panicked has changed one thing at most; the others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an access rule forbids to write to a topic.
    fn forbids_writing(&self, topic: &str) -> bool {
        self.options.read_only_topics.iter().any(|it| it == topic)
    }

    fn fault(&self, api: i16) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.get_mut(&api)?.pop_front()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection::serve(&shared, stream).await {
                        tracing::debug!(cause = %error, "a connection to the embedded broker was closed");
                    }
                    drop(slot);
                });
            }
            // Out of file descriptors, say: it may pass.
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

async fn tick(shared: Arc<Shared>) {
    let mut cleaned = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        let mut state = shared.state();
        let mut news = state.tick(Instant::now());
        if cleaned.elapsed() >= shared.options.clean_every {
            cleaned = Instant::now();
            state.clean();
            news = true;
        }
        drop(state);
        if news {
            shared.news.notify_waiters();
        }
    }
}
