//! Checking and creating the system topics.

use std::collections::BTreeMap;
use std::fmt;

use super::admin::{Admin, AdminError, TopicState};
use super::topic_files::{TopicFile, topic_files};

/// The one topic whose partitions are fixed and yet chosen, before it is created.
const JOURNAL: &str = "journal";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// What a record holds beside an event, at most: 4 MiB of outputs, and 64 KiB of its own.
const ROOM_BYTES: i64 = 4 * 1024 * 1024 + 64 * 1024;

/// How system topics are named and created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// What their names start with.
    pub prefix: String,
    /// Partitions of topics that may have several; 0 = as their file says.
    pub partitions: i32,
    /// Partitions of the journal.
    pub journal_partitions: u16,
    /// Copies of each partition; 0 = the broker's default.
    pub replication: i16,
}

/// A system topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name, prefix included.
    pub name: String,
    /// Partitions, at least; exactly where they are fixed.
    pub partitions: i32,
    /// Copies of each partition; −1 = the broker's default.
    pub replication: i32,
    /// The file it comes from.
    pub file: TopicFile,
}

/// Something about a topic that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The topic.
    pub topic: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
    /// Whether an instance can run all the same.
    pub fatal: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; {}", self.topic, self.what, self.remedy)
    }
}

impl TopicPlan {
    /// All system topics, as they should be.
    pub fn specs(&self) -> Vec<TopicSpec> {
        let spec = |file: TopicFile| TopicSpec {
            name: format!("{}{}", self.prefix, file.name),
            partitions: match (file.name.as_str(), file.fixed_partitions || self.partitions == 0) {
                (JOURNAL, _) => i32::from(self.journal_partitions),
                (_, true) => file.partitions,
                (_, false) => self.partitions,
            },
            replication: if self.replication == 0 { -1 } else { i32::from(self.replication) },
            file,
        };
        topic_files().into_iter().map(spec).collect()
    }
}

/// Compares what should be with what is.
pub fn compare(specs: &[TopicSpec], found: &BTreeMap<String, TopicState>) -> Vec<Finding> {
    specs.iter().flat_map(|spec| compare_one(spec, found.get(&spec.name))).collect()
}

fn compare_one(spec: &TopicSpec, found: Option<&TopicState>) -> Vec<Finding> {
    let finding = |what: String, remedy: String, fatal| Finding { topic: spec.name.clone(), what, remedy, fatal };
    let Some(state) = found else {
        return vec![finding("the topic is missing".into(), "run `tidegate topics create`".into(), true)];
    };
    let mut findings = Vec::new();
    let (is, wanted) = (state.partitions, spec.partitions);
    if spec.file.fixed_partitions && is != wanted {
        let what = format!("it has {is} partitions, but must have exactly {wanted}");
        let remedy = if spec.file.name == JOURNAL {
            format!(
                "write journal_partitions = {is} in [topics]: the number is part of every execution's id and cannot change \
                 once the topic is there; for another one choose another `topic_prefix`"
            )
        } else {
            format!("create it anew with {wanted}; its records need one order")
        };
        findings.push(finding(what, remedy, true));
    } else if is < wanted {
        let what = format!("it has {is} partitions, but {wanted} are configured");
        let remedy = format!("add partitions to the topic, or write partitions = {is} in [topics]");
        findings.push(finding(what, remedy, false));
    }
    if !state.leaderless.is_empty() {
        let what = format!("its partitions {:?} have no leader", state.leaderless);
        findings.push(finding(what, "start the brokers that hold them".into(), false));
    }
    for (name, wanted) in &spec.file.settings {
        let is = state.settings.get(name).map_or("", String::as_str);
        let sound = match (name.as_str(), wanted.parse::<i64>(), is.parse::<i64>()) {
            ("max.message.bytes", Ok(wanted), Ok(is)) => is >= wanted,
            (_, Ok(wanted), Ok(is)) => is == wanted,
            ("cleanup.policy", ..) => same_policies(wanted, is),
            _ => wanted == is,
        };
        if !sound {
            let what = format!("{name} is `{is}`, but must be {}`{wanted}`", at_least(name));
            let remedy = format!("set {name}={wanted} on the topic");
            findings.push(finding(what, remedy, true));
        }
    }
    findings
}

fn at_least(setting: &str) -> &'static str {
    if setting == "max.message.bytes" { "at least " } else { "" }
}

fn same_policies(wanted: &str, is: &str) -> bool {
    let set = |text: &str| text.split(',').map(|it| it.trim().to_owned()).collect::<std::collections::BTreeSet<_>>();
    set(wanted) == set(is)
}

/// Asks for the system topics and compares.
pub fn check(admin: &Admin, plan: &TopicPlan) -> Result<(Vec<Finding>, BTreeMap<String, TopicState>), AdminError> {
    let specs = plan.specs();
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let found = admin.topics(&names)?;
    Ok((compare(&specs, &found), found))
}

/// What is wrong with the topics that events come from, and with system topics in view of them. `named` sources must be there;
/// `is_source` also knows those that only a pattern names.
pub fn check_sources(
    admin: &Admin,
    plan: &TopicPlan,
    named: &[&str],
    is_source: impl Fn(&str) -> bool,
) -> Result<Vec<Finding>, AdminError> {
    let specs = plan.specs();
    let is_system = |name: &str| specs.iter().any(|spec| spec.name == name);
    let found = admin.topics_where(|name| is_system(name) || named.contains(&name) || is_source(name))?;
    let (system, sources): (BTreeMap<_, _>, BTreeMap<_, _>) = found.into_iter().partition(|(name, _)| is_system(name));
    Ok(compare_sources(&specs, named, &system, &sources))
}

/// Compares sources with what is, and the room of system topics with the largest record of any source.
pub fn compare_sources(
    specs: &[TopicSpec],
    named: &[&str],
    system: &BTreeMap<String, TopicState>,
    sources: &BTreeMap<String, TopicState>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in named.iter().filter(|name| !sources.contains_key(**name)) {
        let remedy = "create it, or correct `topic` in [[sources]]".to_owned();
        let what = "the source topic does not exist".to_owned();
        findings.push(Finding { topic: (*name).to_owned(), what, remedy, fatal: false });
    }
    let bytes = |state: &TopicState| state.settings.get(MAX_MESSAGE_BYTES).and_then(|it| it.parse::<i64>().ok());
    let largest = sources.iter().filter_map(|(name, state)| Some((bytes(state)?, name))).max();
    let Some((largest, source)) = largest else { return findings };
    let wanted = largest.saturating_add(ROOM_BYTES);
    for spec in specs.iter().filter(|spec| spec.file.holds_events) {
        let Some(is) = system.get(&spec.name).and_then(bytes).filter(|is| *is < wanted) else { continue };
        let what = format!("{MAX_MESSAGE_BYTES} is {is}, but {source} takes events of {largest} bytes");
        let remedy = format!("set {MAX_MESSAGE_BYTES}={wanted} on the topic: the event, 4 MiB of outputs, and room");
        findings.push(Finding { topic: spec.name.clone(), what, remedy, fatal: true });
    }
    findings
}

/// Creates the system topics that are missing, and returns their names once they can be used.
pub fn create_missing(admin: &Admin, plan: &TopicPlan) -> Result<Vec<String>, AdminError> {
    let specs = plan.specs();
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let found = admin.topics(&names)?;
    let missing: Vec<&TopicSpec> = specs.iter().filter(|spec| !found.contains_key(&spec.name)).collect();
    for spec in &missing {
        admin.create_topic(&spec.name, spec.partitions, spec.replication, &spec.file.settings)?;
    }
    Ok(missing.into_iter().map(|spec| spec.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> TopicPlan {
        TopicPlan { prefix: "t.".into(), partitions: 6, journal_partitions: 24, replication: 0 }
    }

    fn as_wanted() -> BTreeMap<String, TopicState> {
        let state = |spec: TopicSpec| {
            (
                spec.name,
                TopicState { partitions: spec.partitions, settings: spec.file.settings, leaderless: Vec::new() },
            )
        };
        plan().specs().into_iter().map(state).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_found_so() {
        assert_eq!(compare(&plan().specs(), &as_wanted()), []);
        assert_eq!(as_wanted()["t.journal"].partitions, 24);
        assert_eq!(as_wanted()["t.executions"].partitions, 6);
        let wider = TopicPlan { journal_partitions: 48, ..plan() };
        let partitions = wider.specs().into_iter().map(|spec| (spec.file.name, spec.partitions));
        let partitions: BTreeMap<_, _> = partitions.collect();
        assert_eq!((partitions["journal"], partitions["workflows"], partitions["executions"]), (48, 1, 6));
    }

    #[track_caller]
    fn check_finding(topic: &str, change: impl FnOnce(&mut BTreeMap<String, TopicState>), part: &str) {
        let mut found = as_wanted();
        change(&mut found);
        let findings = compare(&plan().specs(), &found);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].topic == topic && findings[0].to_string().contains(part), "{}", findings[0]);
    }

    #[test]
    fn every_kind_of_mistake_is_named() {
        check_finding("t.alerts", |found| drop(found.remove("t.alerts")), "topics create");
        check_finding("t.workflows", |it| it.get_mut("t.workflows").unwrap().partitions = 3, "exactly 1");
        check_finding("t.journal", |it| it.get_mut("t.journal").unwrap().partitions = 48, "exactly 24");
        check_finding("t.journal", |it| it.get_mut("t.journal").unwrap().partitions = 48, "journal_partitions = 48");
        check_finding("t.executions", |it| it.get_mut("t.executions").unwrap().partitions = 3, "6 are configured");
        check_finding("t.alerts", |it| it.get_mut("t.alerts").unwrap().leaderless = vec![0], "[0] have no leader");
        let set = |topic: &'static str, name: &'static str, value: &'static str| {
            move |found: &mut BTreeMap<String, TopicState>| {
                found.get_mut(topic).unwrap().settings.insert(name.into(), value.into());
            }
        };
        check_finding("t.dead-letters", set("t.dead-letters", "cleanup.policy", "delete"), "must be `compact`");
        check_finding("t.journal", set("t.journal", "max.message.bytes", "1048588"), "at least");
        check_finding("t.journal", set("t.journal", "retention.ms", "604800000"), "retention.ms=-1");
        let mut found = as_wanted();
        set("t.executions", "cleanup.policy", "delete, compact")(&mut found);
        assert_eq!(compare(&plan().specs(), &found), []);
    }

    #[test]
    fn sources_must_be_there_and_fit_into_what_holds_events() {
        let with_bytes = |bytes: &str| {
            let settings = [(MAX_MESSAGE_BYTES.to_owned(), bytes.to_owned())].into();
            [("webhooks".to_owned(), TopicState { partitions: 1, settings, leaderless: Vec::new() })].into()
        };
        let specs = plan().specs();
        assert_eq!(compare_sources(&specs, &["webhooks"], &as_wanted(), &with_bytes("5242880")), []);
        let findings = compare_sources(&specs, &["webhooks"], &as_wanted(), &with_bytes("8000000"));
        let topics: Vec<_> = findings.iter().map(|it| it.topic.as_str()).collect();
        assert_eq!(topics, ["t.journal", "t.dead-letters"]);
        assert!(findings[0].remedy.contains("max.message.bytes=12259840"), "{}", findings[0]);
        let findings = compare_sources(&specs, &["webhooks"], &as_wanted(), &BTreeMap::new());
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with("webhooks: the source topic does not exist"), "{}", findings[0]);
    }
}
