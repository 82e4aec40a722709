//! Skipping: a test that cannot run on this machine says so, and fails where nothing may be skipped.

use std::path::Path;
use std::process::Command;

/// The exit code of a script in tests/parts that says: this machine cannot have it.
const MISSING: i32 = 3;

/// Says that the test was skipped and why. Where `TIDEGATE_TEST_FORBID_SKIP` is 1, as in CI, the test fails instead.
#[track_caller]
pub fn skipped(why: &str) {
    let forbidden = std::env::var("TIDEGATE_TEST_FORBID_SKIP").is_ok_and(|value| value == "1");
    assert!(!forbidden, "this test must not be skipped: {why}");
    println!("skipped: {why}");
}

/// Runs a script of tests/parts, and returns what it printed. The error says why this machine cannot have what the script is for; fails if
/// the script does.
#[track_caller]
pub fn part(script: &str, arguments: &[&str]) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts").join(script);
    let output = Command::new(path).args(arguments).output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.code() == Some(MISSING) {
        return Err(said);
    }
    assert!(output.status.success(), "{script} {arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned())
}
