//! Notebooks on this host: each run is a sandbox with an environment of Python packages, its person's files and a
//! JupyterLab, reached through the tunnel at a socket inside.
//!
//! A run outlives the agent as a sandbox does. What a restarted agent finds it takes up again if JupyterLab is still
//! there, and ends otherwise.

mod build;
mod environments;
mod files;
mod give;
mod jupyter;
pub mod python;
mod rooms;
mod runs;
mod start;
mod steps;
mod volumes;

pub use self::steps::{FILES as FILES_STEP, ORDER as START_STEPS};

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    ids::{NotebookId, RunId, SessionId, VolumeId},
    machines::{MachineKind, MachineLimits},
    notebooks::NotebookOffer,
    sessions::StepState,
};
use protocol::{Outcome, ToServer};
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::runs::Person;
use self::{
    environments::{Hold, PythonEnvironments},
    files::Files,
    give::CannotGive,
    jupyter::EndedBy,
    rooms::{Rooms, run_of},
    runs::{Ended, RunFile},
    steps::JUPYTER,
};
use crate::{
    clear::Cleared,
    clock,
    config::{AgentConfig, NotebooksConfig},
    environments::{Environment, Environments, Running},
    progress::{self, Progress},
    sessions::{NotRunning, revert_with_steps},
};

/// What is built for notebooks gets, at most.
const BUILD_LIMITS: MachineLimits =
    MachineLimits { cpu_millis: 2_000, memory_bytes: 4 << 30, pids: 512, disk_bytes: 0 };
/// How often unused environments are looked for.
const LOOK_FOR_UNUSED: std::time::Duration = std::time::Duration::from_secs(3_600);

/// A run whose JupyterLab answers.
struct Up {
    running: Running,
    /// As it is on disk.
    file: RunFile,
    /// Keeps its environment; an image is kept by its engine.
    _hold: Option<Hold>,
}

/// How far a run is.
enum Stage {
    Starting(CancellationToken),
    Running(Box<Up>),
    /// Being ended, or not to be ended: what is left of it waits for the next stop.
    Ending,
}

struct Run {
    kind: MachineKind,
    limits: MachineLimits,
    /// Whose files it has mounted or may have; set with the lock of the files.
    person: Mutex<Option<Person>>,
    stage: Mutex<Stage>,
    /// One start or end at a time.
    work: tokio::sync::Mutex<()>,
}

impl Run {
    fn new(kind: MachineKind, limits: MachineLimits, person: Option<Person>, stage: Stage) -> Arc<Self> {
        let (person, stage) = (Mutex::new(person), Mutex::new(stage));
        Arc::new(Self { kind, limits, person, stage, work: tokio::sync::Mutex::new(()) })
    }
    fn volume(&self) -> Option<VolumeId> {
        self.person.lock().unwrap_or_else(PoisonError::into_inner).map(|person| person.volume)
    }
    fn belongs_to(&self, person: Person) {
        *self.person.lock().unwrap_or_else(PoisonError::into_inner) = Some(person);
    }
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Notebooks {
    config: Option<NotebooksConfig>,
    rooms: Rooms,
    environments: Arc<PythonEnvironments>,
    files: Files,
    /// One start for each processor at a time: fifty at once would all be too slow to answer in their time.
    starts: Semaphore,
    /// Whether files can be given to a run that is up; asked at the first one that is to wait.
    can_give: OnceCell<Result<(), CannotGive>>,
    runs: Mutex<BTreeMap<RunId, Arc<Run>>>,
    ended: Ended,
    changed: Notify,
    tasks: TaskTracker,
}

/// The number under which the run's sandbox is known.
fn number(run: RunId) -> SessionId {
    SessionId::from_uuid(run.uuid())
}

fn failed(cause: impl Into<String>) -> Outcome {
    Outcome::Failed { exit_code: None, cause: cause.into() }
}

impl Notebooks {
    /// Makes the directories; starts nothing.
    pub fn new(config: &AgentConfig, all: &Environments) -> io::Result<Arc<Self>> {
        let directory = config.state_dir.join("notebooks");
        let sandbox = all.notebooks();
        Ok(Arc::new(Self {
            config: config.notebooks.clone(),
            environments: PythonEnvironments::new(&directory, sandbox.clone())?,
            files: Files::new(&directory)?,
            ended: Ended::open(&directory, clock::now())?,
            rooms: Rooms::new(sandbox, all.notebook_containers())?,
            starts: Semaphore::new(std::thread::available_parallelism().map_or(2, |count| count.get().max(2))),
            can_give: OnceCell::new(),
            runs: Mutex::default(),
            changed: Notify::new(),
            tasks: TaskTracker::new(),
        }))
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For Hello.
    pub fn offer(&self) -> Option<NotebookOffer> {
        let gives_warm = self.can_give.get().is_some_and(Result::is_ok);
        let takes_images = self.rooms.container.is_configured();
        self.config.as_ref().map(|config| NotebookOffer { takes_images, gives_warm, ..config.offer })
    }

    /// The runs that are up, for Hello; those that ended are told anew on this link.
    pub fn connected(&self) -> Vec<RunId> {
        self.ended.tell_again();
        self.up()
    }

    fn up(&self) -> Vec<RunId> {
        let is_up = |run: &Arc<Run>| matches!(*run.stage(), Stage::Running(_));
        self.runs().iter().filter(|(_, run)| is_up(run)).map(|(id, _)| *id).collect()
    }

    /// A run that ended by itself and of which the link was not told yet.
    pub fn next_report(&self) -> Option<ToServer> {
        self.ended.next().map(|(run, why)| ToServer::RunEnded { run, why })
    }

    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The sandbox of a run that is up, by its number.
    pub fn running(&self, session: SessionId) -> Result<(Arc<dyn Environment>, Running), NotRunning> {
        let run = self.runs().get(&RunId::from_uuid(session.uuid())).cloned().ok_or(NotRunning(session))?;
        let stage = run.stage();
        match &*stage {
            Stage::Running(up) => Ok((self.rooms.of(run.kind), up.running.clone())),
            Stage::Starting(_) | Stage::Ending => Err(NotRunning(session)),
        }
    }

    /// After a restart: takes up the runs whose JupyterLab is there, ends all others, removes half-built environments.
    /// Call before the link is opened.
    pub async fn recover(self: &Arc<Self>) -> io::Result<()> {
        self.end_builds().await?;
        if self.config.is_some() && self.can_give().await.is_ok() {
            tracing::debug!("notebooks can be started ahead here");
        }
        for found in self.rooms.list().await? {
            let id = run_of(found.session);
            let file = RunFile::read(&self.rooms.directory(found.kind, id)).ok();
            let limits = file.as_ref().map_or(BUILD_LIMITS, |file| file.limits);
            let person = file.as_ref().and_then(|file| file.person);
            let Some(file) = file else {
                tracing::warn!(run = %id, "was starting when the agent stopped: ending it");
                self.end_later(id, Run::new(found.kind, limits, person, Stage::Ending), None);
                continue;
            };
            match self.rooms.of(found.kind).adopt(found.session).await {
                Ok(running) if file.jupyter.is_there() => {
                    tracing::info!(run = %id, "adopted");
                    let jupyter = file.jupyter;
                    let hold = file.digest.as_ref().map(|digest| self.environments.hold(digest));
                    let up = Box::new(Up { running: running.clone(), file, _hold: hold });
                    let run = Run::new(found.kind, limits, person, Stage::Running(up));
                    self.runs().insert(id, run.clone());
                    self.watch(id, run, running, jupyter);
                }
                adopted => {
                    // With its sandbox, as after a restart of the host, or by itself.
                    let why = match adopted {
                        Ok(running) => self.why(&running, limits).await,
                        Err(_) => "it ended while the host's agent was not running".to_owned(),
                    };
                    self.end_later(id, Run::new(found.kind, limits, person, Stage::Ending), Some(why));
                }
            }
        }
        for id in self.rooms.mounted()? {
            // Of one that was just beginning.
            if !self.runs().contains_key(&id) {
                self.rooms.unmount(id)?;
            }
        }
        let notebooks = self.clone();
        self.tasks.spawn(async move {
            let mut look = tokio::time::interval(LOOK_FOR_UNUSED);
            loop {
                look.tick().await;
                notebooks.environments.make_room(clock::now()).await;
            }
        });
        Ok(())
    }

    /// Ends and removes what an earlier agent had not built to its end.
    pub async fn end_builds(&self) -> io::Result<()> {
        let environments = self.environments.clone();
        tokio::task::spawn_blocking(move || environments.clean()).await.map_err(io::Error::other)
    }

    /// Ends what is left of a run and, if it was up, tells why.
    fn end_later(self: &Arc<Self>, id: RunId, run: Arc<Run>, why: Option<String>) {
        self.runs().insert(id, run.clone());
        let notebooks = self.clone();
        self.tasks.spawn(async move {
            let _work = run.work.lock().await;
            notebooks.destroy(id, &|_| {}).await;
            if let Some(why) = why {
                notebooks.tell_ended(id, why);
            }
        });
    }

    fn tell_ended(&self, id: RunId, why: String) {
        tracing::warn!(run = %id, why, "a notebook ended by itself");
        self.ended.add(id, why);
        self.changed.notify_one();
    }

    /// Waits for the end of JupyterLab or of its sandbox.
    fn watch(self: &Arc<Self>, id: RunId, run: Arc<Run>, running: Running, jupyter: jupyter::Process) {
        let notebooks = self.clone();
        let environment = self.rooms.of(run.kind);
        self.tasks.spawn(async move {
            tokio::select! {
                () = jupyter.gone() => {}
                () = environment.gone(&running) => {}
            }
            // Under its lock, so that a stop which destroys it is not taken for its own end.
            let _work = run.work.lock().await;
            if !matches!(*run.stage(), Stage::Running(_)) {
                return;
            }
            let why = notebooks.why(&running, run.limits).await;
            *run.stage() = Stage::Ending;
            notebooks.destroy(id, &|_| {}).await;
            notebooks.tell_ended(id, why);
        });
    }

    async fn why(&self, running: &Running, limits: MachineLimits) -> String {
        let log = jupyter::log_tail(&self.rooms.directory(running.kind, run_of(running.session)));
        if self.rooms.out_of_memory(running).await {
            format!("it ran out of its {} MiB of memory; JupyterLab's last words:\n{log}", limits.memory_bytes >> 20)
        } else {
            format!("JupyterLab ended by itself; its last words:\n{log}")
        }
    }

    /// Destroys and verifies; forgets the run if nothing is left of it.
    async fn destroy(&self, id: RunId, progress: Progress<'_>) -> Outcome {
        // What is not known any more is in no container: of those the engine knows.
        let kind = self.runs().get(&id).map_or(MachineKind::Sandbox, |run| run.kind);
        let report = revert_with_steps(&*self.rooms.of(kind), number(id), progress).await;
        match self.rooms.left(id, &report) {
            None => {
                self.runs().remove(&id);
                Outcome::Done { exit_code: None }
            }
            Some(reason) => {
                tracing::error!(run = %id, reason, "something of a notebook is left");
                failed(reason)
            }
        }
    }

    /// Ends a run and whatever is left of it, also while it starts; its person's files stay. Safe to repeat.
    pub async fn stop(self: &Arc<Self>, notebook: NotebookId, id: RunId, progress: Progress<'_>) -> Outcome {
        tracing::info!(%notebook, run = %id, "stopping a notebook");
        let run = self.runs().get(&id).cloned();
        if let Some(run) = &run
            && let Stage::Starting(cancel) = &*run.stage()
        {
            cancel.cancel();
        }
        let _work = match &run {
            Some(run) => Some(run.work.lock().await),
            None => None,
        };
        let was = run.as_ref().map(|run| std::mem::replace(&mut *run.stage(), Stage::Ending));
        if let Some(Stage::Running(up)) = was {
            self.end_jupyter(up.file.jupyter, progress).await;
        }
        let kind = run.as_ref().map_or(MachineKind::Sandbox, |run| run.kind);
        progress::output(&jupyter::log(&self.rooms.directory(kind, id)), progress);
        let outcome = self.destroy(id, progress).await;
        self.ended.forget(id);
        outcome
    }

    async fn end_jupyter(&self, jupyter: jupyter::Process, progress: Progress<'_>) {
        let mut step = progress::pending(JUPYTER);
        progress::advance(&mut step, StepState::Running, None, progress);
        let began = tokio::time::Instant::now();
        let words = match jupyter.end().await {
            EndedBy::Itself => "ended its kernels and itself",
            EndedBy::Force => "had to be killed",
        };
        let words = format!("{words}, after {:.1} s", began.elapsed().as_secs_f64());
        progress::advance(&mut step, StepState::Done, Some(words), progress);
    }

    /// Ends every run that is here; no other agent may be at work. Of each, what its revert found.
    pub async fn clear(&self) -> io::Result<Vec<Cleared>> {
        self.end_builds().await?;
        let mut cleared = Vec::new();
        for found in self.rooms.list().await? {
            let report = self.rooms.of(found.kind).revert(found.session).await;
            let machine = found.machine.map(|name| format!("notebook {name}"));
            let reason = self.rooms.left(run_of(found.session), &report);
            cleared.push(Cleared { session: found.session, machine, reason });
        }
        for id in self.rooms.mounted()? {
            self.rooms.unmount(id)?;
        }
        Ok(cleared)
    }

    /// Waits until the builds that nobody waits for any more have ended.
    pub async fn builds_ended(&self) {
        self.environments.ended_all().await;
    }

    /// Whether the run of an interrupted instruction is up all the same.
    pub fn is_up(&self, id: RunId) -> bool {
        self.up().contains(&id)
    }
}
