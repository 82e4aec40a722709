//! Kafka's own Java client works against the broker: it speaks newer versions of the protocol than librdkafka.

use std::path::Path;
use std::process::Command;

use super::broker;
use crate::support::kafka;
use crate::support::skip::skipped;

#[test]
fn the_java_client_works() {
    let broker = broker!();
    let class_path = match kafka::class_path() {
        Ok(class_path) => class_path,
        Err(why) => return skipped(&why),
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/JavaClient.java");
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &class_path]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error").arg(source).arg(broker.bootstrap());
    let output = command.output().expect("java starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("ok: "), "{said}");
}
