//! Answers of the registry on their way in: bounded, and with their status.
//!
//! `schema_registry_converter` reads bodies of any length, and keeps of a status only its text within a sentence. Both are mended here, in
//! a middleware, so that everything else can stay with it.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use hyper::http::{self, Extensions, HeaderValue, StatusCode, header};
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next};
use serde::Deserialize;

/// The longest body of an answer that is read. Schemas of a whole house's messages have some hundred KiB; a registry's own limit is 1 MiB
/// by default, that of a record in Kafka.
pub const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The longest message of a registry that is told on.
const MESSAGE_BYTES: usize = 500;

/// An answer that is none to the question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Its status is not one of success.
    #[error("it answered {status}{}", said(.message))]
    Status {
        /// The status of HTTP.
        status: u16,
        /// The registry's `error_code`; None if the body is not what a registry sends.
        code: Option<u32>,
        /// The registry's message, shortened; empty if there is none.
        message: String,
    },
    /// Its body is too large to be read.
    #[error("the body of its answer is larger than {ANSWER_BYTES} bytes")]
    TooLarge,
}

/// Reads answers, bounded; what is no success becomes a [`Refusal`].
pub(super) struct Bounded;

#[async_trait]
impl Middleware for Bounded {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let answer = next.run(request, extensions).await?;
        let status = answer.status();
        let body = read(answer).await?;
        if !status.is_success() {
            return Err(Error::Middleware(refused(status, &body).into()));
        }
        let mut whole = http::Response::new(body);
        *whole.status_mut() = status;
        whole.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(whole.into())
    }
}

/// The whole body, if it is not too long. What a server says of its length is believed only where that makes it too long.
async fn read(mut answer: Response) -> reqwest_middleware::Result<Bytes> {
    let too_large = || Error::Middleware(Refusal::TooLarge.into());
    if answer.content_length().is_some_and(|it| it > ANSWER_BYTES as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What a registry sends with a status that is no success.
#[derive(Deserialize)]
struct Complaint {
    error_code: u32,
    #[serde(default)]
    message: String,
}

fn refused(status: StatusCode, body: &[u8]) -> Refusal {
    let complaint = serde_json::from_slice::<Complaint>(body).ok();
    let (code, message) = complaint.map_or((None, String::new()), |it| (Some(it.error_code), shortened(it.message)));
    Refusal::Status { status: status.as_u16(), code, message }
}

/// A text of the registry on one line, and no longer than what is told on.
pub(super) fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
    text.replace(char::is_control, " ")
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
