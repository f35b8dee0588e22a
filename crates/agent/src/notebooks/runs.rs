//! What is kept on disk of runs: of each that is up what a restarted agent needs, and of each that ended by itself why, until
//! the server has had it stopped.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::{
    ids::{NotebookId, RunId, VolumeId},
    machines::MachineLimits,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::jupyter::Process;
use crate::clock;

/// A run of which the server wants to know nothing for this long is forgotten.
const KEEP_ENDED: SignedDuration = SignedDuration::from_hours(30 * 24);
const FILE: &str = "run.json";

/// For whom a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub notebook: NotebookId,
    pub volume: VolumeId,
    pub volume_bytes: u64,
}

/// In the directory of the run's sandbox, and gone with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Whose it is; none while it waits for somebody. Files may not be mounted yet.
    #[serde(default)]
    pub person: Option<Person>,
    /// Of its environment; none if it is an image.
    pub digest: Option<String>,
    pub limits: MachineLimits,
    pub jupyter: Process,
}

impl RunFile {
    pub fn read(directory: &Path) -> io::Result<Self> {
        read(&directory.join(FILE))
    }
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        write(&directory.join(FILE), self)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Whole or not at all.
fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(value)?)?;
    fs::File::open(&new)?.sync_data()?;
    fs::rename(&new, path)
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct EndedRun {
    why: String,
    at: Timestamp,
    /// Whether the link of now was told.
    #[serde(skip)]
    told: bool,
}

/// Runs that ended by themselves.
pub struct Ended {
    directory: PathBuf,
    runs: Mutex<BTreeMap<RunId, EndedRun>>,
}

impl Ended {
    /// `directory` is that of all notebooks' things.
    pub fn open(directory: &Path, now: Timestamp) -> io::Result<Self> {
        let directory = directory.join("ended");
        fs::create_dir_all(&directory)?;
        let mut runs = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<RunId>().ok());
            match (id, read::<EndedRun>(&path)) {
                (Some(id), Ok(run)) if now.duration_since(run.at) < KEEP_ENDED => {
                    runs.insert(id, run);
                }
                _ => fs::remove_file(&path)?,
            }
        }
        Ok(Self { directory, runs: Mutex::new(runs) })
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, EndedRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, run: RunId) -> PathBuf {
        self.directory.join(format!("{run}.json"))
    }

    pub fn add(&self, run: RunId, why: String) {
        let ended = EndedRun { why, at: clock::now(), told: false };
        if let Err(error) = write(&self.path(run), &ended) {
            // It is told all the same; only a restart before the server has heard of it loses the reason.
            tracing::error!(%run, %error, "why it ended was not written down");
        }
        self.runs().insert(run, ended);
    }

    pub fn forget(&self, run: RunId) {
        if self.runs().remove(&run).is_some()
            && let Err(error) = fs::remove_file(self.path(run))
        {
            tracing::warn!(%run, %error, "that it ended is not forgotten");
        }
    }

    pub fn tell_again(&self) {
        for run in self.runs().values_mut() {
            run.told = false;
        }
    }

    /// One of which the link was not told yet.
    pub fn next(&self) -> Option<(RunId, String)> {
        let mut runs = self.runs();
        let (id, run) = runs.iter_mut().find(|(_, run)| !run.told)?;
        run.told = true;
        Some((*id, run.why.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_told_on_each_link_until_it_is_stopped() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = |now| Ended::open(directory.path(), now).expect("is opened");
        let (ended, run) = (open(clock::now()), RunId::new());
        ended.add(run, "no memory".to_owned());
        let told = Some((run, "no memory".to_owned()));
        assert_eq!((ended.next(), ended.next()), (told.clone(), None));
        ended.tell_again();
        assert_eq!(ended.next(), told);
        // A restarted agent knows it too.
        let ended = open(clock::now());
        assert_eq!(ended.next(), told);
        ended.forget(run);
        assert_eq!(open(clock::now()).next(), None);
        ended.add(run, "no memory".to_owned());
        assert_eq!(open(clock::now() + KEEP_ENDED + SignedDuration::from_secs(1)).next(), None);
    }
}
