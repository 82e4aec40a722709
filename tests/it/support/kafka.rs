//! A real Kafka: its script run as a child process.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use super::{process, skip};

/// Fetches Kafka, once for all tests of this process. The error says why this machine cannot have it.
pub fn install() -> Result<(), String> {
    static INSTALLED: LazyLock<Result<(), String>> = LazyLock::new(|| skip::part("kafka.sh", &["install"]).map(drop));
    INSTALLED.clone()
}

/// The class path of its jars, for Java clients.
pub fn class_path() -> Result<String, String> {
    install()?;
    skip::part("kafka.sh", &["classpath"])
}

/// Starts a broker on the data in a directory; on new data if there is none.
pub fn start(directory: &Path, port: u16, settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/kafka.sh"));
    command.arg("run").arg(directory).arg(port.to_string());
    command.args(settings.iter().map(|(key, value)| format!("{key}={value}")));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process::spawn_tied(command).expect("bash runs")
}
