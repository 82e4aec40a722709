//! An owner of the only partition of a journal, and the log around it.

use super::*;

/// A workflow that waits a second and calls at the same time.
pub(super) fn definition(path: &str) -> Definition {
    definition_with(path, None, OnError::Fail)
}

pub(super) fn definition_with(path: &str, timeout: Option<Duration>, on_error: OnError) -> Definition {
    let call = HttpCall {
        connector: "billing".into(),
        method: "GET".into(),
        path: Template::Literal(Value::text(path)),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        expect: vec![Expected::Class(2)],
        timeout: Duration::from_secs(1),
        retry: RetryPolicy { max_retries: 1, jitter_factor: 0.0, ..RetryPolicy::default() },
    };
    let step = |id: &str, wait| Step {
        id: id.into(),
        action: Action::Wait(wait),
        dependencies: Vec::new(),
        when: None,
        on_error,
        order: 0,
    };
    let steps = vec![step("pause", Wait::Delay(Duration::from_secs(1))), step("charge", Wait::Http(Box::new(call)))];
    let workflow = Workflow {
        id: WorkflowId::new("w").unwrap(),
        version: "1".into(),
        status: Status::Active,
        content_hash: ContentHash([0; 32]),
        triggers: Vec::new(),
    };
    let mut plan = Plan::new(steps).unwrap();
    plan.timeout = timeout;
    Definition { workflow: Arc::new(workflow), plan: Arc::new(plan) }
}

pub(super) fn event(offset: i64) -> Arc<Event> {
    let topic = Arc::new(Topic { name: "events".into(), id: [1; 16] });
    let origin = Origin { topic, partition: 0, offset };
    Arc::new(decode(SourceRecord::new(origin, 0, None, None, [])).unwrap())
}

pub(super) fn decode(record: SourceRecord) -> Result<Event, (SourceRecord, Undecodable)> {
    let nothing = || Arc::from("");
    let (id, kind, source) = (nothing(), nothing(), nothing());
    Ok(Event { record, id, kind, source, subject: None, time: None, schema: None, key: None, data: Value::Null })
}

/// The first of so many workflows, called a, b …, behind the one that is done.
pub(super) fn next_match(identity: &Identity, event: Arc<Event>, after: Option<&WorkflowId>, count: usize) -> Found {
    let next = after.map_or(0, |done| usize::from(done.as_str().as_bytes()[0] - b'a') + 1);
    let Definition { workflow, .. } = definition("/");
    let id = WorkflowId::new(&char::from(b'a' + next as u8).to_string()).unwrap();
    let workflow = Arc::new(Workflow { id, ..(*workflow).clone() });
    let plan = Arc::new(Plan::new(Vec::new()).unwrap());
    let subject = (next < count).then(|| Execution::new(identity, workflow, plan, event, 0));
    Found { subject: subject.map(|it| Subject::Execution(Box::new(it))), has_more: next + 1 < count }
}

/// More than any of these worlds writes at a time.
const MOST_WRITTEN: usize = 10_000;

/// An owner of the only partition of a journal, and the log that it writes.
pub(super) struct World {
    pub(super) owner: Owner,
    pub(super) identity: Arc<Identity>,
    pub(super) definition: Option<Definition>,
    pub(super) journal_takes: usize,
    pub(super) log: Vec<JournalRecord>,
    pub(super) now_ms: i64,
    /// What was written since it was asked last.
    pub(super) said: Vec<String>,
    pub(super) is_committed: bool,
    /// The sequence number of what was written last.
    pub(super) sequence: u64,
    /// What each record weighs.
    pub(super) record_bytes: u64,
    /// How many runs began.
    pub(super) began: usize,
    /// The dead letters that were written.
    pub(super) letters: Vec<DeadLetter>,
    /// How many workflows match a record that is read again; None if it is not understood.
    pub(super) matches: Option<usize>,
    /// A version that is not there.
    pub(super) missing: Option<&'static str>,
    /// Whether it is installed and lacks something.
    pub(super) is_on_its_way: bool,
    /// Where the event lies that cannot be understood yet.
    pub(super) unready: Option<i64>,
    /// The position that was committed last, or was to be.
    pub(super) pushed: Option<Position>,
    /// Whether all workflows were stopped.
    pub(super) is_stopped: bool,
    /// The workflow `child`, which others start.
    pub(super) child: Option<Definition>,
    /// What may stay in memory.
    pub(super) budget: usize,
    /// How many records were read again.
    pub(super) fetched: usize,
    /// How often records were read again.
    pub(super) fetches: usize,
    /// What is written is not read before it is asked for.
    pub(super) is_unread: bool,
    /// Whether what is wanted is read again at once.
    pub(super) is_fetching: bool,
}

thread_local! {
    /// What the worlds of a test keep in memory, in bytes.
    pub(super) static BUDGET: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

impl World {
    pub(super) fn new(path: &str) -> World {
        let identity = Identity { environment: "test".into(), journal_partitions: 1, step_results: StepResults::All };
        let identity = Arc::new(identity);
        let mut world = World {
            owner: Owner::new(identity.clone(), LEASE_MS, BUDGET.get()),
            identity,
            definition: Some(definition(path)),
            journal_takes: usize::MAX,
            log: Vec::new(),
            now_ms: 0,
            said: Vec::new(),
            is_committed: true,
            sequence: 0,
            record_bytes: 10,
            began: 0,
            letters: Vec::new(),
            matches: Some(0),
            child: None,
            is_stopped: false,
            missing: None,
            is_on_its_way: false,
            unready: None,
            pushed: None,
            budget: BUDGET.get(),
            fetched: 0,
            fetches: 0,
            is_unread: false,
            is_fetching: true,
        };
        world.assign();
        world
    }

    pub(super) fn partition() -> SourcePartition {
        SourcePartition { topic: Arc::new(Topic { name: "journal".into(), id: [2; 16] }), partition: 0 }
    }

    /// A new owner, which reads the log from its beginning.
    pub(super) fn assign(&mut self) {
        self.owner = Owner::new(self.identity.clone(), LEASE_MS, self.budget);
        self.owner.handle_assigned(World::partition(), AssignmentId(1), &Position::at(0), self.now_ms);
        (0..self.log.len()).for_each(|offset| self.feed(offset));
        self.owner.handle_restored(0, self.now_ms);
    }

    /// A new owner, which does not see what was written last: it was not committed.
    pub(super) fn assign_without_last(&mut self) {
        self.log.pop();
        self.assign();
    }

    pub(super) fn feed(&mut self, offset: usize) {
        self.owner.handle_record(self.record(offset), self.now_ms);
    }

    /// A record of the log as its owner reads it.
    pub(super) fn record(&self, offset: usize) -> Record<Content> {
        let JournalRecord { execution, run, entry, content } = self.log[offset].clone();
        Record { offset: offset as i64, bytes: self.record_bytes, execution, run, entry, content }
    }

    /// Reads what is wanted. False if nothing is.
    pub(super) fn fetch(&mut self) -> bool {
        let wanted = self.owner.wanted();
        self.fetched += wanted.len();
        self.fetches += usize::from(!wanted.is_empty());
        wanted.iter().for_each(|(_, offset)| self.owner.handle_fetched(self.record(*offset as usize)));
        !wanted.is_empty()
    }

    pub(super) fn append(&mut self, record: JournalRecord) {
        self.log.push(record);
        if !self.is_unread {
            self.feed(self.log.len() - 1);
        }
    }

    /// The event comes: its execution is mailed.
    pub(super) fn start(&mut self) -> ExecutionId {
        self.start_for(7)
    }

    pub(super) fn start_for(&mut self, offset: i64) -> ExecutionId {
        let Definition { workflow, plan } = definition("/");
        let execution = Execution::new(&self.identity, workflow, plan, event(offset), self.now_ms);
        let id = execution.id;
        let left = Subject::Execution(Box::new(execution)).leave(self.now_ms);
        self.take(&left);
        id
    }

    pub(super) fn take(&mut self, left: &Left) {
        for (_, output) in &left.outputs {
            match output {
                Output::Journal(record) => self.append((**record).clone()),
                Output::StepResult(result) => {
                    let step = &result.step;
                    self.said.push(format!("{} {} after {}", step.id, step.status.name(), step.attempts));
                }
                Output::Execution(record) => self.said.push(record.status.name().to_owned()),
                Output::DeadLetter(letter) => {
                    self.letters.push((**letter).clone());
                    let (reason, failure) = (letter.reason.name(), &letter.failure);
                    self.said.push(format!("dead letter {reason} {}: {}", failure.class.name(), failure.message));
                }
                Output::Produced(_) => {}
            }
        }
    }

    /// Finds definitions.
    pub(super) fn definitions(&self) -> impl Fn(&WorkflowId, &str) -> Option<Result<Definition, String>> + use<> {
        let (definition, child, missing) = (self.definition.clone(), self.child.clone(), self.missing);
        move |id, version| {
            let found = if id.as_str() == "child" { child.clone() } else { definition.clone() };
            found.filter(|_| missing != Some(version)).map(Ok)
        }
    }

    /// Everything that goes on now is written, and committed unless that is held up.
    pub(super) fn go(&mut self) {
        let (now_ms, takes, is_stopped, unready) = (self.now_ms, self.journal_takes, self.is_stopped, self.unready);
        let is_on_its_way = self.is_on_its_way;
        let found = self.definitions();
        let (identity, matches) = (self.identity.clone(), self.matches);
        let matching = move |event: Arc<Event>, after: Option<&WorkflowId>, _: i64| {
            next_match(&identity, event, after, matches.unwrap_or_default())
        };
        let decode = |record: SourceRecord| match matches {
            Some(_) => decode(record),
            None => Err((record, Undecodable { message: "no JSON".into() })),
        };
        let fits = |_: &JournalRecord| if takes == 0 { Err("too large for the journal".to_owned()) } else { Ok(()) };
        let around = Around {
            definition: &found,
            is_on_its_way: &|_, _| is_on_its_way,
            decode: &decode,
            is_ready: &|record, _| unready != Some(record.origin.offset),
            next_match: &matching,
            is_stopped: &|_| is_stopped,
            fits: &fits,
            now_ms,
            steady_ms: now_ms,
        };
        let mut written = 0;
        loop {
            while let Some(emitted) = self.owner.poll(&around) {
                written += 1;
                assert!(written < MOST_WRITTEN, "it does not come to rest");
                self.began += usize::from(emitted.subject.begins());
                self.take(&emitted.left);
                self.sequence = emitted.sequence;
                if self.is_committed {
                    self.commit(emitted.sequence);
                }
            }
            if !self.is_fetching || !self.fetch() {
                break;
            }
        }
        if let Some((_, _, position)) = self.owner.renewals(now_ms).pop() {
            self.pushed = Some(position);
            if self.is_committed {
                self.commit(0);
            }
        }
    }

    pub(super) fn commit(&mut self, sequence: u64) {
        let named = [Dependency { partition: World::partition(), assignment: AssignmentId(1) }];
        let sent_ms = self.now_ms;
        self.owner.handle_committed(Commit { sequence, sent_ms, named: &named, replaced: &[] });
    }

    /// The call that may start now, after a while in which everything that can happen does.
    pub(super) fn call_after(&mut self, passes_ms: i64) -> Option<Call> {
        for _ in 0..passes_ms / 100 {
            self.now_ms += 100;
            self.go();
        }
        let (found, now_ms, unready) = (self.definitions(), self.now_ms, self.unready);
        let around = Around {
            definition: &found,
            is_on_its_way: &|_, _| false,
            decode: &decode,
            is_ready: &|record, _| unready != Some(record.origin.offset),
            is_stopped: &|_| false,
            next_match: &|_, _, _| Found { subject: None, has_more: false },
            fits: &|_| Ok(()),
            now_ms,
            steady_ms: now_ms,
        };
        let connector = self.owner.connectors(now_ms).pop_first()?;
        self.owner.start_call(&connector, &around)
    }

    pub(super) fn answer(&mut self, call: &Call, status: u16) -> Consequence {
        self.answer_to(call, status, Tried::default())
    }

    /// The answer to a call that asked whether the connector works again.
    pub(super) fn answer_to_probe(&mut self, call: &Call, status: u16) -> Consequence {
        self.answer_to(call, status, Tried { is_probe: true, chance: 0.0 })
    }

    fn answer_to(&mut self, call: &Call, status: u16, tried: Tried) -> Consequence {
        let answer = Answer::Http { status, headers: Value::Null, body: Value::Null, retry_after_ms: None };
        let consequence = self.owner.handle_answer(call.id, answer, tried, self.now_ms);
        self.go();
        consequence
    }

    #[track_caller]
    pub(super) fn says(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.said), expected);
    }
}
