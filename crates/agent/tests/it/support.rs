//! What the environments' tests share: an agent's configuration in a directory of its own, and shortcuts.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use agent::{
    config::AgentConfig,
    environments::{
        Environment, Environments, ExecHandle, ExecSpec, Exit, PrepareError, PrepareSpec, RevertReport, Running,
        StepEvent, StepSink, Variables,
    },
};
use domain::{environments::EnvironmentSpec, ids::SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// One agent's environments with the machine "m".
pub struct Bench {
    pub directory: Arc<tempfile::TempDir>,
    pub config: AgentConfig,
    pub environment: Arc<dyn Environment>,
}

/// A Python program that listens on a port, says which, and stays.
pub const LISTEN: &str = "import signal, socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1], flush=True); signal.pause()";

/// What a program in an environment came to.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub exit: Exit,
}

pub fn helper() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_berth-agent"))
}

impl Bench {
    /// `machine` is added to the machine's table, `DIR` in it is the bench's directory.
    pub fn new(kind: &str, top: &str, machine: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("berth-it-").tempdir_in("/var/tmp").expect("a directory");
        let at = directory.path().display().to_string();
        let text =
            format!("state_dir = \"{at}/state\"\n{top}\n[[machines]]\nname = \"m\"\nkind = \"{kind}\"\n{machine}\n")
                .replace("DIR", &at);
        let config = AgentConfig::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        Self::again(Arc::new(directory), config)
    }

    /// The same directory with a new set of objects, as after a restart of the agent.
    pub fn again(directory: Arc<tempfile::TempDir>, config: AgentConfig) -> Self {
        let machine = &config.machines[0];
        let environment = Environments::with_helper(&config, helper()).expect("environments").of(machine.kind);
        Self { directory, config, environment }
    }

    pub fn sandbox(machine: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the sandbox tests need root: run them with sudo or in the CI image"
        );
        Self::new("sandbox", "", machine)
    }

    pub fn spec(&self) -> PrepareSpec {
        PrepareSpec {
            session: SessionId::new(),
            machine: Arc::new(self.config.machines[0].clone()),
            asked: EnvironmentSpec::default(),
            variables: Variables::default(),
        }
    }

    pub async fn prepare(&self) -> Running {
        self.prepare_with(self.spec()).await.0.unwrap_or_else(|error| panic!("cannot prepare: {error}"))
    }

    pub async fn prepare_with(&self, spec: PrepareSpec) -> (Result<Running, PrepareError>, Vec<StepEvent>) {
        let (sink, mut events) = StepSink::new();
        let cancel = CancellationToken::new();
        let collecting = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(event) = events.recv().await {
                all.push(event);
            }
            all
        });
        let prepared = self.environment.prepare(spec, &sink, &cancel).await;
        drop(sink);
        (prepared, collecting.await.expect("collects"))
    }

    pub async fn start(&self, running: &Running, spec: ExecSpec) -> ExecHandle {
        self.environment.exec(running, spec).await.unwrap_or_else(|error| panic!("cannot run: {error}"))
    }

    /// Runs a shell script to its end.
    pub async fn sh(&self, running: &Running, script: &str) -> Ran {
        let handle = self.start(running, ExecSpec::new(["/bin/sh", "-c", script])).await;
        collect(handle, b"").await
    }

    pub async fn revert(&self, running: &Running) -> RevertReport {
        self.environment.revert(running.session).await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A test that failed has not reverted what it prepared; another bench on the same directory may still use it.
        if std::thread::panicking() && Arc::strong_count(&self.directory) == 1 {
            let environment = self.environment.clone();
            let reverted = std::thread::spawn(move || revert_all(&*environment)).join();
            if reverted.is_err() {
                eprintln!("what the test prepared is left in {}", self.directory.path().display());
            }
        }
        // What a failed test has left in its agent's control group makes this do nothing, and stays to be seen.
        match Environments::with_helper(&self.config, helper()) {
            Ok(environments) => environments.tidy(),
            Err(error) => eprintln!("a control group is left: {error}"),
        }
    }
}

fn revert_all(environment: &dyn Environment) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for found in environment.list().await.expect("a list") {
            let report = environment.revert(found.session).await;
            eprintln!("reverted after the failure: {}", report.reason().unwrap_or_else(|| "clean".to_owned()));
        }
    });
}

pub async fn collect(mut handle: ExecHandle, input: &[u8]) -> Ran {
    if let Some(mut stdin) = handle.stdin.take() {
        stdin.write_all(input).await.expect("takes its input");
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let errors = handle.stderr.take();
    let reading = async {
        handle.stdout.read_to_string(&mut stdout).await.expect("standard output");
        if let Some(mut errors) = errors {
            errors.read_to_string(&mut stderr).await.expect("standard error");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("ends within a minute");
    let exit = handle.control.wait().await.expect("an exit");
    Ran { stdout, stderr, exit }
}

/// Waits until a condition holds of which no event tells; fails after 20 s.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        look.tick().await;
    }
}

/// Asserts that the report is clean, or else shows it.
#[track_caller]
pub fn assert_clean(report: &RevertReport) {
    assert!(report.is_clean(), "{report:#?}");
}

/// Asserts that this check failed with these words in its detail, and that the machine would be quarantined.
#[track_caller]
pub fn assert_failed(report: &RevertReport, name: &str, words: &str) {
    let check = report.checks.iter().find(|check| check.name == name);
    assert!(check.is_some_and(|check| !check.ok && check.detail.contains(words)), "{name} {words}: {report:#?}");
    assert!(report.reason().is_some_and(|reason| reason.contains(words)), "{report:#?}");
}
