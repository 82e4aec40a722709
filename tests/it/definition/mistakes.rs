//! Every rule, each with a document that breaks it and what its author is told. Lines count from 1; [`HEAD`] has three.

use tidegate::definition::Syntax;

use super::{HEAD, STEPS, accept, mistakes_of};

/// Checks what is told about a document, all of it and in this order.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(mistakes_of(text, Syntax::Yaml), expected, "\n{text}");
}

#[track_caller]
fn check_json(text: &str, expected: &[&str]) {
    assert_eq!(mistakes_of(text, Syntax::Json), expected, "\n{text}");
}

/// Checks a document that has `lines` from line 4 on and a step that is right.
#[track_caller]
fn check_top(lines: &str, expected: &[&str]) {
    check(&format!("{HEAD}{lines}\n{STEPS}"), expected);
}

/// Checks the fields of `config`, the first of which is at 4:10.
#[track_caller]
fn check_config(fields: &str, expected: &[&str]) {
    check_top(&format!("config: {{{fields}}}"), expected);
}

/// Checks a trigger whose fields begin in line 4, column 5.
#[track_caller]
fn check_trigger(fields: &str, expected: &[&str]) {
    let fields = fields.replace('\n', "\n    ");
    check(&format!("id: a\nversion: 1.0.0\ntriggers:\n  - {fields}\n{STEPS}"), expected);
}

/// Checks steps of which the first begins in line 5, column 5.
#[track_caller]
fn check_steps(steps: &[&str], expected: &[&str]) {
    let steps: String = steps.iter().map(|step| format!("  - {}\n", step.replace('\n', "\n    "))).collect();
    check(&format!("{HEAD}steps:\n{steps}"), expected);
}

/// Checks the config of one step: its first field is in line 8, column 9.
#[track_caller]
fn check_step_config(step_type: &str, config: &str, expected: &[&str]) {
    let config = config.replace('\n', "\n    ");
    check_steps(&[&format!("id: it\ntype: {step_type}\nconfig:\n    {config}")], expected);
}

#[test]
fn syntax_is_told_by_line_and_column() {
    check("", &["1:1: the file is empty; write a workflow, which begins with `id: …`"]);
    check("# nothing\n", &["1:1: the file is empty; write a workflow, which begins with `id: …`"]);
    check(
        "a:\n\t- b\n",
        &[
            "2:2: this is not YAML: tabs disallowed within this context (block indentation); indent with spaces, not with tabs",
        ],
    );
    check(
        "id: a\n version: 3\n",
        &[
            "2:9: this is not YAML: mapping values are not allowed in this context; check the indentation, quotes and brackets here and in the line before",
        ],
    );
    check(
        &format!("{HEAD}{STEPS}---\nid: b\n"),
        &["5:1: a second document starts here; put each workflow into a file of its own"],
    );
    check_json(
        "{\"id\": \"a\",\n \"version\": tru}",
        &["2:16: this is not JSON: expected ident; check quotes, commas and brackets"],
    );
    check_json("{\"id\": \"a\",\n \"id\": \"b\"}", &["2:2: the field \"id\" is written twice; keep one of them"]);
}

#[test]
fn bytes_that_are_no_text_are_told_by_place() {
    let parse = |bytes: &[u8]| {
        let refused = tidegate::definition::parse(std::path::Path::new("a.yaml"), bytes, Syntax::Yaml);
        refused.unwrap_err().to_string()
    };
    assert_eq!(parse(b"id: a\nname: \xe9\n"), "a.yaml:2:7: the file is not UTF-8 from here on; save it as UTF-8");
    assert_eq!(parse(b"\xff\xfei\0d\0"), "a.yaml:1:1: the file is not UTF-8 from here on; save it as UTF-8");
}

#[test]
fn line_ends_and_byte_order_marks_are_no_mistakes() {
    let text = format!("\u{feff}{HEAD}name: Zoë\nconfig: {{timeout: 5x}}\n{STEPS}").replace('\n', "\r\n");
    check(
        &text,
        &[
            "5:19: `timeout` is the text \"5x\", not a duration; write a number and its unit (ms, s, m, h or d), such as 500ms, 30s or 5m",
        ],
    );
    assert_eq!(
        accept(&text.replace("5x", "5s")).canonical,
        accept(&text.replace("5x", "5s").replace("\r\n", "\n")).canonical
    );
}

#[test]
fn surprising_yaml_is_refused() {
    check_top(
        "metadata: {a: &x 1, b: !!str 2}",
        &[
            "4:15: anchors (`&name`) are not known here; leave the anchor out and repeat the value",
            "4:24: tags (`!name`) are not known here; leave the tag out; quote what is to be a text",
        ],
    );
    check_top(
        "metadata: {a: *x}",
        &[
            "4:15: aliases (`*name`) are not known here; write the value out where it is used; a text that begins with * needs quotes",
        ],
    );
    check_top("metadata:\n  <<: {a: 1}", &["5:3: merge keys (`<<`) are not known here; write the fields out"]);
    check_top(
        "name: a\nname: b",
        &["5:1: the field \"name\" is written twice; keep one of them; the first is in line 4"],
    );
    check_top("metadata: {[a]: 1}", &["4:12: a list or object cannot be the name of a field; write a text"]);
    check_top(
        "metadata: {a: .nan, b: 1e999, c: 18446744073709551616}",
        &[
            "4:15: .nan is a number that JSON does not have; write it as text, in quotes: \".nan\"",
            "4:24: the number \"1e999\" is too large; write it as text, in quotes: \"1e999\"",
            "4:34: the number \"18446744073709551616\" does not fit 64 bits; write it as text, in quotes: \"18446744073709551616\"",
        ],
    );
}

#[test]
fn text_stays_text() {
    let text = format!(
        "{HEAD}metadata: {{no: no, on: yes, n: 0o17, x: 0xff, d: 1.0, e: 1e3, v: 1.2.0, t: 10:30, u: 1_000, 007: off}}\n{STEPS}"
    );
    let canonical = String::from_utf8(accept(&text).canonical).unwrap();
    let expected = r#""metadata":{"007":"off","d":1.0,"e":1000.0,"n":15,"no":"no","on":"yes","t":"10:30","u":"1_000","v":"1.2.0","x":255}"#;
    assert!(canonical.contains(expected), "{canonical}");
}

#[test]
fn the_outermost_fields_are_checked() {
    check(
        "name: a\n",
        &[
            "1:1: the workflow has no `id`; add `id: order-paid`",
            "1:1: the workflow has no `version`; add `version: 1.0.0`",
            "1:1: the workflow has no `triggers`; add `triggers: [{event: orders.paid}]`",
            "1:1: the workflow has no `steps`; add `steps: [{id: …, type: …, config: …}]`",
        ],
    );
    check(
        &format!("id: Order Paid\nversion: 1.2\nstatus: activ\ntype: temporal\ntriggers: {{}}\n{STEPS}"),
        &[
            "1:5: \"Order Paid\" cannot be the id of a workflow; use 1 to 64 lower-case letters, digits and `-`",
            "2:10: `version` is the number 1.2, not a text; write it in quotes: \"1.2\"",
            "3:9: `status` cannot be \"activ\"; did you mean `active`?",
            "4:7: this version runs only workflows of type `custom`, whose steps run here; write `type: custom` or leave it out",
            "5:11: `triggers` is an object, not a list; write a list: `[…]`, or one item a line after `- `",
        ],
    );
    check_top("desciption: a", &["4:1: the workflow has no field \"desciption\"; did you mean `description`?"]);
    check_top(
        "kind: Workflow",
        &[
            "4:1: the workflow has no field \"kind\"; known are id, name, description, version, status, type, triggers, config, steps, metadata",
        ],
    );
    check_top("name: \"\"", &["4:7: `name` is empty; write a text or leave the field out"]);
    check_top(&format!("name: {}", "x".repeat(300)), &["4:7: `name` has 300 bytes; write at most 256"]);
    check_top(
        "metadata: {tags: shop, createdBy: 7}",
        &[
            "4:18: `tags` is the text \"shop\", not a list; write a list: `[…]`, or one item a line after `- `",
            "4:35: `createdBy` is the number 7, not a text; write it in quotes: \"7\"",
        ],
    );
    check(
        "[]",
        &[
            "1:1: the workflow is a list, not an object; write its fields: id, name, description, version, status, type, triggers, config, steps, metadata",
        ],
    );
    let version = HEAD.replace("1.0.0", "1 beta");
    check(
        &format!("{version}{STEPS}"),
        &["2:10: \"1 beta\" cannot be a version; use letters, digits, `.`, `_`, `+` and `-`, such as 1.2.0"],
    );
}

#[test]
fn triggers_are_checked() {
    check_trigger("{schema: com.example.OrderPaid}", &[]);
    check_trigger(
        "{schema: com..example}",
        &[
            "4:18: a schema's full name is namespace and name, like com.example.OrderPaid: letters, digits and `_`, with dots between",
        ],
    );
    check_trigger("{}", &["4:5: the trigger has no `event`; add `event: orders.paid`"]);
    check_trigger("evnt: a\nevent: a", &["4:5: the trigger has no field \"evnt\"; did you mean `event`?"]);
    check_trigger(
        "event: orders.**.x",
        &["4:19: `**` stands only at the end, as in orders.**; `*` stands for one segment"],
    );
    check_trigger(
        "event: a\ntopic: ^web.*",
        &["5:12: a topic is one exact name of letters, digits, `.`, `_` and `-`; patterns are not allowed here"],
    );
    check_trigger(
        "event: a\nsource: \"https://*/x\"",
        &["5:22: `*` stands only at the end of a source, as in https://shop.example.com/*"],
    );
    check_trigger(
        "event: a\nmatch:\n  data:\n    country: DE\n    amount: [{numeric: [\">\", many]}]\n  dta: [1]",
        &[
            "7:9: \"DE\" must be in a list of alternatives; write [\"DE\"]",
            "8:34: \"many\" is no number",
            "9:7: unknown field \"dta\"; a pattern begins with data, id, type, source, subject, schema, key, headers",
        ],
    );
    check(
        "id: a\nversion: a\ntriggers: []\nsteps: []\n",
        &[
            "3:11: `triggers` is empty, so nothing would start the workflow; add `- event: TYPE`",
            "4:8: `steps` is empty, so the workflow would do nothing; add a step",
        ],
    );
}

#[test]
fn config_is_checked() {
    check_config("timeout: 30", &["4:19: `timeout` is the number 30, not a duration; write the unit too: 30ms or 30s"]);
    check_config(
        "timeout: 0s",
        &["4:19: `timeout` is \"0s\", which is out of range; write a duration from 1ms to 366d"],
    );
    check_config(
        "timeout: 99999999999999d",
        &["4:19: `timeout` is \"99999999999999d\", which is out of range; write a duration from 1ms to 366d"],
    );
    check_config(
        "timeout: 1h, maxAge: 5m",
        &["4:31: `maxAge` is shorter than `timeout`, which could never be reached; make `maxAge` the longer one"],
    );
    check_config(
        "concurrency: x, queueTimeout: 5m",
        &[
            "4:23: `concurrency` is the text \"x\", not a whole number; write one from 0 to 4294967295",
            "4:40: `queueTimeout` says how long an execution may wait for its turn, and nothing makes it wait; limit `concurrency`, order by key, or leave it out",
        ],
    );
    check_config("concurrency: 0, ordering: none, maxAge: 7d", &[]);
    check_config("concurrency: 4, ordering: key, queueTimeout: 5m", &[]);
    check_config("ordering: keys", &["4:20: `ordering` cannot be \"keys\"; did you mean `key`?"]);
    check_config(
        "retryPolicy: {maxRetries: 1000, baseDelayMs: 5s, jitterFactor: 2, maxDelay: 3}",
        &[
            "4:36: `maxRetries` is the number 1000, which is out of range; write a number from 0 to 100",
            "4:55: `baseDelayMs` is the text \"5s\", not a number of milliseconds; write 5000",
            "4:73: `jitterFactor` is the number 2, not a number from 0 to 1; write one such as 0.2",
            "4:76: `retryPolicy` has no field \"maxDelay\"; did you mean `maxDelayMs`?",
        ],
    );
    check_config(
        "retryPolicy: {baseDelayMs: 500, maxDelayMs: 100}",
        &["4:54: `maxDelayMs` is less than `baseDelayMs`; make it the greater one"],
    );
    check_config(
        "retryPolicy: {retryableErrors: [timeout, 429, \"503\", 5xx, 6xx]}",
        &[
            "4:51: `retryableErrors` is the number 429, not a text; write it in quotes: \"429\"",
            "4:68: \"6xx\" is no error that can be retried; write timeout, connection, a status from 400 on such as \"429\", or 4xx or 5xx",
        ],
    );
    check_config(
        "circuitBreaker: {failureThreshold: 0, recoveryTimeoutMs: -1}",
        &[
            "4:45: `failureThreshold` is the number 0, which is out of range; write a number from 1 to 10000",
            "4:67: `recoveryTimeoutMs` is the number -1, which is out of range; write a number from 1 to 31622400000",
        ],
    );
    check_config(
        "vars: {rate: \"a ${{ 1 }}\"}",
        &["4:26: `vars` holds constants, and this is an expression; compute the value in a transform step"],
    );
}

const LOG: &str = "type: log, config: {message: hi}";

#[test]
fn steps_are_checked() {
    check_steps(
        &["{}"],
        &["5:5: the step has no `id`; add `id: my-step`", "5:5: the step has no `type`; add `type: transform`"],
    );
    check_steps(
        &["{id: 1st, type: lag, config: {}}"],
        &[
            "5:10: \"1st\" cannot be the id of a step; use letters, digits, `_` and `-`, beginning with a letter",
            "5:21: there is no step type \"lag\"; did you mean `log`?",
        ],
    );
    check_steps(
        &["{id: a, type: n8n, config: {id: x}}", "{id: b, type: temporal, config: {}}"],
        &[
            "5:19: this version does not run steps of type `n8n`; use transform, condition, switch, produce, log, fail, http, delay, approval, workflow",
            "6:19: this version does not run steps of type `temporal`; use transform, condition, switch, produce, log, fail, http, delay, approval, workflow",
        ],
    );
    check_steps(
        &[&format!("{{id: a, {LOG}}}"), &format!("{{id: a, {LOG}}}")],
        &["6:10: two steps are called \"a\"; give this one another id"],
    );
    check_steps(
        &[
            "{id: a, type: log, config: {message: hi}, onError: ignore, order: high, timeout: 1, retryConfig: [], dependson: [b]}",
        ],
        &[
            "5:56: `onError` cannot be \"ignore\"; known are fail, continue",
            "5:71: `order` is the text \"high\", not a whole number; write one such as 10",
            "5:86: `timeout` is the number 1, not a duration; write the unit too: 1ms or 1s",
            "5:102: `retryConfig` is a list, not an object; write its fields: maxRetries, baseDelayMs, maxDelayMs, jitterFactor, retryableErrors",
            "5:106: the step has no field \"dependson\"; known are id, name, type, dependencies, when, timeout, retryConfig, onError, order, config",
        ],
    );
    check_steps(&["{id: a, type: log}"], &["5:5: the step has no `config`; add `config: {…}`"]);
}

#[test]
fn dependencies_are_checked() {
    let step = |id: &str, before: &str| format!("{{id: {id}, dependencies: [{before}], {LOG}}}");
    check_steps(
        &[&step("first", "second"), &step("second", "third"), &step("third", "first")],
        &["5:31: these steps wait for each other: first → second → third → first; take one of these dependencies away"],
    );
    check_steps(
        &[&step("a", "b"), &step("b", "a"), &step("c", "d"), &step("d", "c"), &step("e", "a, c")],
        &[
            "5:27: these steps wait for each other: a → b → a; take one of these dependencies away",
            "7:27: these steps wait for each other: c → d → c; take one of these dependencies away",
        ],
    );
    check_steps(
        &[&step("shape", "shape"), &step("other", "shpe, shape, shape, nowhere")],
        &[
            "5:32: the step \"shape\" waits for itself; leave this dependency out",
            "6:32: there is no step \"shpe\"; did you mean `shape`?",
            "6:45: this dependency is written twice; leave one of them out",
            "6:52: there is no step \"nowhere\"; known are shape, other",
        ],
    );
    check_steps(
        &[&step("a", ""), &step("b", "a.large")],
        &["6:28: the step \"a\" is no switch and has no cases; write `a`"],
    );
}

#[test]
fn cases_are_checked() {
    let switch = |id: &str| {
        format!(
            "{{id: {id}, type: switch, config: {{cases: [{{name: large, if: true}}, {{name: small, if: true}}], default: none}}}}"
        )
    };
    let step = |before: &str| format!("{{id: it, dependencies: [{before}], {LOG}}}");
    for right in ["route.large", "route.none", "route"] {
        check_steps(&[&switch("route"), &step(right)], &[]);
    }
    // The case may be named by itself, as long as it is clear which switch has it.
    check_steps(&[&switch("choose"), &step("choose.small")], &[]);
    check_steps(&[&switch("choose"), &step("route.small")], &[]);
    check_steps(
        &[&switch("one"), &switch("two"), &step("route.small")],
        &["7:29: there is no step \"route\"; known are one, two, it"],
    );
    check_steps(
        &[&switch("route"), &step("route.lrge, route.large, route.small")],
        &[
            "6:29: the switch \"route\" has no case \"lrge\"; did you mean `large`?",
            "6:54: this step depends on two cases of one switch, which are never both chosen; depend on the switch itself, and test its output in `when`",
        ],
    );
    check_step_config(
        "switch",
        "cases: [{name: a, if: true}, {name: a, if: false}, {name: b c, if: 3}, {nam: d}]",
        &[
            "8:38: two cases are called \"a\"; give this one another name, or join their tests with ||",
            "8:67: \"b c\" cannot be the name of a case; use letters, digits, `_` and `-`",
            "8:76: `if` is the number 3, not a condition; write an expression such as `event.data.total > 100`",
            "8:80: the case has no `name`; add `name: large`",
            "8:80: the case has no `if`; add `if: EXPRESSION`",
            "8:81: the case has no field \"nam\"; did you mean `name`?",
        ],
    );
    check_step_config(
        "switch",
        "cases: []",
        &["8:16: `cases` is empty, so there is nothing to choose; add {name: …, if: …}"],
    );
}

#[test]
fn the_subject_of_a_produce_step_is_checked() {
    check_step_config("produce", "topic: a\nvalue: 1\nformat: avro\nsubject: com.example.OrderPaid", &[]);
    check_step_config("produce", "topic: a\nvalue: 1\nformat: avro", &[]);
    check_step_config(
        "produce",
        "topic: \"${{ event.type }}\"\nvalue: 1\nformat: avro",
        &[
            "10:17: the topic is an expression, so its subject is not known here; name the `subject` whose schema the value has",
        ],
    );
    check_step_config(
        "produce",
        "topic: a\nvalue: 1\nsubject: b",
        &["10:18: `subject` is for `format: avro`; write `format: avro`, or remove `subject`"],
    );
    check_step_config(
        "produce",
        "topic: a\nvalue: 1\nformat: avro\nsubject: \"${{ event.type }}-value\"",
        &[
            "11:18: \"${{ event.type }}-value\" cannot be the name of a subject; write a plain text, like orders-value; it cannot be an \
             expression",
        ],
    );
}

#[test]
fn the_config_of_each_step_is_checked() {
    check_step_config(
        "transform",
        "outptu: 1",
        &[
            "8:9: the config of a transform has no field \"outptu\"; did you mean `output`?",
            "8:9: the config of a transform has no `output`; add `output: {…}`",
        ],
    );
    check_step_config("transform", "output: null", &[]);
    check_step_config(
        "condition",
        "when: true",
        &[
            "8:9: the config of a condition has no field \"when\"; known are if",
            "8:9: the config of a condition has no `if`; add `if: EXPRESSION`",
        ],
    );
    check_step_config(
        "produce",
        "topic: a/b",
        &[
            "8:9: the config of a produce step has no `value`; add one; `value: null` writes a tombstone",
            "8:17: a topic is one exact name of letters, digits, `.`, `_` and `-`; patterns are not allowed here",
        ],
    );
    check_step_config(
        "produce",
        "topic: a\nvalue: null\npartition: -1\nformat: avro\nheaders: [a]",
        &[
            "10:20: `partition` is the number -1, which is out of range; write a number from 0 to 2147483647",
            "12:18: `headers` is a list, not an object; write an object: `{name: value}`",
        ],
    );
    check_step_config(
        "produce",
        "topic: a\nkey: null\nvalue: null\npartition: 3\nheaders: {a: null, b: 1}\nformat: json",
        &[],
    );
    check_step_config(
        "log",
        "level: warning\nmessage: [hi]",
        &[
            "8:16: `level` cannot be \"warning\"; did you mean `warn`?",
            "9:18: `message` is a list, not a text; write a text",
        ],
    );
    check_step_config(
        "fail",
        "class: fatal",
        &[
            "8:9: the config of a fail step has no `message`; add `message: TEXT`",
            "8:16: `class` cannot be \"fatal\"; known are permanent, retryable, config",
        ],
    );
}

#[test]
fn a_file_cannot_forge_the_lines_of_the_report() {
    check_top(
        "\"a\\nb.yaml:1:1: all is well \\e[31m\\u2028\": 1",
        &[
            "4:1: the workflow has no field \"a\\nb.yaml:1:1: all is well \\u{1b}[31m\\u{2028}\"; known are id, name, description, version, status, type, triggers, config, steps, metadata",
        ],
    );
}
