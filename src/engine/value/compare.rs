//! Equality, order and hashes of values, as expressions and patterns mean them: numbers by what they are, not by their type.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use super::{MapView, ValueRef, View};

/// A number of any type.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// See [`super::Value::Int`].
    Int(i64),
    /// See [`super::Value::UInt`].
    UInt(u64),
    /// See [`super::Value::Float`].
    Float(f64),
}

impl Number {
    /// The number that `view` is, if it is one.
    pub fn of(view: View<'_>) -> Option<Number> {
        match view {
            View::Int(it) => Some(Number::Int(it)),
            View::UInt(it) => Some(Number::UInt(it)),
            View::Float(it) => Some(Number::Float(it)),
            _ => None,
        }
    }

    /// Exact order: no number is rounded to compare it. None with NaN.
    pub fn compare(self, other: Number) -> Option<Ordering> {
        match (self.whole(), other.whole()) {
            (Ok(left), Ok(right)) => Some(left.cmp(&right)),
            (Ok(left), Err(right)) => compare_whole(left, right),
            (Err(left), Ok(right)) => compare_whole(right, left).map(Ordering::reverse),
            (Err(left), Err(right)) => left.partial_cmp(&right),
        }
    }

    fn whole(self) -> Result<i128, f64> {
        match self {
            Number::Int(it) => Ok(it.into()),
            Number::UInt(it) => Ok(it.into()),
            Number::Float(it) => Err(it),
        }
    }
}

/// Compares a 64-bit whole number with a double, exactly.
fn compare_whole(left: i128, right: f64) -> Option<Ordering> {
    if right.is_nan() {
        return None;
    }
    // Every double of at least 2^65 lies outside of what 64 bits hold; below, its whole part converts without loss.
    const BEYOND: f64 = 36_893_488_147_419_103_232.0;
    if right >= BEYOND {
        return Some(Ordering::Less);
    }
    if right <= -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = right.trunc();
    let fraction = right - whole;
    Some(left.cmp(&(whole as i128)).then_with(|| 0.0_f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal)))
}

/// Deep equality. Values of different types are unequal, except that numbers are equal when they are the same number.
/// Recurses once a level of nesting, which is bounded wherever values are made.
pub fn equal(left: View<'_>, right: View<'_>) -> bool {
    match (left, right) {
        (View::Null, View::Null) => true,
        (View::Bool(left), View::Bool(right)) => left == right,
        (View::Text(left), View::Text(right)) => left == right,
        (View::Bytes(left), View::Bytes(right)) => left == right,
        (View::Timestamp(left), View::Timestamp(right)) | (View::Duration(left), View::Duration(right)) => {
            left == right
        }
        (View::List(left), View::List(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(a, b)| equal(a.view(), b.view()))
        }
        (View::Map(left), View::Map(right)) => equal_maps(left, right),
        _ => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => left.compare(right) == Some(Ordering::Equal),
            _ => false,
        },
    }
}

/// Objects with more fields than this are compared through a sorted index of one of them: finding a field walks the others.
const WALKED_FIELDS: usize = 32;

fn equal_maps(left: MapView<'_>, right: MapView<'_>) -> bool {
    if left.len() != right.len() {
        return false;
    }
    if left.len() <= WALKED_FIELDS {
        return left.iter().all(|(name, a)| right.get(name).is_some_and(|b| equal(a.view(), b.view())));
    }
    let fields: BTreeMap<&str, ValueRef<'_>> = right.iter().collect();
    left.iter().all(|(name, a)| fields.get(name).is_some_and(|b| equal(a.view(), b.view())))
}

/// The order of two values of one kind: numbers, strings (by code point), bytes, bools (false first), timestamps,
/// durations. None for anything else, which has no order.
pub fn compare(left: View<'_>, right: View<'_>) -> Option<Ordering> {
    match (left, right) {
        (View::Bool(left), View::Bool(right)) => Some(left.cmp(&right)),
        (View::Text(left), View::Text(right)) => Some(left.cmp(right)),
        (View::Bytes(left), View::Bytes(right)) => Some(left.cmp(right)),
        (View::Timestamp(left), View::Timestamp(right)) | (View::Duration(left), View::Duration(right)) => {
            Some(left.cmp(&right))
        }
        _ => Number::of(left)?.compare(Number::of(right)?),
    }
}

/// Feeds a value into a hash: equal values feed the same.
pub fn hash(view: View<'_>, state: &mut impl Hasher) {
    match view {
        View::Null => 0_u8.hash(state),
        View::Bool(it) => (1_u8, it).hash(state),
        View::Int(it) => hash_number(Number::Int(it), state),
        View::UInt(it) => hash_number(Number::UInt(it), state),
        View::Float(it) => hash_number(Number::Float(it), state),
        View::Text(it) => (3_u8, it).hash(state),
        View::Bytes(it) => (4_u8, it).hash(state),
        View::Timestamp(it) => (5_u8, it).hash(state),
        View::Duration(it) => (6_u8, it).hash(state),
        View::List(list) => {
            (7_u8, list.len()).hash(state);
            list.iter().for_each(|item| hash(item.view(), state));
        }
        View::Map(map) => {
            // The order of fields does not count, so only what is the same in any order may be fed.
            let mut names = 0_u64;
            for (name, _) in map.iter() {
                names = names.wrapping_add(xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
            }
            (8_u8, map.len(), names).hash(state);
        }
    }
}

/// Numbers that are the same hash the same: whole ones as whole numbers, the rest by their bits.
fn hash_number(number: Number, state: &mut impl Hasher) {
    match number.whole() {
        Ok(whole) => (2_u8, whole).hash(state),
        Err(float) if float.fract() == 0.0 && float.abs() < 1e30 => (2_u8, float as i128).hash(state),
        Err(float) => (2_u8, float.to_bits()).hash(state),
    }
}
