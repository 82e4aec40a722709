//! Where a connector's calls go: its URL, and below it the path and the query of each request.

use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};

use crate::engine::call::path_problem;
use crate::net::BaseUrl;

/// What a path may not hold as it is (RFC 3986, section 3.3). `%` is among it: paths of requests are not encoded yet, and data that is
/// already encoded is data.
const NOT_IN_PATH: &AsciiSet = &NOT_IN_QUERY
    .remove(b'/')
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');
/// What names and values in a query do not hold as they are: all but what is unreserved, so that nobody reads a `+` as a space.
const NOT_IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What the path of a connector's URL may not hold as it is; it is written encoded, but parsers let these through.
const NOT_IN_URL: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// A connector's URL, taken apart.
#[derive(Clone)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    /// Encoded, without a slash at its end.
    path: String,
}

impl Address {
    /// A connector's URL, for requests below it.
    pub fn of(url: &BaseUrl) -> Address {
        let path = percent_encode(url.path().as_bytes(), NOT_IN_URL).to_string();
        Address { scheme: url.scheme().clone(), authority: url.authority().clone(), path }
    }

    /// Whether calls go over TLS.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The URI of a request: a path and query parameters that are not encoded yet, below this address. The error says why there is none,
    /// without what they hold. Paths of steps were looked at before; nobody gets past this.
    pub fn join<'a>(&self, path: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Uri, String> {
        if let Some(problem) = path_problem(path) {
            return Err(format!("the path {problem}"));
        }
        let mut target = self.path.clone();
        target.extend(utf8_percent_encode(path, NOT_IN_PATH));
        for (position, (name, value)) in query.enumerate() {
            target.push(if position == 0 { '?' } else { '&' });
            target.extend(utf8_percent_encode(name, NOT_IN_QUERY));
            target.push('=');
            target.extend(utf8_percent_encode(value, NOT_IN_QUERY));
        }
        let target = PathAndQuery::from_maybe_shared(target).map_err(|_| "path and query together are too long")?;
        self.with(target).ok_or_else(|| "path and query make no URI".into())
    }

    /// The URI of an encoded path and query at this host, wherever they lead there; None if they make none.
    pub fn at(&self, target: &str) -> Option<Uri> {
        self.with(target.parse().ok()?)
    }

    fn with(&self, target: PathAndQuery) -> Option<Uri> {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(target);
        uri.build().ok()
    }

    /// What an encoded path is below this address, which may be secret itself; None if it is not below it.
    pub fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.path).filter(|rest| rest.starts_with('/'))
    }
}
