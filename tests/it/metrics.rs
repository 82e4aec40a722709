//! Metrics as a scraper sees them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate::telemetry::exposition::Exposition;
use tidegate::telemetry::health::Health;
use tidegate::telemetry::lane_metrics::WorkflowSlot;
use tidegate::telemetry::metrics::{Kind, Metric, Metrics, SERIES_MOST};

use crate::promtool::{check_metrics, promtool};

/// Metrics in which every family has a series. The lane is kept, since some series live as long as it does.
fn filled() -> (Metrics, tidegate::telemetry::lane_metrics::LaneMetrics) {
    let metrics = Metrics::new("1.2.3", "abc\"\\\n");
    let mut lane = metrics.lane(0);
    let topic = lane.topic("webhooks");
    let workflow = lane.workflow("order-paid");
    let step = lane.step(workflow, "charge");
    lane.event_consumed(topic);
    lane.event_unmatched(topic);
    lane.event_undecodable(topic, "json");
    lane.event_matched(workflow);
    lane.execution_started(workflow);
    lane.execution_finished(workflow, "completed", Duration::from_millis(7));
    lane.execution_finished(workflow, "failed", Duration::from_secs(1000));
    lane.step_attempted(step, "completed");
    lane.step_finished(step, Duration::from_millis(5));
    lane.dead_letter(workflow, "step");
    lane.dead_letter(WorkflowSlot::NONE, "decode");
    lane.replayed("completed", 1);
    lane.batch_committed(Duration::from_micros(900), 42);
    lane.commit_failed("aborted");
    lane.rebalanced("assigned");
    lane.set_lag(&Arc::from("webhooks"), 3, 17);
    lane.set_memory_in_flight(1 << 20);
    lane.set_waiting("timer", 2);
    lane.set_oldest_unprocessed(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    lane.flush();
    metrics.lane_restarted("fenced");
    metrics.breaker_stands("billing", &["closed", "open"], "closed");
    metrics.breaker_changed("billing", &["closed", "open"], "open");
    metrics.breaker_store_degraded(true);
    let health = Health::new(1, Instant::now());
    health.raise("topic-missing", "webhooks", "create it", SystemTime::now());
    metrics.observe(&health.readiness(Instant::now()));
    (metrics, lane)
}

/// The value of one series.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let text = metrics.render(Exposition::Text);
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[track_caller]
fn check(metrics: &Metrics, series: &str, expected: Option<&str>) {
    assert_eq!(value(metrics, series).as_deref(), expected, "{series} of\n{}", metrics.render(Exposition::Text));
}

#[test]
fn every_metric_is_shown_and_promtool_is_content() {
    let (metrics, _lane) = filled();
    let text = metrics.render(Exposition::Text);
    for metric in Metric::ALL {
        let name = metric.definition().name;
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not shown");
    }
    if let Some(promtool) = promtool() {
        check_metrics(&promtool, &text);
    }
}

#[test]
fn what_was_counted_is_what_is_shown() {
    let (metrics, _lane) = filled();
    check(&metrics, r#"tidegate_executions_waiting{reason="timer"}"#, Some("2"));
    check(&metrics, r#"tidegate_build_info{version="1.2.3",revision="abc\"\\\n"}"#, Some("1"));
    check(&metrics, r#"tidegate_events_consumed_total{topic="webhooks"}"#, Some("1"));
    check(&metrics, r#"tidegate_executions_finished_total{workflow="order-paid",status="failed"}"#, Some("1"));
    check(&metrics, r#"tidegate_execution_duration_seconds_bucket{workflow="order-paid",le="0.005"}"#, Some("0"));
    check(&metrics, r#"tidegate_execution_duration_seconds_bucket{workflow="order-paid",le="0.01"}"#, Some("1"));
    check(&metrics, r#"tidegate_execution_duration_seconds_bucket{workflow="order-paid",le="+Inf"}"#, Some("2"));
    check(&metrics, r#"tidegate_execution_duration_seconds_count{workflow="order-paid"}"#, Some("2"));
    check(&metrics, r#"tidegate_execution_duration_seconds_sum{workflow="order-paid"}"#, Some("1000.007"));
    check(&metrics, r#"tidegate_circuit_breaker_state{connector="billing",state="closed"}"#, Some("0"));
    check(&metrics, r#"tidegate_circuit_breaker_state{connector="billing",state="open"}"#, Some("1"));
    check(&metrics, r#"tidegate_circuit_breaker_transitions_total{connector="billing",to="open"}"#, Some("1"));
    check(&metrics, "tidegate_breaker_store_degraded", Some("1"));
    metrics.breaker_store_degraded(false);
    check(&metrics, "tidegate_breaker_store_degraded", Some("0"));
    // A value that lies on a bound belongs below it.
    check(
        &metrics,
        r#"tidegate_step_duration_seconds_bucket{workflow="order-paid",step="charge",le="0.005"}"#,
        Some("1"),
    );
    check(&metrics, r#"tidegate_dead_letters_total{workflow="",reason="decode"}"#, Some("1"));
    check(&metrics, r#"tidegate_consumer_lag_records{topic="webhooks",partition="3"}"#, Some("17"));
    check(&metrics, "tidegate_memory_in_flight_bytes", Some("1048576"));
    check(&metrics, "tidegate_oldest_unprocessed_timestamp_seconds", Some("1700000000"));
    check(&metrics, "tidegate_batch_records_sum", Some("42"));
    check(&metrics, "tidegate_ready", Some("0"));
    check(&metrics, r#"tidegate_problem{kind="topic-missing"}"#, Some("1"));
}

#[test]
fn counting_many_at_once_is_counting_each() {
    let metrics = Metrics::new("1", "r");
    let mut lane = metrics.lane(0);
    let (topic, workflow) = (lane.topic("t"), lane.workflow("w"));
    let step = lane.step(workflow, "s");
    lane.events_consumed(topic, 7);
    lane.events_unmatched(topic, 2);
    lane.events_undecodable(topic, "json", 3);
    // More than may wait for their buckets, with nobody to do the upkeep.
    lane.events_matched(workflow, 200_005);
    lane.executions_started(workflow, 200_005);
    lane.executions_finished(workflow, "completed", 200_000, Duration::from_millis(500));
    lane.executions_finished(workflow, "failed", 5, Duration::from_secs(2));
    lane.steps_attempted(step, "completed", 4);
    lane.dead_letters(workflow, "step", 6);
    lane.flush();
    check(&metrics, r#"tidegate_events_consumed_total{topic="t"}"#, Some("7"));
    check(&metrics, r#"tidegate_events_unmatched_total{topic="t"}"#, Some("2"));
    check(&metrics, r#"tidegate_events_undecodable_total{topic="t",format="json"}"#, Some("3"));
    check(&metrics, r#"tidegate_events_matched_total{workflow="w"}"#, Some("200005"));
    check(&metrics, r#"tidegate_executions_started_total{workflow="w"}"#, Some("200005"));
    check(&metrics, r#"tidegate_executions_finished_total{workflow="w",status="completed"}"#, Some("200000"));
    check(&metrics, r#"tidegate_executions_finished_total{workflow="w",status="failed"}"#, Some("5"));
    check(&metrics, r#"tidegate_execution_duration_seconds_bucket{workflow="w",le="0.25"}"#, Some("0"));
    check(&metrics, r#"tidegate_execution_duration_seconds_bucket{workflow="w",le="0.5"}"#, Some("200000"));
    check(&metrics, r#"tidegate_execution_duration_seconds_count{workflow="w"}"#, Some("200005"));
    check(&metrics, r#"tidegate_execution_duration_seconds_sum{workflow="w"}"#, Some("100010"));
    check(&metrics, r#"tidegate_step_attempts_total{workflow="w",step="s",outcome="completed"}"#, Some("4"));
    check(&metrics, r#"tidegate_dead_letters_total{workflow="w",reason="step"}"#, Some("6"));
}

#[test]
fn upkeep_neither_loses_nor_repeats_a_sample() {
    let metrics = Metrics::new("1", "r");
    let mut lane = metrics.lane(0);
    for number in 1..=1000 {
        lane.batch_committed(Duration::from_millis(number), 1);
        if number % 300 == 0 {
            lane.flush();
            metrics.upkeep();
        }
    }
    drop(lane);
    metrics.upkeep();
    check(&metrics, "tidegate_commit_duration_seconds_count", Some("1000"));
    check(&metrics, r#"tidegate_commit_duration_seconds_bucket{le="0.1"}"#, Some("100"));
    check(&metrics, "tidegate_batch_records_sum", Some("1000"));
    check(&metrics, "tidegate_batch_records_sum", Some("1000"));
}

#[test]
fn lanes_and_upkeep_at_the_same_time_lose_no_sample() {
    let metrics = Metrics::new("1", "r");
    std::thread::scope(|scope| {
        for number in 0..4 {
            let metrics = &metrics;
            scope.spawn(move || {
                let mut lane = metrics.lane(number);
                let workflow = lane.workflow("w");
                for _ in 0..100 {
                    lane.executions_finished(workflow, "completed", 500, Duration::from_secs(1));
                    lane.flush();
                }
            });
        }
        (0..50).for_each(|_| metrics.upkeep());
    });
    check(&metrics, r#"tidegate_execution_duration_seconds_count{workflow="w"}"#, Some("200000"));
    check(&metrics, r#"tidegate_execution_duration_seconds_bucket{workflow="w",le="1"}"#, Some("200000"));
}

#[track_caller]
fn check_label(value: &str, shown: &str) {
    let text = Metrics::new("1", value).render(Exposition::Text);
    let series = format!("tidegate_build_info{{version=\"1\",revision=\"{shown}\"}} 1\n");
    assert!(text.contains(&series), "{series} is not in\n{text}");
}

#[test]
fn values_of_labels_are_escaped() {
    check_label("plain", "plain");
    check_label("a\"b", r#"a\"b"#);
    check_label("a\nb", r"a\nb");
    check_label(r"a\b", r"a\\b");
    check_label(r"a\\b", r"a\\\\b");
    check_label("\\\"", r#"\\\""#);
    check_label("\\\n\\", r"\\\n\\");
    check_label("NaN", "NaN");
}

#[test]
fn nothing_is_shown_before_it_is_handed_over() {
    let metrics = Metrics::new("1", "r");
    let mut lane = metrics.lane(0);
    let workflow = lane.workflow("a");
    lane.execution_started(workflow);
    check(&metrics, r#"tidegate_executions_started_total{workflow="a"}"#, None);
    lane.flush();
    lane.flush();
    check(&metrics, r#"tidegate_executions_started_total{workflow="a"}"#, Some("1"));
    lane.execution_started(workflow);
    drop(lane);
    check(&metrics, r#"tidegate_executions_started_total{workflow="a"}"#, Some("2"));
}

#[test]
fn series_past_the_bound_become_other() {
    let metrics = Metrics::new("1", "r");
    let mut lanes = [metrics.lane(0), metrics.lane(1)];
    for number in 0..SERIES_MOST + 10 {
        let lane = &mut lanes[number % 2];
        let workflow = lane.workflow(&format!("w{number}"));
        let step = lane.step(workflow, "s");
        let topic = lane.topic(&format!("t{number}"));
        lane.execution_started(workflow);
        lane.step_attempted(step, "completed");
        lane.event_consumed(topic);
    }
    // A name that one lane was given is the other lane's too, even when no more are given.
    let known = lanes[1].workflow("w0");
    lanes[1].execution_started(known);
    lanes.iter_mut().for_each(|lane| lane.flush());
    check(&metrics, r#"tidegate_executions_started_total{workflow="other"}"#, Some("10"));
    check(&metrics, r#"tidegate_executions_started_total{workflow="w0"}"#, Some("2"));
    check(&metrics, r#"tidegate_step_attempts_total{workflow="other",step="other",outcome="completed"}"#, Some("10"));
    check(&metrics, r#"tidegate_events_consumed_total{topic="other"}"#, Some("10"));
    let text = metrics.render(Exposition::Text);
    let series = text.lines().filter(|line| line.starts_with("tidegate_executions_started_total{")).count();
    assert_eq!(series, SERIES_MOST + 1);
}

#[test]
fn a_partition_that_moves_away_takes_its_lag_with_it() {
    let metrics = Metrics::new("1", "r");
    let (mut one, mut two) = (metrics.lane(0), metrics.lane(1));
    let topic: Arc<str> = "t".into();
    let series = r#"tidegate_consumer_lag_records{topic="t",partition="0"}"#;
    one.set_lag(&topic, 0, 5);
    one.set_lag(&topic, 0, 4);
    check(&metrics, series, Some("4"));
    one.forget_partition(&topic, 0);
    check(&metrics, series, None);
    two.set_lag(&topic, 0, 9);
    check(&metrics, series, Some("9"));
    drop(two);
    check(&metrics, series, None);
}

#[test]
fn lanes_add_up_and_a_lane_that_ends_takes_its_share_back() {
    let metrics = Metrics::new("1", "r");
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let (mut one, mut two) = (metrics.lane(0), metrics.lane(1));
    one.set_memory_in_flight(10);
    two.set_memory_in_flight(5);
    one.set_waiting("connector", 7);
    two.set_waiting("connector", 4);
    two.set_waiting("connector", 3);
    check(&metrics, r#"tidegate_executions_waiting{reason="connector"}"#, Some("10"));
    one.set_oldest_unprocessed(at(100));
    two.set_oldest_unprocessed(at(50));
    check(&metrics, "tidegate_memory_in_flight_bytes", Some("15"));
    check(&metrics, "tidegate_oldest_unprocessed_timestamp_seconds", Some("50"));
    drop(two);
    check(&metrics, "tidegate_memory_in_flight_bytes", Some("10"));
    check(&metrics, r#"tidegate_executions_waiting{reason="connector"}"#, Some("7"));
    check(&metrics, "tidegate_oldest_unprocessed_timestamp_seconds", Some("100"));
    one.set_oldest_unprocessed(None);
    check(&metrics, "tidegate_oldest_unprocessed_timestamp_seconds", None);
}

#[test]
fn open_metrics_names_families_without_total_and_ends() {
    let (metrics, _lane) = filled();
    let text = metrics.render(Exposition::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE tidegate_events_consumed counter\n"));
    assert!(text.contains("\ntidegate_events_consumed_total{topic=\"webhooks\"} 1\n"));
    assert!(!text.contains("\n\n"));
    assert!(!text.contains("_total counter"));
    assert!(text.contains("\ntidegate_batch_records_bucket{le=\"100.0\"} 1\n"));
    assert!(text.contains("\ntidegate_batch_records_bucket{le=\"+Inf\"} 1\n"));
}

#[test]
fn two_instances_in_one_process_count_apart() {
    let (one, two) = (Metrics::new("1", "r"), Metrics::new("1", "r"));
    one.lane_restarted("fenced");
    check(&one, r#"tidegate_lane_restarts_total{reason="fenced"}"#, Some("1"));
    check(&two, r#"tidegate_lane_restarts_total{reason="fenced"}"#, None);
}

#[test]
fn names_are_unique_and_follow_the_conventions() {
    let mut names: Vec<_> = Metric::ALL.iter().map(|metric| metric.definition().name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Metric::ALL.len());
    for metric in Metric::ALL {
        let definition = metric.definition();
        // What OpenMetrics needs, which takes `_total` off the names of counters alone.
        assert_eq!(definition.name.ends_with("_total"), definition.kind == Kind::Counter, "{}", definition.name);
        let help = definition.help;
        assert!(help.ends_with('.') && !help.contains(['"', '\\', '\n']), "{help}");
    }
}

#[track_caller]
fn check_negotiation(accept: &str, expected: Exposition) {
    assert_eq!(Exposition::negotiate(accept), expected, "of {accept}");
}

#[test]
fn the_format_is_what_the_scraper_prefers() {
    check_negotiation("", Exposition::Text);
    check_negotiation("*/*", Exposition::Text);
    check_negotiation("text/html", Exposition::Text);
    check_negotiation("application/openmetrics-text", Exposition::OpenMetrics);
    check_negotiation("application/openmetrics-text; version=1.0.0, text/plain;q=0.5", Exposition::OpenMetrics);
    check_negotiation(
        "application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.7",
        Exposition::Text,
    );
    check_negotiation("application/openmetrics-text;q=0", Exposition::Text);
    check_negotiation("APPLICATION/OpenMetrics-Text", Exposition::OpenMetrics);
    check_negotiation(";;q=x,,\u{fffd}", Exposition::Text);
}
