//! Requests that no client would make, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;

use super::broker::TestBroker;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
const CORRELATION: i32 = 7;

/// A request with a header of the oldest form that is valid for it, and any body.
pub fn frame(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = [api.to_be_bytes(), version.to_be_bytes()].concat();
    request.extend(CORRELATION.to_be_bytes());
    request.extend([0, 1, b'c']);
    request.extend(body);
    let length = u32::try_from(request.len()).expect("a short request");
    [&length.to_be_bytes()[..], &request].concat()
}

/// Asks on a connection of its own. Returns the body of the answer; the version must be one with the oldest form of header.
pub fn ask(broker: &TestBroker, api: i16, version: i16, body: &[u8]) -> Bytes {
    let mut stream = TcpStream::connect(broker.bootstrap()).expect("connects");
    stream.set_read_timeout(Some(ANSWER)).expect("a time-out");
    stream.write_all(&frame(api, version, body)).expect("sends");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer.get(..4), Some(&CORRELATION.to_be_bytes()[..]));
    Bytes::from(answer).slice(4..)
}
