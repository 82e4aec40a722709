//! What has become of a plan, whoever has applied it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::apply::check;
use super::letters::{self, Letters};
use super::outcomes::{Ended, Told};
use super::plan::{Item, Plan};
use super::{Desk, ReplayError};
use crate::engine::ids::{DeadLetterId, ExecutionId};
use crate::kafka::log_reader::{From, LogReader};

/// Records from the end of each partition in which it is looked for what became of executions.
const SCAN_RECORDS: i64 = 1_000_000;
/// How long reading them may stand still.
const SCAN_TIMEOUT: Duration = Duration::from_secs(120);

/// What has become of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Dead letters of the plan.
    pub planned: usize,
    /// That are still as planned.
    pub waiting: usize,
    /// That were resolved, and how their executions have ended.
    pub ended: Ended,
    /// Records that were read again and are dead letters again.
    pub undecodable_again: usize,
    /// Records that were read again and are none any more.
    pub redriven: usize,
    /// That were resolved, and whose executions have not ended or are not among the records that were read.
    pub under_way: usize,
}

/// Looks what has become of a plan.
pub fn status(desk: &Desk, plan: &Plan, mut progress: impl FnMut(usize)) -> Result<Status, ReplayError> {
    check(desk, plan)?;
    let ids: HashSet<DeadLetterId> = plan.items.iter().filter_map(|it| DeadLetterId::parse(&it.id)).collect();
    let Letters { live, .. } = letters::scan(desk, |read| ids.contains(&read.letter.id).then_some(()), &mut progress)?;
    let mut status = Status { planned: plan.items.len(), ..Status::default() };
    let mut resolved: HashMap<ExecutionId, u32> = HashMap::new();
    for item in &plan.items {
        let found = DeadLetterId::parse(&item.id).and_then(|id| live.get(&id));
        match (found, execution(item)) {
            (Some(found), _) if (found.partition, found.offset) == (item.partition, item.offset) => status.waiting += 1,
            (Some(_), _) => status.undecodable_again += 1,
            (None, None) => status.redriven += 1,
            (None, Some((execution, run))) => {
                resolved.insert(execution, run);
            }
        }
    }
    let last = last_words(desk, &resolved, progress)?;
    for (execution, run) in &resolved {
        let told = last.get(execution).filter(|told| told.run > *run);
        if !told.is_some_and(|told| status.ended.count(&told.status)) {
            status.under_way += 1;
        }
    }
    Ok(status)
}

fn execution(item: &Item) -> Option<(ExecutionId, u32)> {
    Some((ExecutionId::parse(item.execution.as_deref()?)?, item.run?))
}

/// What was said last of each of these executions.
fn last_words(
    desk: &Desk,
    wanted: &HashMap<ExecutionId, u32>,
    mut progress: impl FnMut(usize),
) -> Result<HashMap<ExecutionId, Told>, ReplayError> {
    let mut last = HashMap::new();
    if wanted.is_empty() {
        return Ok(last);
    }
    let mut reader = LogReader::open(&desk.clients, &[&desk.executions.name], From::Tail(SCAN_RECORDS))?;
    let (mut count, mut unreadable) = (0, None);
    reader.read_to_end(SCAN_TIMEOUT, |mut record| {
        count += 1;
        progress(count);
        match Told::of(desk, &mut record, wanted) {
            Ok(told) => last.extend(told),
            Err(error) => unreadable = Some(error),
        }
    })?;
    unreadable.map_or(Ok(last), Err)
}
