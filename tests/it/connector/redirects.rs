//! Redirects that a connector follows: what is asked next, how far, and where not.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tidegate::connector::{BODY_BYTES, HttpConnector, Target};
use tidegate::engine::call::Request;
use tidegate::engine::value::Value;

use super::server::{Act, Seen, Server};
use super::{KEY, SECRET, call, request, run, shown, target};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// What is asked first.
const FIRST: &str = "GET /s3cr3t/a/b";
const RIGHT: &str = "write a path that the target answers itself, or have the target mended";

/// One that follows three redirects.
fn connector(url: String) -> HttpConnector {
    HttpConnector::new(Target { redirects: 3, ..target(url, &[("authorization", SECRET)]) }).unwrap()
}

/// An answer with such a status and such lines among its headers, and what people see of it.
fn leads(status: u16, headers: &str) -> Act {
    Act::answer(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 10\r\n\r\n<a>on</a>\n"))
}

fn to(location: &str) -> Act {
    leads(307, &format!("Location: {location}\r\n"))
}

fn lines(server: &Server) -> Vec<String> {
    server.seen().iter().map(|it| it.line.strip_suffix(" HTTP/1.1").unwrap().to_owned()).collect()
}

/// What a call below a secret path comes to, and what is asked for it, of a target that answers so. `HOST` is the target's.
#[track_caller]
fn check(acts: impl IntoIterator<Item = Act>, expected: &str, asked: &[&str]) {
    let server = Server::start([]);
    let here = |act| match act {
        Act::Answer(raw) => {
            let raw = String::from_utf8(raw).unwrap();
            Act::answer(raw.replace("HOST", "127.0.0.1").replace("PORT", &server.address.port().to_string()))
        }
        other => other,
    };
    server.then(acts.into_iter().map(here));
    let answer = shown(&run(&connector(server.url() + "/s3cr3t/"), [request("GET", "/a/b")])[0]);
    assert_eq!((answer.as_str(), lines(&server)), (expected, asked.iter().map(ToString::to_string).collect()));
}

/// With which method a call is made again, once it was answered with such a status; and that all of it goes along, but the body where
/// another method has none.
#[track_caller]
fn check_method(status: u16, method: &str, expected: &str) {
    let server = Server::start([leads(status, "Location: /there\r\n"), Act::answer(OK)]);
    let headers = vec![("content-language".into(), "tlh".to_owned()), ("x-tenant".into(), "shop".to_owned())];
    let sent = Request { headers, body: Value::text("sent"), ..request(method, "/here") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(connector(server.url()).call(&call(sent), &[("traceparent", PARENT.to_owned())]));
    let [first, second] = <[Seen; 2]>::try_from(server.seen()).expect("two requests");
    let what = format!("{status} {method}");
    assert_eq!(second.line, format!("{expected} /there HTTP/1.1"), "{what}");
    let always = [("idempotency-key", KEY), ("authorization", SECRET), ("traceparent", PARENT), ("x-tenant", "shop")];
    for (name, value) in always {
        assert_eq!(second.values(name), [value], "{what}: {name}");
    }
    for name in ["host", "accept", "accept-encoding", "user-agent"] {
        assert_eq!(second.values(name), first.values(name), "{what}: {name}");
    }
    let keeps = expected == method;
    assert_eq!(second.body, if keeps { &b"sent"[..] } else { b"" }, "{what}");
    for name in ["content-type", "content-language", "content-length"] {
        let kept = if keeps { first.values(name) } else { Vec::new() };
        assert_eq!(second.values(name), kept, "{what}: {name}");
    }
}

#[test]
fn methods_and_bodies_are_those_that_the_status_asks_for() {
    for status in [301, 302] {
        check_method(status, "POST", "GET");
        ["GET", "HEAD", "PUT", "PATCH", "DELETE"].into_iter().for_each(|it| check_method(status, it, it));
    }
    ["GET", "HEAD"].into_iter().for_each(|it| check_method(303, it, it));
    ["POST", "PUT", "PATCH", "DELETE"].into_iter().for_each(|it| check_method(303, it, "GET"));
    for status in [307, 308] {
        ["POST", "GET", "HEAD", "PUT", "PATCH", "DELETE"].into_iter().for_each(|it| check_method(status, it, it));
    }
}

#[test]
fn a_location_is_read_from_where_it_was_said() {
    let table = [
        ("/there?x=1&y=%20#part", "/there?x=1&y=%20"),
        ("there", "/s3cr3t/a/there"),
        ("../../../..", "/"),
        ("?x", "/s3cr3t/a/b?x"),
        ("/a b/ä/[|]", "/a%20b/%C3%A4/[|]"),
        ("http://HOST:PORT/there", "/there"),
        ("HTTP://HOST:PORT", "/"),
        ("//HOST:PORT/there", "/there"),
        ("/.//evil.example.com/there", "//evil.example.com/there"),
        ("http://0x7f.1:PORT/there", "/there"),
    ];
    for (location, next) in table {
        check([to(location), Act::answer(OK)], "200 \"ok\"", &[FIRST, &format!("GET {next}")]);
    }
}

#[test]
fn only_redirects_lead_on_and_only_the_last_answer_counts() {
    for status in [201, 300, 304, 305, 306, 399] {
        let raw = format!("HTTP/1.1 {status} X\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n");
        check([Act::answer(raw)], &format!("{status} null"), &[FIRST]);
    }
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    let early = leads(302, "Retry-After: 9\r\nLocation: /2\r\n");
    check(
        [early, to("/3"), to("/4"), Act::answer(busy)],
        "503 null after 7000",
        &[FIRST, "GET /2", "GET /3", "GET /4"],
    );
}

#[test]
fn nothing_leads_on_for_ever() {
    let says = |path: &str| {
        format!(
            "unusable: its answers led on more than 3 times, the last one to {path}; write a path that leads there sooner, or more \
             `redirects`"
        )
    };
    let asked = [FIRST, "GET /login", "GET /s3cr3t/home", "GET /login"];
    let round = |last: &str| [to("/login"), to("/s3cr3t/home"), to("/login"), to(last)];
    check(round("/s3cr3t/home?token=1#2"), &says("/home"), &asked);
    check(round("/login"), &says("a path that is not below the connector's"), &asked);
    check(round(&format!("/s3cr3t/{}", "a".repeat(5000))), &says(&format!("/{}", "a".repeat(79))), &asked);
    let again = [FIRST; 4];
    check([to(""), to(""), to(""), to("")], &says("/a/b"), &again);
}

#[test]
fn no_other_origin_is_called_and_nothing_secret_is_told() {
    // Whoever listens there is never asked.
    let elsewhere = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let there = elsewhere.local_addr().unwrap().port();
    let table = [
        (format!("http://127.0.0.1:{there}/s3cr3t?s3cr3t"), format!("http, port {there} of the same host")),
        ("https://HOST:PORT/".into(), "https, port PORT of the same host".into()),
        (format!("http://localhost:{there}/s3cr3t"), format!("http, port {there} of localhost")),
        (format!("//user:s3cr3t@[::1]:{there}/"), format!("http, port {there} of [::1]")),
        ("http://HOST:PORT@evil.example.com/".into(), "http, port 80 of evil.example.com".into()),
        ("/\\evil.example.com/".into(), "http, port 80 of evil.example.com".into()),
        ("https://ä.example.com".into(), "https, port 443 of xn--4ca.example.com".into()),
        (format!("https://{}.example.com", "a".repeat(500)), format!("https, port 443 of {}", "a".repeat(80))),
        ("file:///etc/s3cr3t".into(), "file".into()),
        ("data:,s3cr3t".into(), "data".into()),
    ];
    for (location, shown_as) in table {
        let server = Server::start([]);
        let port = server.address.port().to_string();
        server.then([to(&location.replace("HOST", "127.0.0.1").replace("PORT", &port))]);
        let answer = shown(&run(&connector(server.url()), [request("POST", "/")])[0]);
        let right = "where the connector's `url` is not; write there the one that answers itself";
        let expected = format!("unusable: its answer 307 leads to {}, {right}", shown_as.replace("PORT", &port));
        assert_eq!((answer, lines(&server)), (expected, vec!["POST /".to_owned()]));
    }
    assert!(elsewhere.accept().is_err(), "it was called");
}

#[test]
fn answers_that_lead_nowhere_are_failures() {
    let says = |problem: &str| format!("unusable: its answer 302 leads on {problem}; {RIGHT}");
    let table = [
        ("", "without exactly one `Location`"),
        ("Location: /1\r\nLocation: /2\r\n", "without exactly one `Location`"),
        ("Location: http://\r\n", "with a `Location` that is no URL"),
        ("Location: http://HOST:99999/\r\n", "with a `Location` that is no URL"),
        ("Location: //user:s3cr3t@HOST:PORT/\r\n", "with credentials in its `Location`"),
    ];
    for (headers, problem) in table {
        check([leads(302, headers)], &says(problem), &[FIRST]);
    }
    let bytes = b"HTTP/1.1 302 X\r\nLocation: /\xff\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start([Act::answer(bytes)]);
    let answer = shown(&run(&connector(server.url()), [request("GET", "/")])[0]);
    assert_eq!(answer, says("with a `Location` that is no URL"));
}

#[test]
fn what_stands_beside_a_redirect_is_not_read() {
    let head = "HTTP/1.1 302 X\r\nLocation: /there\r\n";
    let large = format!("{head}Content-Length: {0}\r\n\r\n{1}", 2 * BODY_BYTES, "a".repeat(2 * BODY_BYTES));
    let endless = || (format!("{head}\r\n").into_bytes(), vec![b'a'; 0x1000]);
    let (begins, goes_on) = endless();
    for act in [Act::answer(large), Act::Endless(begins, goes_on), Act::Answer(endless().0)] {
        check([act, Act::answer(OK)], "200 \"ok\"", &[FIRST, "GET /there"]);
    }
}

#[test]
fn all_requests_of_a_call_have_its_time_together() {
    let server = Server::start([to("/2"), to("/3"), Act::Silence]);
    let request = Request { timeout: Duration::from_millis(300), ..request("GET", "/1") };
    let started = Instant::now();
    let answer = shown(&run(&connector(server.url()), [request])[0]);
    assert_eq!(answer, "timeout: no whole answer within 300 ms");
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(lines(&server), ["GET /1", "GET /2", "GET /3"]);
}
