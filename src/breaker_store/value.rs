//! What is stored of one circuit breaker. A disk may give back something else than was written, and a clock may have been wrong: what
//! cannot be is left out, because a breaker that is open without reason holds calls up.
//!
//! ```text
//!  version 1 │ written at, ms (8) │ open until, ms (8) │ CRC-32C (4) of the connector's name and all before it
//!            │ open until, ms (8) │                      what was written before there were versions
//! ```
//!
//! Numbers are big-endian. A later version is longer than 8 bytes and begins with a greater number.

/// The version that is written.
const VERSION: u8 = 1;
/// How far a clock may have been ahead when it wrote; clocks of machines are rarely wrong by more.
const AHEAD_MS: u64 = 3_600_000;
/// The longest time that settings let a breaker stay open.
const OPEN_MOST_MS: u64 = 24 * 3_600_000;
/// Where the CRC begins.
const CRC_AT: usize = 17;

/// Why a value is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// Its CRC is another, or it has a length that nobody writes.
    #[error("a value is damaged")]
    Damaged,
    /// It is from a version of the product that came later.
    #[error("a value has version {0}, which a newer instance has written")]
    Newer(u8),
    /// It is from the future, or open for longer than a breaker can be.
    #[error("a value has a time that cannot be, so a clock was wrong")]
    Time,
}

/// What is stored of a breaker that is open until then.
pub(super) fn write(connector: &str, open_until_ms: u64, now_ms: u64) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(now_ms.to_be_bytes());
    bytes.extend(open_until_ms.to_be_bytes());
    bytes.extend(crc(connector.as_bytes(), &bytes).to_be_bytes());
    bytes
}

/// The connector, and until when its breaker is open.
pub(super) fn read<'k>(key: &'k [u8], bytes: &[u8], now_ms: u64) -> Result<(&'k str, u64), Unusable> {
    let connector = str::from_utf8(key).map_err(|_| Unusable::Damaged)?;
    let (written_ms, open_until_ms) = match <[u8; 8]>::try_from(bytes) {
        // When it was written is not known; it was not later than now.
        Ok(old) => (now_ms, u64::from_be_bytes(old)),
        Err(_) => read_version(key, bytes)?,
    };
    let is_ahead = written_ms > now_ms.saturating_add(AHEAD_MS);
    // The clock may have been set back between the two, as far as it may have been ahead.
    let is_too_long = open_until_ms > written_ms.saturating_add(OPEN_MOST_MS + AHEAD_MS);
    if is_ahead || is_too_long { Err(Unusable::Time) } else { Ok((connector, open_until_ms)) }
}

fn read_version(key: &[u8], bytes: &[u8]) -> Result<(u64, u64), Unusable> {
    match bytes.first() {
        Some(&newer) if newer > VERSION => return Err(Unusable::Newer(newer)),
        Some(&VERSION) => {}
        _ => return Err(Unusable::Damaged),
    }
    let (content, stored) = bytes.split_at_checked(CRC_AT).ok_or(Unusable::Damaged)?;
    if stored != crc(key, content).to_be_bytes() {
        return Err(Unusable::Damaged);
    }
    let number = |from: usize| {
        let bytes = content.get(from..from + 8).and_then(|it| <[u8; 8]>::try_from(it).ok());
        bytes.map(u64::from_be_bytes).ok_or(Unusable::Damaged)
    };
    Ok((number(1)?, number(9)?))
}

fn crc(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}
