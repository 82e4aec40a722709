//! Redirects, where the connector says that they are followed: where an answer leads, and what is asked there (RFC 9110, section 15.4; which
//! methods become GET is what the Fetch standard says).
//!
//! They lead to the origin of the connector's URL only. The host of a call is nobody's to choose but the connector's, and what it adds to
//! every call is meant for that host. Within the origin any path will do, also one that is not below the connector's: it is the target that
//! leads there, not data, and who is trusted with credentials does not depend on paths.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, HeaderMap, HeaderName,
    LAST_MODIFIED, LOCATION,
};
use hyper::{Method, Request, StatusCode, Uri};
use url::{Position, Url};

use super::address::Address;

/// Headers that describe a body, and go with it.
const OF_BODY: [HeaderName; 9] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    LAST_MODIFIED,
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];
/// How much of a host or a path is shown.
const SHOWN: usize = 80;

/// Whether an answer leads on. 300 offers a choice, and 304 is about a copy that nobody has here: they are answers.
pub(super) fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Makes of a request the next one, as its answer asks; `left` is how many redirects may still be followed of `most`. The error says
/// where it led and what would be right, with nothing of the connector's URL and no query.
pub(super) fn follow(
    request: &mut Request<Full<Bytes>>,
    status: StatusCode,
    answered: &HeaderMap,
    address: &Address,
    (left, most): (u32, u32),
) -> Result<(), String> {
    let to = destination(request.uri(), answered, address)
        .map_err(|problem| format!("its answer {} {problem}", status.as_u16()))?;
    if left == 0 {
        let path = address.below(to.path()).map_or_else(|| "a path that is not below the connector's".into(), shown);
        return Err(format!(
            "its answers led on more than {most} times, the last one to {path}; write a path that leads there sooner, or more `redirects`"
        ));
    }
    *request.uri_mut() = to;
    if becomes_get(status, request.method()) {
        *request.method_mut() = Method::GET;
        *request.body_mut() = Full::default();
        OF_BODY.iter().for_each(|name| drop(request.headers_mut().remove(name)));
    }
    Ok(())
}

fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        301 | 302 => *method == Method::POST,
        303 => ![Method::GET, Method::HEAD].contains(method),
        _ => false,
    }
}

/// Where an answer leads. The error is what is wrong with it, and what would be right.
fn destination(from: &Uri, answered: &HeaderMap, address: &Address) -> Result<Uri, String> {
    const RIGHT: &str = "write a path that the target answers itself, or have the target mended";
    let mut locations = answered.get_all(LOCATION).iter();
    let (Some(location), None) = (locations.next(), locations.next()) else {
        return Err(format!("leads on without exactly one `Location`; {RIGHT}"));
    };
    let invalid = || format!("leads on with a `Location` that is no URL; {RIGHT}");
    let base = Url::parse(&from.to_string()).map_err(|_| invalid())?;
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| invalid())?;
    let to = base.join(location).map_err(|_| invalid())?;
    if to.origin() != base.origin() {
        return Err(elsewhere(&base, &to));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(format!("leads on with credentials in its `Location`; {RIGHT}"));
    }
    address.at(&to[Position::BeforePath..Position::AfterQuery]).ok_or_else(invalid)
}

/// Words for another origin. The host is named only if it is another one than the connector's, which may be secret.
fn elsewhere(base: &Url, to: &Url) -> String {
    let port = to.port_or_known_default().map(|port| format!(", port {port}")).unwrap_or_default();
    let host = match (to.host_str(), base.host_str()) {
        (None, _) => String::new(),
        (Some(host), Some(own)) if host == own => " of the same host".into(),
        (Some(host), _) => format!(" of {}", shown(host)),
    };
    let scheme = shown(to.scheme());
    format!(
        "leads to {scheme}{port}{host}, where the connector's `url` is not; write there the one that answers itself"
    )
}

/// The beginning of a text that a target has chosen.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
