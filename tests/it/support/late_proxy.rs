//! A proxy between clients and a broker that holds back requests of chosen kinds, ends transactions itself, or loses all of a
//! client's that play a part.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tidegate::dev_broker::ApiKey;

/// A proxy that forwards until it is dropped. Connections that are open then last as long as their ends want.
pub struct LateProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    broker: Mutex<Option<SocketAddr>>,
    delays: Mutex<HashMap<i16, VecDeque<Duration>>>,
    /// What gives the answer to the next end of a transaction, instead of the broker.
    answer: Mutex<Option<Answer>>,
    /// What is lost: the requests of clients of this id that play this part.
    lost: Mutex<Vec<(String, Part)>>,
    stop: AtomicBool,
}

/// Gives the error code of an answer.
type Answer = Box<dyn FnOnce() -> i16 + Send>;

/// What a connection is for, as its first telling request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It fetches, or is a member of a group.
    Consumer,
    /// It writes, or is part of a transaction.
    Producer,
}

impl Part {
    fn of(api: i16) -> Option<Part> {
        const CONSUMER: [ApiKey; 5] =
            [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::Heartbeat, ApiKey::OffsetFetch];
        const PRODUCER: [ApiKey; 6] = [
            ApiKey::Produce,
            ApiKey::InitProducerId,
            ApiKey::AddPartitionsToTxn,
            ApiKey::AddOffsetsToTxn,
            ApiKey::EndTxn,
            ApiKey::TxnOffsetCommit,
        ];
        let is = |known: &[ApiKey]| known.iter().any(|it| *it as i16 == api);
        if is(&CONSUMER) { Some(Part::Consumer) } else { is(&PRODUCER).then_some(Part::Producer) }
    }
}

impl LateProxy {
    /// Listens on a free port of loopback; refuses everyone until it knows where to forward to.
    pub fn listen() -> LateProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        thread::spawn(move || serve(&listener, &serving));
        LateProxy { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the broker is.
    pub fn forward_to(&self, broker: SocketAddr) {
        *self.shared.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(broker);
    }

    /// Holds back the next request of a kind, and what follows on its connection.
    pub fn delay_next(&self, api: ApiKey, delay: Duration) {
        let mut delays = self.shared.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.entry(api as i16).or_default().push_back(delay);
    }

    /// Answers the next `EndTxn` with the error code that `answer` gives; the broker never sees it.
    pub fn answer_next_end(&self, answer: impl FnOnce() -> i16 + Send + 'static) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(answer));
    }

    /// Loses, from now on, what clients of this id send on connections that play this part. Nobody is told: the network is silent.
    pub fn lose(&self, client_id: &str, part: Part) {
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).push((client_id.to_owned(), part));
    }

    /// How many delays have not hit a request yet.
    pub fn delays_left(&self) -> usize {
        let delays = self.shared.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.values().map(VecDeque::len).sum()
    }

    /// Forgets the delays that have not hit a request yet.
    pub fn heal(&self) {
        self.shared.delays.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for LateProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the listener; that nobody answers is fine.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn delay(&self, api: i16) -> Option<Duration> {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.get_mut(&api)?.pop_front()
    }

    /// The answer to the end of a transaction, if it is to come from here: a throttle time and an error code, with a header of the oldest form.
    fn answer(&self, api: i16, frame: &[u8]) -> Option<Vec<u8>> {
        if api != ApiKey::EndTxn as i16 {
            return None;
        }
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (correlation, throttle_ms) = (&frame[4..8], 0i32.to_be_bytes());
        let body = [correlation, &throttle_ms, &answer().to_be_bytes()].concat();
        Some([&u32::try_from(body.len()).expect("a short answer").to_be_bytes()[..], &body].concat())
    }

    fn loses(&self, client_id: &[u8], part: Option<Part>) -> bool {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.iter().any(|(id, of)| id.as_bytes() == client_id && Some(*of) == part)
    }
}

/// The client's id in a request: behind api, version and correlation id, each request header has it.
fn client_id(frame: &[u8]) -> &[u8] {
    let length = frame.get(8..10).map_or(0, |it| usize::try_from(i16::from_be_bytes([it[0], it[1]])).unwrap_or(0));
    frame.get(10..10 + length).unwrap_or_default()
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let broker = *shared.broker.lock().unwrap_or_else(PoisonError::into_inner);
        // Who is not let in tries again.
        let Some(Ok(broker)) = broker.map(TcpStream::connect) else { continue };
        let shared = shared.clone();
        thread::spawn(move || {
            // Either end may go at any time.
            let _ = forward(client, broker, &shared);
        });
    }
}

/// Forwards both ways until either end closes.
fn forward(client: TcpStream, broker: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (mut answers, mut to_client) = (broker.try_clone()?, client.try_clone()?);
    let answering = thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let ended = requests(&client, &broker, shared);
    let _ = broker.shutdown(Shutdown::Both);
    answering.join().expect("answers are forwarded");
    ended
}

/// Forwards requests one by one: a length of four bytes, and a frame that starts with the number of its API.
fn requests(mut client: &TcpStream, mut broker: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut part = None;
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        client.read_exact(&mut frame)?;
        let api = i16::from_be_bytes([frame[0], frame[1]]);
        part = part.or(Part::of(api));
        if shared.loses(client_id(&frame), part) {
            continue;
        }
        if let Some(answer) = shared.answer(api, &frame) {
            client.write_all(&answer)?;
            continue;
        }
        if let Some(delay) = shared.delay(api) {
            thread::sleep(delay);
        }
        broker.write_all(&length)?;
        broker.write_all(&frame)?;
    }
}
