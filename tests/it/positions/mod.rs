//! Where sources start, and what must not be started by itself: topics that are not the ones that were read, offsets that have expired,
//! records that were deleted unread. From outside, on the embedded broker or on real Kafka.

mod project;

use std::collections::HashMap;

use project::{Project, token, until};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::broker::TestBroker;
use crate::support::clients::{admin_options, block_on};
use crate::support::{topic_id, wait};

fn source(topic: &str, more: &str) -> String {
    format!("[[sources]]\ntopic = \"{topic}\"\nformat = \"cloudevents\"\nstart = \"earliest\"\n{more}\n")
}

fn confirming(topic: &str, token: &str) -> String {
    source(topic, &format!("confirm_start = \"{token}\""))
}

/// Deletes a topic and creates another one of the same name.
fn recreate(broker: &TestBroker, topic: &str, partitions: i32) {
    let before = topic_id::of(broker, topic);
    let deleted = block_on(broker.admin().delete_topics(&[topic], &admin_options())).unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    wait::until("the topic can be created again", || broker.create_topic(topic, partitions, 1, &[]).ok());
    wait::until("it is another one", || topic_id::of(broker, topic).filter(|id| Some(*id) != before));
}

/// Loses all offsets of the group, as their expiry does. Its members must have ended; they are missed after their session.
fn lose_offsets(project: &Project<'_>) {
    let group = [project.group.as_str()];
    until("the group is empty and can be deleted", || {
        let answers = block_on(project.broker.admin().delete_groups(&group, &admin_options())).unwrap();
        answers.into_iter().all(|answer| answer.is_ok()).then_some(())
    });
}

#[test]
fn a_recreated_source_is_refused_until_it_is_confirmed_and_the_others_go_on() {
    let Some(broker) = TestBroker::shared() else { return };
    let (project, changing, steady) = (Project::new(broker), broker.topic("changing", 2), broker.topic("steady", 2));
    let subject = format!("source/{changing}");
    project.send(&changing, 2, 20, None);
    project.send(&steady, 2, 4, None);
    let instance = project.instance("alone", &(source(&changing, "") + &source(&steady, "")));
    project.await_executed(&changing, 20);
    recreate(broker, &changing, 2);
    // Fewer than before: nobody goes on in it by accident.
    project.send(&changing, 2, 6, None);
    let message = instance.await_problem("topic-recreated", &subject);
    let raised = project.await_alert(&subject, "topic-recreated", "raised");
    assert_eq!((&raised["severity"], &raised["instance"]), (&"critical".into(), &"alone".into()));
    assert!(instance.get("/metrics").contains("tidegate_problem{kind=\"topic-recreated\"} 1\n"));
    project.send(&steady, 2, 4, None);
    project.await_executed(&steady, 8);
    assert_eq!(project.executed(&changing), 20, "nothing of the new topic was run");
    let lines =
        instance.log().lines().filter(|line| line.contains("needs attention") && line.contains(&subject)).count();
    assert_eq!(lines, 1, "{}", instance.log());
    instance.kill();

    let confirmed = confirming(&changing, &token(&message)) + &source(&steady, "");
    let instance = project.instance("alone", &confirmed);
    project.await_executed(&changing, 26);
    project.await_alert(&subject, "topic-recreated", "cleared");
    // The same setting does not confirm the next one, into which a reader could go on unnoticed at the old offset.
    recreate(broker, &changing, 2);
    project.send(&changing, 2, 2, None);
    let again = instance.await_problem("topic-recreated", &subject);
    assert_ne!(token(&again), token(&message));
    project.await_alert(&subject, "topic-recreated", "raised");
    assert_eq!(project.executed(&changing), 26);
    let states: Vec<_> = project.alerts().into_iter().filter(|it| it["subject"] == *subject).collect();
    assert_eq!(states.len(), 3, "one for each change: {states:?}");
}

#[test]
fn a_source_that_is_recreated_with_as_many_records_is_noticed_all_the_same() {
    let Some(broker) = TestBroker::shared() else { return };
    let (project, topic) = (Project::new(broker), broker.topic("quick", 1));
    project.send(&topic, 1, 5, None);
    let instance = project.instance("alone", &source(&topic, ""));
    project.await_executed(&topic, 5);
    recreate(broker, &topic, 1);
    project.send(&topic, 1, 5, None);
    instance.await_problem("topic-recreated", &format!("source/{topic}"));
    assert_eq!(project.executed(&topic), 5);
}

#[test]
fn a_recreated_system_topic_is_said_and_definitions_stay() {
    let Some(broker) = TestBroker::shared() else { return };
    let (project, topic) = (Project::new(broker), broker.topic("events", 1));
    let instance = project.instance("alone", &source(&topic, ""));
    project.send(&topic, 1, 1, None);
    project.await_executed(&topic, 1);
    let workflows = project.topic("workflows");
    recreate(broker, &workflows, 1);
    let message = instance.await_problem("topic-recreated", &format!("topic/{workflows}"));
    assert!(message.contains("start the instance again"), "{message}");
    project.await_alert(&format!("topic/{workflows}"), "topic-recreated", "raised");
    project.send(&topic, 1, 3, None);
    project.await_executed(&topic, 4);
}

#[test]
fn expired_offsets_are_refused_until_the_start_is_confirmed_each_time() {
    let Some(broker) = TestBroker::shared() else { return };
    let (project, topic) = (Project::new(broker), broker.topic("expired", 2));
    let subject = format!("source/{topic}");
    project.send(&topic, 2, 4, None);
    let instance = project.instance("alone", &source(&topic, ""));
    project.await_executed(&topic, 4);
    instance.kill();
    lose_offsets(&project);
    let instance = project.instance("alone", &source(&topic, ""));
    let message = instance.await_problem("offsets-expired", &subject);
    project.await_alert(&subject, "offsets-expired", "raised");
    assert_eq!(project.executed(&topic), 4);
    instance.kill();
    // Confirmed: from where `start` says, which is the beginning.
    let instance = project.instance("alone", &confirming(&topic, &token(&message)));
    project.await_executed(&topic, 8);
    project.await_alert(&subject, "offsets-expired", "cleared");
    instance.kill();
    lose_offsets(&project);
    let instance = project.instance("alone", &confirming(&topic, &token(&message)));
    let again = instance.await_problem("offsets-expired", &subject);
    assert_ne!(token(&again), token(&message));
    assert_eq!(project.executed(&topic), 8);
}

#[test]
fn a_start_holds_for_all_partitions_whichever_lane_has_them() {
    let Some(broker) = TestBroker::shared() else { return };
    let (project, topic) = (Project::new(broker), broker.topic("latest", 6));
    project.send(&topic, 6, 60, None);
    let settings = format!("lanes = 3\n{}", source(&topic, "").replace("earliest", "latest"));
    let instance = project.instance("alone", &settings);
    until("the instance is ready", || instance.get("/readyz").contains("\"ready\":true").then_some(()));
    // Ready is each lane by itself; all partitions are held once each has its lag.
    until("all partitions are held", || {
        (instance.get("/metrics").matches("tidegate_consumer_lag_records{").count() == 6).then_some(())
    });
    project.send(&topic, 6, 12, None);
    project.await_executed(&topic, 12);
}

#[test]
fn a_lost_range_is_an_alert_that_names_it() {
    let Some(broker) = TestBroker::shared() else { return };
    let (project, topic) = (Project::new(broker), broker.topic("lost", 1));
    project.send(&topic, 1, 5, None);
    let instance = project.instance("alone", &source(&topic, ""));
    project.await_executed(&topic, 5);
    instance.kill();
    project.send(&topic, 1, 10, None);
    let up_to = HashMap::from([((topic.clone(), 0), Offset::Offset(12))]);
    let up_to = TopicPartitionList::from_topic_map(&up_to).unwrap();
    block_on(broker.admin().delete_records(&up_to, &admin_options())).unwrap();
    let instance = project.instance("alone", &source(&topic, ""));
    let subject = format!("source/{topic}/0");
    let alert = project.await_alert(&subject, "lost-records", "raised");
    let lost = serde_json::json!({ "topic": topic, "partition": 0, "firstOffset": 5, "lastOffset": 11 });
    assert_eq!(alert["lost"], lost);
    instance.await_problem("lost-records", &subject);
    project.await_executed(&topic, 8);
    assert_eq!(project.alerts().iter().filter(|it| it["alert"] == "lost-records").count(), 1);
}

#[test]
fn two_instances_of_one_name_say_so() {
    let Some(broker) = TestBroker::shared() else { return };
    let (project, topic) = (Project::new(broker), broker.topic("twins", 1));
    let one = project.instance("twin", &source(&topic, ""));
    let other = project.instance("twin", &source(&topic, ""));
    let alert = project.await_alert("lane/twin-0", "duplicate-identity", "raised");
    assert!(alert["message"].as_str().unwrap().contains("same `instance` name"), "{alert}");
    one.kill();
    other.kill();
    // Whoever raised it cannot clear it any more; the next process of the name does.
    let _only = project.instance("twin", &source(&topic, ""));
    project.await_alert("lane/twin-0", "duplicate-identity", "cleared");
}

#[test]
fn the_oldest_event_in_flight_is_shown_until_it_is_committed() {
    const SENT_MS: i64 = 1_600_000_000_000;
    const NAME: &str = "tidegate_oldest_unprocessed_timestamp_seconds ";
    let Some(broker) = TestBroker::shared() else { return };
    let (project, topic) = (Project::new(broker), broker.topic_with("old", 1, &[("retention.ms", "-1")]));
    project.send(&topic, 1, 60_000, Some(SENT_MS));
    let instance = project.instance("alone", &source(&topic, ""));
    let shown = || instance.get("/metrics").lines().find_map(|line| line.strip_prefix(NAME).map(str::to_owned));
    let oldest = until("something is in flight", shown);
    assert_eq!(oldest.parse::<f64>().ok(), Some(SENT_MS as f64 / 1000.0));
    until("nothing is in flight", || shown().is_none().then_some(()));
    assert_eq!(project.executed(&topic), 60_000);
}

#[test]
fn the_journal_has_the_partitions_that_were_chosen_and_no_others() {
    let Some(broker) = TestBroker::shared() else { return };
    let project = Project::new(broker);
    assert!(project.command("", &["topics", "check"]).status.success());
    let other = project.command("[topics]\njournal_partitions = 48", &["topics", "check"]);
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains("it has 24 partitions, but must have exactly 48"), "{said}");
    assert!(said.contains("journal_partitions = 24"), "{said}");
    let refused = project.instance("other", "[topics]\njournal_partitions = 48");
    until("the instance says why it waits", || refused.log().contains("journal_partitions = 24").then_some(()));
}
