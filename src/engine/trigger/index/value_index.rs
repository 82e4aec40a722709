//! The triggers that one field of an event can lead to, by the field's value.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::access::{Access, Probe};
use super::bucket::Bucket;
use super::intervals::Intervals;
use super::keys::tree_bytes;
use super::table::{Table, TextMap};
use super::{Search, TriggerKey};
use crate::engine::trigger::scalar::{Literal, Scalar};
use crate::engine::trigger::text_match::{self, Network, NetworkWidth};

/// The triggers that are filed under one field.
#[derive(Debug, Default)]
pub(super) struct ValueIndex {
    texts: TextMap<Bucket>,
    /// Literals that are no text.
    others: Table<Literal, Bucket>,
    folded: TextMap<Bucket>,
    prefixes: Affixes,
    prefixes_folded: Affixes,
    suffixes: Affixes,
    suffixes_folded: Affixes,
    ranges: Intervals,
    networks: BTreeMap<NetworkWidth, Table<u128, Bucket>>,
    /// Triggers for which any value will do.
    present: Bucket,
}

/// Beginnings or ends of text, by their length in bytes: a text asks once for each length in use.
type Affixes = BTreeMap<usize, TextMap<Bucket>>;

impl ValueIndex {
    /// Files a trigger where the probe leads; `rest` are the other ways into it.
    pub fn insert(&mut self, probe: &Probe, key: TriggerKey, rest: &Access<'_>) {
        let bucket = match probe {
            Probe::Literal(Literal::Text(text)) => self.texts.entry_or_default(text),
            Probe::Literal(literal) => self.others.entry_or_default(literal),
            Probe::Folded(text) => self.folded.entry_or_default(text),
            Probe::Prefix(text) => affix_bucket(&mut self.prefixes, text),
            Probe::PrefixFolded(text) => affix_bucket(&mut self.prefixes_folded, text),
            Probe::Suffix(text) => affix_bucket(&mut self.suffixes, text),
            Probe::SuffixFolded(text) => affix_bucket(&mut self.suffixes_folded, text),
            Probe::Range(low, high) => return self.ranges.insert(*low, *high, key),
            Probe::Network(Network { width, bits }) => self.networks.entry(*width).or_default().entry_or_default(bits),
            Probe::Presence => &mut self.present,
        };
        bucket.insert(key, rest);
    }

    /// Takes a trigger out from where the probe leads; `access` are all ways into it.
    pub fn remove(&mut self, probe: &Probe, key: TriggerKey, access: &Access<'_>) {
        let take = |bucket: &mut Bucket| {
            bucket.remove(key, access);
            bucket.is_empty()
        };
        match probe {
            Probe::Literal(Literal::Text(text)) => self.texts.update(text, take),
            Probe::Literal(literal) => self.others.update(literal, take),
            Probe::Folded(text) => self.folded.update(text, take),
            Probe::Prefix(text) => remove_affix(&mut self.prefixes, text, take),
            Probe::PrefixFolded(text) => remove_affix(&mut self.prefixes_folded, text, take),
            Probe::Suffix(text) => remove_affix(&mut self.suffixes, text, take),
            Probe::SuffixFolded(text) => remove_affix(&mut self.suffixes_folded, text, take),
            Probe::Range(low, high) => self.ranges.remove(*low, *high, key),
            Probe::Network(Network { width, bits }) => {
                let Some(of_width) = self.networks.get_mut(width) else { return };
                of_width.update(bits, take);
                if of_width.is_empty() {
                    self.networks.remove(width);
                }
            }
            Probe::Presence => self.present.remove(key, access),
        }
    }

    /// How many triggers are filed where the probe would go.
    pub fn crowd(&self, probe: &Probe) -> usize {
        let affix = |affixes: &Affixes, text: &Arc<str>| {
            affixes.get(&text.len()).and_then(|it| it.get(&**text)).map(Bucket::len)
        };
        match probe {
            Probe::Literal(Literal::Text(text)) => self.texts.get(&**text).map(Bucket::len),
            Probe::Literal(literal) => self.others.get(literal).map(Bucket::len),
            Probe::Folded(text) => self.folded.get(&**text).map(Bucket::len),
            Probe::Prefix(text) => affix(&self.prefixes, text),
            Probe::PrefixFolded(text) => affix(&self.prefixes_folded, text),
            Probe::Suffix(text) => affix(&self.suffixes, text),
            Probe::SuffixFolded(text) => affix(&self.suffixes_folded, text),
            Probe::Range(..) => Some(self.ranges.len()),
            Probe::Network(network) => {
                self.networks.get(&network.width).and_then(|it| it.get(&network.bits)).map(Bucket::len)
            }
            Probe::Presence => Some(self.present.len()),
        }
        .unwrap_or(0)
    }

    /// Adds the triggers that this value of the field leads to. `in_list` says that the field has several values.
    pub fn collect(&self, value: &Scalar<'_>, in_list: bool, search: &mut Search<'_>) {
        search.hit(&self.present, in_list);
        match value {
            Scalar::Text(text) => self.collect_text(text, in_list, search),
            Scalar::Number(number) => {
                search.look_up(&self.others, &Literal::Number(*number), in_list);
                search.hit_ranges(&self.ranges, number.order_key(), in_list);
            }
            Scalar::Bool(it) => search.look_up(&self.others, &Literal::Bool(*it), in_list),
            Scalar::Null => search.look_up(&self.others, &Literal::Null, in_list),
            Scalar::Opaque => {}
        }
    }

    fn collect_text(&self, text: &str, in_list: bool, search: &mut Search<'_>) {
        search.look_up(&self.texts, text, in_list);
        collect_affixes(&self.prefixes, text, first_bytes, in_list, search);
        collect_affixes(&self.suffixes, text, last_bytes, in_list, search);
        let ignores_case =
            !(self.folded.is_empty() && self.prefixes_folded.is_empty() && self.suffixes_folded.is_empty());
        if ignores_case {
            let folded = text_match::fold(text);
            search.look_up(&self.folded, folded.as_str(), in_list);
            collect_affixes(&self.prefixes_folded, &folded, first_bytes, in_list, search);
            collect_affixes(&self.suffixes_folded, &folded, last_bytes, in_list, search);
        }
        if self.networks.is_empty() {
            return;
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            for (width, networks) in self.networks.iter().filter(|(width, _)| width.is_v6 == address.is_ipv6()) {
                search.look_up(networks, &Network::around(address, *width).bits, in_list);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        let ValueIndex {
            texts,
            others,
            folded,
            prefixes,
            prefixes_folded,
            suffixes,
            suffixes_folded,
            ranges,
            networks,
            present,
        } = self;
        texts.is_empty()
            && others.is_empty()
            && folded.is_empty()
            && [prefixes, prefixes_folded, suffixes, suffixes_folded].into_iter().all(BTreeMap::is_empty)
            && ranges.is_empty()
            && networks.is_empty()
            && present.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        let affixes = [&self.prefixes, &self.prefixes_folded, &self.suffixes, &self.suffixes_folded];
        let of_affixes = |it: &Affixes| {
            let of_texts: usize = it.values().map(|texts| texts.heap_bytes(Bucket::heap_bytes)).sum();
            tree_bytes::<(usize, TextMap<Bucket>)>(it.len()) + of_texts
        };
        let of_networks: usize = self.networks.values().map(|it| it.heap_bytes(Bucket::heap_bytes)).sum();
        self.texts.heap_bytes(Bucket::heap_bytes)
            + self.others.heap_bytes(Bucket::heap_bytes)
            + self.folded.heap_bytes(Bucket::heap_bytes)
            + affixes.into_iter().map(of_affixes).sum::<usize>()
            + self.ranges.heap_bytes()
            + tree_bytes::<(NetworkWidth, Table<u128, Bucket>)>(self.networks.len())
            + of_networks
            + self.present.heap_bytes()
    }
}

fn affix_bucket<'a>(affixes: &'a mut Affixes, text: &Arc<str>) -> &'a mut Bucket {
    affixes.entry(text.len()).or_default().entry_or_default(text)
}

fn remove_affix(affixes: &mut Affixes, text: &Arc<str>, take: impl FnOnce(&mut Bucket) -> bool) {
    let Some(of_length) = affixes.get_mut(&text.len()) else { return };
    of_length.update(text, take);
    if of_length.is_empty() {
        affixes.remove(&text.len());
    }
}

fn collect_affixes(
    affixes: &Affixes,
    text: &str,
    part: impl Fn(&str, usize) -> Option<&str>,
    in_list: bool,
    search: &mut Search<'_>,
) {
    for (length, texts) in affixes.range(..=text.len()) {
        if let Some(affix) = part(text, *length) {
            search.look_up(texts, affix, in_list);
        }
    }
}

/// The first bytes of a text; None where a character would be cut.
fn first_bytes(text: &str, length: usize) -> Option<&str> {
    text.get(..length)
}

/// The last bytes of a text; None where a character would be cut.
fn last_bytes(text: &str, length: usize) -> Option<&str> {
    text.get(text.len().checked_sub(length)?..)
}
