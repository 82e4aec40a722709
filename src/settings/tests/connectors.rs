//! Tests of `[connectors.NAME]` and of where a registry is.

use super::*;

#[test]
fn connectors_are_refused_without_showing_their_secrets() {
    let connector = |lines: &str| format!("{KAFKA}[connectors.crm]\n{lines}\n");
    let url = "kind = \"http\"\nurl = \"https://crm.example.com\"\n";
    check(
        &connector("kind = \"ftp\"\nurl = \"https://user:hunter2@crm.example.com\""),
        &[],
        &[
            "tidegate.toml:4:8: `kind` is `ftp`; write one of http, n8n, temporal",
            "tidegate.toml:5:7: `url` is refused: it has credentials in it; move them into headers, as ${env:NAME} or ${file:PATH}",
        ],
    );
    check(
        &connector(&format!(
            "{url}headers = {{ Host = \"a\", \"a b\" = \"c\", token = \"hunter2\\r\\nx: y\" }}\nconcurrency = 0"
        )),
        &[],
        &[
            "tidegate.toml:6:20: header `host` is refused: it says how a call is framed; remove it; it is set for every call",
            "tidegate.toml:6:33: header `a b` is refused: HTTP has no header of this name; write letters, digits and -",
            "tidegate.toml:6:46: header `token` is refused: its value has a character that headers cannot have; write visible ASCII characters, spaces and tabs",
            "tidegate.toml:7:15: `concurrency` is `0`; write a whole number from 1 to 10000",
        ],
    );
    for (rate, shown) in
        [("0", "0"), ("-1.5", "-1.5"), ("0.0001", "0.0001"), ("100001", "100001"), ("nan", "nan"), ("inf", "inf")]
    {
        let refused = format!("tidegate.toml:6:8: `rate` is `{shown}`; write a number from 0.001 to 100000");
        check(&connector(&format!("{url}rate = {rate}")), &[], &[&refused]);
    }
    check(
        &connector(&format!("{url}rate = \"fast\"")),
        &[],
        &["tidegate.toml:6:8: `rate` is a string; write a number"],
    );
    check(
        &connector(&format!("{url}breaker = {{ failureThresold = 5, recoveryTimeoutMs = 0 }}")),
        &[],
        &[
            "tidegate.toml:6:13: unknown key `failureThresold`; did you mean `failureThreshold`?",
            "tidegate.toml:6:54: `recoveryTimeoutMs` is `0`; write a whole number from 1 to 86400000",
        ],
    );
    check(
        &format!("{KAFKA}[registry]\nurl = \"file:///etc/passwd\""),
        &[],
        &[
            "tidegate.toml:4:7: `url` is refused: only http and https can be called; write a URL like \"https://billing.example.com/v2\"",
        ],
    );
}

#[test]
fn a_rate_is_any_number_of_calls_a_second() {
    let rate = |written: &str| {
        let section = format!("[connectors.crm]\nkind = \"http\"\nurl = \"https://crm.example.com\"\n{written}");
        accepted(&section, &[]).connectors["crm"].rate
    };
    for (written, expected) in [
        ("", None),
        ("rate = 50", Some(50.0)),
        ("rate = 0.5", Some(0.5)),
        ("rate = 1_000.0", Some(1000.0)),
        ("rate = 0x10", Some(16.0)),
        ("rate = 1e2", Some(100.0)),
    ] {
        assert_eq!(rate(written), expected, "{written}");
    }
    // What the settings take, the engine takes too.
    assert!([0.001, 100_000.0].into_iter().all(|rate| crate::engine::gate::Rate::per_second(rate).is_some()));
}

#[test]
fn redirects_are_followed_if_somebody_says_how_many() {
    let section = |written: &str| format!("[connectors.crm]\nkind = \"http\"\nurl = \"http://crm\"\n{written}");
    for (written, expected) in [("", 0), ("redirects = 0", 0), ("redirects = 10", 10)] {
        assert_eq!(accepted(&section(written), &[]).connectors["crm"].redirects, expected, "{written}");
    }
    for written in ["-1", "11", "99999999999999999999"] {
        let refused = format!("tidegate.toml:6:13: `redirects` is `{written}`; write a whole number from 0 to 10");
        check(&format!("{KAFKA}{}", section(&format!("redirects = {written}"))), &[], &[&refused]);
    }
    let refused = "tidegate.toml:6:13: `redirects` is a truth value; write a whole number";
    check(&format!("{KAFKA}{}", section("redirects = true")), &[], &[refused]);
}
