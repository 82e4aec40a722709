//! The HTTP connector: one attempt of a call, from the request to its answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::address::Address;
use super::dial::Dial;
use super::target::{ConnectorError, Target};
use super::{answer, failure, headers, outgoing, redirect};
use crate::engine::call::Answer;
use crate::engine::owner::Call;
use crate::net::{BaseUrl, UrlProblem};

/// The longest head of an answer, status line and headers together: what big targets send, several times over. One that is longer is found
/// out by the next read, which may bring as much again.
pub const ANSWER_HEAD_BYTES: usize = 64 * 1024;
/// The most header fields of an answer.
pub const ANSWER_FIELDS: usize = 128;
/// How long a connection is kept that nobody uses. Some servers close theirs after 5 s (Node.js) without a word; a call that is sent at that
/// moment fails though nothing is wrong. Where calls are frequent, connections are never idle for so long.
const IDLE: Duration = Duration::from_secs(4);

/// Makes the calls of one connector. It is made once for an instance and shared: it keeps the connections of calls that have ended for
/// those to come.
pub struct HttpConnector {
    name: String,
    address: Address,
    /// What the connector adds to every call; never shown.
    headers: HeaderMap,
    /// How many redirects a call follows.
    redirects: u32,
    client: Client<Dial, Full<Bytes>>,
}

impl HttpConnector {
    /// A connector for a target. Nothing is sent before the first call.
    ///
    /// # Errors
    ///
    /// What can never work: a URL that leads nowhere, a header that HTTP does not take or that would say how calls are framed, https without
    /// anybody to trust.
    pub fn new(target: Target) -> Result<HttpConnector, ConnectorError> {
        let Target { name, url, headers, concurrency, redirects, trust } = target;
        let refused = |problem: UrlProblem| ConnectorError::Url { connector: name.clone(), problem: problem.text() };
        let address = Address::of(&BaseUrl::parse(&url).map_err(refused)?);
        if address.is_https() && trust.is_empty() {
            return Err(ConnectorError::NoAuthorities { connector: name });
        }
        let headers = check(&name, &headers)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(concurrency as usize)
            .http1_max_buf_size(ANSWER_HEAD_BYTES)
            .http1_max_headers(ANSWER_FIELDS)
            // One that was not sent, because its connection had just been closed, goes out on another.
            .retry_canceled_requests(true)
            .build(Dial::new(&trust));
        Ok(HttpConnector { name, address, headers, redirects, client })
    }

    /// Makes one attempt of a call; `trace` is its `traceparent` and `tracestate`, as far as it has them. It ends within `call.request.timeout`, with
    /// an answer of any status, or with how it failed. Redirects are followed as far as the target says, and answers like any other if that
    /// is not at all. Dropping it abandons the call and closes its connection.
    ///
    /// It must run on a Tokio runtime with I/O and time. Connections are driven by the runtime of the call that made them, so all calls
    /// of a connector belong on one.
    pub async fn call(&self, call: &Call, trace: &[(&'static str, String)]) -> Answer {
        let request = match outgoing::request(call, trace, &self.address, &self.headers) {
            Ok(request) => request,
            Err(problem) => return failure::unusable(problem),
        };
        let timeout = call.request.timeout;
        let exchange = async {
            match self.exchange(request).await {
                Ok(response) => answer::read(response).await,
                Err(failed) => failed,
            }
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| failure::late(timeout.as_millis()))
    }

    /// Sends a request, and follows its answer as far as redirects are followed: to the last one, of which the head is there.
    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Answer> {
        let failed = |error| failure::of_client(&error);
        if self.redirects == 0 {
            return self.client.request(request).await.map_err(failed);
        }
        let mut left = self.redirects;
        loop {
            let response = self.client.request(request.clone()).await.map_err(failed)?;
            let (status, headers) = (response.status(), response.headers());
            if !redirect::leads_on(status) {
                return Ok(response);
            }
            redirect::follow(&mut request, status, headers, &self.address, (left, self.redirects))
                .map_err(failure::unusable)?;
            // What stands beside a redirect is for people, and dropped unread.
            left -= 1;
        }
    }
}

/// The connector's headers, marked as secret.
fn check(connector: &str, pairs: &[(String, String)]) -> Result<HeaderMap, ConnectorError> {
    if pairs.len() > headers::HEADERS {
        return Err(ConnectorError::Headers { connector: connector.to_owned(), most: headers::HEADERS });
    }
    let mut checked = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let refused =
            |problem| ConnectorError::Header { connector: connector.to_owned(), header: name.clone(), problem };
        let (name, mut value) = headers::header(name, value).map_err(refused)?;
        value.set_sensitive(true);
        checked.append(name, value);
    }
    Ok(checked)
}

impl fmt::Debug for HttpConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HttpConnector").field("name", &self.name).finish_non_exhaustive()
    }
}
