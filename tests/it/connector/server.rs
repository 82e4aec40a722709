//! A target: a small HTTP/1.1 server that notes what it is sent and answers what a test has written down, byte by byte.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::wait;

/// What the server does with a request.
pub enum Act {
    /// Answers, and waits for the next one on the same connection.
    Answer(Vec<u8>),
    /// Answers, and closes the connection.
    AnswerAndClose(Vec<u8>),
    /// Answers, and then writes the second part again and again, for as long as somebody takes it.
    Endless(Vec<u8>, Vec<u8>),
    /// Does not read it and closes the connection, which resets it.
    Reset,
    /// Reads it and says nothing.
    Silence,
}

impl Act {
    pub fn answer(text: impl AsRef<[u8]>) -> Act {
        Act::Answer(text.as_ref().to_vec())
    }
}

/// A request, as it was on the wire.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// On which connection, from 0.
    pub connection: usize,
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect()
    }
}

#[derive(Default)]
struct Shared {
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
    closed: Mutex<Vec<usize>>,
    accepted: AtomicUsize,
    stopped: AtomicBool,
}

pub struct Server {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// One that does so with the requests that come, in this order; with any beyond, it closes.
    pub fn start(acts: impl IntoIterator<Item = Act>) -> Server {
        Server::start_with(acts, None)
    }

    pub fn start_with(acts: impl IntoIterator<Item = Act>, tls: Option<Arc<ServerConfig>>) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { acts: Mutex::new(acts.into_iter().collect()), ..Shared::default() });
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared, tls) = (stream.unwrap(), of_thread.clone(), tls.clone());
                stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
                stream.set_write_timeout(Some(wait::DEADLINE)).unwrap();
                let number = of_thread.accepted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    serve(&shared, number, stream, tls);
                    shared.closed.lock().unwrap().push(number);
                });
            }
        });
        Server { address, shared }
    }

    /// Does so with the requests that come after those.
    pub fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.acts.lock().unwrap().extend(acts);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let [seen] = <[Seen; 1]>::try_from(self.seen()).expect("one request");
        seen
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Waits until the client has closed a connection.
    #[track_caller]
    pub fn until_closed(&self, connection: usize) {
        wait::until("a connection is closed", || {
            self.shared.closed.lock().unwrap().contains(&connection).then_some(())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(shared: &Shared, connection: usize, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
    if matches!(shared.acts.lock().unwrap().front(), Some(Act::Reset)) {
        // What is there unread when a connection is closed resets it.
        let _ = stream.peek(&mut [0]);
        drop(shared.acts.lock().unwrap().pop_front());
        return;
    }
    match tls {
        None => speak(shared, connection, stream),
        Some(tls) => speak(shared, connection, StreamOwned::new(ServerConnection::new(tls).unwrap(), stream)),
    }
}

fn speak(shared: &Shared, connection: usize, mut stream: impl Read + Write) {
    while let Some(seen) = read_request(&mut stream, connection) {
        shared.seen.lock().unwrap().push(seen);
        let act = shared.acts.lock().unwrap().pop_front();
        match act {
            Some(Act::Answer(text)) if stream.write_all(&text).is_ok() => {}
            Some(Act::AnswerAndClose(text)) => {
                let _ = stream.write_all(&text);
                return;
            }
            Some(Act::Endless(text, again)) => {
                let mut written = stream.write_all(&text);
                while written.is_ok() {
                    written = stream.write_all(&again);
                }
                return;
            }
            Some(Act::Silence) => {
                // Until the client goes.
                let _ = stream.read(&mut [0]);
                return;
            }
            Some(Act::Answer(_) | Act::Reset) | None => return,
        }
    }
}

fn read_request(stream: &mut impl Read, connection: usize) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    let mut seen = Seen { connection, line, headers: lines.map(pair).collect(), body: Vec::new() };
    assert_eq!(seen.values("transfer-encoding"), [""; 0]);
    let length = seen.values("content-length").first().map_or(0, |it| it.parse().unwrap());
    seen.body = vec![0; length];
    stream.read_exact(&mut seen.body).ok()?;
    Some(seen)
}
