//! Records of a batch, format v2, as far as a broker looks at them: offset, time, key, and whether there is a value. The rest stays as
//! it was written, so that a batch that is written anew says every byte of it again.
//!
//! ```text
//!  length varint · attributes i8 · timestamp delta varint · offset delta varint · key · value · headers varint · (name · value)…
//! ```
//!
//! Keys, values and headers are bytes behind their length, a varint; −1 is null.

use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;

use super::batch::{HEADER_BYTES, Header};

/// What the records of one batch may take when they are decompressed. Kafka's default for a compressed batch is one MiB; a few kilobytes
/// of it can stand for gigabytes.
const DECOMPRESSED_BYTES: usize = 64 * 1024 * 1024;
/// How blocks of snappy begin when Java wrote them; what follows is `[length u32][block]` again and again.
const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Bytes before the first of these blocks: the magic and two versions.
const SNAPPY_HEAD: usize = SNAPPY_MAGIC.len() + 8;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub has_value: bool,
    /// Key, value and headers, as they were written.
    body: Bytes,
}

impl Record {
    /// The records of a batch. `CORRUPT_MESSAGE` if they are none, `MESSAGE_TOO_LARGE` if they are too much when decompressed.
    pub(super) fn all_of(batch: &Bytes) -> Result<Vec<Record>, ResponseError> {
        let header = Header::of(batch);
        let mut bytes = decompress(header.compression, &batch.slice(HEADER_BYTES.min(batch.len())..))?;
        let mut records = Vec::new();
        for _ in 0..header.count {
            records.push(Record::take(&mut bytes, &header).ok_or(ResponseError::CorruptMessage)?);
        }
        if bytes.is_empty() { Ok(records) } else { Err(ResponseError::CorruptMessage) }
    }

    fn take(bytes: &mut Bytes, header: &Header) -> Option<Record> {
        let length = usize::try_from(take_varint(bytes)?).ok().filter(|length| (1..=bytes.len()).contains(length))?;
        let mut record = bytes.split_to(length);
        record.advance(1);
        let timestamp = header.base_timestamp.checked_add(take_varint(&mut record)?)?;
        let offset = header.base_offset.checked_add(take_varint(&mut record)?)?;
        let body = record.clone();
        let key = take_nullable(&mut record)?;
        let has_value = take_nullable(&mut record)?.is_some();
        for _ in 0..take_varint(&mut record)? {
            take_nullable(&mut record)??;
            take_nullable(&mut record)?;
        }
        // The sender's times are still in the records, but where the batch has one of the broker's, that counts.
        let timestamp = if header.is_log_append_time { header.max_timestamp } else { timestamp };
        record.is_empty().then_some(Record { offset, timestamp, key, has_value, body })
    }

    /// Writes it into a batch that begins at this offset and time.
    pub(super) fn write(&self, into: &mut BytesMut, base_offset: i64, base_timestamp: i64) {
        let mut head = BytesMut::with_capacity(16);
        head.put_u8(0);
        put_varint(&mut head, self.timestamp - base_timestamp);
        put_varint(&mut head, self.offset - base_offset);
        put_varint(into, (head.len() + self.body.len()) as i64);
        into.put_slice(&head);
        into.put_slice(&self.body);
    }
}

/// Appends a zig-zag varint, as in protocol buffers.
pub(super) fn put_varint(into: &mut BytesMut, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        into.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    into.put_u8(left as u8);
}

fn take_varint(bytes: &mut Bytes) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

/// Bytes behind their length: the outer None if they are not there, the inner one for null.
#[expect(clippy::option_option, reason = "absent and null are told apart")]
fn take_nullable(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    match take_varint(bytes)? {
        -1 => Some(None),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
            Some(Some(bytes.split_to(length)))
        }
    }
}

/// The records' bytes. The numbers are those of the attributes of a batch.
fn decompress(compression: u8, bytes: &Bytes) -> Result<Bytes, ResponseError> {
    let damaged = |_| ResponseError::CorruptMessage;
    match compression {
        0 => Ok(bytes.clone()),
        1 => bounded(flate2::read::MultiGzDecoder::new(&bytes[..])),
        2 => unsnap(bytes),
        3 => bounded(lz4::Decoder::new(&bytes[..]).map_err(damaged)?),
        4 => {
            let mut decoder = zstd::stream::read::Decoder::new(&bytes[..]).map_err(damaged)?;
            decoder.window_log_max(DECOMPRESSED_BYTES.ilog2()).map_err(damaged)?;
            bounded(decoder)
        }
        _ => Err(ResponseError::UnsupportedCompressionType),
    }
}

fn bounded(from: impl Read) -> Result<Bytes, ResponseError> {
    let mut into = Vec::new();
    from.take(DECOMPRESSED_BYTES as u64 + 1).read_to_end(&mut into).map_err(|_| ResponseError::CorruptMessage)?;
    if into.len() > DECOMPRESSED_BYTES { Err(ResponseError::MessageTooLarge) } else { Ok(into.into()) }
}

/// Snappy: one block, or many in the framing of Java's library.
fn unsnap(bytes: &Bytes) -> Result<Bytes, ResponseError> {
    let mut into = Vec::new();
    let mut block = |block: &[u8]| {
        let length = snap::raw::decompress_len(block).map_err(|_| ResponseError::CorruptMessage)?;
        let start = into.len();
        if length > DECOMPRESSED_BYTES - start {
            return Err(ResponseError::MessageTooLarge);
        }
        into.resize(start + length, 0);
        let written = snap::raw::Decoder::new().decompress(block, &mut into[start..]);
        written.map(drop).map_err(|_| ResponseError::CorruptMessage)
    };
    if !bytes.starts_with(SNAPPY_MAGIC) {
        block(bytes)?;
        return Ok(into.into());
    }
    let mut left = bytes.get(SNAPPY_HEAD..).ok_or(ResponseError::CorruptMessage)?;
    while !left.is_empty() {
        let length = left.try_get_u32().map_err(|_| ResponseError::CorruptMessage)? as usize;
        let (one, rest) = left.split_at_checked(length).ok_or(ResponseError::CorruptMessage)?;
        block(one)?;
        left = rest;
    }
    Ok(into.into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use super::super::batch;
    use super::*;

    fn put_nullable(into: &mut BytesMut, bytes: Option<&[u8]>) {
        put_varint(into, bytes.map_or(-1, |bytes| bytes.len() as i64));
        into.put_slice(bytes.unwrap_or_default());
    }

    type Headers<'a> = &'a [(&'a [u8], Option<&'a [u8]>)];

    /// A record as a client would write it.
    pub(in super::super) fn record(
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: Headers<'_>,
    ) -> Record {
        let mut body = BytesMut::new();
        put_nullable(&mut body, key);
        put_nullable(&mut body, value);
        put_varint(&mut body, headers.len() as i64);
        for (name, value) in headers {
            put_nullable(&mut body, Some(name));
            put_nullable(&mut body, *value);
        }
        let key = key.map(Bytes::copy_from_slice);
        Record { offset, timestamp, key, has_value: value.is_some(), body: body.freeze() }
    }

    fn records() -> Vec<Record> {
        vec![
            record(5, 1_000, Some(b"k"), Some(b"v"), &[(b"a", Some(b"1")), (b"a", None), (b"", Some(b""))]),
            record(9, 900, None, Some(b""), &[]),
            record(10, 1_000_000, Some(b""), None, &[(b"\xff", Some(b"\0"))]),
        ]
    }

    /// The batch with its records compressed.
    fn compressed(batch: &Bytes, compression: u8, compress: impl FnOnce(&[u8]) -> Vec<u8>) -> Bytes {
        let mut changed = BytesMut::from(&batch[..HEADER_BYTES]);
        changed[22] |= compression;
        changed.put_slice(&compress(&batch[HEADER_BYTES..]));
        changed.freeze()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = lz4::EncoderBuilder::new().build(Vec::new()).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().0
    }

    fn java_snappy(bytes: &[u8]) -> Vec<u8> {
        let mut framed = [SNAPPY_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for block in bytes.chunks(bytes.len().div_ceil(50)) {
            let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
            framed.put_u32(block.len() as u32);
            framed.put_slice(&block);
        }
        framed
    }

    fn snappy(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    type Codec = (u8, fn(&[u8]) -> Vec<u8>);
    const CODECS: [Codec; 5] = [(1, gzip), (2, snappy), (2, java_snappy), (3, lz4), (4, zstd)];

    #[test]
    fn records_are_what_they_were_in_every_codec() {
        let batch = batch::encode(&records(), false).unwrap();
        assert_eq!(Record::all_of(&batch), Ok(records()));
        for (codec, compress) in CODECS {
            assert_eq!(Record::all_of(&compressed(&batch, codec, compress)), Ok(records()), "codec {codec}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_corrupt_and_never_a_panic() {
        let whole = batch::encode(&records(), false).unwrap();
        for (codec, compress) in CODECS.into_iter().chain([(0, (|bytes| bytes.to_vec()) as fn(&[u8]) -> Vec<u8>)]) {
            let batch = compressed(&whole, codec, compress);
            for length in HEADER_BYTES..batch.len() {
                let cut = Record::all_of(&batch.slice(..length));
                // A codec may have all of its content before its end.
                assert!(cut.is_err() || cut == Ok(records()), "codec {codec}, {length} bytes");
            }
            for at in HEADER_BYTES..batch.len() {
                for bit in 0..8 {
                    let mut changed = BytesMut::from(&batch[..]);
                    changed[at] ^= 1 << bit;
                    drop(Record::all_of(&changed.freeze()));
                }
            }
        }
    }

    #[test]
    fn what_is_too_much_when_decompressed_is_refused() {
        let batch = batch::encode(&[record(0, 0, None, Some(&vec![0; DECOMPRESSED_BYTES]), &[])], false).unwrap();
        for (codec, compress) in CODECS {
            let bomb = compressed(&batch, codec, compress);
            assert_eq!(Record::all_of(&bomb), Err(ResponseError::MessageTooLarge), "codec {codec}");
        }
    }
}
