//! Numbers that compare exactly, however they were written: `100`, `100.0` and `1e2` are one number, and integers beyond
//! 2^53 are not rounded to what a float can hold.

use std::cmp::Ordering;

use crate::engine::value::Value;

/// Below this magnitude a float without fraction is held as an integer. It is 2^127, the end of `i128`.
const INTEGER_END: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// A number in its one canonical form, so that equality is structural.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// A number without fraction and below 2^127 in magnitude.
    Integer(i128),
    /// Any other number that is not NaN.
    Float(f64),
}

impl Number {
    /// The number that `value` is; None if it is no number, or NaN.
    pub fn of(value: &Value) -> Option<Number> {
        match value {
            Value::Int(it) => Some(Number::Integer(i128::from(*it))),
            Value::UInt(it) => Some(Number::Integer(i128::from(*it))),
            Value::Float(it) => Number::of_float(*it),
            Value::Null
            | Value::Bool(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::Node(_) => None,
        }
    }

    fn of_float(float: f64) -> Option<Number> {
        if float.is_nan() {
            return None;
        }
        let whole = float.trunc() == float && float.abs() < INTEGER_END;
        Some(if whole { Number::Integer(float as i128) } else { Number::Float(float) })
    }

    /// A key whose order is that of the numbers, where numbers that one float cannot tell apart share a key.
    pub fn order_key(self) -> u64 {
        let float = match self {
            Number::Integer(it) => it as f64,
            Number::Float(it) => it,
        };
        // IEEE 754 bits order like integers once negative numbers are mirrored.
        let bits = float.to_bits();
        if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a.cmp(b),
            (Number::Float(a), Number::Float(b)) => a.total_cmp(b),
            (Number::Integer(a), Number::Float(b)) => integer_to_float(*a, *b),
            (Number::Float(a), Number::Integer(b)) => integer_to_float(*b, *a).reverse(),
        }
    }
}

/// Compares an integer with a float that is no integer of `i128`: the two are never equal.
fn integer_to_float(integer: i128, float: f64) -> Ordering {
    if float >= INTEGER_END {
        return Ordering::Less;
    }
    if float <= -INTEGER_END {
        return Ordering::Greater;
    }
    if integer <= float.floor() as i128 { Ordering::Less } else { Ordering::Greater }
}

impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Number::Integer(it) => it.hash(state),
            Number::Float(it) => it.to_bits().hash(state),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Integer(it) => it.fmt(formatter),
            Number::Float(it) => it.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: Value, b: Value, expected: Ordering) {
        let (a, b) = (Number::of(&a).unwrap(), Number::of(&b).unwrap());
        assert_eq!(a.cmp(&b), expected, "{a} and {b}");
        assert_eq!(b.cmp(&a), expected.reverse(), "{b} and {a}");
        assert_eq!(a == b, expected == Ordering::Equal);
        assert!(a.order_key().cmp(&b.order_key()) == expected || a.order_key() == b.order_key());
    }

    #[test]
    fn numbers_compare_exactly_across_their_forms() {
        check(Value::Int(100), Value::Float(100.0), Ordering::Equal);
        check(Value::Int(0), Value::Float(-0.0), Ordering::Equal);
        check(Value::Int(-1), Value::UInt(u64::MAX), Ordering::Less);
        check(Value::UInt(u64::MAX), Value::Float(18_446_744_073_709_551_616.0), Ordering::Less);
        check(Value::Int(9_007_199_254_740_993), Value::Float(9_007_199_254_740_992.0), Ordering::Greater);
        check(Value::Int(2), Value::Float(2.5), Ordering::Less);
        check(Value::Int(3), Value::Float(2.5), Ordering::Greater);
        check(Value::Int(-3), Value::Float(-2.5), Ordering::Less);
        check(Value::Int(i64::MIN), Value::Float(-1e300), Ordering::Greater);
        check(Value::Int(i64::MAX), Value::Float(1e300), Ordering::Less);
        check(Value::Float(1e39), Value::Float(1e40), Ordering::Less);
        check(Value::Float(0.1), Value::Float(0.2), Ordering::Less);
    }

    #[test]
    fn what_is_no_number_has_none() {
        assert_eq!(Number::of(&Value::Float(f64::NAN)), None);
        assert_eq!(Number::of(&Value::text("1")), None);
    }
}
