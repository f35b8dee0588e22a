//! Which namespaces were deleted: an empty file for each, until nothing in the log can bring them back.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{make_private_directory, segment::sync_directory};

pub struct Marks {
    directory: PathBuf,
}

impl Marks {
    pub fn new(directory: &Path) -> Self {
        Marks { directory: directory.join("deleted") }
    }

    pub fn all(&self) -> io::Result<HashSet<[u8; 16]>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            entries => entries?,
        };
        let mut found = HashSet::new();
        for entry in entries {
            let name = entry?.file_name();
            let mut namespace = [0; 16];
            if name.to_str().is_some_and(|name| hex::decode_to_slice(name, &mut namespace).is_ok()) {
                found.insert(namespace);
            }
        }
        Ok(found)
    }

    /// Durable when it returns.
    pub fn add(&self, namespace: [u8; 16]) -> io::Result<()> {
        make_private_directory(&self.directory)?;
        fs::File::create(self.directory.join(hex::encode(namespace)))?;
        sync_directory(&self.directory)?;
        self.directory.parent().map_or(Ok(()), sync_directory)
    }

    pub fn remove(&self, namespaces: &HashSet<[u8; 16]>) -> io::Result<()> {
        for namespace in namespaces {
            fs::remove_file(self.directory.join(hex::encode(namespace)))?;
        }
        Ok(())
    }
}
