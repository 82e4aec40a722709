//! Commands against a broker.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::project::Project;
use crate::support::wait;

/// A project whose topics are there.
fn created() -> Option<Project> {
    let project = Project::online()?;
    project.run(&["topics", "create"]).exits(0);
    Some(project)
}

#[test]
fn topics_are_checked_and_created() {
    let Some(project) = Project::online() else { return };
    let told = project.run(&["topics", "check", "-o", "json"]).exits(1).json();
    assert!(told.as_array().unwrap().iter().all(|it| it["remedy"].is_string()), "{told}");
    let created = project.run(&["topics", "create", "-o", "json"]).exits(0).json();
    assert_eq!(created.as_array().unwrap().len(), 7);
    let told = project.run(&["topics", "check", "-o", "json"]).exits(1).json();
    assert_eq!(told[0]["topic"], project.topic("webhooks"), "only the source is missing: {told}");
    project.create_topic("webhooks");
    assert_eq!(project.run(&["topics", "check", "-o", "json"]).exits(0).json(), Json::Array(vec![]));
    assert_eq!(project.run(&["topics", "create", "-o", "json"]).exits(0).json(), Json::Array(vec![]));
}

/// Kafka's controller answers before its brokers know of the topic.
#[test]
fn a_topic_can_be_used_as_soon_as_it_is_created() {
    let Some(project) = Project::online() else { return };
    let (creates, looks) = (project.admin(), project.admin());
    for number in 0..50 {
        let name = project.topic(&format!("made-{number}"));
        creates.create_topic(&name, 2, 1, &Default::default()).unwrap();
        let there = looks.topics(&[&name]).unwrap();
        assert_eq!(there.get(&name).map(|it| (it.partitions, it.leaderless.len())), Some((2, 0)), "{name}");
    }
}

#[test]
fn definitions_are_compared_applied_and_shown() {
    let Some(project) = created() else { return };
    project.run(&["diff", "."]).exits(1).tells("audit: created");
    project.run(&["apply", ".", "--dry-run"]).exits(0).tells("created");
    project.run(&["diff", "."]).exits(1);
    project.run(&["apply", "."]).exits(0).tells("created");
    assert_eq!(project.run(&["diff", "."]).exits(0).out, "");
    let told = project.run(&["get", "workflows", "-o", "json"]).exits(0).json();
    let ids: Vec<_> = told.as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["audit", "legacy-import", "loyalty", "order-created", "order-paid", "refund"]);
    let told = project.run(&["describe", "workflow", "audit", "-o", "json"]).exits(0).json();
    assert_eq!(told["definition"]["id"], "audit");
    project.run(&["describe", "workflow", "nobody"]).exits(1).complains("nobody");
}

#[test]
fn a_version_never_changes() {
    let Some(project) = created() else { return };
    project.run(&["apply", "."]).exits(0);
    project.replace("workflows/audit.yaml", "audit-trail", "other-trail");
    project.run(&["diff", "."]).exits(1).tells("other-trail");
    project.run(&["apply", "."]).exits(1).complains("audit");
    project.run(&["apply", ".", "--dry-run"]).exits(1).complains("audit");
    project.replace("workflows/audit.yaml", "version: 1.0.0", "version: 1.1.0");
    project.run(&["apply", "."]).exits(0).tells("new version");
    let told = project.run(&["get", "workflows", "-o", "json"]).exits(0).json();
    assert_eq!((&told[0]["version"], &told[1]["version"]), (&"1.1.0".into(), &"1.0.0".into()));
}

#[test]
fn a_step_that_calls_what_the_settings_do_not_have_is_not_applied() {
    let Some(project) = created() else { return };
    let step = "id: calls\nversion: 1.0.0\nstatus: active\ntriggers: [{ event: x }]\nsteps: [{ id: a, type: http, config: { connector: billing } }]\n";
    project.write("calls.yaml", step);
    for arguments in [&["apply", "calls.yaml"][..], &["apply", "calls.yaml", "--dry-run"]] {
        project.run(arguments).exits(1).complains("calls: [connectors.billing] is not among the settings");
    }
    let connector = "[connectors.billing]\nkind = \"n8n\"\nurl = \"http://127.0.0.1:1\"\n[kafka]";
    project.replace("tidegate.toml", "[kafka]", connector);
    project.run(&["apply", "calls.yaml"]).exits(1).complains("is of another kind");
    project.replace("tidegate.toml", "kind = \"n8n\"", "kind = \"http\"");
    project.run(&["apply", "calls.yaml"]).exits(0).tells("created");
    // Nor does an instance take its events that does not have it, because it was applied from another place, say.
    project.replace("tidegate.toml", "[connectors.billing]", "[connectors.accounts]");
    let refused = project.run(&["run"]).exits(1);
    refused.complains("workflows in use call what these settings do not have");
    refused.complains("calls: [connectors.billing] is not among the settings");
    // The way out that it names is open.
    project.replace("calls.yaml", "status: active", "status: stopped");
    project.run(&["apply", "calls.yaml"]).exits(0).tells("stopped");
}

#[test]
fn of_two_who_apply_at_once_neither_is_lost_without_a_word() {
    let Some(project) = created() else { return };
    let workflow = |version: u32| audit(&project).replace("version: 1.0.0", &format!("version: {version}.0.0"));
    let versions: Vec<u32> = (1..=4).collect();
    versions.iter().for_each(|version| project.write(&format!("v{version}.yaml"), &workflow(*version)));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let project = &project;
        let apply = |version: &u32| {
            let file = format!("v{version}.yaml");
            scope.spawn(move || project.run(&["apply", &file]))
        };
        let running: Vec<_> = versions.iter().map(apply).collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let told = project.run(&["get", "workflows", "-o", "json"]).json();
    let installed = told[0]["versions"].as_str().unwrap_or_default();
    for (version, outcome) in versions.iter().zip(&outcomes) {
        let is_there = installed.split(' ').any(|it| it == format!("{version}.0.0"));
        assert_eq!(outcome.code == 0, is_there, "{installed}: {outcome:#?}");
        assert!(outcome.code == 0 || outcome.err.contains("somebody else"), "{outcome:#?}");
    }
    assert!(outcomes.iter().any(|it| it.code == 0), "{outcomes:#?}");
}

#[test]
fn events_go_to_topics_that_are_there() {
    let Some(project) = created() else { return };
    let missing = project.run(&["send", "--topic", &project.topic("nowhere"), "--value", "{}"]).exits(1);
    missing.complains("does not exist");
    project.create_topic("webhooks");
    project.run(&["send", "--value", "{}", "--key", "k", "--header", "a=b"]).exits(0);
    project.run(&["send", "--value", "{}", "--header", "a"]).exits(1).complains("NAME=VALUE");
    let told = project.run(&["send", "--value", "{}", "-o", "json"]).exits(0).json();
    assert_eq!(told["sent"], 1);
}

#[test]
fn what_an_instance_does_can_be_looked_at() {
    let Some(project) = created() else { return };
    for topic in ["webhooks", "audit-trail"] {
        project.create_topic(topic);
    }
    project.write("workflows/audit.yaml", &audit(&project));
    project.run(&["apply", "workflows/audit.yaml"]).exits(0);
    let topic = project.topic("webhooks");
    let good = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"orders.paid","data":{"amount":1}}"#;
    let bad = format!(r#"{{"topic":"{topic}","value":"no CloudEvent"}}"#);
    project.write("events.ndjson", &format!("{good}\n{bad}\n"));
    project.run(&["send", "--file", "events.ndjson"]).exits(0);
    let watched = tempfile::NamedTempFile::new().unwrap();
    let _watch = project.start(&["watch", "--workflow", "audit", "-o", "json"], watched.reopen().unwrap());
    let _instance = project.start(&["run"], tempfile::tempfile().unwrap());
    let executions = eventually(&project, "executions");
    let execution = executions[0]["id"].as_str().unwrap();
    assert_eq!((&executions[0]["workflowId"], &executions[0]["status"]), (&"audit".into(), &"completed".into()));
    let told = project.run(&["describe", "execution", execution, "-o", "json"]).exits(0).json();
    assert_eq!(told["steps"][0]["stepId"], "trail");
    let letters = eventually(&project, "dead-letters");
    let letter = letters[0]["id"].as_str().unwrap();
    assert_eq!(letters[0]["reason"], "decode");
    project.run(&["describe", "dead-letters", letter]).exits(0).tells("no CloudEvent");
    project.run(&["doctor"]).exits(0);
    // Whether the watcher was there before the instance is not known; it is there by now.
    eventually_seen(&project, watched.path(), good);
}

#[test]
fn a_whole_project_runs_in_one_process() {
    let project = Project::offline();
    let arguments = ["dev", ".", "--send", "events.ndjson", "--exit-when-idle", "--ephemeral", "-o", "json"];
    let free_ports = ["--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let webhooks = project.topic("webhooks");
    project.replace("events.ndjson", "\"webhooks\"", &format!("\"{webhooks}\""));
    project.replace("events.ndjson", "\"legacy-orders\"", &format!("\"{webhooks}\""));
    let told = project.run(&[&arguments[..], &free_ports[..]].concat()).exits(0);
    let summary = told.out.lines().rev().find_map(|line| serde_json::from_str::<Json>(line).ok()).unwrap();
    assert_eq!((&summary["summary"]["sent"], &summary["summary"]["events"]), (&40.into(), &40.into()), "{told:#?}");
    let executions = summary["summary"]["executions"].as_array().unwrap();
    let audited = executions.iter().find(|it| it["workflow"] == "audit" && it["status"] == "completed").unwrap();
    assert!(audited["executions"].as_u64().is_some_and(|count| count > 20), "{summary}");
}

/// One that calls a connector which there is not is refused, and the others are not.
#[test]
fn a_workflow_that_cannot_call_keeps_no_other_from_being_applied() {
    let project = Project::offline();
    project.write(
        "workflows/bills.yaml",
        "id: bills\nversion: 1.0.0\ntriggers:\n  - event: \"*\"\nsteps:\n  - id: call\n    type: http\n    config: { connector: biling, path: / }\n",
    );
    let arguments = ["dev", ".", "--send", "events.ndjson", "--exit-when-idle", "--ephemeral", "-o", "json"];
    let told = project.run(&[&arguments[..], &["--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"]].concat()).exits(0);
    assert!(told.err.contains("trouble:") && told.err.contains("[connectors.biling]"), "{told:#?}");
    assert!(told.err.contains("audit: created, 1.0.0 active") && !told.err.contains("bills: created"), "{told:#?}");
    let summary = told.out.lines().rev().find_map(|line| serde_json::from_str::<Json>(line).ok()).unwrap();
    assert!(summary["summary"]["matches"].as_u64().is_some_and(|count| count > 0), "{told:#?}");
}

#[test]
fn an_edit_is_applied_and_a_mistake_leaves_what_was_applied_before() {
    let project = Project::offline();
    let told = tempfile::NamedTempFile::new().unwrap();
    let arguments = ["dev", ".", "--ephemeral", "-o", "json", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let _dev = project.start(&arguments, told.reopen().unwrap());
    let eventually_tells = |words: &str| {
        let text = || std::fs::read_to_string(told.path()).unwrap();
        let missing = || format!("`{words}` was not told, but {}", text());
        wait::within(Duration::from_secs(60), Duration::from_millis(5), missing, || {
            text().contains(words).then_some(())
        });
    };
    eventually_tells("audit: created, 1.0.0 active");
    project.replace("workflows/audit.yaml", "version: 1.0.0", "version: 1.1.0");
    eventually_tells("audit: new version, 1.0.0 active → 1.1.0 active");
    project.replace("workflows/audit.yaml", "version: 1.1.0", "version: [");
    eventually_tells("mistake: ./workflows/audit.yaml:");
    eventually_tells("what was applied before goes on");
    project.replace("workflows/audit.yaml", "version: [", "version: 1.2.0");
    eventually_tells("audit: new version, 1.1.0 active → 1.2.0 active");
}

#[test]
fn doctor_names_what_is_missing() {
    let Some(project) = Project::online() else { return };
    let told = project.run(&["doctor"]).exits(1);
    told.tells("tidegate topics create");
    told.tells(&project.topic("webhooks"));
    let told = project.run(&["doctor", "-o", "json"]).exits(1).json();
    assert!(told.as_array().unwrap().iter().all(|it| it["finding"].is_string() && it["remedy"].is_string()), "{told}");
}

/// A workflow for every event that writes to a topic of the project.
fn audit(project: &Project) -> String {
    let topic = project.topic("audit-trail");
    format!(
        "id: audit\nname: Audit\nversion: 1.0.0\nstatus: active\ntriggers:\n  - event: \"*\"\nsteps:\n  - id: trail\n    \
         type: produce\n    config: {{ topic: {topic}, key: \"${{{{ event.type }}}}\", value: \"${{{{ event.id }}}}\" }}\n"
    )
}

/// Sends an event until a watcher has written the execution that it started.
#[track_caller]
fn eventually_seen(project: &Project, watched: &Path, event: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        project.run(&["send", "--value", event]).exits(0);
        let text = std::fs::read_to_string(watched).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        if lines.filter(|it| it["workflowId"] == "audit" && it["status"] == "completed").count() > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "nothing was watched but {text}");
    }
}

/// What is listed of a kind, once there is something.
#[track_caller]
fn eventually(project: &Project, kind: &str) -> Json {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let told = project.run(&["get", kind, "-o", "json"]).exits(0).json();
        if told.as_array().is_some_and(|rows| !rows.is_empty()) {
            return told;
        }
        assert!(Instant::now() < deadline, "there are still no {kind}");
    }
}
