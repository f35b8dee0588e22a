//! Starting a run, step by step: for a person, with their files, or for whoever asks next.

use std::{path::PathBuf, sync::Arc};

use domain::{
    ids::RunId,
    labels::Labels,
    machines::{MachineKind, MachineLimits},
    notebooks::{NotebookOffer, RunSpec, Software, TOKEN, WarmSpec},
};
use protocol::{Outcome, Secrets};
use tokio_util::sync::CancellationToken;

use super::{
    BUILD_LIMITS, Notebooks, Run, Stage, Up,
    build::PLACE,
    environments::{Came, Hold},
    failed,
    files::Volume,
    jupyter, number,
    python::{self, Python},
    runs::{Person, RunFile},
    steps::{ENVIRONMENT, FILES, JUPYTER, StartError, Steps},
};
use crate::{
    config::{MachineConfig, NotebooksConfig},
    environments::{
        Cause, PrepareSpec, Running, StepSink,
        sandbox::{Given, give, helper::Bind},
    },
    progress::Progress,
};

/// The largest file of a run without a person: what it writes is limited by its disk, and its person's files by theirs.
const WARM_LARGEST_FILE_BYTES: u64 = 1 << 50;

/// What a run stands on.
enum Ground {
    Packages(Hold),
    Image,
}

fn kind_of(software: &Software) -> MachineKind {
    match software {
        Software::Packages { .. } => MachineKind::Sandbox,
        Software::Image { .. } => MachineKind::Container,
    }
}

/// A run that is to be started.
struct Wanted<'a> {
    run: RunId,
    name: &'a str,
    software: &'a Software,
    limits: MachineLimits,
    /// None: for whoever asks next.
    person: Option<Person>,
}

impl<'a> From<&'a RunSpec> for Wanted<'a> {
    fn from(spec: &'a RunSpec) -> Self {
        let person = Person { notebook: spec.notebook, volume: spec.volume, volume_bytes: spec.volume_bytes };
        Self { run: spec.run, name: &spec.name, software: &spec.software, limits: spec.limits, person: Some(person) }
    }
}

impl<'a> From<&'a WarmSpec> for Wanted<'a> {
    fn from(spec: &'a WarmSpec) -> Self {
        Self { run: spec.run, name: &spec.name, software: &spec.software, limits: spec.limits, person: None }
    }
}

impl Notebooks {
    /// Starts a run. On failure and after a cancellation nothing of it is left but its person's files.
    pub async fn start(
        self: &Arc<Self>,
        spec: &RunSpec,
        secrets: Option<Secrets>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Outcome {
        self.start_wanted(&spec.into(), secrets, progress, cancel).await
    }

    /// Starts a run that waits for a person's files.
    pub async fn warm(
        self: &Arc<Self>,
        spec: &WarmSpec,
        secrets: Option<Secrets>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Outcome {
        match &spec.software {
            Software::Packages { .. } => {}
            Software::Image { .. } => return failed("a notebook from an image cannot be started ahead"),
        }
        if let Err(why) = self.can_give().await {
            return failed(why.to_string());
        }
        self.start_wanted(&spec.into(), secrets, progress, cancel).await
    }

    async fn start_wanted(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
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
        let run = match self.admit(wanted, config.offer, &end) {
            Ok(run) => run,
            Err(outcome) => return outcome,
        };
        let _work = run.work.lock().await;
        self.ended.forget(wanted.run);
        let steps = Steps::new(progress);
        match Box::pin(self.bring_up(&run, config, wanted, &token, &steps, &end)).await {
            Ok(up) => {
                let (running, jupyter) = (up.running.clone(), up.file.jupyter);
                *run.stage() = Stage::Running(Box::new(up));
                self.watch(wanted.run, run.clone(), running, jupyter);
                Outcome::Done { exit_code: None }
            }
            Err(error) => {
                *run.stage() = Stage::Ending;
                match self.destroy(wanted.run, &|_| {}).await {
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
    fn admit(&self, wanted: &Wanted<'_>, offer: NotebookOffer, end: &CancellationToken) -> Result<Arc<Run>, Outcome> {
        let mut runs = self.runs();
        if let Some(there) = runs.get(&wanted.run) {
            let is_up = matches!(*there.stage(), Stage::Running(_));
            return Err(if is_up {
                Outcome::Done { exit_code: None }
            } else {
                failed("it is being started or ended already")
            });
        }
        let (mut cpu_millis, mut memory_bytes) = (u64::from(wanted.limits.cpu_millis), wanted.limits.memory_bytes);
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
        let run = Run::new(kind_of(wanted.software), wanted.limits, None, Stage::Starting(end.clone()));
        runs.insert(wanted.run, run.clone());
        Ok(run)
    }

    async fn bring_up(
        self: &Arc<Self>,
        run: &Run,
        config: &NotebooksConfig,
        wanted: &Wanted<'_>,
        token: &str,
        steps: &Steps<'_>,
        cancel: &CancellationToken,
    ) -> Result<Up, StartError> {
        let ready = async {
            let (ground, words) = self.ground(config, wanted.software, steps).await?;
            Ok::<_, Cause>(((ground, self.starts.acquire().await?), words))
        };
        let (ground, _turn) = steps.step(ENVIRONMENT, cancel, ready).await?;
        // Until they are mounted: another run of the same person waits here.
        let (volume, turn) = match &wanted.person {
            Some(person) => {
                let turn = self.files.lock(person.volume).await;
                let used = self.use_of(person.volume, Some(wanted.run));
                let volume = steps.step(FILES, cancel, self.files_of(person, used)).await?;
                run.belongs_to(*person);
                (Some(volume), Some(turn))
            }
            None => {
                steps.skip(FILES, "its person's, when it has one");
                (None, None)
            }
        };
        let machine = machine(config, wanted);
        let running = self.prepare(machine, wanted, &ground, volume, steps, cancel).await?;
        drop(turn);
        let hold = match ground {
            Ground::Packages(hold) => Some(hold),
            Ground::Image => None,
        };
        let file = steps
            .step(JUPYTER, cancel, async {
                let began = tokio::time::Instant::now();
                let notebook = wanted.person.map(|person| person.notebook);
                let jupyter = jupyter::start(&self.rooms, &running, token, notebook).await?;
                let digest = hold.as_ref().map(|hold| hold.digest().to_owned());
                let file = RunFile { person: wanted.person, digest, limits: wanted.limits, jupyter };
                // Only now: a run that was not started to its end is not to be taken up again.
                file.write(&self.rooms.directory(running.kind, wanted.run))?;
                Ok::<_, Cause>((file, format!("answers after {:.1} s", began.elapsed().as_secs_f64())))
            })
            .await?;
        Ok(Up { running, file, _hold: hold })
    }

    /// What the run stands on, which is made or fetched if it is not there.
    async fn ground(
        &self,
        config: &NotebooksConfig,
        software: &Software,
        steps: &Steps<'_>,
    ) -> Result<(Ground, String), Cause> {
        match software {
            Software::Packages { requirements } => {
                let (hold, words) = self.environment(config, requirements, steps).await?;
                Ok((Ground::Packages(hold), words))
            }
            Software::Image { image } => {
                let said = |words: &str| steps.output(format!("{words}\n").as_bytes());
                let how = self.rooms.container.pull(image, &said).await?;
                Ok((Ground::Image, format!("image {image}, {how}")))
            }
        }
    }

    async fn environment(
        &self,
        config: &NotebooksConfig,
        requirements: &str,
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
        wanted: &Wanted<'_>,
        ground: &Ground,
        volume: Option<Volume>,
        steps: &Steps<'_>,
        cancel: &CancellationToken,
    ) -> Result<Running, StartError> {
        let kind = machine.kind;
        let (sink, mut events) = StepSink::new();
        let order = PrepareSpec {
            session: number(wanted.run),
            machine: Arc::new(machine),
            asked: Default::default(),
            variables: jupyter::variables(kind),
        };
        let prepare = async {
            let prepared = match (ground, volume) {
                (Ground::Packages(hold), volume) => {
                    let given = Given {
                        files: volume.map(|volume| give::Files { image: volume.image, uid: volume.uid }),
                        shown: vec![Bind { source: hold.python(), target: PLACE.into(), read_only: true }],
                        largest_file_bytes: wanted.person.map_or(WARM_LARGEST_FILE_BYTES, |person| person.volume_bytes),
                    };
                    self.rooms.sandbox.prepare_given(order, &given, &sink, cancel).await.map_err(StartError::from)
                }
                (Ground::Image, Some(volume)) => match self.rooms.mount(wanted.run, volume.image, volume.uid).await {
                    Ok(home) => {
                        let prepared = self.rooms.container.prepare_given(order, &home, &sink, cancel).await;
                        prepared.map_err(StartError::from)
                    }
                    Err(error) => Err(StartError::new(FILES, error)),
                },
                (Ground::Image, None) => Err(StartError::new(FILES, "a notebook from an image needs a person's files")),
            };
            drop(sink);
            prepared
        };
        let listen = async {
            while let Some(event) = events.recv().await {
                steps.sandbox(event);
            }
        };
        let (prepared, ()) = tokio::join!(prepare, listen);
        prepared
    }
}

/// The run as a machine of its own.
fn machine(config: &NotebooksConfig, wanted: &Wanted<'_>) -> MachineConfig {
    MachineConfig {
        name: wanted.name.to_owned(),
        kind: kind_of(wanted.software),
        labels: Labels::default(),
        limits: wanted.limits,
        root: PathBuf::from("/"),
        image: match wanted.software {
            Software::Packages { .. } => None,
            Software::Image { image } => Some(image.clone()),
        },
        network: config.network.clone(),
        writable: Vec::new(),
        hide: Vec::new(),
        setup: None,
    }
}
