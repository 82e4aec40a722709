//! A real schema registry: its script run as a child process.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{process, skip};

/// It runs until it is dropped.
pub struct RealRegistry {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl RealRegistry {
    /// A registry that knows nothing. None if this machine cannot have it: the test is then skipped.
    #[track_caller]
    pub fn start() -> Option<RealRegistry> {
        skip::part("schema-registry.sh", &["install"]).map_err(|why| skip::skipped(&why)).ok()?;
        let (directory, port) = (tempfile::tempdir().unwrap(), process::two_free_ports());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/schema-registry.sh");
        let mut command = Command::new(script);
        command.arg("run").arg(directory.path()).arg(port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = process::spawn_tied(command).expect("bash runs");
        let registry = RealRegistry { child, port, _directory: directory };
        skip::part("schema-registry.sh", &["ready", &port.to_string()]).expect("it becomes ready");
        Some(registry)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// The section of the settings that names it.
    pub fn settings(&self) -> String {
        format!("[registry]\nurl = \"{}\"\n", self.url())
    }

    /// It says nothing from now on, and takes connections all the same; or it goes on.
    pub fn stops(&self, is_stopped: bool) {
        let signal = if is_stopped { libc::SIGSTOP } else { libc::SIGCONT };
        // SAFETY: the child is ours and was not waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        process::kill(&mut self.child);
    }
}
