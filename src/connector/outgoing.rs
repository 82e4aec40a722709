//! What goes out for a call.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};

use super::address::Address;
use super::headers;
use crate::engine::owner::Call;
use crate::engine::value::{self, Value, View};

/// The request of a call; `credentials` are the headers of the connector. The error says what HTTP does not take, without any secret.
pub(super) fn request(
    call: &Call,
    trace: &[(&'static str, String)],
    address: &Address,
    credentials: &HeaderMap,
) -> Result<hyper::Request<Full<Bytes>>, String> {
    let wanted = &call.request;
    let method = Method::from_bytes(wanted.method.as_bytes()).ok();
    // CONNECT asks for a tunnel to another host.
    let method = method.filter(|it| *it != Method::CONNECT).ok_or("HTTP has no such method for a call")?;
    let uri = address.join(&wanted.path, wanted.query.iter().map(|(name, value)| (&**name, value.as_str())))?;
    let mut headers = headers::of_call(wanted, credentials, &call.idempotency_key, trace)?;
    let body = body(&wanted.body);
    if body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&method) {
        // Where a body is expected, none is said to be none (RFC 9110, section 8.6): some servers refuse a request that leaves it open.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let mut request = hyper::Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn body(body: &Value) -> Bytes {
    match body.view() {
        View::Null => Bytes::new(),
        View::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
        View::Bytes(bytes) => Bytes::copy_from_slice(bytes),
        view => {
            let mut text = Vec::with_capacity(body.weight());
            value::write_json(view, &mut text);
            text.into()
        }
    }
}
