//! What one lane counts: plain numbers on its own thread, handed over once per batch. Names are looked up once and become slots, so
//! that counting costs an addition.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::metrics::{Counter, Gauge, Histogram};
use rustc_hash::FxHashMap;

use super::metrics::{Inner, Metric, unix_seconds};
use super::recorder::{OTHER, Recorder, Share};

/// Different samples of one histogram that wait to be handed over; a batch rarely has more, and one that has is handed over in parts.
/// Of a thousand workflows and as many steps they take 8 MiB a lane at most.
const SAMPLES_MOST: usize = 256;

/// A topic of a lane's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSlot(usize);

/// A workflow of a lane's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowSlot(usize);

impl WorkflowSlot {
    /// No workflow at all: a dead letter of a record that never became an execution.
    pub const NONE: WorkflowSlot = WorkflowSlot(1);
    const OTHER: WorkflowSlot = WorkflowSlot(0);
}

/// A step of a lane's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSlot(usize);

/// The counts of one lane since it last handed them over. Slots are those of the lane that gave them.
///
/// Words for outcomes, reasons and formats are `'static`: they are few, and none comes from outside.
pub struct LaneMetrics {
    shared: Arc<Inner>,
    lane: usize,
    topic_slots: FxHashMap<Arc<str>, TopicSlot>,
    topics: Vec<TopicCells>,
    workflow_slots: FxHashMap<Arc<str>, WorkflowSlot>,
    workflows: Vec<WorkflowCells>,
    steps: Vec<StepCells>,
    changed_topics: Vec<usize>,
    changed_workflows: Vec<usize>,
    changed_steps: Vec<usize>,
    lags: FxHashMap<(Arc<str>, i32), Share>,
    memory: Share,
    waiting: FxHashMap<&'static str, Share>,
    last_commit: Option<Gauge>,
    commits: Words,
    rebalances: Words,
    replayed: Words,
    commit_duration: Sampled,
    batch_records: Sampled,
}

struct TopicCells {
    changed: bool,
    name: Arc<str>,
    consumed: Tally,
    unmatched: Tally,
    undecodable: Words,
}

struct WorkflowCells {
    changed: bool,
    name: Arc<str>,
    step_slots: FxHashMap<Arc<str>, StepSlot>,
    matched: Tally,
    started: Tally,
    finished: Words,
    dead_letters: Words,
    duration: Sampled,
}

struct StepCells {
    changed: bool,
    workflow: Arc<str>,
    name: Arc<str>,
    attempts: Words,
    duration: Sampled,
}

impl LaneMetrics {
    pub(super) fn new(shared: Arc<Inner>, lane: usize) -> LaneMetrics {
        let memory = shared.recorder.share(Metric::MemoryInFlight, &[]);
        LaneMetrics {
            lane,
            topic_slots: FxHashMap::default(),
            topics: vec![TopicCells::new(&shared, OTHER)],
            workflow_slots: FxHashMap::default(),
            // In the order of their constant slots.
            workflows: vec![WorkflowCells::new(OTHER), WorkflowCells::new("")],
            steps: vec![StepCells::new(OTHER, OTHER)],
            changed_topics: Vec::new(),
            changed_workflows: Vec::new(),
            changed_steps: Vec::new(),
            lags: FxHashMap::default(),
            memory,
            waiting: FxHashMap::default(),
            last_commit: None,
            commits: Words::default(),
            rebalances: Words::default(),
            replayed: Words::default(),
            commit_duration: Sampled::default(),
            batch_records: Sampled::default(),
            shared,
        }
    }

    /// The slot of a topic; past the bound on series the one of all others.
    pub fn topic(&mut self, name: &str) -> TopicSlot {
        if let Some(slot) = self.topic_slots.get(name) {
            return *slot;
        }
        if !self.shared.topics.admits(name) {
            return TopicSlot(0);
        }
        let slot = TopicSlot(self.topics.len());
        self.topics.push(TopicCells::new(&self.shared, name));
        self.topic_slots.insert(name.into(), slot);
        slot
    }

    /// The slot of a workflow; past the bound on series the one of all others.
    pub fn workflow(&mut self, id: &str) -> WorkflowSlot {
        if let Some(slot) = self.workflow_slots.get(id) {
            return *slot;
        }
        if !self.shared.workflows.admits(id) {
            return WorkflowSlot::OTHER;
        }
        let slot = WorkflowSlot(self.workflows.len());
        self.workflows.push(WorkflowCells::new(id));
        self.workflow_slots.insert(id.into(), slot);
        slot
    }

    /// The slot of a workflow's step; past the bound on series the one of all others.
    pub fn step(&mut self, workflow: WorkflowSlot, id: &str) -> StepSlot {
        let cells = &mut self.workflows[workflow.0];
        if let Some(slot) = cells.step_slots.get(id) {
            return *slot;
        }
        // Neither an id of a workflow nor one of a step has a slash.
        let named = workflow != WorkflowSlot::OTHER && self.shared.steps.admits(&format!("{}/{id}", cells.name));
        if !named {
            return StepSlot(0);
        }
        let slot = StepSlot(self.steps.len());
        self.steps.push(StepCells::new(&cells.name, id));
        cells.step_slots.insert(id.into(), slot);
        slot
    }

    /// A record was read from a source.
    pub fn event_consumed(&mut self, topic: TopicSlot) {
        self.events_consumed(topic, 1);
    }

    /// So many records were read from a source.
    pub fn events_consumed(&mut self, topic: TopicSlot, count: u64) {
        self.change_topic(topic).consumed.pending += count;
    }

    /// An event matched no workflow.
    pub fn event_unmatched(&mut self, topic: TopicSlot) {
        self.events_unmatched(topic, 1);
    }

    /// So many events matched no workflow.
    pub fn events_unmatched(&mut self, topic: TopicSlot, count: u64) {
        self.change_topic(topic).unmatched.pending += count;
    }

    /// A record could not be understood as the format of its source.
    pub fn event_undecodable(&mut self, topic: TopicSlot, format: &'static str) {
        self.events_undecodable(topic, format, 1);
    }

    /// So many records could not be understood as the format of their source.
    pub fn events_undecodable(&mut self, topic: TopicSlot, format: &'static str, count: u64) {
        self.change_topic(topic).undecodable.add(format, count);
    }

    /// An event matched a workflow.
    pub fn event_matched(&mut self, workflow: WorkflowSlot) {
        self.events_matched(workflow, 1);
    }

    /// So many events matched a workflow.
    pub fn events_matched(&mut self, workflow: WorkflowSlot, count: u64) {
        self.change_workflow(workflow).matched.pending += count;
    }

    /// An execution started.
    pub fn execution_started(&mut self, workflow: WorkflowSlot) {
        self.executions_started(workflow, 1);
    }

    /// So many executions started.
    pub fn executions_started(&mut self, workflow: WorkflowSlot, count: u64) {
        self.change_workflow(workflow).started.pending += count;
    }

    /// An execution ended.
    pub fn execution_finished(&mut self, workflow: WorkflowSlot, status: &'static str, duration: Duration) {
        self.executions_finished(workflow, status, 1, duration);
    }

    /// So many executions ended, and each took that long.
    pub fn executions_finished(
        &mut self,
        workflow: WorkflowSlot,
        status: &'static str,
        count: u64,
        duration: Duration,
    ) {
        let cells = self.change_workflow(workflow);
        cells.finished.add(status, count);
        cells.duration.add(duration, count);
        self.flush_if_full(|lane| &lane.workflows[workflow.0].duration);
    }

    /// An attempt of a step ended.
    pub fn step_attempted(&mut self, step: StepSlot, outcome: &'static str) {
        self.steps_attempted(step, outcome, 1);
    }

    /// So many attempts of a step ended.
    pub fn steps_attempted(&mut self, step: StepSlot, outcome: &'static str, count: u64) {
        self.change_step(step).attempts.add(outcome, count);
    }

    /// A step ended after all its attempts.
    pub fn step_finished(&mut self, step: StepSlot, duration: Duration) {
        self.steps_finished(step, 1, duration);
    }

    /// So many ended, and each took that long.
    pub fn steps_finished(&mut self, step: StepSlot, count: u64, duration: Duration) {
        self.change_step(step).duration.add(duration, count);
        self.flush_if_full(|lane| &lane.steps[step.0].duration);
    }

    /// A dead letter was written.
    pub fn dead_letter(&mut self, workflow: WorkflowSlot, reason: &'static str) {
        self.dead_letters(workflow, reason, 1);
    }

    /// So many dead letters were written.
    pub fn dead_letters(&mut self, workflow: WorkflowSlot, reason: &'static str, count: u64) {
        self.change_workflow(workflow).dead_letters.add(reason, count);
    }

    /// So much of what was brought back came to this.
    pub fn replayed(&mut self, outcome: &'static str, count: u64) {
        self.replayed.add(outcome, count);
    }

    /// A transaction committed: how long that took, and the records it wrote.
    pub fn batch_committed(&mut self, duration: Duration, records: usize) {
        self.commits.add("committed", 1);
        self.commit_duration.add(duration, 1);
        self.batch_records.add_value(records as f64, 1);
        // Absent until the first commit, so that a lane that has just started does not look stalled since 1970.
        let gauge = || self.shared.recorder.gauge(Metric::LastCommit, &[&self.lane.to_string()]);
        self.last_commit.get_or_insert_with(gauge).set(unix_seconds(SystemTime::now()));
        self.flush_if_full(|lane| &lane.commit_duration);
    }

    /// A transaction did not commit.
    pub fn commit_failed(&mut self, outcome: &'static str) {
        self.commits.add(outcome, 1);
    }

    /// The lane's partitions changed: assigned, revoked or lost.
    pub fn rebalanced(&mut self, change: &'static str) {
        self.rebalances.add(change, 1);
    }

    /// Records of an owned partition that are not yet processed and committed.
    pub fn set_lag(&mut self, topic: &Arc<str>, partition: i32, records: u64) {
        let shared = &self.shared;
        let share = self.lags.entry((topic.clone(), partition)).or_insert_with(|| {
            let number = partition.to_string();
            let named = shared.topics.admits(topic) && shared.partitions.admits(&format!("{topic}/{number}"));
            let labels = if named { [topic.as_ref(), number.as_str()] } else { [OTHER, OTHER] };
            shared.recorder.share(Metric::ConsumerLag, &labels)
        });
        share.set(records as f64);
    }

    /// A partition is owned no longer: its lag is somebody else's.
    pub fn forget_partition(&mut self, topic: &Arc<str>, partition: i32) {
        self.lags.remove(&(topic.clone(), partition));
    }

    /// Bytes of what is read but not committed and of what it led to.
    pub fn set_memory_in_flight(&mut self, bytes: u64) {
        self.memory.set(bytes as f64);
    }

    /// So many executions of the lane wait for this.
    pub fn set_waiting(&mut self, reason: &'static str, executions: u64) {
        let share = || self.shared.recorder.share(Metric::ExecutionsWaiting, &[reason]);
        self.waiting.entry(reason).or_insert_with(share).set(executions as f64);
    }

    /// The timestamp of the oldest record that is read but not committed.
    pub fn set_oldest_unprocessed(&self, timestamp: Option<SystemTime>) {
        self.shared.set_oldest(self.lane, timestamp.map(unix_seconds));
    }

    /// Hands over what was counted since the last time. Called once per batch, and costs by what changed, not by what is known.
    pub fn flush(&mut self) {
        let recorder = &self.shared.recorder;
        for index in self.changed_topics.drain(..) {
            self.topics[index].flush(recorder);
        }
        for index in self.changed_workflows.drain(..) {
            self.workflows[index].flush(recorder);
        }
        for index in self.changed_steps.drain(..) {
            self.steps[index].flush(recorder);
        }
        self.commits.flush(|outcome| recorder.counter(Metric::Commits, &[outcome]));
        self.replayed.flush(|outcome| recorder.counter(Metric::Replayed, &[outcome]));
        self.rebalances.flush(|change| recorder.counter(Metric::Rebalances, &[change]));
        self.commit_duration.flush(recorder, || recorder.histogram(Metric::CommitDuration, &[]));
        self.batch_records.flush(recorder, || recorder.histogram(Metric::BatchRecords, &[]));
    }

    /// Keeps samples bounded even of a batch that has more different ones than are usual.
    fn flush_if_full(&mut self, sampled: impl Fn(&LaneMetrics) -> &Sampled) {
        if sampled(self).samples.len() >= SAMPLES_MOST {
            self.flush();
        }
    }

    fn change_topic(&mut self, slot: TopicSlot) -> &mut TopicCells {
        let cells = &mut self.topics[slot.0];
        if !std::mem::replace(&mut cells.changed, true) {
            self.changed_topics.push(slot.0);
        }
        cells
    }

    fn change_workflow(&mut self, slot: WorkflowSlot) -> &mut WorkflowCells {
        let cells = &mut self.workflows[slot.0];
        if !std::mem::replace(&mut cells.changed, true) {
            self.changed_workflows.push(slot.0);
        }
        cells
    }

    fn change_step(&mut self, slot: StepSlot) -> &mut StepCells {
        let cells = &mut self.steps[slot.0];
        if !std::mem::replace(&mut cells.changed, true) {
            self.changed_steps.push(slot.0);
        }
        cells
    }
}

impl Drop for LaneMetrics {
    fn drop(&mut self) {
        self.flush();
        self.shared.set_oldest(self.lane, None);
    }
}

impl TopicCells {
    fn new(shared: &Inner, name: &str) -> TopicCells {
        // A topic's counts are there from the start, so that its first records are seen as a rise.
        let _ = shared.recorder.counter(Metric::EventsConsumed, &[name]);
        TopicCells {
            changed: false,
            name: name.into(),
            consumed: Tally::default(),
            unmatched: Tally::default(),
            undecodable: Words::default(),
        }
    }

    fn flush(&mut self, recorder: &Recorder) {
        let name = &self.name;
        self.changed = false;
        self.consumed.flush(|| recorder.counter(Metric::EventsConsumed, &[name]));
        self.unmatched.flush(|| recorder.counter(Metric::EventsUnmatched, &[name]));
        self.undecodable.flush(|format| recorder.counter(Metric::EventsUndecodable, &[name, format]));
    }
}

impl WorkflowCells {
    fn new(name: &str) -> WorkflowCells {
        WorkflowCells {
            changed: false,
            name: name.into(),
            step_slots: FxHashMap::default(),
            matched: Tally::default(),
            started: Tally::default(),
            finished: Words::default(),
            dead_letters: Words::default(),
            duration: Sampled::default(),
        }
    }

    fn flush(&mut self, recorder: &Recorder) {
        let name = &self.name;
        self.changed = false;
        self.matched.flush(|| recorder.counter(Metric::EventsMatched, &[name]));
        self.started.flush(|| recorder.counter(Metric::ExecutionsStarted, &[name]));
        self.finished.flush(|status| recorder.counter(Metric::ExecutionsFinished, &[name, status]));
        self.dead_letters.flush(|reason| recorder.counter(Metric::DeadLetters, &[name, reason]));
        self.duration.flush(recorder, || recorder.histogram(Metric::ExecutionDuration, &[name]));
    }
}

impl StepCells {
    fn new(workflow: &str, name: &str) -> StepCells {
        let (workflow, name) = (workflow.into(), name.into());
        let duration = Sampled::default();
        StepCells { changed: false, workflow, name, attempts: Words::default(), duration }
    }

    fn flush(&mut self, recorder: &Recorder) {
        let StepCells { changed, workflow, name, attempts, duration } = self;
        *changed = false;
        attempts.flush(|outcome| recorder.counter(Metric::StepAttempts, &[workflow, name, outcome]));
        duration.flush(recorder, || recorder.histogram(Metric::StepDuration, &[workflow, name]));
    }
}

/// A count and, once it was handed over, where it goes.
#[derive(Default)]
struct Tally {
    pending: u64,
    counter: Option<Counter>,
}

impl Tally {
    fn flush(&mut self, counter: impl FnOnce() -> Counter) {
        if self.pending > 0 {
            self.counter.get_or_insert_with(counter).increment(std::mem::take(&mut self.pending));
        }
    }
}

/// Counts by a word of which there are few.
#[derive(Default)]
struct Words(Vec<(&'static str, Tally)>);

impl Words {
    fn add(&mut self, word: &'static str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == word) {
            Some((_, tally)) => tally.pending += count,
            None => self.0.push((word, Tally { pending: count, counter: None })),
        }
    }

    fn flush(&mut self, counter: impl Fn(&str) -> Counter) {
        for (word, tally) in &mut self.0 {
            tally.flush(|| counter(word));
        }
    }
}

/// Samples of a histogram, equal ones in a row as one, and, once they were handed over, where they go.
#[derive(Default)]
struct Sampled {
    samples: Vec<(f64, u64)>,
    histogram: Option<Histogram>,
}

impl Sampled {
    fn add(&mut self, duration: Duration, count: u64) {
        self.add_value(duration.as_secs_f64(), count);
    }

    fn add_value(&mut self, value: f64, count: u64) {
        match self.samples.last_mut() {
            Some((last, times)) if *last == value => *times += count,
            Some(_) | None => self.samples.push((value, count)),
        }
    }

    fn flush(&mut self, recorder: &Recorder, histogram: impl FnOnce() -> Histogram) {
        if !self.samples.is_empty() {
            let histogram = self.histogram.get_or_insert_with(histogram);
            self.samples.drain(..).for_each(|(value, count)| recorder.record(histogram, value, count));
        }
    }
}
