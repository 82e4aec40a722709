//! What is kept of an execution that has not ended: its last state, or the mail that it began with, and the mail that no state includes.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::Mail;
use crate::engine::execution::FIRST_RUN;

/// An execution that has not ended. There may be millions; few have mail beside what they began with.
#[derive(Debug)]
pub struct Live<P> {
    /// The offset of the mail that the run began with: what orders it among others.
    pub place: i64,
    /// Its last state, or the mail that it began with, which lies at its place.
    pub(super) first: Retained<P>,
    pub(super) more: Option<Box<More<P>>>,
}

/// Cancels and signals that no state includes, in order.
#[derive(Debug)]
pub(super) struct More<P> {
    pub(super) mail: VecDeque<Letter<P>>,
    bytes: u64,
}

/// A record that still matters.
#[derive(Debug)]
pub struct Retained<P> {
    /// Where it lies.
    pub offset: i64,
    /// Its content.
    pub content: P,
    /// What it takes in the log; a broker takes no record that is larger than this can say.
    bytes: NonZeroU32,
    /// The run of the execution that it was written for.
    run: u32,
}

/// A piece of mail: what it asks for, and the record.
pub type Letter<P> = (Mail, Retained<P>);

impl<P> Retained<P> {
    pub(super) fn new(offset: i64, bytes: u64, run: u32, content: P) -> Retained<P> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Retained { offset, content, bytes: NonZeroU32::new(bytes).unwrap_or(NonZeroU32::MIN), run }
    }

    /// What it takes in the log, in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.bytes.get())
    }
}

impl<P> Live<P> {
    pub(super) fn new(place: i64, first: Retained<P>) -> Live<P> {
        Live { place, first, more: None }
    }

    /// Its run; the first is 1.
    pub fn run(&self) -> u32 {
        self.first.run
    }

    /// The mail that it began with, while that was not taken up; None once it has a state.
    fn began_with(&self) -> Option<Mail> {
        let mail = if self.first.run > FIRST_RUN { Mail::Resume } else { Mail::Start };
        (self.first.offset == self.place).then_some(mail)
    }

    pub(super) fn push(&mut self, mail: Mail, kept: Retained<P>) {
        let more = self.more.get_or_insert_with(|| Box::new(More { mail: VecDeque::new(), bytes: 0 }));
        more.bytes += kept.bytes();
        more.mail.push_back((mail, kept));
    }

    /// Its last state, or the mail that it began with.
    pub fn first(&self) -> &Retained<P> {
        &self.first
    }

    /// Whether this run was brought back and nothing of it has been done: it has no state.
    pub fn is_brought_back(&self) -> bool {
        self.began_with() == Some(Mail::Resume)
    }

    /// Its last state; None while its first mail was not taken up.
    pub fn state(&self) -> Option<&Retained<P>> {
        self.began_with().is_none().then_some(&self.first)
    }

    /// Mail that no state includes, in order.
    pub fn mail(&self) -> impl Iterator<Item = (Mail, &Retained<P>)> {
        let first = self.began_with().map(|mail| (mail, &self.first));
        let more = self.more.iter().flat_map(|more| &more.mail).map(|(mail, kept)| (*mail, kept));
        first.into_iter().chain(more)
    }

    /// How many pieces of mail that are.
    pub fn mail_count(&self) -> usize {
        usize::from(self.began_with().is_some()) + self.more.as_ref().map_or(0, |more| more.mail.len())
    }

    /// Its records, its state first, with their offsets: the contents are for whoever reads them.
    pub fn contents(&mut self) -> impl Iterator<Item = (i64, &mut P)> {
        let more = self.more.iter_mut().flat_map(|more| &mut more.mail).map(|(_, kept)| kept);
        std::iter::once(&mut self.first).chain(more).map(|kept| (kept.offset, &mut kept.content))
    }

    /// What its records take in the log.
    pub(super) fn bytes(&self) -> u64 {
        self.first.bytes() + self.more.as_ref().map_or(0, |more| more.bytes)
    }

    /// Where the first record lies that is needed to come to the same again.
    pub fn oldest_offset(&self) -> i64 {
        self.oldest().offset
    }

    /// The first record that is needed to come to the same again.
    fn oldest(&self) -> &Retained<P> {
        let mail = self.more.as_ref().and_then(|more| more.mail.front()).map(|(_, kept)| kept);
        mail.filter(|mail| mail.offset < self.first.offset).unwrap_or(&self.first)
    }
}
