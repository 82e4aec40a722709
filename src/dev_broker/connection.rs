//! One connection: frames in, frames out, one request at a time, as Kafka orders them.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Fault, Shared, api, lengths};

/// The largest request: a produce request of many large records.
const FRAME_BYTES: usize = 128 * 1024 * 1024;
/// An answer's buffer is kept for the next one up to this size.
const BUFFER_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The other side is gone.
    #[error("the client closed the connection")]
    Io(#[from] std::io::Error),
    /// What came is no request that can be answered.
    #[error("{0}")]
    Refused(String),
}

/// Serves a connection until it ends.
pub(super) async fn serve(shared: &Arc<Shared>, stream: TcpStream) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let mut out = BytesMut::new();
    loop {
        let Some(frame) = read_frame(&mut reader).await? else { return Ok(()) };
        out.clear();
        match answer(shared, frame, &mut out).await? {
            Answered::Written => writer.write_all(&out).await?,
            Answered::Nothing => {}
            Answered::Cut => return Ok(()),
        }
        if out.capacity() > BUFFER_KEPT_BYTES {
            out = BytesMut::new();
        }
    }
}

async fn read_frame(reader: &mut (impl AsyncReadExt + Unpin)) -> Result<Option<Bytes>, ConnectionError> {
    let length = match reader.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !(8..=FRAME_BYTES).contains(&length) {
        return Err(ConnectionError::Refused(format!("a frame of {length} bytes is no request")));
    }
    // Growing with what really comes keeps a mere announcement from taking memory.
    let mut frame = BytesMut::with_capacity(length.min(64 * 1024));
    let mut limited = reader.take(length as u64);
    while frame.len() < length {
        if limited.read_buf(&mut frame).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(frame.freeze()))
}

enum Answered {
    Written,
    Nothing,
    Cut,
}

async fn answer(shared: &Arc<Shared>, mut frame: Bytes, out: &mut BytesMut) -> Result<Answered, ConnectionError> {
    let refused = |what: &str, error: &dyn std::fmt::Display| ConnectionError::Refused(format!("{what}: {error}"));
    let (number, version) = ((&frame[..2]).get_i16(), (&frame[2..4]).get_i16());
    let key = ApiKey::try_from(number).map_err(|()| refused("unknown API", &number))?;
    let header = RequestHeader::decode(&mut frame, key.request_header_version(version))
        .map_err(|error| refused("bad request header", &error))?;
    let fault = shared.fault(number);
    match fault {
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Disconnect) => return Ok(Answered::Cut),
        Some(Fault::LoseAnswer) | None => {}
    }
    let mut answer_version = version;
    let response = if !api::is_supported(key, version) {
        if key != ApiKey::ApiVersions {
            return Err(ConnectionError::Refused(format!("{key:?} version {version} is not supported")));
        }
        // KIP-511: a client that is too new is told so in the oldest form, with the versions that there are.
        answer_version = 0;
        Some(ResponseKind::ApiVersions(api::versions().with_error_code(ResponseError::UnsupportedVersion.code())))
    } else {
        if !lengths::are_plausible(key, &frame, version) {
            return Err(ConnectionError::Refused(format!("a {key:?} request whose lengths exceed it")));
        }
        let request = RequestKind::decode(key, &mut frame, version).map_err(|error| refused("bad request", &error))?;
        let client = header.client_id.as_ref().map(ToString::to_string).unwrap_or_default();
        api::handle(shared, request, api::Caller { version, client }).await
    };
    if fault == Some(Fault::LoseAnswer) {
        return Ok(Answered::Cut);
    }
    let Some(response) = response else { return Ok(Answered::Nothing) };
    out.put_u32(0);
    ResponseHeader::default()
        .with_correlation_id(header.correlation_id)
        .encode(out, key.response_header_version(answer_version))
        .and_then(|()| response.encode(out, answer_version))
        .map_err(|error| refused("an answer that cannot be written", &error))?;
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Answered::Written)
}
