//! What no client would send ends the connection, and nothing else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::broker;
use crate::support::broker::TestBroker;
use crate::support::clients::{deliver, send, values};
use crate::support::wire::frame;

/// Sends bytes on a connection of their own, and reads until the broker has answered or closed it.
fn send_bytes(broker: &TestBroker, bytes: &[u8]) {
    let mut stream = TcpStream::connect(broker.bootstrap()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    // The broker may close the connection before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 64]);
}

#[track_caller]
fn check_works(broker: &TestBroker) {
    let topic = broker.topic("after", 1);
    let producer = broker.producer(&[]);
    send(&producer, &topic, 0, "k", "v");
    deliver(&producer);
    assert_eq!(values(&broker.committed(&topic)), ["v"]);
}

#[test]
fn frames_that_are_no_requests_do_no_harm() {
    let broker = broker!();
    for bytes in [
        &b""[..],
        b"\0",
        b"\0\0\0\0",
        b"\0\0\0\x01x",
        b"\x7f\xff\xff\xffabc",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        send_bytes(broker, bytes);
    }
    check_works(broker);
}

#[test]
fn announced_elements_that_never_come_do_no_harm() {
    let broker = broker!();
    let announcements: [&[u8]; 4] =
        [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\0\x01a\x7f\xff\xff\xff", b"\0\xff\xff\xff\xff\x0f"];
    for api in 0..50 {
        for version in [0, 1, 2, 4, 7, 9, 12] {
            let announcement = announcements[usize::try_from(api + version).expect("a number") % announcements.len()];
            // Not waited for: the next connection shows whether the broker is there.
            let mut stream = TcpStream::connect(broker.bootstrap()).expect("the broker is there");
            let _ = stream.write_all(&frame(api, version, announcement));
        }
    }
    // Those of a call that everybody makes are waited for, one by one.
    for (version, announcement) in [(1, announcements[0]), (9, announcements[3])] {
        send_bytes(broker, &frame(3, version, announcement));
    }
    check_works(broker);
}
