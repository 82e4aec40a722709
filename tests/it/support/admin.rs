//! What an instance says at its admin address.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

/// What `/readyz` or `/metrics` says, of the newest instance that wrote this log; empty while it does not listen.
pub fn get(log: &str, path: &str) -> String {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let address = lines.filter_map(|line| line["fields"]["admin"].as_str().map(str::to_owned)).next_back();
    let Some(mut stream) = address.and_then(|address| TcpStream::connect(address).ok()) else {
        return String::new();
    };
    let mut answer = String::new();
    let asked = write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    if asked.is_err() || stream.read_to_string(&mut answer).is_err() {
        return String::new();
    }
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}
