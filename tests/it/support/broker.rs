//! Brokers for tests: the embedded one, or a real Kafka where `TIDEGATE_TEST_BROKER` is `kafka`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tidegate::dev_broker::{DevBroker, Options};

use super::{clients, embedded, kafka, process, skip, wait};

/// Which broker tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Embedded,
    /// The real one.
    Kafka,
}

impl Kind {
    /// What `TIDEGATE_TEST_BROKER` says: `kafka`, or `embedded`, which is the default.
    pub fn chosen() -> Kind {
        match std::env::var("TIDEGATE_TEST_BROKER").as_deref() {
            Ok("kafka") => Kind::Kafka,
            Ok("embedded") | Err(_) => Kind::Embedded,
            Ok(other) => panic!("TIDEGATE_TEST_BROKER is `{other}`; use `embedded` or `kafka`"),
        }
    }
}

/// A broker that runs until it is dropped, or until the test process ends.
pub struct TestBroker {
    kind: Kind,
    bootstrap: String,
    running: Mutex<Running>,
    directory: Option<Directory>,
}

enum Running {
    Here(DevBroker),
    Child(Child),
    Down,
}

impl TestBroker {
    /// The broker that all tests of this process share; use unique names. None if this machine cannot have the one that was chosen: the
    /// test is then skipped.
    #[track_caller]
    pub fn shared() -> Option<&'static TestBroker> {
        static SHARED: LazyLock<Result<TestBroker, String>> = LazyLock::new(|| {
            let broker = match Kind::chosen() {
                Kind::Embedded => TestBroker::embedded(|options| options.clean_every = embedded::COMPACTS_EVERY),
                Kind::Kafka => TestBroker::kafka(&[])?,
            };
            // SAFETY: registers a plain function that touches nothing but the static above it.
            let registered = unsafe { libc::atexit(end_shared) };
            assert_eq!(registered, 0, "the end of the process can be waited for");
            Ok(broker)
        });
        /// Statics are never dropped: this leaves neither a process nor its data behind.
        extern "C" fn end_shared() {
            if let Ok(broker) = &*SHARED {
                broker.end();
            }
        }
        SHARED.as_ref().map_err(|why| skip::skipped(why)).ok()
    }

    /// A broker for one test alone, in a process of its own, that can be killed and started again on its data.
    #[track_caller]
    pub fn own() -> Option<TestBroker> {
        let broker = match Kind::chosen() {
            Kind::Embedded => Ok(TestBroker::embedded_child()),
            Kind::Kafka => TestBroker::kafka(&[]),
        };
        broker.map_err(|why| skip::skipped(&why)).ok()
    }

    /// A broker of the kind that was chosen, for one test alone, on which topics exist only when they are created, and on which nobody
    /// may write to the topics named. None if this machine cannot have it: the test is then skipped.
    #[track_caller]
    pub fn strict(read_only: &[&str]) -> Option<TestBroker> {
        if Kind::chosen() == Kind::Embedded {
            return Some(TestBroker::embedded(|options| {
                options.auto_create_topics = false;
                options.read_only_topics = read_only.iter().map(|it| (*it).to_owned()).collect();
            }));
        }
        let broker = TestBroker::kafka(&[
            ("auto.create.topics.enable", "false"),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("allow.everyone.if.no.acl.found", "true"),
        ]);
        let broker = broker.map_err(|why| skip::skipped(&why)).ok()?;
        let port = broker.bootstrap.rsplit(':').next().expect("HOST:PORT");
        for topic in read_only {
            skip::part("kafka.sh", &["protect", port, topic]).expect("an access rule is made");
        }
        Some(broker)
    }

    /// A real Kafka with settings of its own, whatever was chosen. The error says why this machine cannot have it.
    pub fn kafka(settings: &[(&str, &str)]) -> Result<TestBroker, String> {
        kafka::install()?;
        let directory = Directory::new();
        let port = process::two_free_ports();
        let child = kafka::start(&directory.0, port, settings);
        Ok(TestBroker::with(Kind::Kafka, format!("127.0.0.1:{port}"), Running::Child(child), Some(directory)))
    }

    /// An embedded broker in this process and in memory, with options of its own, whatever was chosen.
    pub fn embedded(adjust: impl FnOnce(&mut Options)) -> TestBroker {
        let broker = embedded::start_here(adjust);
        TestBroker::with(Kind::Embedded, broker.bootstrap(), Running::Here(broker), None)
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where clients connect: `HOST:PORT`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Does something with the broker if it is an embedded one in this process: injects faults, say.
    pub fn with_embedded<T>(&self, act: impl FnOnce(&DevBroker) -> T) -> Option<T> {
        match &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            Running::Here(broker) => Some(act(broker)),
            Running::Child(_) | Running::Down => None,
        }
    }

    /// Kills the process of the broker as a crash would.
    pub fn kill(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *running {
            Running::Child(child) => process::kill(child),
            Running::Here(_) | Running::Down => panic!("only a broker of one's own that runs can be killed"),
        }
        *running = Running::Down;
    }

    /// Takes the broker away in the middle of transactions, of which markers are still to be written: the embedded one is killed, a Kafka
    /// is ended in order. A Kafka 4.4 of one node that is killed then may forget those markers for good: while it starts, its coordinator
    /// is elected twice, and what the first of the two was about to write is lost. Readers of committed records wait for ever from then
    /// on, whoever wrote.
    pub fn take_away(&self) {
        if self.kind == Kind::Embedded {
            return self.kill();
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *running {
            Running::Child(child) => process::end(child),
            Running::Here(_) | Running::Down => panic!("only a broker of one's own that runs can be ended"),
        }
        *running = Running::Down;
    }

    /// Starts a broker that was killed or ended again, on the same port and data.
    pub fn restart(&self) {
        let directory = &self.directory.as_ref().expect("a broker of one's own has data").0;
        let port = self.bootstrap.rsplit(':').next().and_then(|port| port.parse().ok()).expect("HOST:PORT");
        let child = match self.kind {
            Kind::Embedded => embedded::start_child(directory, port),
            Kind::Kafka => kafka::start(directory, port, &[]),
        };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Running::Child(child);
        self.wait_until_it_answers();
    }

    /// An embedded broker in a process of its own, whatever was chosen.
    pub fn embedded_child() -> TestBroker {
        let directory = Directory::new();
        let port = process::two_free_ports();
        let child = embedded::start_child(&directory.0, port);
        TestBroker::with(Kind::Embedded, format!("127.0.0.1:{port}"), Running::Child(child), Some(directory))
    }

    fn with(kind: Kind, bootstrap: String, running: Running, directory: Option<Directory>) -> TestBroker {
        let broker = TestBroker { kind, bootstrap, running: Mutex::new(running), directory };
        broker.wait_until_it_answers();
        broker
    }

    #[track_caller]
    fn wait_until_it_answers(&self) {
        let client: BaseConsumer = clients::config(&self.bootstrap).create().expect("a client");
        wait::until("the broker answers", || {
            self.fail_if_it_ended();
            client
                .fetch_metadata(None, Duration::from_millis(500))
                .is_ok_and(|it| !it.brokers().is_empty())
                .then_some(())
        });
    }

    fn fail_if_it_ended(&self) {
        let Running::Child(child) = &mut *self.running.lock().unwrap_or_else(PoisonError::into_inner) else { return };
        let Some(status) = child.try_wait().expect("a child can be asked") else { return };
        let log = self.directory.as_ref().and_then(|it| fs::read_to_string(it.0.join("kafka.log")).ok());
        panic!("the broker ended with {status}: {}", log.unwrap_or_default());
    }

    fn end(&self) {
        if let Running::Child(child) = &mut *self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            process::kill(child);
        }
        if let Some(directory) = &self.directory {
            directory.remove();
        }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.end();
    }
}

/// A directory for a broker's data. Its name holds the id of the test process, so that what a killed one left is found.
struct Directory(PathBuf);

const PREFIX: &str = "tidegate-test-broker-";

impl Directory {
    fn new() -> Directory {
        static SWEPT: LazyLock<()> = LazyLock::new(sweep);
        static NEXT: AtomicU32 = AtomicU32::new(0);
        LazyLock::force(&SWEPT);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory for a broker");
        Directory(path)
    }

    fn remove(&self) {
        // What cannot be removed now is removed by the next test process.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what test processes left that were killed.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
