//! What came back: a response as values, bounded.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, SET_COOKIE};

use super::{failure, retry_after};
use crate::engine::call::Answer;
use crate::engine::value::{JsonLimits, Value, read_json};

/// The longest body of an answer: it becomes the output of a step, of which an execution may have a few megabytes in all, and every call
/// under way may hold one.
pub const BODY_BYTES: usize = 1024 * 1024;

/// Reads a response to its end. One whose body is too large is left unread, which closes its connection.
pub(super) async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(failed) => return failed,
    };
    Answer::Http {
        status: head.status.as_u16(),
        retry_after_ms: retry_after::in_ms(&head.headers, SystemTime::now()),
        body: understood(body, &head.headers),
        headers: as_object(&head.headers),
    }
}

async fn read_body(mut body: Incoming) -> Result<Bytes, Answer> {
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(failure::too_large());
    }
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the body, and nobody asked for any.
        let Ok(data) = frame.map_err(|error| failure::of_http(&error))?.into_data() else { continue };
        if read.len() + data.len() > BODY_BYTES {
            return Err(failure::too_large());
        }
        read.extend_from_slice(&data);
    }
    // A value may live long, and as long as it does the room that was left over.
    read.shrink_to_fit();
    Ok(read.into())
}

/// A body as a value: JSON if it says so and is, else text if it is, else bytes; null if there is none.
fn understood(body: Bytes, headers: &HeaderMap) -> Value {
    let is_plain = headers.get_all(CONTENT_ENCODING).iter().all(|it| it.as_bytes().eq_ignore_ascii_case(b"identity"));
    if body.is_empty() {
        return Value::Null;
    }
    // Nothing asked for it to be encoded; what is all the same is nothing that its type says.
    if !is_plain {
        return Value::Bytes(body);
    }
    if is_json(headers)
        && let Ok(document) = read_json(body.clone(), &JsonLimits { bytes: BODY_BYTES, ..JsonLimits::default() })
    {
        return document;
    }
    match std::str::from_utf8(&body) {
        Ok(text) => Value::text(text),
        Err(_) => Value::Bytes(body),
    }
}

/// Whether the content is JSON: `application/json`, or a type with its suffix (RFC 6839).
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// Headers as an object, in the order in which their names first came. Cookies are left out: they are credentials, and outputs are shown.
fn as_object(headers: &HeaderMap) -> Value {
    let names = headers.keys().filter(|name| **name != SET_COOKIE);
    let field = |name: &hyper::header::HeaderName| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        (Arc::from(name.as_str()), Value::text(values.collect::<Vec<_>>().join(", ")))
    };
    Value::map(names.map(field).collect())
}
