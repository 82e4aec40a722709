//! The admin address, asked over a socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tidegate::telemetry::admin::{AdminError, AdminServer, router};
use tidegate::telemetry::health::{COMMIT_OVERDUE, Health, LANE_HANGS, LostOffsets};
use tidegate::telemetry::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server with its health, on a runtime of its own.
struct Served {
    runtime: tokio::runtime::Runtime,
    server: AdminServer,
    health: Health,
}

fn serve(lanes: usize, now: Instant) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let health = Health::new(lanes, now);
    let router = router(Metrics::new("1.0.0", "abc"), health.clone());
    let server = runtime.block_on(AdminServer::start("127.0.0.1:0".parse().unwrap(), router)).unwrap();
    Served { runtime, server, health }
}

/// One request on a connection of its own: status, head, body.
fn ask(address: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n"))
}

fn exchange(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses early may close before everything is sent; its answer still counts.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[track_caller]
fn check_ready(served: &Served, reasons: &[&str]) {
    let (status, head, body) = ask(served.server.address(), "/readyz", "");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["reasons"], serde_json::json!(reasons));
    assert_eq!(body["ready"], reasons.is_empty());
    assert_eq!(status, if reasons.is_empty() { 200 } else { 503 });
    assert!(head.contains("content-type: application/json"), "{head}");
}

#[test]
fn ready_is_joined_and_caught_up_and_committing() {
    let now = Instant::now();
    let served = serve(2, now);
    let health = &served.health;
    let definitions = "the definitions are not yet read to their end";
    check_ready(&served, &[definitions, "lanes that have not joined the group: 0, 1"]);
    health.set_joined(0, true);
    health.set_definitions_caught_up(true);
    check_ready(&served, &["lanes that have not joined the group: 1"]);
    health.set_joined(1, true);
    check_ready(&served, &[]);

    let Some(long_ago) = now.checked_sub(COMMIT_OVERDUE + Duration::from_secs(1)) else { return };
    health.commit_wanted(1, long_ago);
    health.commit_wanted(1, now);
    check_ready(&served, &["lanes whose commit is overdue: 1"]);
    health.lane_restarted(1, now);
    check_ready(&served, &["lanes that have not joined the group: 1", "lanes whose commit is overdue: 1"]);
    health.set_joined(1, true);
    health.committed(1, now, true);
    check_ready(&served, &[]);
    health.stop();
    check_ready(&served, &["the instance is stopping"]);
}

#[test]
fn problems_are_listed_without_making_the_instance_unready() {
    let served = serve(0, Instant::now());
    let since = SystemTime::UNIX_EPOCH;
    served.health.set_definitions_caught_up(true);
    served.health.raise("topic-recreated", "webhooks", "it was deleted", since);
    served.health.raise("topic-recreated", "webhooks", "it was deleted and created", SystemTime::now());
    let (status, _, body) = ask(served.server.address(), "/readyz", "");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        body["problems"],
        serde_json::json!([{
            "kind": "topic-recreated", "subject": "webhooks", "message": "it was deleted and created", "since": "1970-01-01T00:00:00.000Z"
        }])
    );
    let (_, _, metrics) = ask(served.server.address(), "/metrics", "");
    assert!(metrics.contains("tidegate_problem{kind=\"topic-recreated\"} 1\n"), "{metrics}");
    served.health.clear("topic-recreated", "webhooks", SystemTime::now());
    let (_, _, metrics) = ask(served.server.address(), "/metrics", "");
    assert!(!metrics.contains("tidegate_problem"), "{metrics}");
}

#[test]
fn problems_are_bounded() {
    let health = Health::new(0, Instant::now());
    for number in 0..10_000 {
        health.raise("topic-missing", &number.to_string(), &"x".repeat(10_000), SystemTime::UNIX_EPOCH);
    }
    let problems = health.readiness(Instant::now()).problems;
    assert!(problems.len() < 1000 && problems.iter().all(|problem| problem.message.len() <= 1024));
}

#[test]
fn a_lane_that_hangs_is_not_alive() {
    let now = Instant::now();
    let health = Health::new(2, now);
    let later = now + LANE_HANGS + Duration::from_secs(1);
    assert_eq!(health.hanging_lanes(now), [0_usize; 0]);
    health.lane_turned(1, later);
    assert_eq!(health.hanging_lanes(later), [0]);
    let served = serve(1, now);
    assert_eq!(ask(served.server.address(), "/livez", "").0, 200);
}

#[test]
fn metrics_come_in_the_format_that_is_asked_for() {
    let served = serve(1, Instant::now());
    let address = served.server.address();
    let (status, head, body) = ask(address, "/metrics", "");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("tidegate_build_info{version=\"1.0.0\",revision=\"abc\"} 1\n"), "{body}");
    let (_, head, body) =
        ask(address, "/metrics", "accept: application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[test]
fn what_nobody_should_ask_is_refused() {
    let served = serve(1, Instant::now());
    let address = served.server.address();
    assert_eq!(ask(address, "/", "").0, 404);
    assert_eq!(
        exchange(address, "POST /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").0,
        405
    );
    assert_eq!(ask(address, "/livez", &format!("x: {}\r\n", "y".repeat(100_000))).0, 431);
    assert_eq!(ask(address, "/livez", &"x: y\r\n".repeat(1000)).0, 431);
    assert_eq!(exchange(address, "nonsense\r\n\r\n").0, 400);
    assert_eq!(ask(address, "/livez", "").0, 200);
}

#[test]
fn idle_connections_do_not_hold_up_a_stop() {
    let served = serve(1, Instant::now());
    let address = served.server.address();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.set_read_timeout(Some(PATIENCE)).unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    let started = Instant::now();
    served.runtime.block_on(served.server.stop(PATIENCE));
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn more_connections_than_places_wait_and_are_served() {
    let served = serve(1, Instant::now());
    let address = served.server.address();
    let waiting: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    drop(waiting);
    assert_eq!(ask(address, "/livez", "").0, 200);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let served = serve(1, Instant::now());
    let address = served.server.address();
    let second = served.runtime.block_on(AdminServer::start(address, axum::Router::new()));
    let Err(AdminError::Bind { address: refused, .. }) = second else { panic!("two servers on {address}") };
    assert_eq!(refused, address);
}

#[test]
fn a_problem_is_told_when_it_begins_and_when_it_ends_however_often_it_is_said() {
    let (health, now) = (Health::new(1, Instant::now()), SystemTime::now());
    health.raise("kafka", "before", "said before anybody listened", now);
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = told.clone();
    health.listen(move |change| {
        let state = if change.raised { "raised" } else { "cleared" };
        list.lock().unwrap().push(format!("{} {} {state} {}", change.kind, change.subject, change.lost.is_some()));
    });
    for _ in 0..3 {
        health.raise("topic-recreated", "source/a", "again", now);
    }
    health.clear("topic-recreated", "source/a", now);
    health.clear("topic-recreated", "source/a", now);
    health.settle("offsets-expired", "source/b", "confirmed", now);
    for first in [1, 5] {
        let lost = LostOffsets { topic: "a".into(), partition: 0, first, last: first + 2 };
        health.records_lost("lost-records", "source/a/0", "gone", lost, now);
    }
    let expected = [
        "kafka before raised false",
        "topic-recreated source/a raised false",
        "topic-recreated source/a cleared false",
        "offsets-expired source/b cleared false",
        "lost-records source/a/0 raised true",
        "lost-records source/a/0 raised true",
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    let kinds: Vec<_> = health.readiness(Instant::now()).problems.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["kafka", "lost-records"]);
}
