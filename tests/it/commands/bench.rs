//! `tidegate bench`: jobs that call, fail and wait run to their end at a small size and verify what they did. What they measure then says
//! nothing.

use tidegate::bench::{self, Job, JobReport, Options};

use super::project::Project;

const EVENTS: u64 = 1_000;
/// By how much requests of the loop may differ from those that it is the limit of.
const SIZE_SHARE: f64 = 0.03;

#[test]
fn jobs_that_call_and_jobs_with_poison_run_to_their_end() {
    let jobs = ["L2", "R2-0", "R2", "R4-10"].map(|name| Job::parse(name).unwrap());
    let options = Options {
        bootstrap: None,
        jobs: jobs.into(),
        warm_ups: 0,
        rounds: 1,
        events: EVENTS,
        latency_at: None,
        broker_pid: None,
    };
    let report = bench::run(&options, &mut |_| ()).unwrap();
    let names: Vec<&str> = report.jobs.iter().map(|job| job.job.as_str()).collect();
    assert_eq!(names, ["L2-0", "L2-5", "R2-0", "R2-5", "R4-10"]);
    let job = |name: &str| report.jobs.iter().find(|job| job.job == name).unwrap();
    for (calling, limit) in [("R2-0", "L2-0"), ("R2-5", "L2-5")] {
        let JobReport { baseline, ratio, .. } = job(calling);
        assert_eq!((baseline.as_deref(), ratio.is_some()), (Some(limit), true));
        let (mine, its) = (job(calling).request_bytes.unwrap(), job(limit).request_bytes.unwrap());
        assert!((mine / its - 1.0).abs() <= SIZE_SHARE, "{calling}: {mine} bytes a request, {limit}: {its}");
    }
    let poisoned = job("R4-10");
    assert_eq!((poisoned.baseline.as_deref(), poisoned.request_bytes), (None, None));
}

#[test]
fn memory_of_executions_that_wait_is_measured_in_a_process_of_its_own() {
    let events = EVENTS.to_string();
    let arguments = ["bench", "--jobs", "R3", "--events", &events, "--rounds", "1", "-o", "json"];
    let report = Project::offline().run(&arguments).exits(0).json();
    let memory = &report["memory"][0];
    assert_eq!((&memory["job"], &memory["waiting"]), (&"R3".into(), &[EVENTS / 10, EVENTS].into()));
    let resident = |place: usize| memory["residentBytes"][place]["median"].as_f64().unwrap();
    assert!(resident(0) > 0.0 && resident(1) > resident(0), "{memory}");
}
