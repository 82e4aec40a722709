//! Plans: which dead letters are to come back, and how; a file that can be read and reviewed before anything happens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::letters::{self, Letters};
use super::mail::Mailer;
use super::{Desk, Filter, ReplayError};
use crate::codec::dead_letter::ReadLetter;
use crate::definition::Installed;
use crate::engine::value::milliseconds_text;

pub use super::mail::{Orders, RETURNS_MOST};

/// The form of the file.
pub const FORMAT: u32 = 1;
/// Items of one plan: more than this nobody reviews, and a plan is read at once.
pub const ITEMS_MOST: usize = 100_000;
/// Bars of the histogram.
const BARS: usize = 12;
/// Ids that are named of those that are left out for one reason.
const NAMED_MOST: usize = 10;
/// Reasons and groups that are told one by one.
const GROUPS_MOST: usize = 1_000;
/// What is shown of an error's message.
const MESSAGE_CHARACTERS: usize = 200;

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// See [`FORMAT`].
    pub format: u32,
    /// The environment that it is for.
    pub environment: String,
    /// The topic that was read.
    pub dead_letters: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Which dead letters were meant.
    pub filter: Filter,
    /// How they are to come back.
    pub orders: Orders,
    /// How many of them there are.
    pub counts: Counts,
    /// How many failed alike.
    pub groups: Vec<Group>,
    /// When they failed last.
    pub histogram: Vec<Bar>,
    /// Those that do not come back, by the reason.
    pub left_out: Vec<LeftOut>,
    /// Those that come back, those first that failed first.
    pub items: Vec<Item>,
}

/// How many dead letters there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// That are meant.
    pub found: usize,
    /// That come back.
    pub planned: usize,
    /// That do not.
    pub left_out: usize,
    /// Records of the topic that are no dead letters.
    pub unreadable: usize,
}

/// Dead letters that failed alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The workflow; None for what was never an execution.
    pub workflow: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The step.
    pub step: Option<String>,
    /// The reason.
    pub reason: String,
    /// The class of the error.
    pub class: String,
    /// How many.
    pub count: usize,
}

/// A stretch of time and how many failed in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// Its beginning, RFC 3339.
    pub from: String,
    /// How many.
    pub count: usize,
}

/// Dead letters that do not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: usize,
    /// Some of them.
    pub ids: Vec<String>,
}

/// A dead letter that is to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The partition in which it lies.
    pub partition: i32,
    /// The offset. Another record of the same id is another failure, which this plan is not about.
    pub offset: i64,
    /// The workflow.
    pub workflow: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The execution.
    pub execution: Option<String>,
    /// The run that failed; the next one is started.
    pub run: Option<u32>,
    /// The step that failed.
    pub step: Option<String>,
    /// The reason.
    pub reason: String,
    /// The class of the error.
    pub class: String,
    /// The beginning of its message.
    pub message: String,
    /// When it failed last, RFC 3339.
    pub last_failure: String,
    /// How often it came back before.
    pub returns: u32,
}

/// Why dead letters of sub-workflows do not come back unless they are asked for.
const SUB_WORKFLOW: &str =
    "it is a sub-workflow, which comes back with its parent; to bring it back alone, name its workflow";

/// What becomes of a dead letter that is meant.
enum Outlook {
    Planned(Box<Item>, i64),
    LeftOut(String, String),
}

/// Makes a plan of the dead letters that a filter takes, at most so many. Nothing is written.
pub fn make(
    desk: &Desk,
    installed: &Installed,
    (filter, orders, limit): (Filter, Orders, usize),
    now_ms: i64,
    progress: impl FnMut(usize),
) -> Result<Plan, ReplayError> {
    let mut mailer = Mailer::new(desk, installed, &orders);
    let keep = |read: ReadLetter| {
        if !filter.takes(&read.letter, now_ms) {
            return None;
        }
        let (item, last_ms) = (Item::of(&read), read.letter.last_failure_ms);
        let is_child = read.letter.execution.as_ref().is_some_and(|execution| execution.parent.is_some());
        if is_child && filter.workflow.is_none() && filter.ids.is_empty() {
            return Some(Outlook::LeftOut(SUB_WORKFLOW.to_owned(), item.id));
        }
        Some(match mailer.mail(read, now_ms) {
            Ok(_) => Outlook::Planned(Box::new(item), last_ms),
            Err(why) => Outlook::LeftOut(why, item.id),
        })
    };
    let Letters { live, unreadable_count, .. } = letters::scan(desk, keep, progress)?;
    let found = live.len();
    let (mut planned, mut left_out) = (Vec::new(), BTreeMap::<String, LeftOut>::new());
    for (_, letter) in live {
        match letter.kept {
            Outlook::Planned(item, last_ms) => {
                planned.push((last_ms, Item { partition: letter.partition, offset: letter.offset, ..*item }));
            }
            Outlook::LeftOut(reason, id) => leave_out(&mut left_out, reason, id),
        }
    }
    planned.sort_by(|one, other| (one.0, &one.1.id).cmp(&(other.0, &other.1.id)));
    let limit = limit.min(ITEMS_MOST);
    for (_, item) in planned.split_off(limit.min(planned.len())) {
        leave_out(&mut left_out, format!("beyond the first {limit}: take them with another plan"), item.id);
    }
    let times: Vec<i64> = planned.iter().map(|(last_ms, _)| *last_ms).collect();
    let items: Vec<Item> = planned.into_iter().map(|(_, item)| item).collect();
    let counts = Counts { found, planned: items.len(), left_out: found - items.len(), unreadable: unreadable_count };
    Ok(Plan {
        format: FORMAT,
        environment: desk.environment.clone(),
        dead_letters: desk.dead_letters.name.to_string(),
        created: milliseconds_text(now_ms),
        filter,
        orders,
        counts,
        groups: groups(&items),
        histogram: histogram(&times),
        left_out: left_out.into_values().collect(),
        items,
    })
}

/// Takes note of one that does not come back.
pub(super) fn leave_out(left_out: &mut BTreeMap<String, LeftOut>, reason: String, id: String) {
    let reason = if left_out.len() < GROUPS_MOST || left_out.contains_key(&reason) { reason } else { "other".into() };
    let of = left_out.entry(reason).or_insert_with_key(|reason| LeftOut {
        reason: reason.clone(),
        count: 0,
        ids: Vec::new(),
    });
    of.count += 1;
    if of.ids.len() < NAMED_MOST {
        of.ids.push(id);
    }
}

impl Item {
    /// What is told of a dead letter, wherever it lies.
    pub fn of(ReadLetter { letter, .. }: &ReadLetter) -> Item {
        let execution = letter.execution.as_ref();
        Item {
            id: letter.id.to_string(),
            partition: 0,
            offset: 0,
            workflow: execution.map(|it| it.workflow.id.as_str().to_owned()),
            version: execution.map(|it| it.workflow.version.to_string()),
            execution: execution.map(|it| it.id.to_string()),
            run: execution.map(|it| it.run),
            step: letter.failure.step.as_deref().map(str::to_owned),
            reason: letter.reason.name().to_owned(),
            class: letter.failure.class.name().to_owned(),
            message: letter.failure.message.chars().take(MESSAGE_CHARACTERS).collect(),
            last_failure: milliseconds_text(letter.last_failure_ms),
            returns: letter.returns,
        }
    }
}

/// Those that failed alike, the most first.
fn groups(items: &[Item]) -> Vec<Group> {
    let mut groups: BTreeMap<Group, usize> = BTreeMap::new();
    for Item { workflow, version, step, reason, class, .. } in items {
        let (workflow, version, step) = (workflow.clone(), version.clone(), step.clone());
        let group = Group { workflow, version, step, reason: reason.clone(), class: class.clone(), count: 0 };
        *groups.entry(group).or_default() += 1;
    }
    let mut groups: Vec<Group> = groups.into_iter().map(|(group, count)| Group { count, ..group }).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups.truncate(GROUPS_MOST);
    groups
}

/// How many failed when, in stretches of the same length.
fn histogram(times: &[i64]) -> Vec<Bar> {
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Vec::new() };
    let length = ((last - first) / BARS as i64 + 1).max(1);
    let mut bars = vec![0; usize::try_from((last - first) / length).unwrap_or(0).min(BARS) + 1];
    for time in times {
        let at = usize::try_from((time - first) / length).unwrap_or(0).min(bars.len() - 1);
        bars[at] += 1;
    }
    let from = |at: usize| milliseconds_text(first + at as i64 * length);
    bars.into_iter().enumerate().map(|(at, count)| Bar { from: from(at), count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_every_letter_once_and_few_bars() {
        for times in
            [vec![], vec![5], vec![5, 5], vec![0, 1, 2], vec![0, 11, 12, 13, 1_000_000], vec![-5, i64::from(i32::MAX)]]
        {
            let bars = histogram(&times);
            assert_eq!(bars.iter().map(|bar| bar.count).sum::<usize>(), times.len(), "{times:?}");
            assert!(bars.len() <= BARS + 1, "{times:?} in {} bars", bars.len());
        }
        let bars = histogram(&[0, 0, 120]);
        assert_eq!((bars[0].count, bars[0].from.as_str()), (2, "1970-01-01T00:00:00.000Z"));
        assert_eq!(bars.last().map(|bar| bar.count), Some(1));
    }
}
