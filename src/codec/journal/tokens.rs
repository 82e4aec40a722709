//! Values as flat lists of tokens: a list or an object says how many parts follow, which come right behind it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Damaged, Raw};
use crate::engine::limits;
use crate::engine::value::{Value, ValueRef, View};

/// A scalar, or the beginning of a list or an object. The order of the variants is the format.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(&'a str),
    Bytes(#[serde(borrow)] Raw<'a>),
    Timestamp(i64),
    Duration(i64),
    /// So many values follow.
    List(u32),
    /// So many pairs of a text and a value follow.
    Map(u32),
}

/// Adds a value to a list of tokens.
pub(super) fn write<'a>(value: ValueRef<'a>, into: &mut Vec<Token<'a>>) {
    into.push(match value.view() {
        View::Null => Token::Null,
        View::Bool(it) => Token::Bool(it),
        View::Int(it) => Token::Int(it),
        View::UInt(it) => Token::UInt(it),
        View::Float(it) => Token::Float(it),
        View::Text(it) => Token::Text(it),
        View::Bytes(it) => Token::Bytes(Raw(it)),
        View::Timestamp(it) => Token::Timestamp(it),
        View::Duration(it) => Token::Duration(it),
        View::List(items) => {
            into.push(Token::List(items.iter().count() as u32));
            items.iter().for_each(|item| write(item, into));
            return;
        }
        View::Map(fields) => {
            into.push(Token::Map(fields.iter().count() as u32));
            for (name, value) in fields.iter() {
                into.push(Token::Text(name));
                write(value, into);
            }
            return;
        }
    });
}

/// Reads the one value that a list of tokens is.
pub(super) fn read(tokens: &[Token<'_>]) -> Result<Value, Damaged> {
    let mut tokens = tokens.iter();
    let value = next(&mut tokens, limits::VALUE_DEPTH)?;
    if tokens.next().is_some() { Err(Damaged("something follows a value".into())) } else { Ok(value) }
}

fn next(tokens: &mut std::slice::Iter<'_, Token<'_>>, depth: usize) -> Result<Value, Damaged> {
    let cut = || Damaged("a value ends in its middle".into());
    let deeper = || {
        depth.checked_sub(1).ok_or_else(|| Damaged(format!("a value nests deeper than {} levels", limits::VALUE_DEPTH)))
    };
    Ok(match *tokens.next().ok_or_else(cut)? {
        Token::Null => Value::Null,
        Token::Bool(it) => Value::Bool(it),
        Token::Int(it) => Value::Int(it),
        Token::UInt(it) => Value::UInt(it),
        Token::Float(it) => Value::Float(it),
        Token::Text(it) => Value::text(it),
        Token::Bytes(Raw(it)) => Value::Bytes(Bytes::copy_from_slice(it)),
        Token::Timestamp(it) => Value::Timestamp(it),
        Token::Duration(it) => Value::Duration(it),
        Token::List(count) => {
            let depth = deeper()?;
            // An item takes a token at least, so a count that is wrong ends with the tokens and allocates nothing before.
            let items: Result<Vec<Value>, Damaged> = (0..count).map(|_| next(tokens, depth)).collect();
            Value::List(items?.into())
        }
        Token::Map(count) => {
            let depth = deeper()?;
            let mut fields = Vec::new();
            for _ in 0..count {
                let Some(Token::Text(name)) = tokens.next() else {
                    return Err(Damaged("a field of an object has no name".into()));
                };
                fields.push((std::sync::Arc::from(*name), next(tokens, depth)?));
            }
            Value::map(fields)
        }
    })
}
