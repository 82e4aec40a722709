//! The embedded broker, in this process or in a child that can be killed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidegate::dev_broker::{DevBroker, Options};

use super::process;

/// Tells a child that it is a broker: where its data is, and its port.
const DIRECTORY: &str = "TIDEGATE_TEST_BROKER_DIRECTORY";
const PORT: &str = "TIDEGATE_TEST_BROKER_PORT";
/// The name of the test that a child runs.
const CHILD_TEST: &str = "support::embedded::runs_until_killed";

/// How often the broker compacts that all tests share: what it does need not be waited for.
pub const COMPACTS_EVERY: Duration = Duration::from_secs(1);
/// The others do not within a test, as real Kafka does not: whoever counts records finds those that are there twice under one key.
const NEVER: Duration = Duration::from_secs(3_600);

/// The settings of every embedded broker in tests: as real Kafka's.
fn options(port: u16, data_dir: Option<PathBuf>) -> Options {
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    Options { listen, data_dir, clean_every: NEVER, ..Options::default() }
}

/// A broker in this process, in memory.
pub fn start_here(adjust: impl FnOnce(&mut Options)) -> DevBroker {
    let mut options = options(0, None);
    adjust(&mut options);
    DevBroker::start_blocking(options).expect("the embedded broker starts")
}

/// A broker in a child process, on the data in a directory.
pub fn start_child(directory: &Path, port: u16) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("tests know themselves"));
    command.args([CHILD_TEST, "--exact", "--nocapture"]);
    command.env(DIRECTORY, directory).env(PORT, port.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process::spawn_tied(command).expect("the child starts")
}

/// Is the broker in a child; passes at once where there is none to be.
#[test]
fn runs_until_killed() {
    let (Ok(directory), Ok(port)) = (std::env::var(DIRECTORY), std::env::var(PORT)) else { return };
    let options = options(port.parse().expect("a port"), Some(directory.into()));
    let _broker = DevBroker::start_blocking(options).expect("the embedded broker starts");
    loop {
        std::thread::park();
    }
}
