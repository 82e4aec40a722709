//! Steps that wait: what their definitions come to, and every mistake in them.

use std::time::Duration;

use tidegate::definition::{Definition, Syntax, compile};
use tidegate::engine::call::{Expected, HttpCall};
use tidegate::engine::expression::Template;
use tidegate::engine::plan::{Action, Wait};
use tidegate::engine::retry::{RetryPolicy, Retryable};

use super::{HEAD, STEPS, accept, mistakes_of};

/// A workflow with these lines in its head and one `http` step with these lines in its config and these beside it.
fn document(head: &str, config: &str, fields: &str) -> String {
    let config = config.replace('\n', "\n      ");
    format!("{HEAD}{head}steps:\n  - id: it\n    type: http\n{fields}    config:\n      {config}\n")
}

/// Checks what is told about the config of an `http` step whose first field is in line 8, column 7.
#[track_caller]
fn check(config: &str, expected: &[&str]) {
    let text = document("", config, "");
    assert_eq!(mistakes_of(&text, Syntax::Yaml), expected, "\n{text}");
}

/// Checks what is told about one field of a config that is right without it; the field is in line 9, column 7.
#[track_caller]
fn check_field(field: &str, expected: &[&str]) {
    check(&format!("connector: billing\n{field}"), expected);
}

#[track_caller]
fn check_delay(config: &str, expected: &[&str]) {
    let text = format!("{HEAD}steps: [{{id: it, type: delay, config: {config}}}]\n");
    assert_eq!(mistakes_of(&text, Syntax::Yaml), expected, "\n{text}");
}

fn call(definition: &Definition) -> &HttpCall {
    let Action::Wait(Wait::Http(call)) = &definition.plan.steps()[0].action else { panic!("no call") };
    call
}

/// Checks the policy of a step with this `retryConfig`, in a workflow with this `retryPolicy`.
#[track_caller]
fn check_policy(policy: &str, config: &str, expected: &RetryPolicy) {
    let text = with_retries(policy, config);
    assert_eq!(call(&accept(&text)).retry, *expected, "\n{text}");
}

/// Checks what is told about it; the first field of the policy is at 4:24, that of the config at 8:19.
#[track_caller]
fn check_retries(policy: &str, config: &str, expected: &[&str]) {
    let text = with_retries(policy, config);
    assert_eq!(mistakes_of(&text, Syntax::Yaml), expected, "\n{text}");
}

fn with_retries(policy: &str, config: &str) -> String {
    let head = format!("config: {{retryPolicy: {{{policy}}}}}\n");
    document(&head, "connector: billing", &format!("    retryConfig: {{{config}}}\n"))
}

#[test]
fn a_call_is_what_is_written() {
    let config = "connector: billing-2\nmethod: PUT\npath: \"/v2/orders/${{ event.id }}\"\nquery: {dry: true, at: null, of: \"${{ event.key }}\"}\nheaders: {X-Shop: \"${{ event.source }}\", accept: text/plain}\nbody: {id: \"${{ event.id }}\"}\nexpect: [2xx, \"404\", 409]";
    let definition = accept(&document("", config, "    timeout: 1h\n"));
    let HttpCall { connector, method, path, query, headers, body, expect, timeout, retry } = call(&definition);
    assert_eq!((&**connector, &**method, *timeout), ("billing-2", "PUT", Duration::from_secs(3600)));
    assert!(matches!(path, Template::Text(parts) if parts.len() == 2), "{path:?}");
    assert_eq!(query.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["at", "dry", "of"]);
    assert_eq!(headers.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["x-shop", "accept"]);
    assert!(matches!(body, Some(Template::Map(_))), "{body:?}");
    assert_eq!(expect[..], [Expected::Class(2), Expected::Status(404), Expected::Status(409)]);
    assert_eq!(*retry, RetryPolicy::default());
    // The plan is the same when it is compiled from the topic.
    assert_eq!(format!("{:?}", compile(&definition.canonical).unwrap()), format!("{:?}", definition.plan));
}

#[test]
fn what_a_call_leaves_out_has_a_default() {
    let definition = accept(&document("", "connector: billing", ""));
    let HttpCall { connector: _, method, path, query, headers, body, expect, timeout, retry } = call(&definition);
    assert_eq!((&**method, *timeout), ("GET", Duration::from_secs(30)));
    assert!(matches!(path, Template::Literal(path) if path.as_str() == Some("/")), "{path:?}");
    assert!(query.is_empty() && headers.is_empty() && body.is_none());
    assert_eq!((&expect[..], retry), (&[Expected::Class(2)][..], &RetryPolicy::default()));
}

#[test]
fn a_plan_names_its_connectors_each_once() {
    let step = |id: &str, connector: &str| format!("{{id: {id}, type: http, config: {{connector: {connector}}}}}");
    let steps = [step("a", "shop"), step("b", "billing"), step("c", "shop")].join(", ");
    let definition = accept(&format!("{HEAD}steps: [{steps}, {{id: d, type: delay, config: {{for: 1s}}}}]\n"));
    assert_eq!(definition.plan.connectors().map(|it| &**it).collect::<Vec<_>>(), ["billing", "shop"]);
    assert_eq!(accept(&format!("{HEAD}{STEPS}")).plan.connectors().count(), 0);
}

#[test]
fn connectors_methods_and_bodies_are_checked() {
    check(
        "conector: billing",
        &[
            "8:7: the config of an http step has no field \"conector\"; did you mean `connector`?",
            "8:7: the config of an http step has no `connector`; add `connector: NAME`",
        ],
    );
    check(
        "connector: bill ing",
        &[
            "8:18: \"bill ing\" cannot be the name of a connector; write 1 to 64 of a-z A-Z 0-9 . _ -, as in `[connectors.NAME]`",
        ],
    );
    check(
        "connector: \"${{ event.data.to }}\"",
        &[
            "8:18: `connector` is an expression, but must be known before the workflow runs; write its name; a `switch` can choose between steps",
        ],
    );
    check_field("method: post", &["9:15: `method` cannot be \"post\"; did you mean `POST`?"]);
    check_field(
        "method: BREW",
        &["9:15: `method` cannot be \"BREW\"; known are GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"],
    );
    check_field(
        "method: HEAD\nbody: {a: 1}",
        &["10:13: a HEAD request has no `body`; leave it out, or use another method"],
    );
    check_field("method: HEAD\nbody: null", &[]);
    check_field("method: GET\nbody: {a: 1}", &[]);
}

#[test]
fn paths_are_checked_as_far_as_they_are_written() {
    #[track_caller]
    fn check_path(path: &str, problem: &str) {
        let expected = format!("9:13: `path` {problem}; write a path from `/`, and what follows `?` in `query`");
        check_field(&format!("path: \"{path}\""), &[&expected]);
    }
    check_path("charges", "does not start with `/`");
    check_path("//evil.example.com/x", "starts with `//`, which would name another host");
    check_path("/charges?dry=true", "holds `?`, `#` or `\\`");
    check_path("/charges\\n", "holds a control character");
    check_path("/v2/../v1", "holds `.` or `..`, which would lead out of the connector's path");
    for path in ["/..;/x", "/.;", "/a/..;v=1/b", "/%2E.;a/b", "/..;${{ event.id }}"] {
        check_path(path, "holds `.` or `..`, which would lead out of the connector's path");
    }
    check_path("charges/${{ event.id }}", "does not start with `/`");
    check_path("/charges?id=${{ event.id }}", "holds `?`, `#` or `\\`");
    check_path(
        "${{ event.key }}/../${{ event.id }}",
        "holds `.` or `..`, which would lead out of the connector's path",
    );
    for right in
        ["/", "${{ event.data.path }}", "${{ event.data.base }}/charges", "/.${{ event.id }}/..${{ event.id }}"]
    {
        check_field(&format!("path: \"{right}\""), &[]);
    }
    check_field("path: 7", &["9:13: `path` is the number 7, not a text; write it in quotes: \"7\""]);
}

#[test]
fn query_parameters_are_checked() {
    check_field(
        "query: {\"\": 1, \"${{ event.id }}\": 2, a: [1]}",
        &[
            "9:15: \"\" cannot be the name of a query parameter; write a short plain text; only values can be expressions",
            "9:22: \"${{ event.id }}\" cannot be the name of a query parameter; write a short plain text; only values can be expressions",
            "9:47: \"a\" in `query` is a list, not a text; write a text, a number or a bool",
        ],
    );
    check_field(
        &format!("query: {{a: {}}}", "x".repeat(8193)),
        &["9:18: \"a\" in `query` has 8193 bytes; write at most 8192"],
    );
    let many: String = (0..65).map(|number| format!("p{number}: 1, ")).collect();
    check_field(&format!("query: {{{many}}}"), &["9:14: `query` has 65 fields; keep at most 64"]);
    check_field(&format!("headers: {{{many}}}"), &["9:16: `headers` has 65 fields; keep at most 64"]);
    check_field("query: a=1", &["9:14: `query` is the text \"a=1\", not an object; write an object: `{name: value}`"]);
}

#[test]
fn headers_are_checked() {
    check_field(
        "headers: {\"a b\": 1, \"${{ event.id }}\": 2, X-A: 3, x-a: 4}",
        &[
            "9:17: \"a b\" cannot be the name of a header; write letters, digits and `-`; only values can be expressions",
            "9:27: \"${{ event.id }}\" cannot be the name of a header; write letters, digits and `-`; only values can be expressions",
            "9:57: the header \"x-a\" is written twice: case makes no difference; keep one of them",
        ],
    );
    let twice = "holds a control character, which would end it; write it on one line";
    check_field("headers: {a: \"x\\r\\nhost: evil\"}", &[&format!("9:20: the header \"a\" {twice}")]);
    check_field("headers: {a: \"${{ event.id }}\\n\"}", &[&format!("9:20: the header \"a\" {twice}")]);
    check_field("headers: {a: \"\", b: null, c: 1, d: \"tab\\t é\", Content-Type: text/plain}", &[]);
    check_field(
        "headers: {a: {b: 1}}",
        &["9:20: \"a\" in `headers` is an object, not a text; write a text, a number or a bool"],
    );
}

#[test]
fn headers_of_the_client_are_refused() {
    #[track_caller]
    fn check_owned(name: &str, instead: &str) {
        let lower = name.to_ascii_lowercase();
        let expected = format!("9:17: the header \"{lower}\" is not a step's to set; leave it out; {instead}");
        check_field(&format!("headers: {{{name}: x}}"), &[&expected]);
    }
    check_owned("Host", "the host is that of the connector's `url`");
    for name in
        ["content-length", "Transfer-Encoding", "connection", "upgrade", "TE", "trailer", "expect", "keep-alive"]
    {
        check_owned(name, "it is set for every call");
    }
    for name in ["user-agent", "Accept-Encoding"] {
        check_owned(name, "it is set for every call");
    }
    for name in ["proxy-authorization", "Proxy-Connection"] {
        check_owned(name, "it speaks to a proxy, not to the connector");
    }
    check_owned("Idempotency-Key", "every call carries one, the same for every attempt of the step");
    check_owned("traceparent", "that of the event is passed on, and one is made where it has none");
    check_owned("tracestate", "that of the event is passed on");
}

#[test]
fn expected_statuses_are_checked() {
    check_field(
        "expect: []",
        &["9:15: `expect` is empty, so no answer would be a good one; write `[2xx]` or leave it out"],
    );
    check_field(
        "expect: 2xx",
        &["9:15: `expect` is the text \"2xx\", not a list; write a list: `[…]`, or one item a line after `- `"],
    );
    check_field(
        "expect: [6xx, 99, 2xx, ok, -1, 2.0]",
        &[
            "9:16: the text \"6xx\" is no status that can be expected; write 2xx, or a status from 100 to 599",
            "9:21: the number 99 is no status that can be expected; write 2xx, or a status from 100 to 599",
            "9:30: the text \"ok\" is no status that can be expected; write 2xx, or a status from 100 to 599",
            "9:34: the number -1 is no status that can be expected; write 2xx, or a status from 100 to 599",
            "9:38: the number 2.0 is no status that can be expected; write 2xx, or a status from 100 to 599",
        ],
    );
    let many = "200, ".repeat(65);
    check_field(&format!("expect: [{many}]"), &["9:15: `expect` has 65 entries; keep at most 64; 2xx stands for many"]);
}

#[test]
fn timeouts_of_calls_are_checked() {
    let text = document("", "connector: billing", "    timeout: 61m\n");
    let expected = "7:14: `timeout` of an http step is the longest time for one attempt, and this is more than an hour; write at most 1h, and let it be retried";
    assert_eq!(mistakes_of(&text, Syntax::Yaml), [expected]);
    // It is told beside everything else, even without a config.
    let text = format!("{HEAD}steps: [{{id: it, type: http, timeout: 5}}]\n");
    let expected = [
        "4:9: the step has no `config`; add `config: {…}`",
        "4:39: `timeout` is the number 5, not a duration; write the unit too: 5ms or 5s",
    ];
    assert_eq!(mistakes_of(&text, Syntax::Yaml), expected);
    // Steps that call nobody have no attempts.
    accept(&format!("{HEAD}steps: [{{id: it, type: log, timeout: 2h, config: {{message: hi}}}}]\n"));
}

#[test]
fn retries_are_merged_field_by_field() {
    let default = RetryPolicy::default;
    check_policy("", "", &default());
    check_policy("maxRetries: 2", "", &RetryPolicy { max_retries: 2, ..default() });
    check_policy("maxRetries: 2", "maxRetries: 0", &RetryPolicy { max_retries: 0, ..default() });
    let policy = "maxRetries: 2, baseDelayMs: 50, maxDelayMs: 90, jitterFactor: 1, retryableErrors: [timeout, \"409\"]";
    let errors = Some(vec![Retryable::Timeout, Retryable::Status(409)]);
    let all = RetryPolicy {
        max_retries: 2,
        base_delay_ms: 50,
        max_delay_ms: 90,
        jitter_factor: 1.0,
        retryable_errors: errors,
    };
    check_policy(policy, "", &all);
    check_policy(policy, "baseDelayMs: 90", &RetryPolicy { base_delay_ms: 90, ..all.clone() });
    check_policy(
        policy,
        "maxDelayMs: 50, jitterFactor: 0",
        &RetryPolicy { max_delay_ms: 50, jitter_factor: 0.0, ..all.clone() },
    );
    check_policy(policy, "retryableErrors: []", &RetryPolicy { retryable_errors: Some(Vec::new()), ..all });
    // What is wrong by itself is right for a step that says the rest.
    check_policy(
        "maxDelayMs: 100",
        "baseDelayMs: 10",
        &RetryPolicy { base_delay_ms: 10, max_delay_ms: 100, ..default() },
    );
}

#[test]
fn an_open_breaker_may_be_named() {
    let errors = Some(vec![Retryable::Timeout, Retryable::BreakerOpen]);
    let expected = RetryPolicy { retryable_errors: errors, ..RetryPolicy::default() };
    check_policy("retryableErrors: [timeout, breaker-open]", "", &expected);
    check_policy("retryableErrors: [5xx]", "retryableErrors: [timeout, breaker-open]", &expected);
    let text =
        document("config: {retryPolicy: {retryableErrors: [timeout, breaker-open]}}\n", "connector: billing", "");
    let definition = accept(&text);
    // The plan is the same when it is compiled from the topic.
    assert_eq!(format!("{:?}", compile(&definition.canonical).unwrap()), format!("{:?}", definition.plan));
}

#[test]
fn retries_that_are_wrong_together_are_told() {
    let told = |place: &str, most: u64, base: u64| {
        format!(
            "{place}: with what is left out here, `maxDelayMs` is {most}, less than `baseDelayMs`, which is {base}; write both, `maxDelayMs` the greater one"
        )
    };
    check_retries("baseDelayMs: 500", "maxDelayMs: 100", &[&told("8:31", 100, 500)]);
    check_retries("maxDelayMs: 500", "baseDelayMs: 1000", &[&told("8:32", 500, 1000)]);
    check_retries("", "maxDelayMs: 100", &[&told("8:31", 100, 200)]);
    check_retries("baseDelayMs: 60000", "maxRetries: 1", &[&told("4:37", 30_000, 60_000)]);
    check_retries(
        "",
        "baseDelayMs: 500, maxDelayMs: 100",
        &["8:49: `maxDelayMs` is less than `baseDelayMs`; make it the greater one"],
    );
    // The workflow's mistake is told once, however many steps have it.
    let step = |id: &str| format!("{{id: {id}, type: http, config: {{connector: x}}}}");
    let text = format!("{HEAD}config: {{retryPolicy: {{maxDelayMs: 9}}}}\nsteps: [{}, {}]\n", step("a"), step("b"));
    assert_eq!(mistakes_of(&text, Syntax::Yaml), [told("4:36", 9, 200)]);
    // What was refused already is not blamed again for what it does not say.
    check_retries(
        "baseDelayMs: 50ms",
        "maxDelayMs: 100",
        &["4:37: `baseDelayMs` is the text \"50ms\", not a number of milliseconds; write 50"],
    );
    // Where nobody is called, nothing is merged.
    accept(&format!("{HEAD}config: {{retryPolicy: {{maxDelayMs: 9}}}}\n{STEPS}"));
}

#[test]
fn retries_are_within_their_limits() {
    check_retries(
        "maxDelayMs: 86400001",
        "maxRetries: 101, jitterFactor: 1.5",
        &[
            "4:36: `maxDelayMs` is the number 86400001, which is out of range; write a number from 1 to 86400000",
            "8:31: `maxRetries` is the number 101, which is out of range; write a number from 0 to 100",
            "8:50: `jitterFactor` is the number 1.5, not a number from 0 to 1; write one such as 0.2",
        ],
    );
    let many = "timeout, ".repeat(65);
    check_retries(
        "",
        &format!("retryableErrors: [{many}]"),
        &["8:36: `retryableErrors` has 65 entries; keep at most 64; 4xx and 5xx stand for many"],
    );
}

#[test]
fn delays_are_read_and_checked() {
    let definition = accept(&format!("{HEAD}steps: [{{id: it, type: delay, config: {{for: 366d}}}}]\n"));
    let Action::Wait(Wait::Delay(delay)) = &definition.plan.steps()[0].action else { panic!("no delay") };
    assert_eq!(delay.as_secs(), 366 * 24 * 60 * 60);
    check_delay("{}", &["4:39: the config of a delay has no `for`; add `for: 30s`"]);
    check_delay("{for: 367d}", &["4:45: `for` is \"367d\", which is out of range; write a duration from 1ms to 366d"]);
    check_delay("{for: 0s}", &["4:45: `for` is \"0s\", which is out of range; write a duration from 1ms to 366d"]);
    check_delay("{for: 30}", &["4:45: `for` is the number 30, not a duration; write the unit too: 30ms or 30s"]);
    check_delay(
        "{for: \"${{ event.data.pause }}\"}",
        &[
            "4:45: `for` is the text \"${{ event.data.pause }}\", not a duration; write a number and its unit (ms, s, m, h or d), such as 500ms, 30s or 5m",
        ],
    );
    check_delay("{fro: 1s, for: 1s}", &["4:40: the config of a delay has no field \"fro\"; did you mean `for`?"]);
    check_delay("{until: \"2030-01-01T00:00:00Z\"}", &[]);
    check_delay("{until: \"${{ event.data.at }}\"}", &[]);
    check_delay(
        "{until: tomorrow}",
        &[
            "4:47: \"tomorrow\" is no point in time; write one in RFC 3339, such as 2030-01-01T00:00:00Z, or an expression",
        ],
    );
    check_delay(
        "{until: \"${{ event.time }}\", for: 1s}",
        &["4:73: a delay waits `for` some time or `until` a point in time, not both; leave one out"],
    );
}

#[track_caller]
fn check_step(step: &str, expected: &[&str]) {
    let text = format!("{HEAD}steps: [{{id: it, {step}}}]\n");
    assert_eq!(mistakes_of(&text, Syntax::Yaml), expected, "\n{text}");
}

#[test]
fn approvals_and_sub_workflows_are_read_and_checked() {
    check_step("type: approval, config: {}", &[]);
    check_step("type: approval, config: {timeout: 2d, onTimeout: continue, message: \"${{ event.id }}?\"}", &[]);
    check_step(
        "type: approval, config: {onTimeout: fail}",
        &["4:54: `onTimeout` says what happens after `timeout`, and there is none; add `timeout: 1d` or leave it out"],
    );
    check_step("type: approval, timeout: 1h, config: {onTimeout: continue}", &[]);
    check_step("type: workflow, timeout: 1h, config: {id: other}", &[]);
    check_step(
        "type: workflow, timeout: 5, config: {id: other}",
        &["4:43: `timeout` is the number 5, not a duration; write the unit too: 5ms or 5s"],
    );
    check_step(
        "type: approval, config: {timeout: 0s, onTimeout: stop}",
        &[
            "4:52: `timeout` is \"0s\", which is out of range; write a duration from 1ms to 366d",
            "4:67: `onTimeout` cannot be \"stop\"; known are fail, continue",
        ],
    );
    check_step("type: workflow, config: {id: other, version: 1.0.0, input: {a: \"${{ event.data }}\"}}", &[]);
    check_step(
        "type: workflow, config: {input: 1}",
        &["4:42: the config of a workflow step has no `id`; add `id: WORKFLOW`"],
    );
    check_step(
        "type: workflow, config: {id: Other, version: \"1 0\"}",
        &[
            "4:47: \"Other\" is no id of a workflow; write one of lower-case letters, digits and `-`",
            "4:63: \"1 0\" is no version; write one as the workflow has it, such as \"1.0.0\", or leave it out for the one in use",
        ],
    );
}

/// Checks how many days executions may grow old of a workflow with that in its `config` and these steps.
#[track_caller]
fn check_age(config: &str, steps: &str, days: u64) {
    let text = format!("{HEAD}config: {{{config}}}\nsteps: [{steps}]\n");
    assert_eq!(accept(&text).plan.age_max, Duration::from_secs(days * 24 * 3_600), "\n{text}");
}

#[test]
fn what_is_said_to_wait_for_long_may_grow_old() {
    let delay = |id: &str, days: u32| format!("{{id: {id}, type: delay, config: {{for: {days}d}}}}");
    check_age("", &delay("a", 3), 7);
    check_age("", &delay("a", 8), 16);
    check_age("", &format!("{}, {}", delay("a", 3), delay("b", 6)), 18);
    check_age("", "{id: it, type: approval, config: {timeout: 30d}}", 60);
    check_age("", "{id: it, type: workflow, timeout: 10d, config: {id: other}}", 20);
    check_age("timeout: 14d", &delay("a", 1), 28);
    check_age("maxAge: 4d", &delay("a", 8), 4);
}
