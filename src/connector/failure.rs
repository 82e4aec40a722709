//! Calls without an answer that can be used: how they have failed, in words that hold nothing secret. They are made of errors of the
//! system and of protocols, which know no header, no path and no body.

use std::error::Error;
use std::io;

use super::answer::BODY_BYTES;
use super::http::{ANSWER_FIELDS, ANSWER_HEAD_BYTES};
use crate::engine::call::Answer;
use crate::engine::retry::FailedCall;

/// The longest message: it stands in records, behind the connector's name.
const MESSAGE_BYTES: usize = 300;

/// A call that was not made, or whose answer can never do.
pub(super) fn unusable(message: impl Into<String>) -> Answer {
    failed(FailedCall::Unusable, message.into())
}

/// A call without a whole answer in its time.
pub(super) fn late(timeout_ms: u128) -> Answer {
    failed(FailedCall::Timeout, format!("no whole answer within {timeout_ms} ms"))
}

/// An answer whose body is too large.
pub(super) fn too_large() -> Answer {
    unusable(format!("the body of its answer is larger than {BODY_BYTES} bytes"))
}

/// What a client says instead of an answer.
pub(super) fn of_client(error: &hyper_util::client::legacy::Error) -> Answer {
    if error.is_connect() {
        return failed(FailedCall::Connection, format!("no connection: {}", root(error)));
    }
    match find::<hyper::Error>(error) {
        Some(error) => of_http(error),
        None => failed(FailedCall::Connection, format!("the call broke off: {}", root(error))),
    }
}

/// What is wrong with an answer on its way.
pub(super) fn of_http(error: &hyper::Error) -> Answer {
    if error.is_parse_too_large() {
        let message =
            format!("the head of its answer has more than {ANSWER_FIELDS} fields or {ANSWER_HEAD_BYTES} bytes");
        return unusable(message);
    }
    if error.is_parse() || find::<io::Error>(error).is_some_and(is_malformed) {
        return unusable(format!("its answer is no HTTP/1.1: {}", root(error)));
    }
    if error.is_incomplete_message() || find::<io::Error>(error).is_some_and(is_end) {
        return failed(FailedCall::Connection, "the connection was closed before the answer was whole".into());
    }
    failed(FailedCall::Connection, format!("the connection broke: {}", root(error)))
}

/// Whether a body is not framed as it should be. TLS that breaks looks alike, and is a matter of the connection.
fn is_malformed(error: &io::Error) -> bool {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) && !is_tls
}

fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

fn failed(failed: FailedCall, mut message: String) -> Answer {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
    Answer::Failed { failed, message }
}

/// The error and its causes, the last of which says most.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|it| it.downcast_ref())
}

fn root(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
