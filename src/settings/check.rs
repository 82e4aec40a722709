//! Checks that several sections share: names as Kafka takes them, addresses, URLs. Each says what is wrong and what would be right.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::net::{BaseUrl, UrlProblem};

/// The longest name of anything that is not a topic: an environment, a group, a header.
pub(super) const NAME_BYTES: usize = 255;
/// The longest name of a topic, as Kafka bounds it.
pub(super) const TOPIC_BYTES: usize = 249;
/// The longest URL.
const URL_BYTES: usize = 2048;
/// What a URL looks like.
const A_URL: &str = "write a URL like \"https://billing.example.com/v2\"";

/// What is wrong and what would be right.
pub(super) type Refusal = (&'static str, String);

/// The name of an instance or an environment: it goes into ids, labels and names of group members.
pub(super) fn identifier(name: &str) -> Result<String, Refusal> {
    const LONGEST: usize = 64;
    let remedy = || format!("write 1 to {LONGEST} of a-z A-Z 0-9 . _ -");
    match name {
        "" => Err(("it is empty", remedy())),
        _ if !name.bytes().all(is_name_byte) => Err(("it has a character that names cannot have", remedy())),
        _ if name.len() > LONGEST => Err(("it is too long", remedy())),
        _ => Ok(name.to_owned()),
    }
}

/// A topic's name as Kafka takes it.
pub(super) fn topic_name(name: &str) -> Result<(), Refusal> {
    let remedy = || format!("write 1 to {TOPIC_BYTES} of a-z A-Z 0-9 . _ -, or a pattern that starts with ^");
    match name {
        "" => Err(("it is empty", remedy())),
        "." | ".." => Err(("Kafka has no topic of this name", remedy())),
        _ if !name.bytes().all(is_name_byte) => Err(("it has a character that topics cannot have", remedy())),
        _ if name.len() > TOPIC_BYTES => Err(("it is too long", remedy())),
        _ => Ok(()),
    }
}

/// What the names of system topics start with.
pub(super) fn topic_prefix(prefix: &str) -> Result<String, Refusal> {
    // The longest system topic must still fit.
    const LONGEST: usize = 200;
    let remedy = || format!("write 1 to {LONGEST} of a-z A-Z 0-9 . _ -, like \"tidegate.\"");
    match prefix {
        "" => Err(("every topic starts with nothing, so no source would be left", remedy())),
        _ if !prefix.bytes().all(is_name_byte) => Err(("it has a character that topics cannot have", remedy())),
        _ if prefix.len() > LONGEST => Err(("it is too long", remedy())),
        _ => Ok(prefix.to_owned()),
    }
}

/// A consumer group's name; Kafka takes nearly anything.
pub(super) fn group(name: &str) -> Result<String, Refusal> {
    let remedy = || format!("write 1 to {NAME_BYTES} bytes without control characters");
    match name {
        "" => Err(("it is empty", remedy())),
        _ if name.chars().any(char::is_control) => Err(("it has a control character", remedy())),
        _ if name.len() > NAME_BYTES => Err(("it is too long", remedy())),
        _ => Ok(name.to_owned()),
    }
}

/// An address to listen on.
pub(super) fn listen_address(address: &str) -> Result<SocketAddr, Refusal> {
    let remedy = "write IP:PORT, like \"127.0.0.1:7070\", or \"0.0.0.0:7070\" for all interfaces";
    let local = address.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    local.map_or_else(|| address.parse(), Ok).map_err(|_| ("this is no address to listen on", remedy.to_owned()))
}

/// The URL of a system that is called over HTTP. Credentials belong into headers, where they are never printed.
pub(super) fn http_url(url: &str) -> Result<String, Refusal> {
    if url.len() > URL_BYTES {
        return Err(("it is too long", format!("write at most {URL_BYTES} bytes")));
    }
    let refused = |problem| {
        let (what, remedy) = match problem {
            UrlProblem::NoUrl => ("this is no URL", A_URL),
            UrlProblem::Scheme => ("only http and https can be called", A_URL),
            UrlProblem::NoHost => ("it names no host", A_URL),
            UrlProblem::Port => ("its port is none from 1 to 65535", A_URL),
            UrlProblem::Credentials => {
                ("it has credentials in it", "move them into headers, as ${env:NAME} or ${file:PATH}")
            }
            UrlProblem::BehindPath => {
                ("it has a query or a fragment", "end it with the path; steps add their own query")
            }
        };
        (what, remedy.to_owned())
    };
    BaseUrl::parse(url).map(|_| url.to_owned()).map_err(refused)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(url: &str, expected: Result<(), &str>) {
        assert_eq!(http_url(url).map(drop).map_err(|(what, _)| what), expected, "{url}");
    }

    #[test]
    fn urls_that_can_never_be_called_are_refused() {
        check_url("https://billing.example.com:8443/v2", Ok(()));
        check_url("billing.example.com", Err("only http and https can be called"));
        check_url("http://:80", Err("it names no host"));
        check_url("http://billing.example.com:0", Err("its port is none from 1 to 65535"));
        check_url("http://key@billing.example.com", Err("it has credentials in it"));
        check_url("http://billing.example.com/?a=b", Err("it has a query or a fragment"));
        check_url("http://billing example", Err("this is no URL"));
        check_url(&format!("http://{}", "a".repeat(URL_BYTES)), Err("it is too long"));
    }
}
