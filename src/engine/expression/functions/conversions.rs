//! Conversions between types: `string(x)`, `int(x)` and the like, and base64.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;

use super::{Function, function};
use crate::engine::expression::Budget;
use crate::engine::expression::failure::Problem;
use crate::engine::expression::operators::{charge_size, finite};
use crate::engine::expression::template::{SCALAR_TEXT, scalar_text};
use crate::engine::value::{Value, View};

pub(super) const FUNCTIONS: &[Function] = &[
    function("string", (1, 1), to_string),
    function("int", (1, 1), to_int),
    function("uint", (1, 1), to_uint),
    function("double", (1, 1), to_double),
    function("bool", (1, 1), to_bool),
    function("bytes", (1, 1), to_bytes),
    function("dyn", (1, 1), same),
    function("type", (1, 1), type_of),
    function("base64.encode", (1, 1), base64_encode),
    function("base64.decode", (1, 1), base64_decode),
];

/// What `type()` returns for each type, which is also what the name of the type means in an expression.
pub const TYPE_NAMES: [&str; 11] = [
    "null_type",
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "list",
    "map",
];

fn type_of(arguments: &[View<'_>], _: &mut Budget) -> Result<Value, Problem> {
    let [view] = arguments else { return Err(Problem::Types) };
    let index = match view {
        View::Null => 0,
        View::Bool(_) => 1,
        View::Int(_) => 2,
        View::UInt(_) => 3,
        View::Float(_) => 4,
        View::Text(_) => 5,
        View::Bytes(_) => 6,
        View::Timestamp(_) => 7,
        View::Duration(_) => 8,
        View::List(_) => 9,
        View::Map(_) => 10,
    };
    Ok(Value::text(TYPE_NAMES[index]))
}

/// `dyn(x)` only speaks to type checkers. Copies, because what an argument refers to is not known here.
fn same(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [view] = arguments else { return Err(Problem::Types) };
    charge_size(*view, budget)?;
    Ok(owned(*view))
}

fn owned(view: View<'_>) -> Value {
    match view {
        View::Null => Value::Null,
        View::Bool(it) => Value::Bool(it),
        View::Int(it) => Value::Int(it),
        View::UInt(it) => Value::UInt(it),
        View::Float(it) => Value::Float(it),
        View::Text(it) => Value::text(it),
        View::Bytes(it) => Value::Bytes(Bytes::copy_from_slice(it)),
        View::Timestamp(it) => Value::Timestamp(it),
        View::Duration(it) => Value::Duration(it),
        View::List(list) => Value::List(list.iter().map(|item| item.to_value()).collect()),
        View::Map(map) => Value::map(map.iter().map(|(name, field)| (name.into(), field.to_value())).collect()),
    }
}

fn to_string(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Text(text)] => {
            budget.take_bytes(text.len())?;
            Ok(Value::text(*text))
        }
        [View::Bytes(bytes)] => {
            budget.take_bytes(bytes.len())?;
            let text = std::str::from_utf8(bytes).map_err(|_| Problem::other("the bytes are not UTF-8"))?;
            Ok(Value::text(text))
        }
        [scalar] => {
            budget.take(SCALAR_TEXT)?;
            scalar_text(*scalar).map(Value::text).ok_or(Problem::Types)
        }
        _ => Err(Problem::Types),
    }
}

fn to_int(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let out_of_range = || Problem::other("the number does not fit an int");
    match arguments {
        [View::Int(it)] => Ok(Value::Int(*it)),
        [View::UInt(it)] => i64::try_from(*it).map(Value::Int).map_err(|_| out_of_range()),
        // 2^63 is the first double beyond; the casts of all between are exact after truncation.
        [View::Float(it)] if *it > i64::MIN as f64 && *it < -(i64::MIN as f64) => Ok(Value::Int(*it as i64)),
        [View::Float(_)] => Err(out_of_range()),
        [View::Text(text)] => parsed(text, "int", budget, |text| text.parse().ok().map(Value::Int)),
        [View::Timestamp(nanos)] => Ok(Value::Int(nanos.div_euclid(1_000_000_000))),
        _ => Err(Problem::Types),
    }
}

fn to_uint(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let out_of_range = || Problem::other("the number does not fit a uint");
    match arguments {
        [View::UInt(it)] => Ok(Value::UInt(*it)),
        [View::Int(it)] => u64::try_from(*it).map(Value::UInt).map_err(|_| out_of_range()),
        [View::Float(it)] if *it >= 0.0 && *it < 18_446_744_073_709_551_616.0 => Ok(Value::UInt(*it as u64)),
        [View::Float(_)] => Err(out_of_range()),
        [View::Text(text)] => parsed(text, "uint", budget, |text| text.parse().ok().map(Value::UInt)),
        _ => Err(Problem::Types),
    }
}

fn to_double(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Float(it)] => Ok(Value::Float(*it)),
        [View::Int(it)] => Ok(Value::Float(*it as f64)),
        [View::UInt(it)] => Ok(Value::Float(*it as f64)),
        [View::Text(text)] => {
            parsed(text, "double", budget, |text| text.parse().ok().and_then(|number| finite(number).ok()))
        }
        _ => Err(Problem::Types),
    }
}

fn to_bool(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Bool(it)] => Ok(Value::Bool(*it)),
        [View::Text(text)] => parsed(text, "bool", budget, |text| match text {
            "1" | "t" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => None,
        }),
        _ => Err(Problem::Types),
    }
}

fn to_bytes(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    match arguments {
        [View::Bytes(bytes)] => {
            budget.take_bytes(bytes.len())?;
            Ok(Value::Bytes(Bytes::copy_from_slice(bytes)))
        }
        [View::Text(text)] => {
            budget.take_bytes(text.len())?;
            Ok(Value::Bytes(Bytes::copy_from_slice(text.as_bytes())))
        }
        _ => Err(Problem::Types),
    }
}

fn base64_encode(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let bytes = match arguments {
        [View::Bytes(bytes)] => *bytes,
        [View::Text(text)] => text.as_bytes(),
        _ => return Err(Problem::Types),
    };
    budget.take_bytes(bytes.len().saturating_mul(2))?;
    Ok(Value::text(STANDARD.encode(bytes)))
}

fn base64_decode(arguments: &[View<'_>], budget: &mut Budget) -> Result<Value, Problem> {
    let [View::Text(text)] = arguments else { return Err(Problem::Types) };
    budget.take_bytes(text.len())?;
    let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
    bytes.map(|bytes| Value::Bytes(bytes.into())).map_err(|_| Problem::other("the string is not base64"))
}

fn parsed(text: &str, wanted: &str, budget: &mut Budget, parse: fn(&str) -> Option<Value>) -> Result<Value, Problem> {
    // Long enough to recognise what was given.
    const QUOTED_CHARS: usize = 40;
    budget.take_bytes(text.len())?;
    parse(text).ok_or_else(|| {
        let quoted: String = text.chars().take(QUOTED_CHARS).collect();
        Problem::other(format!("{quoted:?} is no {wanted}"))
    })
}
