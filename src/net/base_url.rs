//! The URL that everything begins with that is asked of another system.

use std::fmt;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};

/// Where another system is: http or https, a host, perhaps a port and a path. Credentials belong into headers, where they are never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// As it was written, without a slash at its end.
    path: String,
}

/// Why a URL leads to no system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlProblem {
    /// It cannot be parsed.
    NoUrl,
    /// Its scheme is another one, or missing.
    Scheme,
    /// It has no host.
    NoHost,
    /// It has credentials in it.
    Credentials,
    /// What follows the host is no port that can be connected to.
    Port,
    /// It goes on behind its path.
    BehindPath,
}

impl UrlProblem {
    /// What is wrong, to be put behind whatever names the URL; without the URL, which may hold secrets.
    pub fn text(self) -> &'static str {
        match self {
            UrlProblem::NoUrl => "is no URL",
            UrlProblem::Scheme => "is neither http nor https",
            UrlProblem::NoHost => "names no host",
            UrlProblem::Credentials => "has credentials in it",
            UrlProblem::Port => "has no port from 1 to 65535 after its `:`",
            UrlProblem::BehindPath => "has a query or a fragment",
        }
    }
}

impl BaseUrl {
    /// Takes a URL apart.
    pub fn parse(url: &str) -> Result<BaseUrl, UrlProblem> {
        let is_another = |scheme: &str| !["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
        if url.split_once("://").is_some_and(|(scheme, _)| is_another(scheme)) {
            // Some of these have no host, and are no URLs for the parser.
            return Err(UrlProblem::Scheme);
        }
        let parts = url.parse::<Uri>().map_err(|_| UrlProblem::NoUrl)?.into_parts();
        let scheme = parts.scheme.filter(|it| *it == Scheme::HTTP || *it == Scheme::HTTPS);
        let scheme = scheme.ok_or(UrlProblem::Scheme)?;
        let authority = parts.authority.filter(|it| !it.host().is_empty()).ok_or(UrlProblem::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(UrlProblem::Credentials);
        }
        let port = authority.as_str().get(authority.host().len()..).and_then(|rest| rest.strip_prefix(':'));
        if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
            return Err(UrlProblem::Port);
        }
        let path = parts.path_and_query.as_ref();
        if path.is_some_and(|it| it.query().is_some()) || url.contains('#') {
            return Err(UrlProblem::BehindPath);
        }
        let path = path.map_or("", |it| it.path()).trim_end_matches('/').to_owned();
        Ok(BaseUrl { scheme, authority, path })
    }

    /// Whether it is called over TLS.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The host, and the port if it is named.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path as it was written, without a slash at its end; empty if there is none.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The URL, without a slash at its end.
impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BaseUrl { scheme, authority, path } = self;
        write!(formatter, "{scheme}://{authority}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<&str, UrlProblem>) {
        let parsed = BaseUrl::parse(url);
        assert_eq!(parsed.as_ref().map(ToString::to_string).map_err(|it| *it), expected.map(str::to_owned), "{url}");
    }

    #[test]
    fn what_leads_to_a_system_is_taken() {
        check("http://localhost:8081", Ok("http://localhost:8081"));
        check("https://example.com/", Ok("https://example.com"));
        check("HTTPS://example.com/api/v2//", Ok("https://example.com/api/v2"));
        check("http://[::1]:80/a%20b", Ok("http://[::1]:80/a%20b"));
        assert!(BaseUrl::parse("https://a").unwrap().is_https() && !BaseUrl::parse("http://a").unwrap().is_https());
    }

    #[test]
    fn what_leads_to_none_is_refused() {
        check("", Err(UrlProblem::NoUrl));
        check("http://", Err(UrlProblem::NoUrl));
        check("http://exa mple.com", Err(UrlProblem::NoUrl));
        check("/api", Err(UrlProblem::Scheme));
        check("example.com", Err(UrlProblem::Scheme));
        check("ftp://example.com", Err(UrlProblem::Scheme));
        check("http://:80/", Err(UrlProblem::NoHost));
        check("http://user:secret@example.com/", Err(UrlProblem::Credentials));
        check("http://@example.com/", Err(UrlProblem::Credentials));
        check("file:///etc/passwd", Err(UrlProblem::Scheme));
        for port in ["", "0", "65536", "99999", "x"] {
            check(&format!("http://example.com:{port}/"), Err(UrlProblem::Port));
        }
        check("http://[::1]:0", Err(UrlProblem::Port));
        check("http://example.com/?a=b", Err(UrlProblem::BehindPath));
        check("http://example.com?", Err(UrlProblem::BehindPath));
        check("http://example.com/#a", Err(UrlProblem::BehindPath));
    }
}
