//! New connections to a target: TCP, and TLS over it, within a bounded time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::net::Trust;

/// How long a connection may take to be made, with its TLS handshake. Far more than it takes, and an end for those that go on for the next
/// call when the one that wanted them has got another meanwhile.
const CONNECT: Duration = Duration::from_secs(10);
/// After how long a silent connection is asked whether its peer is still there: a call may take long, and its target may have gone.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Dial {
    tcp: TcpConnector,
    tls: Option<HttpsConnector<TcpConnector>>,
}

impl Dial {
    /// One that speaks TLS with whom is trusted.
    pub fn new(trust: &Trust) -> Dial {
        let mut tcp = TcpConnector::new();
        // Both schemes come here; TLS is spoken over what this connects.
        tcp.enforce_http(false);
        // A request goes out in more than one piece; none is to wait for the answer to the one before.
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_connect_timeout(Some(CONNECT));
        let tls = trust.tls().map(|tls| HttpsConnector::from((tcp.clone(), tls.clone())));
        Dial { tcp, tls }
    }
}

impl Service<Uri> for Dial {
    type Response = Connection;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, Failed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting: Self::Future = match &mut self.tls {
            Some(tls) => tls.call(to),
            None => {
                let connecting = self.tcp.call(to);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) })
            }
        };
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("none within {} s", CONNECT.as_secs()));
            tokio::time::timeout(CONNECT, connecting).await.map_err(late)?
        })
    }
}
