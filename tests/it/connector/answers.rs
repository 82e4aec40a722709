//! What the target's answers become.

use std::time::{Duration, SystemTime};

use tidegate::engine::call::Answer;
use tidegate::engine::gate::RETRY_AFTER_MS;

use super::server::{Act, Server};
use super::{connector, json, request, run, shown};

#[track_caller]
fn answer(raw: impl AsRef<[u8]>) -> Answer {
    answer_to("GET", raw)
}

#[track_caller]
fn answer_to(method: &str, raw: impl AsRef<[u8]>) -> Answer {
    let server = Server::start([Act::AnswerAndClose(raw.as_ref().to_vec())]);
    let answer = run(&connector(server.url()), [request(method, "/")]).remove(0);
    server.only();
    answer
}

/// An answer with a content type and a body.
fn raw(content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\n{content_type}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn bodies_are_what_they_say_if_they_are() {
    let json = "Content-Type: application/json\r\n";
    let text = "Content-Type: text/plain\r\n";
    let deep = "[".repeat(65) + &"]".repeat(65);
    let table: [(&str, &[u8], String); 14] = [
        (json, br#"{"a":[1.50]}"#, r#"{"a":[1.50]}"#.into()),
        ("Content-Type: Application/JSON; charset=utf-8\r\n", b"[1]", "[1]".into()),
        ("Content-Type: application/problem+json\r\n", b"[1]", "[1]".into()),
        (json, b"null", "null".into()),
        (json, b"", "null".into()),
        (json, b"{", r#""{""#.into()),
        (json, b"[1] [2]", r#""[1] [2]""#.into()),
        (json, deep.as_bytes(), format!("\"{deep}\"")),
        (json, b"\xff", "\"/w==\"".into()),
        (text, b"[1]", r#""[1]""#.into()),
        ("", b"[1]", r#""[1]""#.into()),
        ("Content-Type: application/jsonx\r\n", b"1", r#""1""#.into()),
        ("Content-Type: ä\r\n", "ä".as_bytes(), r#""ä""#.into()),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", b"[1]", r#""WzFd""#.into()),
    ];
    for (content_type, body, expected) in table {
        assert_eq!(shown(&answer(raw(content_type, body))), format!("200 {expected}"), "{content_type}");
    }
}

#[test]
fn answers_are_framed_in_every_way() {
    let table = [
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n",
            r#"200 "abc""#,
        ),
        ("GET", "HTTP/1.1 200 OK\r\n\r\nto the end", r#"200 "to the end""#),
        ("GET", "HTTP/1.0 200 OK\r\n\r\nold", r#"200 "old""#),
        ("GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "204 null"),
        ("GET", "HTTP/1.1 101 Switching Protocols\r\n\r\nanything", "101 null"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n", "200 null"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3000000\r\n\r\n", "304 null"),
        ("GET", "HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", "599 null"),
    ];
    for (method, raw, expected) in table {
        assert_eq!(shown(&answer_to(method, raw)), expected, "{raw}");
    }
}

#[test]
fn headers_are_an_object() {
    let raw = b"HTTP/1.1 200 OK\r\nX-B: 1\r\nContent-Length: 0\r\nSet-Cookie: session=1\r\nx-b: 2\r\nX-A: \xff\r\nX-E:\r\n\r\n";
    let Answer::Http { headers, .. } = answer(raw) else { panic!("it is an answer") };
    assert_eq!(json(&headers), "{\"x-b\":\"1, 2\",\"content-length\":\"0\",\"x-a\":\"\u{fffd}\",\"x-e\":\"\"}");
}

#[test]
fn redirects_are_answers() {
    let elsewhere = Server::start([]);
    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url();
        let raw = format!("HTTP/1.1 {status} X\r\nLocation: {location}/\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(shown(&answer(raw)), format!("{status} null"));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn retry_after_is_understood_in_both_forms() {
    let asked = |value: &str| {
        let raw = format!("HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n");
        answer(raw).retry_after_ms()
    };
    assert_eq!(asked("120"), Some(120_000));
    assert_eq!(asked("86400"), Some(RETRY_AFTER_MS));
    assert_eq!(asked("soon"), None);
    let in_a_while = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(1_000));
    let left = asked(&in_a_while).expect("a date is understood");
    assert!((900_000..=1_000_000).contains(&left), "{left} ms until {in_a_while}");
    assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
    assert_eq!(shown(&answer("HTTP/1.1 200 OK\r\nRetry-After: 1\r\n\r\n")), "200 null after 1000");
}
