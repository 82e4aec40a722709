//! Calls that come to nothing: each in its class, in time, and without holding on to what is of no use.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tidegate::connector::{ANSWER_FIELDS, ANSWER_HEAD_BYTES, BODY_BYTES};
use tidegate::engine::call::Request;

use super::server::{Act, Server};
use super::{SECRET, connector, request, run, shown};

/// Far more than any of these calls takes, and less than anything waits by itself.
const SOON: Duration = Duration::from_secs(20);

/// What a call comes to; the server sees its connection closed.
#[track_caller]
fn check(act: Act, expected: &str) {
    let server = Server::start([act]);
    let started = Instant::now();
    let answers = run_keeping(&server, request("POST", "/charge"));
    assert_eq!(answers, expected);
    assert!(started.elapsed() < SOON, "{expected}");
}

/// Makes a call, and waits until its connection is closed while the connector and its runtime are still there.
#[track_caller]
fn run_keeping(server: &Server, request: Request) -> String {
    let connector = connector(server.url());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let answer = shown(&runtime.block_on(connector.call(&super::call(request), &[])));
    assert!(!answer.contains(SECRET) && answer.len() < 400, "{answer}");
    server.until_closed(0);
    answer
}

fn close(raw: impl AsRef<[u8]>) -> Act {
    Act::AnswerAndClose(raw.as_ref().to_vec())
}

const EARLY: &str = "connection: the connection was closed before the answer was whole";

#[test]
fn connections_that_break_are_failures_of_the_connection() {
    check(Act::Reset, "connection: the connection broke: Connection reset by peer (os error 104)");
    check(close(""), EARLY);
    check(close("HTTP/1.1 200 OK\r\nContent-Le"), EARLY);
    check(close("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), EARLY);
    check(close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf"), EARLY);
    check(close("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), EARLY);
}

#[test]
fn where_nobody_listens_there_is_no_connection() {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let url = format!("http://{free}/{SECRET}");
    let expected = "connection: no connection: Connection refused (os error 111)";
    assert_eq!(shown(&run(&connector(url), [request("GET", "/")])[0]), expected);
    // RFC 6761: this name is never resolved.
    let answer = shown(&run(&connector("http://target.invalid"), [request("GET", "/")])[0]);
    assert!(answer.starts_with("connection: no connection: "), "{answer}");
}

#[test]
fn what_is_no_http_can_never_do() {
    let check = |raw: &str, why: &str| check(close(raw), &format!("unusable: its answer is no HTTP/1.1: {why}"));
    check("HTTP/1.1 2000 OK\r\n\r\n", "invalid HTTP status-code parsed");
    check("HTTP/3.0 200 OK\r\n\r\n", "invalid HTTP version parsed");
    check("SSH-2.0-OpenSSH_9.6\r\n", "invalid HTTP version parsed");
    check("HTTP/1.1 200 OK\r\nno header\r\n\r\n", "invalid HTTP header parsed");
    check("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "invalid content-length parsed");
    check("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "invalid content-length parsed");
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "Invalid chunk size line: missing size digit");
}

#[test]
fn heads_are_bounded() {
    let expected =
        format!("unusable: the head of its answer has more than {ANSWER_FIELDS} fields or {ANSWER_HEAD_BYTES} bytes");
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(2 * ANSWER_HEAD_BYTES));
    check(close(long), &expected);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(ANSWER_FIELDS + 1));
    check(close(many), &expected);
    check(Act::Endless("HTTP/1.1 200 OK\r\n".into(), "X: a\r\n".into()), &expected);
    let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(ANSWER_FIELDS));
    check(close(most), "200 null");
}

#[test]
fn bodies_are_bounded_and_not_read_on() {
    let expected = format!("unusable: the body of its answer is larger than {BODY_BYTES} bytes");
    let head = |bytes: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    let of = |bytes: usize| head(bytes) + &"a".repeat(bytes);
    check(Act::answer(of(2 * BODY_BYTES)), &expected);
    check(Act::answer(of(BODY_BYTES + 1)), &expected);
    // Whoever says so is not read at all.
    check(Act::answer(head(usize::MAX / 2)), &expected);
    let whole = format!("{:x}\r\n{}\r\n0\r\n\r\n", BODY_BYTES + 1, "a".repeat(BODY_BYTES + 1));
    check(Act::answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{whole}")), &expected);
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
    check(Act::Endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), chunk.into()), &expected);
    check(Act::Endless("HTTP/1.1 200 OK\r\n\r\n".into(), "a".repeat(0x1000).into()), &expected);
    let server = Server::start([close(of(BODY_BYTES))]);
    let whole = run(&connector(server.url()), [request("GET", "/")]).remove(0);
    assert_eq!(shown(&whole).len(), "200 \"\"".len() + BODY_BYTES);
}

#[test]
fn a_call_ends_in_its_time() {
    let slow = |text: &str| Act::Answer(text.into());
    let acts = [
        Act::Silence,
        slow("HTTP/1.1 200 OK\r\n"),
        slow("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        slow("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        // Informational answers are none.
        Act::Endless(Vec::new(), "HTTP/1.1 102 Processing\r\n\r\n".into()),
    ];
    for act in acts {
        let (server, started) = (Server::start([act]), Instant::now());
        let request = Request { timeout: Duration::from_millis(300), ..request("GET", "/") };
        assert_eq!(run_keeping(&server, request), "timeout: no whole answer within 300 ms");
        assert!((Duration::from_millis(300)..SOON).contains(&started.elapsed()));
    }
    // Nobody accepts: the connection is made, and that is all.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let connector = connector(format!("http://{}", listener.local_addr().unwrap()));
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        let answer = shown(&run(&connector, [Request { timeout, ..request("GET", "/") }])[0]);
        assert_eq!(answer, format!("timeout: no whole answer within {} ms", timeout.as_millis()));
    }
}

#[test]
fn a_failure_does_not_spoil_the_next_call() {
    let ok = || Act::answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * BODY_BYTES);
    // The second answer is there before it is asked for: whoever went on with that connection would take it for the next one's.
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let server = Server::start([Act::answer(large), ok(), Act::answer(twice), ok()]);
    let answers = run(&connector(server.url()), (0..4).map(|_| request("GET", "/")));
    let shown: Vec<_> = answers.iter().map(shown).collect();
    assert_eq!(shown[1..], [r#"200 "ok""#, r#"200 "1""#, r#"200 "ok""#]);
}
