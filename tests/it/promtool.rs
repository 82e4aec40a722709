//! Prometheus's own tool: it judges what is scraped and the alert rules. A test without it says that it was skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::skip::{part, skipped};

/// The tool's path; None if it cannot be had, which is a failure where skipping is forbidden.
pub fn promtool() -> Option<PathBuf> {
    part("promtool.sh", &[]).map(PathBuf::from).map_err(|why| skipped(&why)).ok()
}

/// Fails with everything that `promtool check metrics` has to say; says nothing if it is content.
#[track_caller]
pub fn check_metrics(promtool: &Path, text: &str) {
    let piped = || Stdio::piped();
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(piped())
        .stdout(piped())
        .stderr(piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}of\n{text}");
}

#[test]
fn alert_rules_fire_when_they_should() {
    let Some(promtool) = promtool() else { return };
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for arguments in [["check", "rules", "prometheus-rules.yml"], ["test", "rules", "prometheus-rules.test.yml"]] {
        let output = Command::new(&promtool).current_dir(&deploy).args(arguments).output().expect("promtool starts");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
    }
}
