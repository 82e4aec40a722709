//! What goes over the wire for a call.

use tidegate::connector::HttpConnector;
use tidegate::engine::call::Request;
use tidegate::engine::value::{JsonLimits, Value, read_json};

use super::server::{Act, Seen, Server};
use super::{KEY, call, request, run, shown, target};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The request that a target below `path` is sent.
#[track_caller]
fn seen(path: &str, headers: &[(&str, &str)], request: Request) -> Seen {
    let server = Server::start([Act::answer(OK)]);
    let connector = HttpConnector::new(target(server.url() + path, headers)).unwrap();
    let answers = run(&connector, [request]);
    assert_eq!(shown(&answers[0]), "200 null");
    server.only()
}

fn with_headers(headers: &[(&str, &str)]) -> Request {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), value.to_string())).collect();
    Request { headers, ..request("POST", "/") }
}

fn with_body(body: Value) -> Request {
    Request { body, ..request("POST", "/") }
}

#[test]
fn a_request_has_everything_and_nothing_else() {
    let server = Server::start([Act::answer(OK)]);
    let connector = HttpConnector::new(target(server.url() + "/v2/", &[("Authorization", "Bearer x")])).unwrap();
    let body = read_json(r#"{"n":1.50,"a":["ä"]}"#.into(), &JsonLimits::default()).unwrap();
    let query = vec![("q".into(), "a b".to_owned())];
    let headers = vec![("x-tenant".into(), "shop".to_owned())];
    let call = call(Request { body, query, headers, ..request("POST", "/charges") });
    let trace = [("traceparent", PARENT.to_owned()), ("tracestate", "a=b".to_owned())];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(connector.call(&call, &trace));
    assert_eq!(shown(&answer), "200 null");
    let mut seen = server.only();
    seen.headers.sort();
    let headers: Vec<_> = seen.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(seen.line, "POST /v2/charges?q=a%20b HTTP/1.1");
    let expected = [
        "accept-encoding: identity".to_owned(),
        "accept: application/json, */*;q=0.5".to_owned(),
        "authorization: Bearer x".to_owned(),
        "content-length: 21".to_owned(),
        "content-type: application/json".to_owned(),
        format!("host: {}", server.address),
        format!("idempotency-key: {KEY}"),
        format!("traceparent: {PARENT}"),
        "tracestate: a=b".to_owned(),
        concat!("user-agent: tidegate/", env!("CARGO_PKG_VERSION")).to_owned(),
        "x-tenant: shop".to_owned(),
    ];
    let mut headers = headers;
    headers.sort();
    assert_eq!(headers, expected);
    assert_eq!(String::from_utf8(seen.body).unwrap(), r#"{"n":1.50,"a":["ä"]}"#);
}

#[test]
fn paths_stay_below_the_targets_and_are_encoded() {
    let table = [
        ("", "/", "/"),
        ("/", "/a/b", "/a/b"),
        ("/v2", "/", "/v2/"),
        ("/v2/", "/a", "/v2/a"),
        ("/t%20t", "/a", "/t%20t/a"),
        ("", "/ä b/100%/%2f", "/%C3%A4%20b/100%25/%252f"),
        ("", "/a:b@c;d=1,2+3!$&'()*~-._", "/a:b@c;d=1,2+3!$&'()*~-._"),
        ("", "/\"<>[]^`{|}", "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        ("", "/a//b/", "/a//b/"),
        ("", "/@evil.example.com/", "/@evil.example.com/"),
    ];
    for (base, path, expected) in table {
        assert_eq!(seen(base, &[], request("GET", path)).line, format!("GET {expected} HTTP/1.1"), "{path}");
    }
}

#[test]
fn names_and_values_of_a_query_are_encoded() {
    let query = [("a&b", "c=d&e"), ("q", "a+b c/ä?#"), ("empty", ""), ("q", "%20")];
    let query = query.iter().map(|(name, value)| ((*name).into(), value.to_string())).collect();
    let seen = seen("", &[], Request { query, ..request("GET", "/s") });
    assert_eq!(seen.line, "GET /s?a%26b=c%3Dd%26e&q=a%2Bb%20c%2F%C3%A4%3F%23&empty=&q=%2520 HTTP/1.1");
}

#[test]
fn every_kind_of_body_is_sent_as_it_is() {
    let document = |text: &'static str| read_json(text.into(), &JsonLimits::default()).unwrap();
    let json = Some("application/json");
    let plain = Some("text/plain; charset=utf-8");
    let table: [(Value, &[u8], Option<&str>); 11] = [
        (Value::Null, b"", None),
        (Value::text("{ä"), "{ä".as_bytes(), plain),
        (Value::text(""), b"", plain),
        (document(r#"["text"]"#).at(0).unwrap(), b"text", plain),
        (Value::Bytes(vec![0, 255].into()), &[0, 255], None),
        (Value::Bool(true), b"true", json),
        (Value::Int(-7), b"-7", json),
        (Value::Float(1.5), b"1.5", json),
        (Value::Timestamp(0), b"\"1970-01-01T00:00:00Z\"", json),
        (document(r#"{"a": 1.0}"#), br#"{"a": 1.0}"#, json),
        (Value::map(vec![("a".into(), Value::Null)]), br#"{"a":null}"#, json),
    ];
    for (body, expected, content_type) in table {
        let seen = seen("", &[], with_body(body.clone()));
        assert_eq!(seen.body, expected, "{body:?}");
        assert_eq!(seen.values("content-type"), Vec::from_iter(content_type), "{body:?}");
        assert_eq!(seen.values("content-length"), [expected.len().to_string()], "{body:?}");
    }
    assert_eq!(seen("", &[], request("GET", "/")).values("content-length"), [""; 0]);
}

#[test]
fn what_is_negotiated_may_be_set() {
    let ours = with_headers(&[("accept", "text/csv"), ("content-type", "application/xml")]);
    let of_step = seen("", &[], Request { body: Value::text("<a/>"), ..ours });
    assert_eq!((of_step.values("accept"), of_step.values("content-type")), (vec!["text/csv"], vec!["application/xml"]));
    let of_connector = seen("", &[("accept", "application/vnd.x+json")], with_headers(&[]));
    assert_eq!(of_connector.values("accept"), ["application/vnd.x+json"]);
}

#[test]
fn data_overrides_nothing_that_is_not_its_own() {
    let credentials = [("authorization", "Bearer right"), ("x-api-key", "right")];
    let step = [
        ("Authorization", "wrong"),
        ("authorization", "wrong"),
        ("X-API-Key", "wrong"),
        ("Idempotency-Key", "wrong"),
        ("User-Agent", "wrong"),
        ("accept-encoding", "gzip"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    ];
    let seen = seen("", &credentials, with_headers(&step));
    let table = [("authorization", "Bearer right"), ("x-api-key", "right"), ("idempotency-key", KEY)];
    for (name, expected) in table {
        assert_eq!(seen.values(name), [expected], "{name}");
    }
    assert!(!seen.headers.iter().any(|(_, value)| value == "wrong" || value == "gzip"), "{seen:?}");
    assert_eq!(seen.values("x-twice"), ["1", "2"]);
}

#[test]
fn a_trace_state_stays_with_its_parent() {
    let server = Server::start([Act::answer(OK)]);
    let connector = HttpConnector::new(target(server.url(), &[])).unwrap();
    let call = call(with_headers(&[("traceparent", "theirs"), ("tracestate", "theirs")]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(connector.call(&call, &[("traceparent", PARENT.to_owned())]));
    let seen = server.only();
    assert_eq!((seen.values("traceparent"), seen.values("tracestate")), (vec![PARENT], vec![]));
}

#[test]
fn what_http_does_not_take_is_never_sent() {
    const UP: &str = "unusable: the path holds `.` or `..`, which would lead out of the connector's path";
    let server = Server::start([]);
    let connector = super::connector(server.url());
    let header = |name: &str, value: &str| with_headers(&[(name, value)]);
    let long = "a".repeat(70_000);
    let table = [
        (header("x", "a\r\nb: c"), "unusable: the header `x` has a value that HTTP does not take"),
        (header("x", "a\0"), "unusable: the header `x` has a value that HTTP does not take"),
        (header("a b", "c"), "unusable: the header `a b` has a name that HTTP does not take"),
        (header("", "c"), "unusable: the header `` has a name that HTTP does not take"),
        (request("GET", ""), "unusable: the path does not start with `/`"),
        (request("GET", "a"), "unusable: the path does not start with `/`"),
        (request("GET", "//evil.example.com/a"), "unusable: the path starts with `//`, which would name another host"),
        (request("GET", "@evil.example.com/"), "unusable: the path does not start with `/`"),
        (request("GET", "/a/../b"), UP),
        (request("GET", "/..;a/b"), UP),
        (request("GET", "/%2e%2E/b"), UP),
        (request("GET", "/a?b"), "unusable: the path holds `?`, `#` or `\\`"),
        (request("GET", "/a\n"), "unusable: the path holds a control character"),
        (request("GET", &format!("/{long}")), "unusable: path and query together are too long"),
        (request("A B", "/"), "unusable: HTTP has no such method for a call"),
        (request("", "/"), "unusable: HTTP has no such method for a call"),
        (request("CONNECT", "/"), "unusable: HTTP has no such method for a call"),
    ];
    for (request, expected) in table {
        assert_eq!(shown(&run(&connector, [request])[0]), expected);
    }
    let framing = [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
        "expect",
    ];
    for name in framing {
        let answer = shown(&run(&connector, [header(name, "1")])[0]);
        let expected = "says how a call is framed, which is set for every call; remove it";
        assert_eq!(answer, format!("unusable: the header `{name}` {expected}"));
    }
    let many = Request { headers: vec![("x".into(), String::new()); 129], ..request("GET", "/") };
    assert_eq!(shown(&run(&connector, [many])[0]), "unusable: the step has more than 128 headers");
    assert_eq!(server.connections(), 0);
}

#[test]
fn connections_are_used_again() {
    // A connection may come back a moment too late for the next call, which then has a new one: of many, most are used again.
    const CALLS: usize = 40;
    let framed = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ];
    let server = Server::start((0..CALLS).map(|call| Act::answer(framed[call % 2])));
    let answers = run(&super::connector(server.url()), (0..CALLS).map(|_| request("GET", "/")));
    assert!(answers.iter().all(|it| shown(it).ends_with(" \"ok\"")), "{answers:?}");
    assert!(server.connections() < CALLS / 2, "{} connections", server.connections());
}

#[test]
fn a_connection_that_the_target_gives_up_is_not_used_again() {
    let last = || Act::AnswerAndClose("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".into());
    let server = Server::start([last(), last()]);
    let answers = run(&super::connector(server.url()), (0..2).map(|_| request("GET", "/")));
    assert_eq!(answers.iter().map(shown).collect::<Vec<_>>(), ["200 null"; 2]);
    assert_eq!(server.seen().iter().map(|it| it.connection).collect::<Vec<_>>(), [0, 1]);
}
