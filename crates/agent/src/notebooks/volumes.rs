//! People's files and the runs that have them.

use domain::{
    ids::{RunId, VolumeId},
    sessions::StepState,
};
use protocol::Outcome;

use super::{
    Notebooks, failed,
    files::{FilesError, Use, Volume},
    runs::Person,
    steps::FILES,
};
use crate::{
    environments::Cause,
    progress::{self, Progress},
};

impl Notebooks {
    /// A person's files on this host, and what there is to say of them. Call it with the lock of the files.
    pub(super) async fn files_of(&self, person: &Person, used: Use) -> Result<(Volume, String), Cause> {
        self.rooms.sandbox.volumes().clone()?;
        let volume = self.files.get(person.volume, person.volume_bytes, used).await?;
        let words = volume.in_words();
        Ok((volume, words))
    }

    /// Whether another run than this one has them, or may still.
    pub(super) fn use_of(&self, volume: VolumeId, run: Option<RunId>) -> Use {
        let is_anothers = self.runs().iter().any(|(id, there)| Some(*id) != run && there.volume() == Some(volume));
        if is_anothers { Use::Shared } else { Use::Alone }
    }

    /// Removes a person's files from this host, for good. Safe to repeat.
    pub async fn remove_volume(&self, volume: VolumeId, progress: Progress<'_>) -> Outcome {
        let mut step = progress::pending(FILES);
        progress::advance(&mut step, StepState::Running, None, progress);
        let turn = self.files.lock(volume).await;
        let removed = match self.use_of(volume, None) {
            Use::Shared => Err(FilesError::Open),
            Use::Alone => self.files.remove(volume).await,
        };
        drop(turn);
        match removed {
            Ok(taken) => {
                let words = taken.map_or("there were none".to_owned(), |bytes| format!("removed, {} MiB", bytes >> 20));
                tracing::info!(%volume, words, "a person's files");
                progress::advance(&mut step, StepState::Done, Some(words), progress);
                Outcome::Done { exit_code: None }
            }
            Err(error) => {
                progress::advance(&mut step, StepState::Failed, Some(error.to_string()), progress);
                failed(error.to_string())
            }
        }
    }
}
