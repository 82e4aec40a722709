//! Commands that need no broker, and all others without one.

use super::project::Project;

const VERBS: [&str; 14] = [
    "dev", "run", "validate", "diff", "apply", "get", "describe", "send", "watch", "simulate", "topics", "bench",
    "doctor", "",
];

#[test]
fn every_verb_helps_with_an_example() {
    let project = Project::offline();
    for verb in VERBS.iter().filter(|verb| !verb.is_empty()) {
        let help = project.run(&[verb, "--help"]).exits(0);
        help.tells(&format!("Example:\n  tidegate {verb}"));
        assert_eq!(help.err, "");
    }
    let help = project.run(&["--help"]).exits(0);
    VERBS.iter().for_each(|verb| help.tells(verb));
    project.run(&["--version"]).exits(0).tells("tidegate ");
}

#[test]
fn wrong_usage_exits_with_2() {
    let project = Project::offline();
    project.run(&["--bogus"]).exits(2).complains("--bogus");
    project.run(&["frobnicate"]).exits(2).complains("frobnicate");
    project.run(&["validate"]).exits(2).complains("PATHS");
    project.run(&["get", "nonsense"]).exits(2).complains("dead-letters");
    project.run(&["send"]).exits(2).complains("--value");
    project.run(&["replay", "plan", "--reason", "stpe"]).exits(2).complains("possible values: decode, match, step");
    project.run(&["dlq", "ls", "--class", "fatal"]).exits(2).complains("possible values: permanent, retryable, config");
    project.run(&[]).exits(2).complains("Usage");
}

#[test]
fn what_is_right_is_valid() {
    let project = Project::offline();
    project.run(&["validate", ".", "tidegate.toml"]).exits(0).tells("7 sound");
    let told = project.run(&["validate", ".", "-o", "json"]).exits(0).json();
    assert_eq!(told["valid"], true);
    assert_eq!(told["sound"].as_array().unwrap().len(), 6);
    project.run(&["validate", ".", "-o", "yaml"]).exits(0).tells("valid: true");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let project = Project::offline();
    project.replace("workflows/audit.yaml", "type: produce", "type: produze");
    project.replace("workflows/refund.yaml", "version:", "versoin:");
    let told = project.run(&["validate", "workflows"]).exits(1);
    told.tells("workflows/audit.yaml:");
    told.tells("workflows/refund.yaml:");
    told.tells("produce");
    let told = project.run(&["validate", "workflows", "-o", "json"]).exits(1).json();
    assert_eq!(told["valid"], false);
    for mistake in told["mistakes"].as_array().unwrap() {
        assert!(mistake["line"].as_u64().is_some_and(|line| line > 0) && mistake["message"].is_string(), "{mistake}");
    }
    let refused = project.run(&["apply", "workflows"]).exits(1);
    refused.complains("workflows/audit.yaml:");
}

/// The breaker of a connector counts the calls of all workflows, so one workflow cannot say when it opens.
#[test]
fn what_changes_nothing_is_warned_of() {
    let project = Project::offline();
    let with_breaker = "version: 1.0.0\nconfig: { circuitBreaker: { failureThreshold: 5, recoveryTimeoutMs: 30000 } }";
    project.replace("workflows/audit.yaml", "version: 1.0.0", with_breaker);
    let warning = "workflows/audit.yaml:6:27: `circuitBreaker` of a workflow changes nothing";
    let told = project.run(&["validate", "workflows"]).exits(0);
    told.tells(warning);
    told.tells("valid: 6 sound, 0 mistakes");
    let told = project.run(&["validate", "workflows", "-o", "json"]).exits(0).json();
    assert_eq!((told["valid"].as_bool(), told["warnings"].as_array().map(Vec::len)), (Some(true), Some(1)));
    assert_eq!((&told["warnings"][0]["line"], &told["warnings"][0]["column"]), (&6.into(), &27.into()));
    let events = std::fs::read_to_string(project.path("events.ndjson")).unwrap();
    project.write("event.json", events.lines().next().unwrap());
    let told = project.run(&["simulate", "--event", "event.json"]).exits(0);
    assert!(told.err.contains(warning), "{}", told.err);
}

#[test]
fn definitions_must_suit_settings_that_are_named_with_them() {
    let project = Project::offline();
    project.write(
        "bills.yaml",
        "id: bills\nversion: 1.0.0\ntriggers:\n  - event: paid\nsteps:\n  - id: call\n    type: http\n    config: { connector: biling, path: / }\n",
    );
    project.run(&["validate", "bills.yaml"]).exits(0).tells("1 sound, 0 mistakes");
    let told = project.run(&["validate", "tidegate.toml", "bills.yaml"]).exits(1);
    told.tells("bills: [connectors.biling] is not among the settings");
}

#[test]
fn mistakes_in_settings_are_told_with_their_place() {
    let project = Project::offline();
    project.replace("tidegate.toml", "lanes = 1", "lanse = 1");
    project.run(&["validate", "tidegate.toml"]).exits(1).tells("tidegate.toml:");
    project.run(&["get", "workflows"]).exits(1).complains("lanes");
    project.run(&["get", "workflows", "--config", "nowhere.toml"]).exits(1).complains("nowhere.toml");
}

#[test]
fn simulating_says_what_matches_and_why_the_others_do_not() {
    let project = Project::offline();
    let events = std::fs::read_to_string(project.path("events.ndjson")).unwrap();
    project.write("event.json", events.lines().next().unwrap());
    project.replace("tidegate.toml", &project.topic("webhooks"), "webhooks");
    let told = project.run(&["simulate", "--event", "event.json", "-o", "json"]).exits(0).json();
    assert_eq!(told["event"]["type"], "orders.created");
    let workflows = told["workflows"].as_array().unwrap();
    let matching: Vec<_> = workflows.iter().filter(|it| it["matches"] == true).map(|it| &it["id"]).collect();
    assert_eq!(matching, ["audit", "order-created"]);
    for workflow in workflows {
        let reasons = ["steps", "whyNot"].map(|name| workflow[name].as_array().map_or(0, Vec::len));
        assert!(reasons.iter().sum::<usize>() > 0, "{workflow}");
    }
    let told = project.run(&["simulate", "workflows/refund.yaml", "--event", "event.json"]).exits(0);
    told.tells("event: expected payments.refunded.**, found orders.created");
}

#[test]
fn simulating_refuses_what_is_no_event() {
    let project = Project::offline();
    project.write("event.json", "[1, 2]");
    project.run(&["simulate", "--event", "event.json"]).exits(1).complains("JSON object");
    project.run(&["simulate", "--event", "nowhere.json"]).exits(1).complains("nowhere.json");
    let topic = project.topic("webhooks");
    project.write("event.json", &format!(r#"{{"topic":"{topic}","value":"no JSON"}}"#));
    project.run(&["simulate", "--event", "event.json"]).exits(0).tells("dead letter");
}

#[test]
fn without_a_broker_each_says_so_and_does_not_hang() {
    let project = Project::offline();
    let commands: [(&[&str], i32); 6] = [
        (&["get", "workflows"], 1),
        (&["topics", "check"], 1),
        (&["apply", "."], 1),
        (&["send", "--value", "{}"], 1),
        (&["watch"], 1),
        (&["diff", "."], 2),
    ];
    // Each waits until it is clear that nobody answers, so they wait together.
    std::thread::scope(|scope| {
        for (arguments, code) in commands {
            let project = &project;
            scope.spawn(move || project.run(arguments).exits(code).complains("error: "));
        }
        scope.spawn(|| project.run(&["doctor"]).exits(1).tells("127.0.0.1:1"));
    });
}

#[test]
fn bad_lines_of_an_event_file_are_all_told() {
    let project = Project::offline();
    project.write("bad.ndjson", "{\"topic\":\"a\",\"value\":1}\n{oops\n\n{\"tpic\":\"a\"}\n");
    let told = project.run(&["send", "--file", "bad.ndjson"]).exits(1);
    told.complains("bad.ndjson:2:");
    told.complains("bad.ndjson:4: unknown field `tpic`");
}

#[test]
fn simulating_says_where_an_execution_would_wait() {
    let project = Project::offline();
    let events = std::fs::read_to_string(project.path("events.ndjson")).unwrap();
    project.write("event.json", events.lines().next().unwrap());
    project.replace("tidegate.toml", &project.topic("webhooks"), "webhooks");
    let steps = "[{id: charge, type: http, config: {connector: billing, method: POST}}, {id: pause, type: delay, config: {for: 90s}}, \
        {id: after, type: log, dependencies: [charge], config: {message: hi}}]";
    let text = format!("id: waits\nversion: 1.0.0\ntriggers: [{{event: orders.created}}]\nsteps: {steps}\n");
    project.write("waits.yaml", &text);
    let simulate = ["simulate", "waits.yaml", "--event", "event.json"];
    let told = project.run(&simulate).exits(0);
    told.tells("waits: waiting");
    told.tells("    waits: charge (http to billing), pause (delay 90s)\n");
    let told = project.run(&[&simulate[..], &["-o", "json"]].concat()).exits(0).json();
    let workflow = &told["workflows"][0];
    assert_eq!((&workflow["status"], workflow["steps"].as_array().unwrap().len()), (&"waiting".into(), 0));
    let expected = serde_json::json!([
        { "id": "charge", "type": "http", "connector": "billing", "method": "POST" },
        { "id": "pause", "type": "delay", "for": "90s" },
    ]);
    assert_eq!(workflow["waits"], expected);
}
