//! What settings take from outside their file: variables, secret files, the host's name and its cores. A trait, so that tests
//! and embedded instances bring their own and nothing depends on the process by accident.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The longest file that `${file:PATH}` reads: certificates and keys fit, a log file named by mistake does not.
pub const REFERENCED_FILE_BYTES: u64 = 256 * 1024;

/// The world around a settings file.
pub trait Environment {
    /// All variables. A value that is not UTF-8 is kept apart as an error, to be reported if it is asked for.
    fn variables(&self) -> BTreeMap<String, Result<String, OsString>>;

    /// The text of a file, at most [`REFERENCED_FILE_BYTES`].
    fn read_file(&self, path: &Path) -> io::Result<String>;

    /// The host's name; None if it has none that can be read.
    fn host_name(&self) -> Option<String>;

    /// How many cores this process may use.
    fn cores(&self) -> NonZeroUsize;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variables(&self) -> BTreeMap<String, Result<String, OsString>> {
        std::env::vars_os()
            .filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value.into_string())))
            .collect()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        // One byte more than allowed tells a file that is too long from one that just fits; a device never ends.
        std::fs::File::open(path)?.take(REFERENCED_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > REFERENCED_FILE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {REFERENCED_FILE_BYTES} bytes"),
            ));
        }
        Ok(text)
    }

    fn host_name(&self) -> Option<String> {
        let mut buffer = [0u8; 256];
        // SAFETY: the pointer and the length are those of a buffer that lives through the call.
        let status = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len()) };
        let length = buffer.iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&buffer[..length]).ok()?;
        (status == 0 && !name.is_empty()).then(|| name.to_owned())
    }

    fn cores(&self) -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }
}

/// An environment made of values: what it is not told of does not exist.
#[derive(Clone, Debug)]
pub struct FixedEnvironment {
    /// The variables.
    pub variables: BTreeMap<String, String>,
    /// The files that can be read, with their texts.
    pub files: BTreeMap<PathBuf, String>,
    /// The host's name.
    pub host_name: Option<String>,
    /// The number of cores.
    pub cores: NonZeroUsize,
}

impl Default for FixedEnvironment {
    fn default() -> Self {
        let host_name = Some("host-1".to_owned());
        FixedEnvironment { variables: BTreeMap::new(), files: BTreeMap::new(), host_name, cores: NonZeroUsize::MIN }
    }
}

impl FixedEnvironment {
    /// The default one with these variables.
    pub fn with_variables<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> FixedEnvironment {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        FixedEnvironment { variables, ..FixedEnvironment::default() }
    }
}

impl Environment for FixedEnvironment {
    fn variables(&self) -> BTreeMap<String, Result<String, OsString>> {
        self.variables.iter().map(|(name, value)| (name.clone(), Ok(value.clone()))).collect()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn host_name(&self) -> Option<String> {
        self.host_name.clone()
    }

    fn cores(&self) -> NonZeroUsize {
        self.cores
    }
}
