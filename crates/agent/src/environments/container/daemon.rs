//! Containers of notebooks: with a person's files as the home, and JupyterLab in them, which outlives the agent.
//!
//! The image's own programs run, as the host user to whom the files belong; the sandbox's helper starts JupyterLab in the
//! container's namespaces and control group, and keeps its log.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{
    super::{
        ExecError, ExecSpec, PrepareError, PrepareSpec, Running, StepSink,
        cgroup::Layout,
        process::{self, FIRST_GONE},
        sandbox::{
            HOME, USER,
            daemon::{self, Daemon, Link, Placed},
            helper::Enter,
        },
    },
    Container, NO_CONTAINER, copy, instance, start,
};
use bollard::query_parameters::InspectContainerOptions;
use tokio_util::sync::CancellationToken;

/// What a container of a notebook has beyond its machine's configuration.
#[derive(Debug, Clone)]
pub struct GivenHome {
    /// The directory of the host that is its home.
    pub source: PathBuf,
    /// The host user to whom it belongs, as which everything in the container runs.
    pub uid: u32,
}

/// Where sockets and secrets lie, in memory.
pub const RUNTIME_DIRECTORY: &str = "/run/user/1000";
/// The largest file that JupyterLab and what it starts can write: the container's disk and the files' are limited themselves.
const LARGEST_FILE_BYTES: u64 = 1 << 50;

impl Container {
    /// Containers of another purpose, which are listed apart from these.
    pub fn beside(&self, purpose: &str) -> io::Result<Self> {
        let records = self.records.with_file_name(purpose).join("containers");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&records)?;
        let tag = super::super::tag(&records);
        Ok(Self { socket: self.socket.clone(), records, tag, helper: self.helper.clone() })
    }

    /// Whether there is an engine.
    pub fn is_configured(&self) -> bool {
        self.socket.is_some()
    }

    /// The container's directory on the host; what is put there goes with its record.
    pub fn directory(&self, session: domain::ids::SessionId) -> PathBuf {
        self.scratch(session).path().to_owned()
    }

    /// Makes sure that the engine has the image; `said` hears how the pulling goes on.
    pub async fn pull(
        &self,
        image: &str,
        said: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<&'static str, super::EngineError> {
        start::obtain(&self.engine()?, image, said).await
    }

    /// A container with a home that outlives it.
    pub async fn prepare_given(
        &self,
        spec: PrepareSpec,
        given: &GivenHome,
        steps: &StepSink,
        cancel: &CancellationToken,
    ) -> Result<Running, PrepareError> {
        Box::pin(start::prepare(self, spec, Some(given), steps, cancel)).await
    }

    /// Whether the kernel has ended a process of this container for want of memory.
    pub async fn out_of_memory(&self, running: &Running) -> bool {
        let Some(instance) = instance(running) else { return false };
        let counted =
            instance.identity.cgroup.as_deref().map(|group| Ok::<_, io::Error>(Layout::of_host()?.group(group)));
        if counted.is_some_and(|group| group.is_ok_and(|group| group.out_of_memory() > 0)) {
            return true;
        }
        // Its control group goes with the container, and the engine remembers.
        let Ok(engine) = self.engine() else { return false };
        let inspected = engine.inspect_container(&instance.name, None::<InspectContainerOptions>).await;
        inspected.is_ok_and(|container| container.state.and_then(|state| state.oom_killed).unwrap_or(false))
    }

    /// Starts a program that outlives the agent, after writing the files and links, with its output in `log`; says which
    /// process of the host it is.
    pub async fn daemon(
        &self,
        running: &Running,
        spec: ExecSpec,
        (files, links): (Vec<Placed>, Vec<Link>),
        log: fs::File,
        log_bytes: u64,
    ) -> Result<i32, ExecError> {
        let instance = instance(running).ok_or_else(|| ExecError::NotRunning(NO_CONTAINER.to_owned()))?;
        if !process::is_there(instance.pid, instance.started_ticks) {
            return Err(ExecError::NotRunning(FIRST_GONE.to_owned()));
        }
        spec.check()?;
        let entering = |error: io::Error| ExecError::Enter(error.into());
        let (uid, ..) = copy::first(instance.pid).map_err(entering)?;
        let mut env = image_variables(instance.pid).map_err(entering)?;
        let own = [("HOME", HOME), ("USER", USER), ("LOGNAME", USER), ("XDG_RUNTIME_DIR", RUNTIME_DIRECTORY)];
        env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env.extend(instance.variables.0.clone());
        env.extend(spec.env);
        let enter = Enter {
            procs_files: procs_files(instance.identity.cgroup.as_deref()).map_err(entering)?,
            pid: instance.pid,
            uid,
            argv: spec.argv,
            env: env.into_iter().collect(),
            cwd: HOME.to_owned(),
            terminal: false,
            largest_file_bytes: LARGEST_FILE_BYTES,
        };
        daemon::start(&self.helper, Daemon { enter, files, links, log_bytes }, log).await
    }
}

/// What the image says that its programs have as variables, as the container's first process has them.
fn image_variables(pid: i32) -> io::Result<BTreeMap<String, String>> {
    let bytes = fs::read(format!("/proc/{pid}/environ"))?;
    let variables = bytes.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok()?.split_once('='));
    Ok(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Where a process joins the container's control group in each hierarchy in which it has one.
pub(super) fn procs_files(group: Option<&str>) -> io::Result<Vec<PathBuf>> {
    let Some(group) = group else { return Ok(Vec::new()) };
    let files = Layout::of_host()?.group(group).procs_files();
    Ok(files.into_iter().filter(|file| Path::new(file).exists()).collect())
}
