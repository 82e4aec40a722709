//! Targets that can never be called are refused at once, and show nothing secret.

use tidegate::connector::{ConnectorError, HttpConnector, Target};

use super::{SECRET, target};

#[track_caller]
fn refused(target: Target) -> String {
    assert!(!format!("{target:?}").contains(SECRET));
    let error: ConnectorError = HttpConnector::new(target).expect_err("it is refused");
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    error.to_string()
}

#[test]
fn urls_that_lead_nowhere_are_refused() {
    let table = [
        ("", "is no URL"),
        ("/s3cr3t", "is neither http nor https"),
        ("billing.example.com", "is neither http nor https"),
        ("ftp://s3cr3t.example.com", "is neither http nor https"),
        ("http://", "is no URL"),
        ("http://:80/", "names no host"),
        ("http://user:s3cr3t@example.com/", "has credentials in it"),
        ("http://example.com:99999/s3cr3t", "has no port from 1 to 65535 after its `:`"),
        ("http://example.com:0/", "has no port from 1 to 65535 after its `:`"),
        ("http://example.com/?key=s3cr3t", "has a query or a fragment"),
        ("http://example.com/#s3cr3t", "has a query or a fragment"),
        ("http://exa mple.com/s3cr3t", "is no URL"),
    ];
    for (url, problem) in table {
        assert_eq!(refused(target(url, &[])), format!("the URL of connector `billing` {problem}"), "{url}");
    }
    for url in ["http://example.com", "HTTP://example.com:8080/a/", "http://[::1]:80", "http://[::1]/"] {
        assert!(HttpConnector::new(target(url, &[])).is_ok(), "{url}");
    }
}

#[test]
fn headers_that_cannot_be_sent_are_refused() {
    let framed = "says how a call is framed, which is set for every call; remove it";
    let table = [
        ("a b", SECRET, "has a name that HTTP does not take"),
        ("x", "s3cr3t\n", "has a value that HTTP does not take"),
        ("Host", SECRET, framed),
        ("transfer-encoding", SECRET, framed),
    ];
    for (name, value, problem) in table {
        let error = refused(target("http://example.com", &[(name, value)]));
        assert_eq!(error, format!("the header `{name}` of connector `billing` {problem}"));
    }
    let many = refused(target("http://example.com", &[("x", SECRET); 129]));
    assert_eq!(many, "connector `billing` has more than 128 headers");
}

#[test]
fn https_needs_somebody_to_trust() {
    let error = refused(target("https://example.com/s3cr3t", &[]));
    assert!(error.contains("this machine has no certificates of authorities"), "{error}");
}
