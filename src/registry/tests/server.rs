//! A server that answers as a test says, and remembers what it was asked.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::registry::{Registry, RegistryClient};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method, the path and the query.
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

/// What a request is answered with.
pub enum Reply {
    Answer(u16, String),
    /// A body of so many bytes, without a word of its length.
    Chunked(usize),
    /// The answer never comes.
    Hang,
    /// The connection is closed.
    Close,
}

/// A server for the length of a test.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Starts it on a free port.
    pub async fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (reply, remembered) = (Arc::new(reply), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, remembered) = (reply.clone(), remembered.clone());
                let service = service_fn(move |request| answer(request, reply.clone(), remembered.clone()));
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        Server { url, asked }
    }

    /// One that answers everything the same.
    pub async fn saying(status: u16, body: impl Into<String>) -> Server {
        let body = body.into();
        Server::start(move |_| Reply::Answer(status, body.clone())).await
    }

    /// A client of it.
    pub fn client(&self) -> RegistryClient {
        client(&[&self.url], &[])
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The methods and paths of what it was asked so far.
    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|it| it.line).collect()
    }
}

/// A client of URLs, with headers.
pub fn client(urls: &[&str], headers: &[(&str, &str)]) -> RegistryClient {
    RegistryClient::new(&registry(urls, headers)).unwrap()
}

/// Settings with URLs and headers.
pub fn registry(urls: &[&str], headers: &[(&str, &str)]) -> Registry {
    Registry {
        urls: urls.iter().map(|it| (*it).to_owned()).collect(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        timeout: Duration::from_secs(10),
        tells_subjects: false,
    }
}

/// The body of an answer with a schema.
pub fn schema(text: &str) -> Reply {
    Reply::Answer(200, json!({ "schema": text }).to_string())
}

/// The answer of a registry that does not know it.
pub fn unknown(code: u32) -> Reply {
    Reply::Answer(404, json!({ "error_code": code, "message": "not found" }).to_string())
}

/// The URL of a port at which nobody is.
pub async fn nowhere() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn answer(
    request: Request<Incoming>,
    reply: Arc<impl Fn(&Asked) -> Reply>,
    remembered: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, io::Error> {
    let line = format!("{} {}", request.method(), request.uri());
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let asked = Asked { line, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let reply = reply(&asked);
    remembered.lock().unwrap().push(asked);
    let (status, body) = match reply {
        Reply::Answer(status, body) => (status, Full::from(body).boxed()),
        Reply::Chunked(left) => (200, Chunks { left }.boxed()),
        Reply::Hang => std::future::pending().await,
        Reply::Close => return Err(io::Error::other("closed")),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    Ok(response)
}

/// A body whose length is not known before its end.
struct Chunks {
    left: usize,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.left.min(64 * 1024);
        self.left -= size;
        Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from(vec![b' '; size])))))
    }
}
