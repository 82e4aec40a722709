//! Values by small numbers, in pieces. There may be millions of them: a vector would take up to twice what it holds, three times while it
//! is moved, and would never become small again.

/// Values in a piece.
const PIECE: usize = 128;

/// Values by numbers.
#[derive(Debug)]
pub(super) struct Pieces<T> {
    pieces: Vec<Piece<T>>,
}

#[derive(Debug)]
struct Piece<T> {
    /// As long as a piece, or empty if it holds nothing.
    values: Vec<Option<T>>,
    count: usize,
}

impl<T> Default for Pieces<T> {
    fn default() -> Pieces<T> {
        Pieces { pieces: Vec::new() }
    }
}

impl<T> Pieces<T> {
    pub(super) fn get(&self, number: usize) -> Option<&T> {
        self.pieces.get(number / PIECE)?.values.get(number % PIECE)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.pieces.get_mut(number / PIECE)?.values.get_mut(number % PIECE)?.as_mut()
    }

    /// Puts a value in; returns the one that had this number.
    pub(super) fn insert(&mut self, number: usize, value: T) -> Option<T> {
        if self.pieces.len() <= number / PIECE {
            self.pieces.resize_with(number / PIECE + 1, || Piece { values: Vec::new(), count: 0 });
        }
        let piece = &mut self.pieces[number / PIECE];
        if piece.values.is_empty() {
            piece.values.reserve_exact(PIECE);
            piece.values.resize_with(PIECE, || None);
        }
        let before = piece.values[number % PIECE].replace(value);
        piece.count += usize::from(before.is_none());
        before
    }

    /// Takes a value out. A piece that holds nothing any more takes nothing.
    pub(super) fn remove(&mut self, number: usize) -> Option<T> {
        let piece = self.pieces.get_mut(number / PIECE)?;
        let value = piece.values.get_mut(number % PIECE)?.take()?;
        piece.count -= 1;
        if piece.count == 0 {
            piece.values = Vec::new();
        }
        Some(value)
    }

    /// All values, in the order of their numbers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.pieces.iter_mut().enumerate().flat_map(|(piece, Piece { values, .. })| {
            let numbered = values.iter_mut().enumerate();
            numbered.filter_map(move |(number, value)| Some((piece * PIECE + number, value.as_mut()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is put in and taken out, it is the same as in a map, and pieces that hold nothing take nothing.
        #[test]
        fn it_holds_what_a_map_holds(changes in proptest::collection::vec((0..4 * PIECE, any::<Option<u8>>()), 0..400)) {
            let (mut pieces, mut map) = (Pieces::default(), BTreeMap::new());
            for (number, change) in changes {
                match change {
                    Some(value) => prop_assert_eq!(pieces.insert(number, value), map.insert(number, value)),
                    None => prop_assert_eq!(pieces.remove(number), map.remove(&number)),
                }
                prop_assert_eq!(pieces.get(number), map.get(&number));
                prop_assert_eq!(pieces.get_mut(number), map.get_mut(&number));
            }
            let held: Vec<_> = pieces.iter_mut().map(|(number, value)| (number, *value)).collect();
            prop_assert_eq!(held, map.iter().map(|(number, value)| (*number, *value)).collect::<Vec<_>>());
            for (place, piece) in pieces.pieces.iter().enumerate() {
                let held = map.range(place * PIECE..(place + 1) * PIECE).count();
                prop_assert_eq!((piece.count, piece.values.capacity() > 0), (held, held > 0));
            }
        }
    }
}
