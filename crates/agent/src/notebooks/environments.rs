//! Environments of Python packages: one for each list of requirements and version of Python, built once however many
//! runs ask for it, shown read-only to all of them, and removed when nobody has used it for long.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{machines::MachineLimits, notebooks::START_LIMIT};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    build::{self, BuildError, GROUP_PREFIX, LEAST_FREE_BYTES, group_name},
    python::Python,
};
use crate::{clock, environments::sandbox::Sandbox};

/// Unused for this long, an environment goes.
pub const KEEP: SignedDuration = SignedDuration::from_hours(14 * 24);
/// With less than this free, unused ones go however new they are: the longest unused first.
const WANTED_FREE_BYTES: u64 = 4 * LEAST_FREE_BYTES;
/// Builds at a time; further ones wait.
const MAX_BUILDS: usize = 2;
/// The most output of one build that is kept for those who wait for it, bytes.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
const KILL_LIMIT: Duration = Duration::from_secs(5);
const GROUP_LIMIT: Duration = Duration::from_secs(2);
/// Part of each digest: another way of building gives other environments.
const FORMAT: &str = "1";
/// Holds when the environment was last asked for, in milliseconds since 1970.
const USED: &str = "used";

/// The name of what these requirements give with this Python.
pub fn digest(requirements: &str, python: &Python) -> String {
    let mut digest = Sha256::new();
    for part in [FORMAT, &python.version, &python.prefix.to_string_lossy(), requirements] {
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

#[derive(Default)]
struct Building {
    state: Mutex<BuildingState>,
    changed: Notify,
    cancel: CancellationToken,
}

#[derive(Default)]
struct BuildingState {
    output: Vec<u8>,
    outcome: Option<Result<(), Arc<BuildError>>>,
    waiting: usize,
}

impl Building {
    fn state(&self) -> MutexGuard<'_, BuildingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn note(&self, piece: &[u8]) {
        {
            let output = &mut self.state().output;
            let room = MAX_OUTPUT_BYTES.saturating_sub(output.len());
            output.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        self.changed.notify_waiters();
    }
}

/// One who waits for a build. With the last of them it ends.
struct Waiting(Arc<Building>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        if state.waiting == 0 {
            self.0.cancel.cancel();
        }
    }
}

#[derive(Default)]
struct State {
    /// Who uses what, by digest.
    held: BTreeMap<String, usize>,
    under_way: HashMap<String, Arc<Building>>,
}

pub struct PythonEnvironments {
    directory: PathBuf,
    building: PathBuf,
    sandbox: Arc<Sandbox>,
    state: Mutex<State>,
    builds: Semaphore,
    tasks: TaskTracker,
}

/// While there is one, its environment is not removed.
pub struct Hold {
    environments: Arc<PythonEnvironments>,
    digest: String,
}

impl Hold {
    pub fn digest(&self) -> &str {
        &self.digest
    }
    /// The directory that is shown to sandboxes.
    pub fn python(&self) -> PathBuf {
        self.environments.directory.join(&self.digest).join("python")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.environments.state();
        if let Some(count) = state.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.digest);
            }
        }
    }
}

/// How a run came to its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    Present,
    Built,
}

impl PythonEnvironments {
    /// `directory` is that of all notebooks' things.
    pub fn new(directory: &Path, sandbox: Arc<Sandbox>) -> io::Result<Arc<Self>> {
        let (environments, building) = (directory.join("environments"), directory.join("building"));
        fs::create_dir_all(&environments)?;
        fs::create_dir_all(&building)?;
        Ok(Arc::new(Self {
            directory: environments,
            building,
            sandbox,
            state: Mutex::default(),
            builds: Semaphore::new(MAX_BUILDS),
            tasks: TaskTracker::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends and removes what an earlier agent had not built to its end. Blocks.
    pub fn clean(&self) {
        for name in self.sandbox.groups().into_iter().filter(|name| name.starts_with(GROUP_PREFIX)) {
            if let Some(group) = self.sandbox.group(&name)
                && (!group.kill(KILL_LIMIT) || group.remove(GROUP_LIMIT).is_err())
            {
                tracing::warn!(group = name, "what is left of a build cannot be ended");
            }
        }
        for entry in fs::read_dir(&self.building).into_iter().flatten().filter_map(Result::ok) {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "what is left of a build cannot be removed");
            }
        }
    }

    /// Waits for the end of all builds.
    pub async fn ended_all(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Keeps an environment for a run that was adopted.
    pub fn hold(self: &Arc<Self>, digest: &str) -> Hold {
        *self.state().held.entry(digest.to_owned()).or_default() += 1;
        Hold { environments: self.clone(), digest: digest.to_owned() }
    }

    /// The environment of these requirements, built if it is not there; `output` hears what the builder says.
    pub async fn get(
        self: &Arc<Self>,
        requirements: &str,
        python: &Python,
        limits: &MachineLimits,
        output: &(dyn Fn(&[u8]) + Send + Sync),
    ) -> Result<(Hold, Came), Arc<BuildError>> {
        let digest = digest(requirements, python);
        let hold = self.hold(&digest);
        let Some(waiting) = self.join(&digest, requirements, python, limits) else {
            self.touch(&digest);
            return Ok((hold, Came::Present));
        };
        let mut heard = 0;
        loop {
            let changed = waiting.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (piece, outcome) = {
                let state = waiting.0.state();
                (state.output[heard..].to_vec(), state.outcome.clone())
            };
            heard += piece.len();
            if !piece.is_empty() {
                output(&piece);
            }
            if let Some(outcome) = outcome {
                return outcome.map(|()| (hold, Came::Built));
            }
            changed.await;
        }
    }

    /// Joins those who wait for the build, which is begun if there is none. None if the environment is there.
    fn join(
        self: &Arc<Self>,
        digest: &str,
        requirements: &str,
        python: &Python,
        limits: &MachineLimits,
    ) -> Option<Waiting> {
        let mut state = self.state();
        if self.directory.join(digest).is_dir() {
            return None;
        }
        let joined = state.under_way.get(digest).filter(|building| {
            // Under its lock: its last waiter may be leaving.
            let mut building = building.state();
            let open = building.waiting > 0;
            building.waiting += usize::from(open);
            open
        });
        if let Some(building) = joined {
            return Some(Waiting(building.clone()));
        }
        let building = Arc::new(Building::default());
        building.state().waiting = 1;
        state.under_way.insert(digest.to_owned(), building.clone());
        let (environments, digest, limits) = (self.clone(), digest.to_owned(), *limits);
        let (requirements, python, under_way) = (requirements.to_owned(), python.clone(), building.clone());
        self.tasks.spawn(async move {
            let outcome = environments.build(&digest, &requirements, &python, &limits, &under_way).await;
            environments.ended(&digest, &under_way, outcome);
        });
        Some(Waiting(building))
    }

    fn ended(&self, digest: &str, building: &Arc<Building>, outcome: Result<(), BuildError>) {
        {
            let mut state = self.state();
            if state.under_way.get(digest).is_some_and(|there| Arc::ptr_eq(there, building)) {
                state.under_way.remove(digest);
            }
        }
        match &outcome {
            Ok(()) => tracing::info!(digest, "an environment was built"),
            Err(error) => tracing::warn!(digest, %error, "an environment was not built"),
        }
        building.state().outcome = Some(outcome.map_err(Arc::new));
        building.changed.notify_waiters();
    }

    async fn build(
        self: &Arc<Self>,
        digest: &str,
        requirements: &str,
        python: &Python,
        limits: &MachineLimits,
        building: &Building,
    ) -> Result<(), BuildError> {
        let id = Uuid::now_v7();
        let at = self.building.join(id.to_string());
        let limit = Duration::from_secs(START_LIMIT.as_secs().unsigned_abs());
        let work = async {
            let Ok(_turn) = self.builds.acquire().await else { return Err(BuildError::Abandoned) };
            self.make_room(clock::now()).await;
            let note = |piece: &[u8]| building.note(piece);
            let built = build::build(&self.sandbox, id, &at, (requirements, python), limits, &note);
            tokio::time::timeout(limit, built).await.unwrap_or(Err(BuildError::Late(limit)))
        };
        let built = tokio::select! {
            biased;
            () = building.cancel.cancelled() => Err(BuildError::Abandoned),
            built = work => built,
        };
        let (environments, digest) = (self.clone(), digest.to_owned());
        let finished = tokio::task::spawn_blocking(move || environments.finish(id, &at, &digest, built)).await;
        finished.unwrap_or_else(|error| Err(BuildError::Keep(io::Error::other(error))))
    }

    /// Ends what the build has left running, and keeps what it made or removes it. Blocks.
    fn finish(&self, id: Uuid, at: &Path, digest: &str, built: Result<(), BuildError>) -> Result<(), BuildError> {
        if let Some(group) = self.sandbox.group(&group_name(id)) {
            let ended = group.kill(KILL_LIMIT);
            if let Err(why) = group.remove(GROUP_LIMIT) {
                tracing::warn!(%id, why, "the control group of a build stays");
            }
            if !ended {
                return Err(BuildError::Failed("its processes cannot be ended".to_owned()));
            }
        }
        let keep = || -> io::Result<()> {
            fs::remove_dir_all(at.join("work"))?;
            fs::write(at.join(USED), clock::now().as_millisecond().to_string())?;
            // Under the lock: whoever looks for it sees it whole.
            let _state = self.state();
            fs::rename(at, self.directory.join(digest))
        };
        let outcome = built.and_then(|()| keep().map_err(BuildError::Keep));
        if outcome.is_err()
            && at.exists()
            && let Err(error) = fs::remove_dir_all(at)
        {
            tracing::warn!(path = %at.display(), %error, "what is left of a build cannot be removed");
        }
        outcome
    }

    fn touch(&self, digest: &str) {
        let path = self.directory.join(digest).join(USED);
        if let Err(error) = fs::write(&path, clock::now().as_millisecond().to_string()) {
            tracing::warn!(path = %path.display(), %error, "the use of an environment was not noted");
        }
    }

    /// Removes what nobody has used for long, and more where the disk is nearly full.
    pub async fn make_room(self: &Arc<Self>, now: Timestamp) {
        let environments = self.clone();
        let removed = tokio::task::spawn_blocking(move || environments.remove_unused(now)).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "unused environments were not removed");
        }
    }

    fn remove_unused(&self, now: Timestamp) {
        let used_at = |path: &Path| {
            let text = fs::read_to_string(path.join(USED)).ok()?;
            Timestamp::from_millisecond(text.trim().parse().ok()?).ok()
        };
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let mut all: Vec<Unused> = entries
            .filter_map(|entry| {
                let used_at = used_at(&entry.path()).unwrap_or(Timestamp::UNIX_EPOCH);
                Some(Unused { digest: entry.file_name().into_string().ok()?, used_at })
            })
            .collect();
        all.sort_by_key(|unused| unused.used_at);
        for unused in all {
            let free = build::free_bytes(&self.directory).unwrap_or(u64::MAX);
            if !unused.goes(now, free) {
                continue;
            }
            let trash = self.building.join(Uuid::now_v7().to_string());
            let moved = {
                let state = self.state();
                !state.held.contains_key(&unused.digest)
                    && fs::rename(self.directory.join(&unused.digest), &trash).is_ok()
            };
            if moved {
                tracing::info!(digest = unused.digest, last_used = %unused.used_at, "an unused environment is removed");
                if let Err(error) = fs::remove_dir_all(&trash) {
                    tracing::warn!(path = %trash.display(), %error, "not removed");
                }
            }
        }
    }
}

struct Unused {
    digest: String,
    used_at: Timestamp,
}

impl Unused {
    fn goes(&self, now: Timestamp, free_bytes: u64) -> bool {
        free_bytes < WANTED_FREE_BYTES || now.duration_since(self.used_at) > KEEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_unused_goes_and_all_else_when_the_disk_is_nearly_full() {
        let now = "2026-05-01T00:00:00Z".parse().expect("a time");
        let check = |used: &str, free: u64, expected: bool| {
            let unused = Unused { digest: String::new(), used_at: used.parse().expect("a time") };
            assert_eq!(unused.goes(now, free), expected, "{used} {free}");
        };
        check("2026-04-30T00:00:00Z", 100 << 30, false);
        check("2026-04-16T00:00:00Z", 100 << 30, true);
        check("2026-04-30T00:00:00Z", 2 << 30, true);
    }

    #[test]
    fn the_digest_tells_requirements_and_pythons_apart() {
        let python = |version: &str| Python {
            program: "/usr/bin/python3".into(),
            prefix: "/usr".into(),
            version: version.to_owned(),
            uv: None,
        };
        let one = digest("a\n", &python("3.11.2 x"));
        assert_eq!(one, digest("a\n", &python("3.11.2 x")));
        assert_ne!(one, digest("a\n", &python("3.12.2 x")));
        assert_ne!(one, digest("b\n", &python("3.11.2 x")));
        assert_eq!(one.len(), 64);
    }

    #[test]
    fn only_what_nobody_holds_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!("state_dir = \"{}\"\n", directory.path().display());
        let config = crate::config::AgentConfig::parse(&config).expect("is right");
        let sandbox = Arc::new(Sandbox::new(&config, "/nonexistent".into()).expect("is made"));
        let environments = PythonEnvironments::new(directory.path(), sandbox).expect("is made");
        let path = |digest: &str| directory.path().join("environments").join(digest);
        for digest in ["held", "unused", "new"] {
            fs::create_dir(path(digest)).expect("is made");
            fs::write(path(digest).join(USED), "0").expect("is written");
        }
        environments.touch("new");
        let hold = environments.hold("held");
        environments.remove_unused(clock::now());
        assert!(path("held").exists() && !path("unused").exists() && path("new").exists());
        drop(hold);
        environments.remove_unused(clock::now());
        assert!(!path("held").exists());
    }
}
