//! The keys of the schemas that an instance has used last, in a file of its data directory, so that the next start asks for them before records
//! need them. It can be lost, and whatever is in it, nothing depends on it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::codec::avro::SchemaKey;
use crate::registry::SEEN;
use crate::settings::RegistrySettings;

/// The file's name.
const FILE: &str = "schemas.json";
/// The longest file that is read: more than so many keys take.
const FILE_BYTES: u64 = 64 * 1024;

/// The file.
#[derive(Clone, Debug)]
pub struct SeenSchemas {
    path: PathBuf,
    /// Which registry gave the ids: those of another one are other schemas.
    registry: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    registry: String,
    ids: Vec<u32>,
    guids: Vec<String>,
}

impl SeenSchemas {
    /// The file in a data directory, for a registry.
    pub fn new(data_dir: &Path, registry: &RegistrySettings) -> SeenSchemas {
        let mut hash = Sha256::new();
        for url in &registry.urls {
            hash.update(url.expose());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let registry = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        SeenSchemas { path: data_dir.join(FILE), registry }
    }

    /// What the file holds; nothing if it is not there, damaged or of another registry.
    pub fn read(&self) -> Vec<SchemaKey> {
        let mut text = String::new();
        let read = std::fs::File::open(&self.path).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text));
        let document = read.ok().and_then(|_| serde_json::from_str::<Document>(&text).ok());
        let Some(document) = document.filter(|it| it.registry == self.registry) else { return Vec::new() };
        let guids = document.guids.iter().filter_map(|it| uuid::Uuid::try_parse(it).ok());
        let keys = document.ids.into_iter().map(SchemaKey::Id).chain(guids.map(|it| SchemaKey::Guid(it.as_u128())));
        keys.take(SEEN).collect()
    }

    /// Writes the file anew. It is whole or as it was before.
    pub fn write(&self, seen: &[SchemaKey]) -> std::io::Result<()> {
        let mut document = Document { registry: self.registry.clone(), ids: Vec::new(), guids: Vec::new() };
        for key in seen {
            match key {
                SchemaKey::Id(id) => document.ids.push(*id),
                SchemaKey::Guid(guid) => document.guids.push(uuid::Uuid::from_u128(*guid).to_string()),
            }
        }
        let text = serde_json::to_vec(&document)?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    fn registry(url: &str) -> RegistrySettings {
        let urls = vec![Secret::new(url.to_owned())];
        RegistrySettings { urls, headers: Default::default(), auto_register: true }
    }

    #[test]
    fn what_was_seen_comes_back_for_the_same_registry() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let seen = SeenSchemas::new(&data_dir, &registry("http://a"));
        assert_eq!(seen.read(), []);
        let keys = [SchemaKey::Id(7), SchemaKey::Id(u32::MAX), SchemaKey::Guid(u128::MAX - 1)];
        seen.write(&keys).unwrap();
        assert_eq!(seen.read(), keys);
        assert_eq!(SeenSchemas::new(&data_dir, &registry("http://b")).read(), []);
        seen.write(&keys[..1]).unwrap();
        assert_eq!(seen.read(), keys[..1]);
    }

    #[test]
    fn a_file_that_is_damaged_or_too_long_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let seen = SeenSchemas::new(folder.path(), &registry("http://a"));
        seen.write(&(0..10_000).map(SchemaKey::Id).collect::<Vec<_>>()).unwrap();
        assert_eq!(seen.read().len(), SEEN);
        for text in [&b"{"[..], b"\xff", b"[]", br#"{"registry":"","ids":[-1],"guids":[]}"#] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            assert_eq!(seen.read(), []);
        }
        let long = vec![b' '; FILE_BYTES as usize + 1];
        std::fs::write(folder.path().join(FILE), long).unwrap();
        assert_eq!(seen.read(), []);
        assert!(SeenSchemas::new(Path::new("/dev/null/x"), &registry("http://a")).write(&[]).is_err());
    }
}
