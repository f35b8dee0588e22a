//! Giving a run that waits to a person: their files become its home.

use std::{io, sync::Arc};

use domain::{ids::RunId, sessions::StepState};
use protocol::Outcome;

use super::{
    Notebooks, Run, Stage, failed,
    files::{FilesError, TRIAL_OWNER, Use},
    jupyter,
    runs::Person,
    steps::FILES,
};
use crate::{
    environments::{
        Cause,
        sandbox::give::{self, GiveError},
    },
    progress::{self, Progress},
};

/// Why this host gives no files to runs that are up.
#[derive(Debug, thiserror::Error)]
pub enum CannotGive {
    #[error("this host cannot start notebooks ahead: {0}")]
    Files(#[from] FilesError),
    #[error("this host cannot start notebooks ahead, as its kernel does not show files as another user's: {0}")]
    Kernel(#[from] GiveError),
    #[error("this host cannot start notebooks ahead: {0}")]
    Trial(#[source] io::Error),
}

/// What JupyterLab makes in a home when it starts, and later takes to be there.
const DIRECTORIES: [&str; 2] = [".jupyter", ".local/share/jupyter"];

impl Notebooks {
    /// Tried once; that it cannot be done is logged then.
    pub(super) async fn can_give(&self) -> &Result<(), CannotGive> {
        let tried = self.can_give.get_or_init(async || {
            let can = self.try_giving().await;
            if let Err(why) = &can {
                tracing::warn!("{why}");
            }
            can
        });
        tried.await
    }

    /// With an image of its own, and nobody to give it to.
    async fn try_giving(&self) -> Result<(), CannotGive> {
        self.rooms.sandbox.volumes().clone().map_err(FilesError::from)?;
        let (image, at) = self.files.trial().await?;
        let can = self.rooms.sandbox.can_give(&give::Files { image, uid: TRIAL_OWNER }, at).await;
        self.files.end_trial().map_err(CannotGive::Trial)?;
        Ok(can?)
    }

    /// Makes a run that waits a person's. Safe to repeat; on failure nothing of the run is left.
    pub async fn give(self: &Arc<Self>, id: RunId, person: Person, progress: Progress<'_>) -> Outcome {
        let Some(run) = self.runs().get(&id).cloned() else { return failed("this run is not on this host") };
        let _work = run.work.lock().await;
        match &*run.stage() {
            Stage::Running(up) => {
                if up.file.person.is_some_and(|there| there.notebook != person.notebook) {
                    return failed("this run is another notebook's");
                }
            }
            Stage::Starting(_) | Stage::Ending => return failed("this run is not up"),
        }
        let mut step = progress::pending(FILES);
        progress::advance(&mut step, StepState::Running, None, progress);
        match self.hand_over(id, &run, person).await {
            Ok(words) => {
                progress::advance(&mut step, StepState::Done, Some(words), progress);
                tracing::info!(run = %id, notebook = %person.notebook, "given");
                Outcome::Done { exit_code: None }
            }
            Err(error) => {
                progress::advance(&mut step, StepState::Failed, Some(error.to_string()), progress);
                let was = std::mem::replace(&mut *run.stage(), Stage::Ending);
                if let Stage::Running(up) = was {
                    up.file.jupyter.end().await;
                }
                match self.destroy(id, &|_| {}).await {
                    Outcome::Failed { cause, .. } => {
                        failed(format!("{error}; and what is left of it cannot be ended: {cause}"))
                    }
                    Outcome::Done { .. } | Outcome::Cancelled | Outcome::Unknown { .. } => failed(error.to_string()),
                }
            }
        }
    }

    async fn hand_over(&self, id: RunId, run: &Run, person: Person) -> Result<String, Cause> {
        // Until they are mounted: another run of the same person waits here.
        let _turn = self.files.lock(person.volume).await;
        // Where an earlier giving came so far, this run has them already.
        let was_begun = matches!(&*run.stage(), Stage::Running(up) if up.file.person.is_some());
        let used = if was_begun { Use::Shared } else { self.use_of(person.volume, Some(id)) };
        let (volume, words) = self.files_of(&person, used).await?;
        let (running, file) = {
            let mut stage = run.stage();
            let Stage::Running(up) = &mut *stage else { return Err("this run is not up".into()) };
            // First: whoever comes after an agent that was killed here is to know whose it may be.
            up.file.person = Some(person);
            run.belongs_to(person);
            up.file.write(&self.rooms.directory(run.kind, id))?;
            (up.running.clone(), up.file.clone())
        };
        let files = give::Files { image: volume.image, uid: volume.uid };
        let directories = DIRECTORIES.map(jupyter::in_home).into();
        self.rooms
            .sandbox
            .give(&running, &files, directories, vec![jupyter::workspaces(Some(person.notebook))])
            .await?;
        file.jupyter.come_home().await?;
        Ok(words)
    }
}
