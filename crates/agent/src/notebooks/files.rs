//! People's files: an image of a file system for each person, mounted as the home of their notebooks' runs.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use domain::ids::VolumeId;

use crate::environments::sandbox::{
    host_uid,
    volume::{self, Unsupported, VolumeError},
};

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("this host cannot keep files of notebooks: {0}")]
    Unsupported(#[from] Unsupported),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("the disk hangs: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// A person's files on this host.
#[derive(Debug, Clone)]
pub struct Volume {
    pub image: PathBuf,
    /// The host user that owns them.
    pub uid: u32,
    pub is_new: bool,
}

type Lock = Arc<tokio::sync::Mutex<()>>;

pub struct Files {
    directory: PathBuf,
    locks: Mutex<HashMap<VolumeId, Lock>>,
}

impl Files {
    pub fn new(directory: &Path) -> io::Result<Self> {
        let directory = directory.join("volumes");
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, locks: Mutex::default() })
    }

    /// One run at a time makes or mounts an image: two at once would each get a loop device of its own for it.
    pub async fn lock(&self, volume: VolumeId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(volume).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// The image, which is made if this person has none here yet.
    pub async fn get(&self, volume: VolumeId, size_bytes: u64) -> Result<Volume, FilesError> {
        let image = self.directory.join(format!("{volume}.img"));
        let uid = host_uid(volume.uuid().as_bytes());
        let (at, is_new) = (image.clone(), !image.exists());
        if is_new {
            tokio::task::spawn_blocking(move || volume::make_files(&at, size_bytes, uid)).await??;
        }
        Ok(Volume { image, uid, is_new })
    }
}
