//! A folder for the length of a run, for what an instance keeps on the local disk.

use std::path::{Path, PathBuf};

use super::BenchError;

/// A folder that goes with everything in it when this goes.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it among the system's temporary files. The name must be one that nothing else has.
    pub fn new(name: &str) -> Result<Folder, BenchError> {
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|source| BenchError::Files { path: path.clone(), source })?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), cause = %error, "a folder of the benchmark is left");
        }
    }
}
