//! The file in which a broker keeps everything: one entry per change, replayed at start.
//!
//! `[length u32][crc32c of the length u32][crc32c of what follows u32][kind u8][body]`, big-endian. The length has a sum of its own: a
//! damaged one must not pass for an entry that a crash cut off. The end of a transaction is one entry, markers and offsets together, so
//! that a process which is killed in its middle has ended it wholly or not at all. Nothing is synced to the disk: the page cache
//! outlives the process, and losing power is outside what a broker for development promises.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The file of the entries.
const LOG_FILE: &str = "broker.log";
/// Where a new one is written before it takes the old one's place.
const NEW_FILE: &str = "broker.log.new";
/// Held while a broker runs.
const LOCK_FILE: &str = "broker.lock";
/// Bytes of an entry before its kind.
const FRAME_BYTES: usize = 12;

/// Why the data of a broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has it.
    #[error("another broker is running on {path}; stop it, or choose another folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot use {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An entry in the middle is damaged.
    #[error("{path} is damaged at byte {at}; what lies behind cannot be trusted: delete the file to start empty")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: usize,
    },
}

/// The open file. Without one, nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Storage {
    folder: Option<PathBuf>,
    file: Option<File>,
    _lock: Option<File>,
    bytes: u64,
    failed: bool,
}

/// One change, as it is written.
#[derive(Debug)]
pub(super) struct Entry {
    pub kind: u8,
    pub body: Bytes,
}

impl Storage {
    /// Takes the folder and reads what is there. An entry that was cut off by a crash is dropped.
    pub(super) fn open(folder: &Path) -> Result<(Storage, Vec<Entry>), StorageError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StorageError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(StorageError::Io { path: lock_path, source }),
        }
        let path = folder.join(LOG_FILE);
        let mut all = Vec::new();
        if path.exists() {
            File::open(&path).and_then(|mut file| file.read_to_end(&mut all)).map_err(io(&path))?;
        }
        let entries = read_entries(&path, all.into())?;
        let storage =
            Storage { folder: Some(folder.to_owned()), file: None, _lock: Some(lock), bytes: 0, failed: false };
        Ok((storage, entries))
    }

    /// Puts a file with just these entries in the place of the old one, and goes on writing to it.
    pub(super) fn rewrite(&mut self, entries: impl Iterator<Item = Entry>) -> Result<(), StorageError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let (new, path) = (folder.join(NEW_FILE), folder.join(LOG_FILE));
        let io = |source| StorageError::Io { path: new.clone(), source };
        let mut file = std::io::BufWriter::new(File::create(&new).map_err(io)?);
        let mut bytes = 0;
        for entry in entries {
            let framed = entry.framed();
            bytes += framed.len() as u64;
            file.write_all(&framed).map_err(io)?;
        }
        file.flush().map_err(io)?;
        drop(file);
        std::fs::rename(&new, &path).map_err(io)?;
        self.file = Some(OpenOptions::new().append(true).open(&path).map_err(io)?);
        self.bytes = bytes;
        Ok(())
    }

    /// Whether anything is kept.
    pub(super) fn is_on(&self) -> bool {
        self.folder.is_some()
    }

    /// How large the file is, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends an entry, in one write. A disk that is full is said once; the broker goes on in memory.
    pub(super) fn append(&mut self, entry: &Entry) {
        let Some(file) = &mut self.file else { return };
        let framed = entry.framed();
        match file.write_all(&framed) {
            Ok(()) => self.bytes += framed.len() as u64,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::error!(cause = %error, "the embedded broker cannot write its file; changes are kept in memory only");
                }
            }
        }
    }
}

impl Entry {
    /// An entry whose body `write` fills.
    pub(super) fn new(kind: u8, write: impl FnOnce(&mut BytesMut)) -> Entry {
        let mut body = BytesMut::new();
        write(&mut body);
        Entry { kind, body: body.freeze() }
    }

    fn framed(&self) -> BytesMut {
        let mut framed = BytesMut::with_capacity(FRAME_BYTES + 1 + self.body.len());
        let length = (self.body.len() as u32 + 1).to_be_bytes();
        framed.put_slice(&length);
        framed.put_u32(crc32c::crc32c(&length));
        framed.put_u32(0);
        framed.put_u8(self.kind);
        framed.put_slice(&self.body);
        let crc = crc32c::crc32c(&framed[FRAME_BYTES..]);
        framed[8..FRAME_BYTES].copy_from_slice(&crc.to_be_bytes());
        framed
    }
}

fn read_entries(path: &Path, mut left: Bytes) -> Result<Vec<Entry>, StorageError> {
    let total = left.len();
    let mut entries = Vec::new();
    while left.len() >= FRAME_BYTES {
        let at = total - left.len();
        let mut frame = &left[..FRAME_BYTES];
        let (length, length_crc, crc) = (frame.get_u32() as usize, frame.get_u32(), frame.get_u32());
        let damaged = || StorageError::Damaged { path: path.to_owned(), at };
        if crc32c::crc32c(&left[..4]) != length_crc || length == 0 {
            return Err(damaged());
        }
        // An entry is written at once: of one that was cut off, its beginning is there.
        let Some(body) = left.get(FRAME_BYTES..FRAME_BYTES + length) else { break };
        if crc32c::crc32c(body) != crc {
            return Err(damaged());
        }
        left.advance(FRAME_BYTES);
        let mut body = left.split_to(length);
        let kind = body.get_u8();
        entries.push(Entry { kind, body });
    }
    if !left.is_empty() {
        tracing::warn!(bytes = left.len(), "the last entry of the embedded broker's file was cut off and is dropped");
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, count: u8) {
        let (mut storage, _) = Storage::open(folder).unwrap();
        storage.rewrite(std::iter::empty()).unwrap();
        (0..count).for_each(|number| storage.append(&Entry::new(number, |body| body.put_slice(b"body"))));
    }

    #[test]
    fn what_was_written_is_read_and_a_cut_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 3);
        let path = folder.path().join(LOG_FILE);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (_, entries) = Storage::open(folder.path()).unwrap();
            assert_eq!(entries.len(), length / (whole.len() / 3), "{length} bytes");
        }
    }

    #[test]
    fn damage_is_refused_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 3);
        let path = folder.path().join(LOG_FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let entry = at / (whole.len() / 3) * (whole.len() / 3);
            match Storage::open(folder.path()) {
                Err(StorageError::Damaged { at: found, .. }) => assert_eq!(found, entry, "byte {at}"),
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_second_broker_on_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Storage::open(folder.path()).unwrap();
        assert!(matches!(Storage::open(folder.path()), Err(StorageError::InUse { .. })));
    }
}
