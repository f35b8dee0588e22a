//! People's files: an image of a file system for each person, mounted as the home of their notebooks' runs.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::ids::VolumeId;

use crate::environments::{
    baseline::SESSION_UIDS,
    sandbox::{
        host_uid,
        mend::{self, Kept, MendError},
        volume::{self, ReleaseError, Unsupported, VolumeError},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("this host cannot keep files of notebooks: {0}")]
    Unsupported(#[from] Unsupported),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Mend(#[from] MendError),
    #[error("the files are {0}")]
    Release(#[from] ReleaseError),
    #[error("a notebook of this person's has them open")]
    Open,
    #[error("the disk hangs: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// A person's files on this host.
#[derive(Debug, Clone)]
pub struct Volume {
    pub image: PathBuf,
    /// The host user that owns them.
    pub uid: u32,
    /// How much room is wanted.
    size_bytes: u64,
    state: VolumeState,
}

#[derive(Debug, Clone)]
enum VolumeState {
    New,
    Kept(Kept),
    Shared,
}

/// Whether another run has the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Alone,
    Shared,
}

/// Who owns what is tried with.
pub const TRIAL_OWNER: u32 = SESSION_UIDS.start;
const TRIAL_BYTES: u64 = 256 << 20;
/// How long the kernel may take to let go of files whose last run has ended.
const RELEASE_LIMIT: Duration = Duration::from_secs(12);
const GIB: u64 = 1 << 30;

type Lock = Arc<tokio::sync::Mutex<()>>;

pub struct Files {
    directory: PathBuf,
    trial: PathBuf,
    locks: Mutex<HashMap<VolumeId, Lock>>,
}

impl Files {
    pub fn new(directory: &Path) -> io::Result<Self> {
        let (volumes, trial) = (directory.join("volumes"), directory.join("trial"));
        fs::create_dir_all(&volumes)?;
        Ok(Self { directory: volumes, trial, locks: Mutex::default() })
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

    /// An image to try with, and where to mount it.
    pub async fn trial(&self) -> Result<(PathBuf, PathBuf), FilesError> {
        let (image, at) = (self.trial.join("files.img"), self.trial.join("at"));
        let (make, place) = (image.clone(), at.clone());
        tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&place).map_err(|source| VolumeError::Image { path: place, source })?;
            volume::make_files(&make, TRIAL_BYTES, TRIAL_OWNER)
        })
        .await??;
        Ok((image, at))
    }

    pub fn end_trial(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.trial)
    }

    fn image(&self, volume: VolumeId) -> PathBuf {
        self.directory.join(format!("{volume}.img"))
    }

    /// The image, which is made if this person has none here yet; else checked and grown, unless another run of the
    /// same person has it mounted.
    pub async fn get(&self, volume: VolumeId, size_bytes: u64, use_: Use) -> Result<Volume, FilesError> {
        let image = self.image(volume);
        let uid = host_uid(volume.uuid().as_bytes());
        let at = image.clone();
        let state = tokio::task::spawn_blocking(move || match use_ {
            Use::Shared | Use::Alone if !at.exists() => {
                volume::make_files(&at, size_bytes, uid)?;
                Ok(VolumeState::New)
            }
            Use::Shared => Ok(VolumeState::Shared),
            // The kernel lets go of it a moment after its last run has ended.
            Use::Alone => match volume::released(&at, RELEASE_LIMIT) {
                Ok(()) => Ok(VolumeState::Kept(mend::keep(&at, size_bytes)?)),
                Err(ReleaseError::InUse(_)) => Ok(VolumeState::Shared),
                Err(error @ ReleaseError::Look(_)) => Err(FilesError::from(error)),
            },
        });
        Ok(Volume { image, uid, size_bytes, state: state.await?? })
    }

    /// Removes the image for good; says how much of the host's disk it took, none if it was not there.
    pub async fn remove(&self, volume: VolumeId) -> Result<Option<u64>, FilesError> {
        let image = self.image(volume);
        let removed = tokio::task::spawn_blocking(move || {
            volume::released(&image, RELEASE_LIMIT)?;
            let failed = |source| VolumeError::Image { path: image.clone(), source };
            // What making it may have left, if the agent was killed in the middle.
            for path in [image.with_extension("new"), image.with_extension("from")] {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                absent(removed).map_err(failed)?;
            }
            let taken = fs::metadata(&image).map(|data| data.blocks() * 512).ok();
            absent(fs::remove_file(&image)).map_err(failed)?;
            Ok::<_, FilesError>(taken)
        });
        removed.await?
    }
}

/// What is not there is removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn gib(bytes: u64) -> String {
    let tenths = bytes / (GIB / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

impl Volume {
    /// What there is to say of it.
    pub fn in_words(&self) -> String {
        match &self.state {
            VolumeState::New => format!("made, room for {}", gib(self.size_bytes)),
            VolumeState::Shared => "as they are: they are open already".to_owned(),
            VolumeState::Kept(Kept { mended, grown, space }) => {
                let mut words = format!("{} of {} used", gib(space.used_bytes), gib(space.size_bytes));
                if *mended {
                    words += "; mended, as they had not been closed well";
                }
                if *grown {
                    words += "; there is more room now";
                } else if space.size_bytes > self.size_bytes + GIB / 10 {
                    words += &format!("; {} would do, but what is there is not made smaller", gib(self.size_bytes));
                }
                words
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::sandbox::mend::Space;

    #[test]
    fn what_is_said_of_files() {
        let check = |state: VolumeState, expected: &str| {
            let volume = Volume { image: PathBuf::new(), uid: 0, size_bytes: 2 * GIB, state };
            assert_eq!(volume.in_words(), expected);
        };
        let kept = |mended, grown, size_bytes| {
            let space = Space { size_bytes, used_bytes: GIB / 2 };
            VolumeState::Kept(Kept { mended, grown, space })
        };
        check(VolumeState::New, "made, room for 2.0 GiB");
        check(kept(false, false, 2 * GIB), "0.5 GiB of 2.0 GiB used");
        check(
            kept(true, true, 2 * GIB),
            "0.5 GiB of 2.0 GiB used; mended, as they had not been closed well; there is more room now",
        );
        let larger = kept(false, false, 3 * GIB);
        check(larger, "0.5 GiB of 3.0 GiB used; 2.0 GiB would do, but what is there is not made smaller");
    }
}
