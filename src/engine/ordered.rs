//! A set in order, for millions of values: most of them are put in behind all others, and those that come first are taken out. The nodes of a
//! `BTreeSet` stay half empty where it grows at its end; the pieces of this one are full there.

use std::collections::VecDeque;

/// Values in a piece, at most.
const PIECE: usize = 512;

/// Values in order, each once.
#[derive(Debug)]
pub(super) struct Ordered<T> {
    /// In order, and so are the values of each; none of them is empty.
    pieces: VecDeque<VecDeque<T>>,
}

impl<T> Default for Ordered<T> {
    fn default() -> Ordered<T> {
        Ordered { pieces: VecDeque::new() }
    }
}

impl<T: Ord + Copy> Ordered<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The first value.
    pub(super) fn first(&self) -> Option<&T> {
        self.pieces.front()?.front()
    }

    /// All values in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    /// Puts a value in, if it is not there.
    pub(super) fn insert(&mut self, value: T) {
        let Some(last) = self.pieces.len().checked_sub(1) else { return self.pieces.push_back([value].into()) };
        let number = self.piece_of(&value).min(last);
        let piece = &mut self.pieces[number];
        let Err(place) = piece.binary_search(&value) else { return };
        if piece.len() < PIECE {
            piece.insert(place, value);
        } else if number == last && place == PIECE {
            self.pieces.push_back([value].into());
        } else {
            let mut second = piece.split_off(PIECE / 2);
            match place.checked_sub(PIECE / 2) {
                Some(place) if place > 0 => second.insert(place, value),
                Some(_) | None => piece.insert(place, value),
            }
            piece.shrink_to_fit();
            self.pieces.insert(number + 1, second);
        }
    }

    /// Takes a value out. Returns whether it was there.
    pub(super) fn remove(&mut self, value: &T) -> bool {
        let number = self.piece_of(value);
        let Some(piece) = self.pieces.get_mut(number) else { return false };
        let Ok(place) = piece.binary_search(value) else { return false };
        piece.remove(place);
        self.tidy(number);
        true
    }

    /// Takes the first value out.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let value = self.pieces.front_mut()?.pop_front()?;
        self.tidy(0);
        Some(value)
    }

    /// Keeps those alone that are `wanted`.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        let pieces = std::mem::take(&mut self.pieces);
        pieces.into_iter().flatten().filter(|value| wanted(value)).for_each(|value| self.insert(value));
    }

    /// The piece in which a value is, or would be; behind all if it would be behind the last value.
    fn piece_of(&self, value: &T) -> usize {
        self.pieces.partition_point(|piece| piece.back().is_some_and(|last| last < value))
    }

    /// A piece of which something was taken out. One that is nearly empty becomes part of the next.
    fn tidy(&mut self, number: usize) {
        let Some(piece) = self.pieces.get(number) else { return };
        let length = piece.len();
        let next = self.pieces.get(number + 1).map_or(PIECE, VecDeque::len);
        if length == 0 {
            self.pieces.remove(number);
        } else if length < PIECE / 8
            && length + next < PIECE
            && let Some(mut piece) = self.pieces.remove(number)
            && let Some(next) = self.pieces.get_mut(number)
        {
            while let Some(value) = piece.pop_back() {
                next.push_front(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u32),
        Append(u16),
        Remove(u32),
        Pop(u16),
        Retain(u32),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (0..40_000_u32).prop_map(Change::Insert),
            4 => (1..1_500_u16).prop_map(Change::Append),
            4 => (0..40_000_u32).prop_map(Change::Remove),
            2 => (1..1_000_u16).prop_map(Change::Pop),
            1 => (2..5_u32).prop_map(Change::Retain),
        ]
    }

    fn apply(ordered: &mut Ordered<u32>, set: &mut BTreeSet<u32>, change: Change) -> Result<(), TestCaseError> {
        match change {
            Change::Insert(value) => {
                ordered.insert(value);
                set.insert(value);
            }
            Change::Append(count) => {
                let from = set.last().map_or(0, |last| last + 1);
                for value in from..from + u32::from(count) {
                    ordered.insert(value);
                    set.insert(value);
                }
            }
            Change::Remove(value) => prop_assert_eq!(ordered.remove(&value), set.remove(&value)),
            Change::Pop(count) => {
                for _ in 0..count {
                    prop_assert_eq!(ordered.pop_first(), set.pop_first());
                }
            }
            Change::Retain(part) => {
                ordered.retain(|value| value % part > 0);
                set.retain(|value| value % part > 0);
            }
        }
        prop_assert_eq!((ordered.first(), ordered.is_empty()), (set.first(), set.is_empty()));
        prop_assert!(ordered.pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
        Ok(())
    }

    proptest! {
        /// Whatever is put in and taken out, it is the same as in a set of the standard library.
        #[test]
        fn it_holds_what_a_set_holds(changes in proptest::collection::vec(change(), 0..40)) {
            let (mut ordered, mut set) = (Ordered::default(), BTreeSet::new());
            for change in changes {
                apply(&mut ordered, &mut set, change)?;
            }
            prop_assert!(ordered.iter().eq(&set));
        }
    }

    #[test]
    fn where_it_grows_at_its_end_its_pieces_are_full() {
        let mut ordered = Ordered::default();
        (0..100 * PIECE).for_each(|value| ordered.insert(value));
        let room: usize = ordered.pieces.iter().map(VecDeque::capacity).sum();
        assert_eq!((ordered.pieces.len(), room), (100, 100 * PIECE));
        while ordered.pop_first().is_some() {}
        assert!(ordered.is_empty());
    }
}
