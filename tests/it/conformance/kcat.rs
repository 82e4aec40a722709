//! kcat, the tool that people look into topics with, works against the broker.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::broker;
use crate::support::skip::{part, skipped};

/// Runs kcat with something on its standard input, and returns what it printed.
#[track_caller]
fn kcat(arguments: &[&str], input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/kcat.sh");
    let piped = || Stdio::piped();
    let mut command = Command::new(script);
    command.args(arguments).stdin(piped()).stdout(piped()).stderr(piped());
    let mut child = command.spawn().expect("kcat starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("kcat reads");
    let output = child.wait_with_output().expect("kcat ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kcat {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn kcat_produces_consumes_and_lists() {
    let broker = broker!();
    if let Err(why) = part("kcat.sh", &["install"]) {
        return skipped(&why);
    }
    let topic = broker.topic("kcat", 1);
    let common = ["-b", broker.bootstrap(), "-t", &topic];
    let produce = [&["-P"], &common[..], &["-K:", "-H", "first=1", "-H", "second=zwei"]].concat();
    kcat(&produce, "key one:value one\nkey two:välue two\n");
    let consume = [&["-C", "-q", "-e", "-o", "beginning", "-f", "%p %o [%h] %k=%s\\n"], &common[..]].concat();
    let expected = "0 0 [first=1,second=zwei] key one=value one\n0 1 [first=1,second=zwei] key two=välue two\n";
    assert_eq!(kcat(&consume, ""), expected);
    let listed = kcat(&["-L", "-b", broker.bootstrap(), "-t", &topic], "");
    assert!(listed.contains(&format!("topic \"{topic}\" with 1 partitions")), "{listed}");
}

#[test]
fn kcat_reads_as_a_group() {
    let broker = broker!();
    if let Err(why) = part("kcat.sh", &["install"]) {
        return skipped(&why);
    }
    let topic = broker.topic("kcat-group", 3);
    kcat(&["-P", "-b", broker.bootstrap(), "-t", &topic, "-K:"], "a:1\nb:2\nc:3\nd:4\n");
    // `-G` takes the topics last, and ends after so many records.
    let consume = ["-b", broker.bootstrap(), "-q", "-c", "4", "-X", "auto.offset.reset=earliest", "-G", &topic, &topic];
    let mut lines: Vec<_> = kcat(&consume, "").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["1", "2", "3", "4"]);
}
