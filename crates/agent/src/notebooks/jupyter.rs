//! JupyterLab in a run's sandbox: a program that outlives the agent, at a Unix socket that only this agent reaches.
//!
//! Its options are those of jupyter_server 2.21; what is given here goes before what a person's own configuration says.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{ids::NotebookId, notebooks::SOCKET};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, MissedTickBehavior, timeout},
};

use super::build::{PLACE, last_words};
use crate::environments::{
    ConnectError, Environment, ExecError, ExecSpec, Running, Target, Variables, process,
    sandbox::{HOME, PATH, Sandbox, daemon::Secret},
};

/// How long JupyterLab may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(25);
const REAP_LIMIT: Duration = Duration::from_millis(500);
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
const LOG: &str = "jupyter.log";
const LOG_BYTES: u64 = 1024 * 1024;
const TOKEN_FILE: &str = "/run/user/1000/jupyter-token";

#[derive(Debug, thiserror::Error)]
pub enum JupyterError {
    #[error("cannot write its log: {0}")]
    Log(#[source] io::Error),
    #[error(transparent)]
    Start(#[from] ExecError),
    #[error("it ended at once:\n{0}")]
    Ended(String),
    #[error("it did not answer within {} s:\n{log}", ANSWER_LIMIT.as_secs())]
    Silent { log: String },
    #[error("it refuses its own token ({status}); is one set in ~/.jupyter?\n{log}")]
    Refuses { status: String, log: String },
}

/// The process, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    pub pid: i32,
    pub started_ticks: u64,
}

impl Process {
    pub fn is_there(self) -> bool {
        process::is_there(self.pid, self.started_ticks)
    }
    /// Ends it, and waits a little until its parent has seen that: killed together with its parent it would be left to
    /// the host's first process, and the sandbox's end would wait for that one.
    pub async fn end(self) {
        if !self.is_there() {
            return;
        }
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            // It may end by itself at this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let entry = format!("/proc/{}", self.pid);
        let deadline = Instant::now() + REAP_LIMIT;
        while Instant::now() < deadline && Path::new(&entry).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    pub async fn gone(self) {
        process::gone(self.pid, self.started_ticks).await;
    }
}

/// What every process of the run gets. Settings are the person's, in their home; what is at work now is the run's.
pub fn variables(notebook: NotebookId) -> Variables {
    let variables = [
        ("PATH", format!("{PLACE}/bin:{PATH}")),
        ("VIRTUAL_ENV", PLACE.to_owned()),
        ("JUPYTER_RUNTIME_DIR", "/run/user/1000/jupyter".to_owned()),
        // Two notebooks of one person would write over each other's layout.
        ("JUPYTERLAB_WORKSPACES_DIR", format!("{HOME}/.jupyter/lab/workspaces/{notebook}")),
    ];
    Variables(variables.map(|(name, value)| (name.to_owned(), value)).into())
}

fn arguments() -> Vec<String> {
    let mut arguments = vec![format!("{PLACE}/bin/jupyter-lab"), "--no-browser".to_owned()];
    let shell = if Path::new("/bin/bash").exists() {
        "{'shell_command': ['/bin/bash']}"
    } else {
        "{'shell_command': ['/bin/sh']}"
    };
    let options = [
        ("ServerApp.sock", SOCKET),
        ("ServerApp.sock_mode", "0600"),
        ("ServerApp.root_dir", HOME),
        ("ServerApp.base_url", "/"),
        ("ServerApp.allow_remote_access", "True"),
        ("ServerApp.trust_xheaders", "True"),
        ("ServerApp.allow_unauthenticated_access", "False"),
        ("ServerApp.quit_button", "False"),
        // No login shell: the host's profile would set another PATH.
        ("ServerApp.terminado_settings", shell),
        // They would ask the Internet, which is not there.
        ("LabApp.check_for_updates_class", "jupyterlab.NeverCheckForUpdate"),
        ("LabApp.news_url", "None"),
        ("LabApp.extension_manager", "readonly"),
    ];
    arguments.extend(options.map(|(name, value)| format!("--{name}={value}")));
    arguments
}

/// The end of what it wrote.
pub fn log_tail(directory: &Path) -> String {
    last_words(&fs::read(directory.join(LOG)).unwrap_or_default(), "it wrote no log")
}

/// Starts it, and returns when it answers.
pub async fn start(sandbox: &Sandbox, running: &Running, token: &str) -> Result<Process, JupyterError> {
    let directory: PathBuf = sandbox.directory(running.session);
    let log = fs::OpenOptions::new().create(true).write(true).truncate(true).open(directory.join(LOG));
    let spec =
        ExecSpec { env: vec![("JUPYTER_TOKEN_FILE".to_owned(), TOKEN_FILE.to_owned())], ..ExecSpec::new(arguments()) };
    let secret = Secret { path: TOKEN_FILE.to_owned(), text: token.to_owned() };
    let pid = sandbox.daemon(running, spec, secret, log.map_err(JupyterError::Log)?, LOG_BYTES).await?;
    let ended = || JupyterError::Ended(log_tail(&directory));
    let started_ticks = process::started_ticks(pid).map_err(|_| ended())?;
    let process = Process { pid, started_ticks };
    tokio::select! {
        () = process.gone() => Err(ended()),
        answered = answers(sandbox, running, token, &directory) => answered.map(|()| process),
    }
}

async fn answers(sandbox: &Sandbox, running: &Running, token: &str, directory: &Path) -> Result<(), JupyterError> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    let mut again = tokio::time::interval(ASK_EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        again.tick().await;
        match timeout(REQUEST_LIMIT, status(sandbox, running, token)).await {
            Ok(Ok(status)) if status == "200" => return Ok(()),
            Ok(Ok(status)) => return Err(JupyterError::Refuses { status, log: log_tail(directory) }),
            // Nothing listens yet, or it is too busy starting to answer.
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Err(JupyterError::Silent { log: log_tail(directory) })
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The status with which it answers one who has the token.
async fn status(sandbox: &Sandbox, running: &Running, token: &str) -> Result<String, AskError> {
    let mut connection = sandbox.connect(running, &Target::UnixSocket(SOCKET.to_owned())).await?;
    let request = format!(
        "GET /api/status HTTP/1.0\r\nHost: localhost\r\nAuthorization: token {token}\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(12).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    Ok(status.ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)?.to_owned())
}
