//! Calls of connectors: what a step wants to be called, the request that comes of it for one execution, and what its answer means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::expression::{Budget, Scope, Template};
use super::limits;
use super::plan::ErrorClass;
use super::retry::{FailedCall, RetryPolicy, Verdict};
use super::run::{self, FailureCause, StepError};
use super::value::{Value, View};

/// The longest path of a request, with what its templates render.
pub const PATH_BYTES: usize = 8 * 1024;
/// The longest value of a header or a query parameter of a request.
pub const TEXT_BYTES: usize = 8 * 1024;

/// Whether a connector can be called so: 1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`, as settings take it.
pub fn is_connector_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=limits::ID_BYTES).contains(&name.len()) && name.bytes().all(legal)
}

/// What an `http` step calls.
#[derive(Debug)]
pub struct HttpCall {
    /// The connector's name: host, credentials and limits are its own.
    pub connector: Arc<str>,
    /// The method, in capitals.
    pub method: Arc<str>,
    /// The path below the connector's, from `/`.
    pub path: Template,
    /// Query parameters in order; one whose value is null is left out.
    pub query: Vec<(Arc<str>, Template)>,
    /// Headers in order, their names in lower case; one whose value is null is left out.
    pub headers: Vec<(Arc<str>, Template)>,
    /// The body: a string as it is, anything else as JSON; null is none.
    pub body: Option<Template>,
    /// What is a good answer.
    pub expect: Vec<Expected>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Which failures are tried again, and when.
    pub retry: RetryPolicy,
}

/// What is a good answer of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any status with this first digit.
    Class(u8),
    /// This status.
    Status(u16),
}

impl Expected {
    /// What a text names: `2xx`, or a status from 100 to 599; None if it names nothing.
    pub fn parse(text: &str) -> Option<Expected> {
        let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(first) = text.strip_suffix("xx") {
            let first = first.parse().ok().filter(|first| (1..=5).contains(first) && text.len() == 3)?;
            return Some(Expected::Class(first));
        }
        let status = text.parse().ok().filter(|status| is_number && (100..600).contains(status))?;
        Some(Expected::Status(status))
    }

    /// Whether it names a status.
    pub fn names(self, status: u16) -> bool {
        match self {
            Expected::Class(first) => status / 100 == u16::from(first),
            Expected::Status(wanted) => status == wanted,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Class(first) => write!(formatter, "{first}xx"),
            Expected::Status(status) => write!(formatter, "{status}"),
        }
    }
}

/// A request, without what the connector adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Arc<str>,
    /// The path below the connector's, from `/`; not encoded yet.
    pub path: String,
    /// Query parameters in order; not encoded yet.
    pub query: Vec<(Arc<str>, String)>,
    /// Headers in order.
    pub headers: Vec<(Arc<str>, String)>,
    /// The body; null is none.
    pub body: Value,
    /// How long it may take.
    pub timeout: Duration,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// An answer, of any status.
    Http {
        /// The status.
        status: u16,
        /// Its headers, as an object.
        headers: Value,
        /// Its body.
        body: Value,
        /// What the target asked for with `Retry-After`, in milliseconds from now.
        retry_after_ms: Option<u64>,
    },
    /// None, or one that cannot be used.
    Failed {
        /// How it failed.
        failed: FailedCall,
        /// What is wrong.
        message: String,
    },
}

/// What a call comes to for its step.
#[derive(Clone, Debug)]
pub enum Judged {
    /// The step has ended, with this output.
    Done(Value),
    /// It is to be tried again, so many milliseconds from now; None: no attempt is left.
    Retry(Option<u64>, StepError),
    /// The connector's credentials are refused: it waits on, and nothing counts.
    Hold(StepError),
    /// The step has failed.
    Failed(StepError),
}

impl HttpCall {
    /// The request for one execution.
    pub fn request(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<Request, StepError> {
        let path = text(&self.path.render(scope, budget)?, "path", PATH_BYTES)?.unwrap_or_default();
        if let Some(problem) = path_problem(&path) {
            return Err(bad(format!("`path` {problem}; write a path from `/`, and what follows `?` in `query`")));
        }
        let mut named = |pairs: &[(Arc<str>, Template)], what: &str| -> Result<Vec<(Arc<str>, String)>, StepError> {
            let mut rendered = Vec::with_capacity(pairs.len());
            for (name, template) in pairs {
                let value = template.render(scope, budget)?;
                let text = text(&value, &format!("{what}.{name}"), TEXT_BYTES)?;
                rendered.extend(text.map(|text| (name.clone(), text)));
            }
            Ok(rendered)
        };
        let (query, headers) = (named(&self.query, "query")?, named(&self.headers, "headers")?);
        if let Some((name, _)) = headers.iter().find(|(_, value)| !is_header_value(value)) {
            return Err(bad(format!("the header `{name}` holds a control character, which would end it; remove it")));
        }
        let body = self.body.as_ref().map_or(Ok(Value::Null), |body| body.render(scope, budget))?;
        if body.weight() > limits::EXECUTION_OUTPUT_BYTES {
            return Err(bad(format!("`body` is larger than {} bytes; send less", limits::EXECUTION_OUTPUT_BYTES)));
        }
        Ok(Request { method: self.method.clone(), path, query, headers, body, timeout: self.timeout })
    }

    /// Whether an answer speaks against the connector, for its circuit breaker. One that the step expects never does, whatever its status.
    pub fn blames_connector(&self, answer: &Answer) -> bool {
        let is_expected =
            matches!(answer, Answer::Http { status, .. } if self.expect.iter().any(|it| it.names(*status)));
        !is_expected && answer.blames_connector()
    }

    /// What an answer means. `failures` is how many attempts have failed before; `chance`, from 0 to 1, spreads retries.
    pub fn judge(&self, answer: Answer, failures: u32, chance: f64) -> Judged {
        let (failed, message, retry_after_ms) = match answer {
            Answer::Http { status, headers, body, .. } if self.expect.iter().any(|it| it.names(status)) => {
                let status = ("status".into(), Value::Int(i64::from(status)));
                return Judged::Done(Value::map(vec![status, ("headers".into(), headers), ("body".into(), body)]));
            }
            Answer::Http { status, retry_after_ms, .. } => {
                let message = format!("{} answered {status}, not {}", self.connector, self.expected());
                (FailedCall::Http(status), message, retry_after_ms)
            }
            Answer::Failed { failed, message } => (failed, format!("{}: {message}", self.connector), None),
        };
        let error = |class| StepError::new(class, message.clone(), FailureCause::Step);
        match failed.verdict(&self.retry) {
            Verdict::Retry => {
                let delay = self.retry.next_delay_ms(failures.saturating_add(1), retry_after_ms, chance);
                Judged::Retry(delay, error(ErrorClass::Retryable))
            }
            Verdict::Hold => Judged::Hold(error(ErrorClass::Config)),
            Verdict::Config => Judged::Failed(error(ErrorClass::Config)),
            Verdict::Permanent => Judged::Failed(error(ErrorClass::Permanent)),
        }
    }

    fn expected(&self) -> String {
        self.expect.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    }
}

impl Answer {
    /// Whether it speaks against the connector, as far as can be said without its step; see [`HttpCall::blames_connector`].
    pub fn blames_connector(&self) -> bool {
        match self {
            Answer::Http { status, .. } => FailedCall::Http(*status).blames_connector(),
            Answer::Failed { failed, .. } => failed.blames_connector(),
        }
    }

    /// How long the target wants to be left alone, in milliseconds; only one that cannot answer now says so.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Answer::Http { status: 408 | 425 | 429 | 500..=599, retry_after_ms, .. } => *retry_after_ms,
            Answer::Http { .. } | Answer::Failed { .. } => None,
        }
    }
}

/// A value as text; None for null.
fn text(value: &Value, what: &str, bytes_most: usize) -> Result<Option<String>, StepError> {
    let text = match value.view() {
        View::Null => return Ok(None),
        View::Text(text) => text.to_owned(),
        View::Bool(it) => it.to_string(),
        View::Int(it) => it.to_string(),
        View::UInt(it) => it.to_string(),
        View::Float(it) => it.to_string(),
        _ => return Err(bad(format!("`{what}` is {}, but must be text", run::describe(value)))),
    };
    if text.len() > bytes_most {
        return Err(bad(format!("`{what}` is longer than {bytes_most} bytes; shorten it")));
    }
    Ok(Some(text))
}

/// What is wrong with the path of a request, if anything: it must stay below the connector's. What is written is asked when a definition is
/// read, the whole path when a call is made.
pub fn path_problem(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("does not start with `/`");
    }
    if path.starts_with("//") {
        return Some("starts with `//`, which would name another host");
    }
    if path.contains(['?', '#', '\\']) {
        return Some("holds `?`, `#` or `\\`");
    }
    if path.chars().any(char::is_control) {
        return Some("holds a control character");
    }
    let up = |segment: &str| {
        // Some servers cut parameters off a segment before they walk the path.
        let name = segment.split(';').next().unwrap_or_default();
        matches!(name.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
    };
    path.split('/').any(up).then_some("holds `.` or `..`, which would lead out of the connector's path")
}

/// Whether HTTP takes it as a header's value (RFC 9110, section 5.5): no control characters but tab.
pub fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

fn bad(message: String) -> StepError {
    StepError::new(ErrorClass::Permanent, message, FailureCause::Step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(expect: &[&str]) -> HttpCall {
        HttpCall {
            connector: "billing".into(),
            method: "POST".into(),
            path: Template::Literal(Value::text("/charges")),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            expect: expect.iter().map(|it| Expected::parse(it).unwrap()).collect(),
            timeout: Duration::from_secs(1),
            retry: RetryPolicy::default(),
        }
    }

    fn http(status: u16) -> Answer {
        Answer::Http { status, headers: Value::map(Vec::new()), body: Value::Null, retry_after_ms: None }
    }

    #[track_caller]
    fn check(expect: &[&str], answer: Answer, failures: u32, expected: &str) {
        let shown = match call(expect).judge(answer, failures, 0.0) {
            Judged::Done(output) => format!("done {:?}", output.get("status")),
            Judged::Retry(delay, error) => format!("retry {delay:?}: {}", error.message),
            Judged::Hold(error) => format!("hold: {}", error.message),
            Judged::Failed(error) => format!("{}: {}", error.class.name(), error.message),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn answers_are_judged_by_what_is_expected_and_by_the_table() {
        check(&["2xx"], http(204), 0, "done Some(Int(204))");
        check(&["404", "2xx"], http(404), 0, "done Some(Int(404))");
        check(&["2xx"], http(503), 0, "retry Some(200): billing answered 503, not 2xx");
        check(&["2xx"], http(503), 5, "retry None: billing answered 503, not 2xx");
        check(&["200", "201"], http(401), 0, "hold: billing answered 401, not 200 or 201");
        check(&["2xx"], http(404), 0, "config: billing answered 404, not 2xx");
        check(&["2xx"], http(302), 0, "permanent: billing answered 302, not 2xx");
        let failed = Answer::Failed { failed: FailedCall::Timeout, message: "no answer within 1 s".into() };
        check(&["2xx"], failed, 1, "retry Some(400): billing: no answer within 1 s");
    }

    #[test]
    fn an_answer_that_is_expected_speaks_against_nobody() {
        let blames = |expect: &[&str], status| call(expect).blames_connector(&http(status));
        assert!(blames(&["2xx"], 503) && blames(&["2xx", "404"], 429));
        assert!(!blames(&["2xx", "503"], 503) && !blames(&["5xx"], 500) && !blames(&["2xx"], 404));
    }

    #[test]
    fn whoever_cannot_answer_now_says_how_long_for_all_calls() {
        let asked = |status| {
            Answer::Http { status, headers: Value::Null, body: Value::Null, retry_after_ms: Some(7) }.retry_after_ms()
        };
        assert!([408, 425, 429, 500, 502, 503, 504].into_iter().all(|status| asked(status) == Some(7)));
        assert!([200, 302, 400, 404].into_iter().all(|status| asked(status).is_none()));
    }

    #[test]
    fn only_statuses_are_expected() {
        for text in ["", "2x", "6xx", "0xx", "99", "600", "+20", "2XX", "20 "] {
            assert_eq!(Expected::parse(text), None, "{text}");
        }
        assert_eq!(
            (Expected::parse("599"), Expected::parse("5xx")),
            (Some(Expected::Status(599)), Some(Expected::Class(5)))
        );
    }

    #[test]
    fn a_path_stays_below_the_connectors() {
        for path in [
            "",
            "x",
            "//evil",
            "/a?b",
            "/a#b",
            "/a\\b",
            "/a/../b",
            "/a/%2E%2e/b",
            "/.",
            "/a\nb",
            "/\0",
            "/..;/b",
            "/a/.;b=c",
        ] {
            assert!(path_problem(path).is_some(), "{path:?}");
        }
        for path in ["/", "/a/b", "/a..b/c.d", "/ä b", "/a/...", "/a//b", "/a;..", "/...;"] {
            assert_eq!(path_problem(path), None, "{path:?}");
        }
    }

    #[test]
    fn headers_hold_no_control_characters() {
        for value in ["a\r\nb", "a\0", "\x7f", "\x1b"] {
            assert!(!is_header_value(value), "{value:?}");
        }
        assert!(is_header_value("a\tb ä"));
    }
}
