//! Ways in: how an event can be led to a trigger without looking at it.
//!
//! Every clause of a trigger must hold, so it is enough to file the trigger under one of them, the one that tells it apart
//! best, and where that leaves a crowd, under another one of the rest. A clause with alternatives files it under each; `$or` under
//! one clause of each branch.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use crate::engine::trigger::pattern::{Clause, Leaf, Object, Test};
use crate::engine::trigger::scalar::Literal;
use crate::engine::trigger::subject::TOPIC_ROOT;
use crate::engine::trigger::text_match::Network;
use crate::engine::trigger::{SourcePattern, Trigger};

/// What a value must be like to lead to a trigger. Each admits at least what the alternative admits that it stands for.
#[derive(Clone, Debug)]
pub(super) enum Probe {
    Literal(Literal),
    Folded(Arc<str>),
    Prefix(Arc<str>),
    PrefixFolded(Arc<str>),
    Suffix(Arc<str>),
    SuffixFolded(Arc<str>),
    /// Numbers by their order keys, both ends included.
    Range(u64, u64),
    Network(Network),
    /// Any value.
    Presence,
}

/// How many clauses a trigger is filed under one below the other. More than a few hardly ever tell more triggers apart.
const MAX_DEPTH: usize = 6;
/// In how many places below others a trigger lies at most: clauses with many alternatives multiply.
const MAX_PLACES_BELOW: usize = 32;

/// The ways into one trigger that are left at some place of the index.
pub(super) struct Access<'a> {
    clauses: Rc<Clauses<'a>>,
    /// The leaves that led to this place.
    used: Vec<u16>,
    /// How many leaves were chosen one after the other to get here.
    depth: usize,
    /// In how many places like this one the trigger lies.
    places: usize,
}

/// What a trigger asks for, its type excepted.
#[derive(Default)]
struct Clauses<'a> {
    leaves: Vec<(Vec<Arc<str>>, Cow<'a, Leaf>)>,
    way: Way,
}

/// How the leaves of a trigger are combined; leaves by their position.
enum Way {
    Leaf(u16),
    /// All must hold: any one of them leads in.
    Conjunction(Vec<Way>),
    /// One must hold: only all of them together lead in.
    Disjunction(Vec<Way>),
}

impl Default for Way {
    fn default() -> Self {
        Way::Conjunction(Vec::new())
    }
}

/// The leaves of a trigger under which it is filed. Most often it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    One(u16),
    Many(Box<[u16]>),
}

impl<'a> Access<'a> {
    /// The ways into `trigger`, always numbered alike.
    pub fn of(trigger: &'a Trigger) -> Access<'a> {
        let mut clauses = Clauses::default();
        let mut ways = Vec::new();
        for (root, text) in [(TOPIC_ROOT, &trigger.topic), ("schema", &trigger.schema)] {
            let Some(text) = text else { continue };
            let leaf = Leaf { literals: [Literal::Text(text.clone())].into(), tests: Box::default() };
            ways.push(clauses.add(&[root.into()], Cow::Owned(leaf)));
        }
        if let Some(source) = &trigger.source {
            let leaf = match source {
                SourcePattern::Exact(exact) => {
                    Leaf { literals: [Literal::Text(exact.clone())].into(), tests: Box::default() }
                }
                SourcePattern::Prefix(prefix) => {
                    Leaf { literals: Box::default(), tests: [Test::Prefix(prefix.clone())].into() }
                }
            };
            ways.push(clauses.add(&["source".into()], Cow::Owned(leaf)));
        }
        if let Some(pattern) = &trigger.pattern {
            ways.push(clauses.object(&pattern.root, &mut Vec::new()));
        }
        clauses.way = Way::Conjunction(ways);
        Access { clauses: Rc::new(clauses), used: Vec::new(), depth: 0, places: 1 }
    }

    /// The ways that are left where `choice` led.
    pub fn without(&self, choice: &Choice) -> Access<'a> {
        let used = [&self.used, choice.leaves()].concat();
        let places = self.places.saturating_mul(self.probes_of(choice));
        Access { clauses: self.clauses.clone(), used, depth: self.depth + 1, places }
    }

    /// Whether no way was gone yet.
    pub fn is_whole(&self) -> bool {
        self.depth == 0
    }

    /// Whether the trigger can be filed under nothing more.
    pub fn is_exhausted(&self) -> bool {
        self.used.len() == self.clauses.leaves.len() || self.depth == MAX_DEPTH
    }

    /// The cheapest choice by what filing under each probe costs; None if no leaf leads in (a missing field may match), or if
    /// it would lead to too many places.
    pub fn choose(&self, cost: &dyn Fn(&[Arc<str>], &Probe) -> u64) -> Option<Choice> {
        let (_, leaves) = self.cheapest(&self.clauses.way, cost)?;
        let choice = if let [leaf] = *leaves { Choice::One(leaf) } else { Choice::Many(leaves.into()) };
        let fits = self.is_whole() || self.places * self.probes_of(&choice) <= MAX_PLACES_BELOW;
        fits.then_some(choice)
    }

    fn cheapest(&self, way: &Way, cost: &dyn Fn(&[Arc<str>], &Probe) -> u64) -> Option<(u64, Vec<u16>)> {
        match way {
            Way::Leaf(leaf) if self.used.contains(leaf) => None,
            Way::Leaf(leaf) => {
                let (path, alternatives) = self.clauses.leaves.get(usize::from(*leaf))?;
                let total = probes(alternatives)?.iter().map(|probe| cost(path, probe)).sum();
                Some((total, vec![*leaf]))
            }
            Way::Conjunction(ways) => {
                ways.iter().filter_map(|way| self.cheapest(way, cost)).min_by_key(|(cost, _)| *cost)
            }
            Way::Disjunction(ways) => ways.iter().try_fold((0, Vec::new()), |(sum, mut leaves), way| {
                let (cost, more) = self.cheapest(way, cost)?;
                leaves.extend(more);
                Some((sum + cost, leaves))
            }),
        }
    }

    fn probes_of(&self, choice: &Choice) -> usize {
        let mut count = 0;
        self.for_each(choice, |_, _| count += 1);
        count
    }

    /// Every probe of the chosen leaves with its path.
    pub fn for_each(&self, choice: &Choice, mut act: impl FnMut(&[Arc<str>], &Probe)) {
        for leaf in choice.leaves() {
            let Some((path, alternatives)) = self.clauses.leaves.get(usize::from(*leaf)) else { continue };
            probes(alternatives).into_iter().flatten().for_each(|probe| act(path, &probe));
        }
    }
}

impl<'a> Clauses<'a> {
    fn add(&mut self, path: &[Arc<str>], leaf: Cow<'a, Leaf>) -> Way {
        self.leaves.push((path.to_vec(), leaf));
        Way::Leaf((self.leaves.len() - 1) as u16)
    }

    fn object(&mut self, object: &'a Object, path: &mut Vec<Arc<str>>) -> Way {
        let mut ways = Vec::new();
        for (name, clause) in &object.fields {
            path.push(name.clone());
            ways.push(match clause {
                Clause::Leaf(leaf) => self.add(path, Cow::Borrowed(leaf)),
                Clause::Object(object) => self.object(object, path),
            });
            path.pop();
        }
        if !object.any_of.is_empty() {
            ways.push(Way::Disjunction(object.any_of.iter().map(|branch| self.object(branch, path)).collect()));
        }
        Way::Conjunction(ways)
    }
}

impl Choice {
    fn leaves(&self) -> &[u16] {
        match self {
            Choice::One(leaf) => std::slice::from_ref(leaf),
            Choice::Many(leaves) => leaves,
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Choice::One(_) => 0,
            Choice::Many(leaves) => size_of_val::<[u16]>(leaves),
        }
    }
}

/// One probe for each alternative, or one for all; None if a missing value satisfies the leaf.
fn probes(leaf: &Leaf) -> Option<Vec<Probe>> {
    if leaf.accepts_absence() {
        return None;
    }
    let of_tests = leaf.tests.iter().map(probe_of);
    let all: Vec<Probe> = leaf.literals.iter().cloned().map(Probe::Literal).chain(of_tests).collect();
    let any_value = all.iter().any(|probe| matches!(probe, Probe::Presence));
    Some(if any_value { vec![Probe::Presence] } else { all })
}

fn probe_of(test: &Test) -> Probe {
    match test {
        Test::Exists(_) | Test::AnythingBut(_) => Probe::Presence,
        Test::Prefix(text) if text.is_empty() => Probe::Presence,
        Test::Prefix(text) => Probe::Prefix(text.clone()),
        Test::PrefixFolded(text) => Probe::PrefixFolded(text.clone()),
        Test::Suffix(text) => Probe::Suffix(text.clone()),
        Test::SuffixFolded(text) => Probe::SuffixFolded(text.clone()),
        Test::EqualsFolded(text) => Probe::Folded(text.clone()),
        Test::Wildcard(wildcard) if !wildcard.prefix().is_empty() => Probe::Prefix(wildcard.prefix().into()),
        Test::Wildcard(wildcard) if !wildcard.suffix().is_empty() => Probe::Suffix(wildcard.suffix().into()),
        Test::Wildcard(_) => Probe::Presence,
        Test::Numeric(range) => {
            let low = range.low.map_or(0, |bound| bound.number.order_key());
            let high = range.high.map_or(u64::MAX, |bound| bound.number.order_key());
            Probe::Range(low, high)
        }
        Test::Cidr(network) => Probe::Network(*network),
    }
}
