//! `[connectors.NAME]` and `[registry]`: other systems that are called over HTTP. Connectors to n8n and Temporal are read and checked, so
//! that a project that names them is valid; what needs them comes in a later version.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};

use super::check;
use super::document::{Section, Text};
use super::secret::Secret;
use crate::engine::breaker::BreakerPolicy;
use crate::net::FRAMING_HEADERS;

/// An external system that steps may call. All limits are per instance.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectorSettings {
    /// What it speaks. Required.
    pub kind: ConnectorKind,
    /// Where it is: http or https, without credentials. Required.
    pub url: Secret,
    /// Headers of every call, by lower-case name. Default: none.
    pub headers: BTreeMap<String, Secret>,
    /// Calls at once. Default: 64. Each costs a connection there and the memory of a request here.
    pub concurrency: u32,
    /// Calls a second, also less than one. Default: any number.
    pub rate: Option<f64>,
    /// Redirects that a call follows, within the origin of `url`. Default: 0, they are answers like any other. Each is a request more within
    /// the time of the call.
    pub redirects: u32,
    /// When calls stop for a while. Default: 5 failures in a row, for 30 s.
    pub breaker: BreakerPolicy,
}

/// What a connector speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorKind {
    /// Plain HTTP.
    Http,
    /// The HTTP API of n8n.
    N8n,
    /// The HTTP API of Temporal.
    Temporal,
}

/// A Confluent-compatible schema registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Where it is: http or https, without credentials, each of them asked when the one before gives no answer. One is required.
    pub urls: Vec<Secret>,
    /// Headers of every call, by lower-case name. Default: none.
    pub headers: BTreeMap<String, Secret>,
    /// Whether instances register the schemas of records that they write as Avro. Default: true. Else somebody has to do it before.
    pub auto_register: bool,
}

const REGISTRY_URLS: usize = 8;
const CONNECTORS: usize = 1000;
const HEADERS: usize = 64;
const CONCURRENCY_DEFAULT: i64 = 64;
const CONCURRENCY_MOST: i64 = 10_000;
const REDIRECTS_DEFAULT: i64 = 0;
/// A chain that is longer is a loop, or a target that needs another URL.
const REDIRECTS_MOST: i64 = 10;
const RATE_LEAST: f64 = 0.001;
const RATE_MOST: f64 = 100_000.0;

pub(super) fn read_connectors(root: &mut Section<'_, '_>) -> BTreeMap<String, ConnectorSettings> {
    let sections = root.named_sections("connectors");
    if sections.len() > CONNECTORS {
        let what = format!("there are {} connectors", sections.len());
        root.mistake(root.place(), what, format!("write at most {CONNECTORS}"));
        return BTreeMap::new();
    }
    let mut connectors = BTreeMap::new();
    for (name, mut section) in sections {
        if let Err((what, remedy)) = check::identifier(&name) {
            section.mistake(section.place(), format!("the connector's name is refused: {what}"), remedy);
        }
        let connector = read_connector(&mut section);
        section.finish();
        connectors.extend(connector.map(|connector| (name, connector)));
    }
    connectors
}

fn read_connector(section: &mut Section<'_, '_>) -> Option<ConnectorSettings> {
    const KINDS: [(&str, ConnectorKind); 3] =
        [("http", ConnectorKind::Http), ("n8n", ConnectorKind::N8n), ("temporal", ConnectorKind::Temporal)];
    let kind =
        section.required_text("kind", "write http, n8n or temporal").and_then(|_| section.choice("kind", &KINDS));
    let url = read_url(section);
    let headers = read_headers(section);
    let concurrency = section.integer("concurrency", 1..=CONCURRENCY_MOST).unwrap_or(CONCURRENCY_DEFAULT);
    let rate = section.number("rate", RATE_LEAST..=RATE_MOST);
    let redirects = section.integer("redirects", 0..=REDIRECTS_MOST).unwrap_or(REDIRECTS_DEFAULT);
    let breaker = super::breaker::read(section);
    Some(ConnectorSettings {
        kind: kind?.0,
        url: url?,
        headers,
        concurrency: concurrency as u32,
        rate,
        redirects: redirects as u32,
        breaker,
    })
}

pub(super) fn read_registry(root: &mut Section<'_, '_>) -> Option<RegistrySettings> {
    let mut section = root.section("registry")?;
    let urls = read_urls(&mut section);
    let headers = read_headers(&mut section);
    let auto_register = section.truth("auto_register").unwrap_or(true);
    section.finish();
    Some(RegistrySettings { urls: urls?, headers, auto_register })
}

/// The URLs of a registry, separated by commas.
fn read_urls(section: &mut Section<'_, '_>) -> Option<Vec<Secret>> {
    let remedy = "write where it is, like \"http://registry:8081\"; several are separated by commas";
    let text = section.required_text("url", remedy)?;
    let urls: Vec<&str> = text.value.split(',').map(str::trim).collect();
    if urls.len() > REGISTRY_URLS {
        section.mistake(text.place, format!("`url` has {} URLs", urls.len()), format!("write at most {REGISTRY_URLS}"));
        return None;
    }
    for url in urls.iter().filter(|_| text.resolved) {
        if let Err((what, remedy)) = check::http_url(url) {
            // The refused URL may have credentials in it, so it is not shown.
            section.mistake(text.place, format!("`url` is refused: {what}"), remedy);
            return None;
        }
    }
    Some(urls.into_iter().map(|url| Secret::new(url.to_owned())).collect())
}

fn read_url(section: &mut Section<'_, '_>) -> Option<Secret> {
    let text = section.required_text("url", "write where it is, like \"https://billing.example.com/v2\"")?;
    if !text.resolved {
        return Some(Secret::new(text.value));
    }
    match check::http_url(&text.value) {
        Ok(url) => Some(Secret::new(url)),
        Err((what, remedy)) => {
            // The refused URL may have credentials in it, so it is not shown.
            section.mistake(text.place, format!("`url` is refused: {what}"), remedy);
            None
        }
    }
}

fn read_headers(section: &mut Section<'_, '_>) -> BTreeMap<String, Secret> {
    let Some(headers) = section.section("headers") else { return BTreeMap::new() };
    let place = headers.place();
    let texts = headers.scalars();
    if texts.len() > HEADERS {
        section.mistake(place, format!("there are {} headers", texts.len()), format!("write at most {HEADERS}"));
        return BTreeMap::new();
    }
    let mut headers = BTreeMap::new();
    for (name, text) in texts {
        let name = name.to_ascii_lowercase();
        if let Err((what, remedy)) = check_header(&name, &text) {
            section.mistake(
                text.place,
                format!("header `{}` is refused: {what}", super::mistake::shown(&name)),
                remedy.to_owned(),
            );
        } else {
            headers.insert(name, Secret::new(text.value));
        }
    }
    headers
}

fn check_header(name: &str, text: &Text) -> Result<(), (&'static str, &'static str)> {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(("HTTP has no header of this name", "write letters, digits and -"));
    }
    if FRAMING_HEADERS.contains(&name) {
        return Err(("it says how a call is framed", "remove it; it is set for every call"));
    }
    if text.resolved && HeaderValue::from_str(&text.value).is_err() {
        return Err((
            "its value has a character that headers cannot have",
            "write visible ASCII characters, spaces and tabs",
        ));
    }
    Ok(())
}
