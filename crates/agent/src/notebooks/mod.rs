//! Notebooks on this host: each run is a sandbox with an environment of Python packages, its person's files and a
//! JupyterLab, reached through the tunnel at a socket inside.
//!
//! A run outlives the agent as a sandbox does. What a restarted agent finds it takes up again if JupyterLab is still
//! there, and ends otherwise.

mod build;
mod environments;
mod files;
mod jupyter;
pub mod python;
mod runs;
mod steps;

pub use self::steps::ORDER as START_STEPS;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    ids::{NotebookId, RunId, SessionId},
    labels::Labels,
    machines::{MachineKind, MachineLimits},
    notebooks::{NotebookOffer, RunSpec, Software, TOKEN},
    sessions::StepState,
};
use protocol::{Outcome, Secrets, ToServer};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    build::PLACE,
    environments::{Came, Hold, PythonEnvironments},
    files::{Files, FilesError},
    jupyter::EndedBy,
    python::Python,
    runs::{Ended, RunFile},
    steps::{ENVIRONMENT, FILES, JUPYTER, StartError, Steps},
};
use crate::{
    clock,
    config::{AgentConfig, MachineConfig, NotebooksConfig},
    environments::{
        Cause, Environment, Environments, PrepareSpec, Running, StepSink,
        sandbox::{Given, Sandbox, helper::Bind},
    },
    progress::{self, Progress},
    sessions::{NotRunning, revert_with_steps},
};

/// What is built for notebooks gets, at most.
const BUILD_LIMITS: MachineLimits =
    MachineLimits { cpu_millis: 2_000, memory_bytes: 4 << 30, pids: 512, disk_bytes: 0 };
/// How often unused environments are looked for.
const LOOK_FOR_UNUSED: std::time::Duration = std::time::Duration::from_secs(3_600);

/// How far a run is.
enum Stage {
    Starting(CancellationToken),
    Running {
        running: Running,
        jupyter: jupyter::Process,
        /// Keeps its environment.
        _hold: Hold,
    },
    /// Being ended, or not to be ended: what is left of it waits for the next stop.
    Ending,
}

struct Run {
    limits: MachineLimits,
    stage: Mutex<Stage>,
    /// One start or end at a time.
    work: tokio::sync::Mutex<()>,
}

impl Run {
    fn new(limits: MachineLimits, stage: Stage) -> Arc<Self> {
        Arc::new(Self { limits, stage: Mutex::new(stage), work: tokio::sync::Mutex::new(()) })
    }
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Notebooks {
    config: Option<NotebooksConfig>,
    sandbox: Arc<Sandbox>,
    environments: Arc<PythonEnvironments>,
    files: Files,
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
            sandbox,
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
        self.config.as_ref().map(|config| config.offer)
    }

    /// The runs that are up, for Hello; those that ended are told anew on this link.
    pub fn connected(&self) -> Vec<RunId> {
        self.ended.tell_again();
        self.up()
    }

    fn up(&self) -> Vec<RunId> {
        let is_up = |run: &Arc<Run>| matches!(*run.stage(), Stage::Running { .. });
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
            Stage::Running { running, .. } => Ok((self.sandbox.clone(), running.clone())),
            Stage::Starting(_) | Stage::Ending => Err(NotRunning(session)),
        }
    }

    /// After a restart: takes up the runs whose JupyterLab is there, ends all others, removes half-built environments.
    /// Call before the link is opened.
    pub async fn recover(self: &Arc<Self>) -> io::Result<()> {
        self.end_builds().await?;
        for found in self.sandbox.list().await? {
            let id = RunId::from_uuid(found.session.uuid());
            let file = RunFile::read(&self.sandbox.directory(found.session)).ok();
            let limits = file.as_ref().map_or(BUILD_LIMITS, |file| file.limits);
            let Some(file) = file else {
                tracing::warn!(run = %id, "was starting when the agent stopped: ending it");
                self.end_later(id, Run::new(limits, Stage::Ending), None);
                continue;
            };
            match self.sandbox.adopt(found.session).await {
                Ok(running) if file.jupyter.is_there() => {
                    tracing::info!(run = %id, "adopted");
                    let stage = Stage::Running {
                        running: running.clone(),
                        jupyter: file.jupyter,
                        _hold: self.environments.hold(&file.digest),
                    };
                    let run = Run::new(limits, stage);
                    self.runs().insert(id, run.clone());
                    self.watch(id, run, running, file.jupyter);
                }
                adopted => {
                    // With its sandbox, as after a restart of the host, or by itself.
                    let why = match adopted {
                        Ok(running) => self.why(&running, limits),
                        Err(_) => "it ended while the host's agent was not running".to_owned(),
                    };
                    self.end_later(id, Run::new(limits, Stage::Ending), Some(why));
                }
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
        self.tasks.spawn(async move {
            tokio::select! {
                () = jupyter.gone() => {}
                () = notebooks.sandbox.gone(&running) => {}
            }
            // Under its lock, so that a stop which destroys it is not taken for its own end.
            let _work = run.work.lock().await;
            if !matches!(*run.stage(), Stage::Running { .. }) {
                return;
            }
            let why = notebooks.why(&running, run.limits);
            *run.stage() = Stage::Ending;
            notebooks.destroy(id, &|_| {}).await;
            notebooks.tell_ended(id, why);
        });
    }

    fn why(&self, running: &Running, limits: MachineLimits) -> String {
        let log = jupyter::log_tail(&self.sandbox.directory(running.session));
        if self.sandbox.out_of_memory(running) > 0 {
            format!("it ran out of its {} MiB of memory; JupyterLab's last words:\n{log}", limits.memory_bytes >> 20)
        } else {
            format!("JupyterLab ended by itself; its last words:\n{log}")
        }
    }

    /// Destroys and verifies; forgets the run if nothing is left of it.
    async fn destroy(&self, id: RunId, progress: Progress<'_>) -> Outcome {
        let report = revert_with_steps(&*self.sandbox, number(id), progress).await;
        match report.reason() {
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

    /// Starts a run. On failure and after a cancellation nothing of it is left but its person's files.
    pub async fn start(
        self: &Arc<Self>,
        spec: &RunSpec,
        secrets: Option<Secrets>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Outcome {
        let Some(config) = &self.config else {
            return failed("this host takes no notebooks: its configuration has no [notebooks]");
        };
        let Some(token) = secrets.and_then(|mut secrets| secrets.0.remove(TOKEN)).filter(|token| !token.is_empty())
        else {
            return failed("the notebook's token was not handed over");
        };
        let end = cancel.child_token();
        let run = match self.admit(spec, config.offer, &end) {
            Ok(run) => run,
            Err(outcome) => return outcome,
        };
        let _work = run.work.lock().await;
        self.ended.forget(spec.run);
        let steps = Steps::new(progress);
        match Box::pin(self.bring_up(config, spec, &token, &steps, &end)).await {
            Ok((running, hold, jupyter)) => {
                *run.stage() = Stage::Running { running: running.clone(), jupyter, _hold: hold };
                self.watch(spec.run, run.clone(), running, jupyter);
                Outcome::Done { exit_code: None }
            }
            Err(error) => {
                *run.stage() = Stage::Ending;
                match self.destroy(spec.run, &|_| {}).await {
                    Outcome::Failed { cause, .. } => {
                        failed(format!("{error}; and what is left of it cannot be ended: {cause}"))
                    }
                    Outcome::Done { .. } | Outcome::Cancelled | Outcome::Unknown { .. } if error.cancelled => {
                        Outcome::Cancelled
                    }
                    Outcome::Done { .. } | Outcome::Cancelled | Outcome::Unknown { .. } => failed(error.to_string()),
                }
            }
        }
    }

    /// Takes room for a run, if there is any.
    fn admit(&self, spec: &RunSpec, offer: NotebookOffer, end: &CancellationToken) -> Result<Arc<Run>, Outcome> {
        let mut runs = self.runs();
        if let Some(there) = runs.get(&spec.run) {
            let is_up = matches!(*there.stage(), Stage::Running { .. });
            return Err(if is_up {
                Outcome::Done { exit_code: None }
            } else {
                failed("it is being started or ended already")
            });
        }
        let (mut cpu_millis, mut memory_bytes) = (u64::from(spec.limits.cpu_millis), spec.limits.memory_bytes);
        for run in runs.values() {
            cpu_millis += u64::from(run.limits.cpu_millis);
            memory_bytes = memory_bytes.saturating_add(run.limits.memory_bytes);
        }
        if runs.len() as u64 >= u64::from(offer.places)
            || cpu_millis > u64::from(offer.cpu_millis)
            || memory_bytes > offer.memory_bytes
        {
            return Err(failed(format!("this host has no room for it beside the {} that are here", runs.len())));
        }
        let run = Run::new(spec.limits, Stage::Starting(end.clone()));
        runs.insert(spec.run, run.clone());
        Ok(run)
    }

    async fn bring_up(
        self: &Arc<Self>,
        config: &NotebooksConfig,
        spec: &RunSpec,
        token: &str,
        steps: &Steps<'_>,
        cancel: &CancellationToken,
    ) -> Result<(Running, Hold, jupyter::Process), StartError> {
        let hold = steps.step(ENVIRONMENT, cancel, self.environment(config, spec, steps)).await?;
        // Until it is mounted: another run of the same person waits here.
        let turn = self.files.lock(spec.volume).await;
        let volume = steps
            .step(FILES, cancel, async {
                self.sandbox.volumes().clone().map_err(FilesError::from)?;
                let volume = self.files.get(spec.volume, spec.volume_bytes).await?;
                let gib = spec.volume_bytes >> 30;
                let words =
                    if volume.is_new { format!("made, room for {gib} GiB") } else { "as they were left".to_owned() };
                Ok::<_, FilesError>((volume, words))
            })
            .await?;
        let given = Given {
            uid: volume.uid,
            files: volume.image,
            shown: vec![Bind { source: hold.python(), target: PLACE.into(), read_only: true }],
            largest_file_bytes: spec.volume_bytes,
        };
        let running = self.prepare(machine(config, spec), spec, &given, steps, cancel).await?;
        drop(turn);
        let jupyter = steps
            .step(JUPYTER, cancel, async {
                let began = tokio::time::Instant::now();
                let process = jupyter::start(&self.sandbox, &running, token).await?;
                let file = RunFile {
                    notebook: spec.notebook,
                    digest: hold.digest().to_owned(),
                    limits: spec.limits,
                    jupyter: process,
                };
                // Only now: a run that was not started to its end is not to be taken up again.
                file.write(&self.sandbox.directory(number(spec.run)))?;
                Ok::<_, Cause>((process, format!("answers after {:.1} s", began.elapsed().as_secs_f64())))
            })
            .await?;
        Ok((running, hold, jupyter))
    }

    async fn environment(
        &self,
        config: &NotebooksConfig,
        spec: &RunSpec,
        steps: &Steps<'_>,
    ) -> Result<(Hold, String), Cause> {
        let configured = config.python.clone();
        let search_path = std::env::var("PATH").unwrap_or_default();
        let python: Python =
            tokio::task::spawn_blocking(move || python::find(configured.as_deref(), &search_path)).await??;
        let limits = MachineLimits {
            cpu_millis: BUILD_LIMITS.cpu_millis.min(config.offer.cpu_millis),
            memory_bytes: BUILD_LIMITS.memory_bytes.min(config.offer.memory_bytes),
            ..BUILD_LIMITS
        };
        let output = |piece: &[u8]| steps.output(piece);
        let requirements = match &spec.software {
            Software::Packages { requirements } => requirements,
            Software::Image { .. } => return Err("this host runs no images".into()),
        };
        let (hold, came) = self.environments.get(requirements, &python, &limits, &output).await?;
        let words = match came {
            Came::Present => "present",
            Came::Built => "built",
        };
        Ok((hold, format!("{words}; Python {}", python.version)))
    }

    async fn prepare(
        &self,
        machine: MachineConfig,
        spec: &RunSpec,
        given: &Given,
        steps: &Steps<'_>,
        cancel: &CancellationToken,
    ) -> Result<Running, StartError> {
        let (sink, mut events) = StepSink::new();
        let order = PrepareSpec {
            session: number(spec.run),
            machine: Arc::new(machine),
            asked: Default::default(),
            variables: jupyter::variables(spec.notebook),
        };
        let prepare = async {
            let prepared = self.sandbox.prepare_given(order, given, &sink, cancel).await;
            drop(sink);
            prepared
        };
        let listen = async {
            while let Some(event) = events.recv().await {
                steps.sandbox(event);
            }
        };
        let (prepared, ()) = tokio::join!(prepare, listen);
        Ok(prepared?)
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
        if let Some(Stage::Running { jupyter, .. }) = was {
            self.end_jupyter(jupyter, progress).await;
        }
        progress::output(&jupyter::log(&self.sandbox.directory(number(id))), progress);
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

    /// Waits until the builds that nobody waits for any more have ended.
    pub async fn builds_ended(&self) {
        self.environments.ended_all().await;
    }

    /// Whether the run of an interrupted instruction is up all the same.
    pub fn is_up(&self, id: RunId) -> bool {
        self.up().contains(&id)
    }
}

/// The run as a machine of its own.
fn machine(config: &NotebooksConfig, spec: &RunSpec) -> MachineConfig {
    MachineConfig {
        name: spec.name.clone(),
        kind: MachineKind::Sandbox,
        labels: Labels::default(),
        limits: spec.limits,
        root: PathBuf::from("/"),
        image: None,
        network: config.network.clone(),
        writable: Vec::new(),
        hide: Vec::new(),
        setup: None,
    }
}
