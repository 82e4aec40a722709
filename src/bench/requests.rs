//! The request loop, the limit of jobs that call: as many requests at once, of the same size, to the same target, and nothing else. No
//! event leads to them, no pool hands out connections, and nobody waits for them for a bounded time only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, USER_AGENT,
};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::progress::Progress;
use super::target::{ANSWER, CONCURRENCY, KEY_HEADER, path};
use crate::lane::StopSignal;

/// Answers that are told at once: telling each would be work of its own.
const TOLD_TOGETHER: u64 = 64;
/// How often it looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is sent: as long as what the first step of R1 makes of an event, on average.
const BODY: &str =
    r#"{"order":"order-100000","account":"account-150","net":5050,"gross":6009.51,"label":"DE/gold","pieces":5}"#;

/// A loop that asks so many times.
#[derive(Clone, Copy, Debug)]
pub struct RequestLoop {
    /// Where the target is.
    pub address: SocketAddr,
    /// After how long it is to answer.
    pub after_ms: u32,
    /// How many requests there are.
    pub requests: u64,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl RequestLoop {
    /// Runs until every request is answered or it is told to stop. What goes wrong is told to `progress`.
    pub fn run(self, progress: &Arc<Progress>, stop: &StopSignal) {
        // One thread, as the connectors of an instance have.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let ran = runtime.map_err(Failed::from).and_then(|runtime| runtime.block_on(self.try_run(progress, stop)));
        if let Err(error) = ran {
            progress.fail(&format!("a request failed: {error}"));
        }
    }

    async fn try_run(self, progress: &Arc<Progress>, stop: &StopSignal) -> Result<(), Failed> {
        let mut connections = Vec::with_capacity(CONCURRENCY as usize);
        for _ in 0..CONCURRENCY {
            connections.push(connect(self.address).await?);
        }
        let template = Arc::new(Template::new(self.address, self.after_ms)?);
        let left = Arc::new(AtomicU64::new(self.requests));
        progress.start();
        let mut asking = JoinSet::new();
        for connection in connections {
            asking.spawn(ask(connection, template.clone(), left.clone(), progress.clone()));
        }
        while !stop.is_set() {
            match tokio::time::timeout(LOOK_EVERY, asking.join_next()).await {
                Ok(Some(asked)) => asked??,
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failed> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // What is wrong with a connection is said to whoever sends on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Asks on one connection, one request after the other, as long as any is left.
async fn ask(
    mut connection: SendRequest<Full<Bytes>>,
    template: Arc<Template>,
    left: Arc<AtomicU64>,
    progress: Arc<Progress>,
) -> Result<(), Failed> {
    let mut answered = 0;
    // The number that is left names the request.
    while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        connection.ready().await?;
        let response = connection.send_request(template.request(number)?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK || body != ANSWER {
            return Err(format!("the answer is {status} with {} bytes", body.len()).into());
        }
        answered += 1;
        if answered == TOLD_TOGETHER {
            progress.commit(std::mem::take(&mut answered));
        }
    }
    progress.commit(answered);
    Ok(())
}

/// What all requests have in common: what a connector sends.
struct Template {
    uri: Uri,
    headers: HeaderMap,
}

impl Template {
    fn new(address: SocketAddr, after_ms: u32) -> Result<Template, Failed> {
        let fixed = [
            (USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION"))),
            (ACCEPT_ENCODING, "identity"),
            (HeaderName::from_static("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            (ACCEPT, "application/json, */*;q=0.5"),
            (CONTENT_TYPE, "application/json"),
        ];
        let mut headers: HeaderMap =
            fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        headers.insert(HOST, HeaderValue::from_str(&address.to_string())?);
        Ok(Template { uri: path(after_ms).parse()?, headers })
    }

    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>, InvalidHeaderValue> {
        let mut request = Request::new(Full::new(Bytes::from_static(BODY.as_bytes())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let key = HeaderValue::from_str(&format!("{number:032x}"))?;
        request.headers_mut().insert(KEY_HEADER, key);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::{Received, Target};
    use super::*;

    #[test]
    fn every_request_is_made_once_and_answered() {
        let target = Target::start().unwrap();
        let requests = RequestLoop { address: target.address(), after_ms: 1, requests: 1_000 };
        let progress = Arc::new(Progress::new(requests.requests, None));
        requests.run(&progress, &StopSignal::default());
        progress.wait_for_end("L2").unwrap();
        let Received { requests, keys, bytes } = target.take();
        assert!((requests, keys) == (1_000, 1_000) && bytes > 1_000 * BODY.len() as u64, "{bytes}");
        assert_eq!(target.take(), Received::default());
    }

    #[test]
    fn what_is_not_answered_as_it_should_fails_the_run() {
        let target = Target::start().unwrap();
        let requests = RequestLoop { address: target.address(), after_ms: u32::MAX, requests: 1 };
        let progress = Arc::new(Progress::new(requests.requests, None));
        requests.run(&progress, &StopSignal::default());
        let error = progress.wait_for_end("L2").unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }
}
