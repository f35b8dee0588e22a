//! JupyterLab in a run's sandbox: a program that outlives the agent, at a Unix socket that only this agent reaches.
//!
//! Its options are those of jupyter_server 2.21; what is given here goes before what a person's own configuration says.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{ids::NotebookId, machines::MachineKind, notebooks::SOCKET};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, MissedTickBehavior, timeout},
};

use super::{
    build::{PLACE, last_words},
    rooms::{Rooms, run_of},
};
use crate::environments::{
    ConnectError, Environment, ExecError, ExecSpec, Running, Target, Variables, process,
    sandbox::{
        HOME, PATH,
        daemon::{Link, Placed},
    },
};

/// How long JupyterLab may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(25);
const REAP_LIMIT: Duration = Duration::from_millis(500);
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
const LOG: &str = "jupyter.log";
const LOG_BYTES: u64 = 1024 * 1024;
/// How much of its log is told when it is over, bytes.
const TOLD_LOG_BYTES: u64 = 64 * 1024;
/// How long it may take to end in good order, its kernels too, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);
const TOKEN_FILE: &str = "/run/user/1000/jupyter-token";
/// A directory of configuration beside the person's own and the environment's.
const CONFIG_DIRECTORY: &str = "/run/user/1000/jupyter-config";
/// When all has been done that is to be done at its end, it goes. Otherwise its interpreter would take half a second to
/// throw away what is thrown away anyway. And when it is told to, it goes to its home, which has become another directory:
/// a terminal that names none begins where it is. In no other program that reads this file.
/// What is beside this file is for it alone, not for kernels.
const CONFIG: &str = "import atexit, os, signal, sys

def end():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)

def come_home(*_):
    os.chdir(os.path.expanduser('~'))

if os.path.basename(sys.argv[0]) == 'jupyter-lab':
    atexit.register(end)
    signal.signal(signal.SIGUSR2, come_home)
    sys.path.append(os.path.dirname(__file__))
";
/// An extension of ours to jupyter_server and to JupyterLab, which is not to be built: what cells put out while no page is open.
const OUTPUTS: [(&str, &str); 4] = [
    // In a file of its own, which adds to what the person's own say; an option would take its place.
    (
        "jupyter_server_config.d/berth_outputs.json",
        r#"{"ServerApp": {"jpserver_extensions": {"berth_outputs": true}}}"#,
    ),
    ("berth_outputs.py", include_str!("outputs/berth_outputs.py")),
    ("labextensions/@berth/outputs/package.json", include_str!("outputs/package.json")),
    ("labextensions/@berth/outputs/static/remoteEntry.js", include_str!("outputs/remoteEntry.js")),
];
/// How long it may take to go to its home.
const COME_HOME_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How long after its end something may still be written to its log.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(500);
/// Layouts are the notebook's: two of one person would write over each other's. A run may come to its notebook later, so
/// this is a link.
const WORKSPACES: &str = "/run/user/1000/workspaces";
/// What is so until the person sets it otherwise. It does not ask whether to look for news: there is no Internet to get
/// them from.
const SETTINGS: &str = r#"{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}"#;

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
    #[error("it does not go to its home: {0}")]
    Home(#[source] io::Error),
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
    /// Has it end its kernels and terminals and then itself; by force if it takes too long. How it came to its end.
    ///
    /// Then waits a little until its parent has seen that: killed together with its parent it would be left to
    /// the host's first process, and the sandbox's end would wait for that one.
    pub async fn end(self) -> EndedBy {
        let ended = match process::signal(self.pid, self.started_ticks, Signal::TERM) {
            Ok(()) => timeout(END_LIMIT, self.gone()).await,
            // There is nothing to wait for.
            Err(_) => Ok(()),
        };
        let ended_by = if ended.is_ok() { EndedBy::Itself } else { EndedBy::Force };
        match process::signal(self.pid, self.started_ticks, Signal::KILL) {
            // It has ended, as it should.
            Ok(()) | Err(_) => self.reaped().await,
        }
        ended_by
    }

    async fn reaped(self) {
        let entry = format!("/proc/{}", self.pid);
        let deadline = Instant::now() + REAP_LIMIT;
        while Instant::now() < deadline && Path::new(&entry).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    /// Has it make the directory its own that is mounted at its home by now. Safe to repeat.
    pub async fn come_home(self) -> Result<(), JupyterError> {
        let place = |path: String| fs::metadata(path).map(|data| (data.dev(), data.ino())).map_err(JupyterError::Home);
        let is_home = || {
            let home = place(format!("/proc/{}/root{HOME}", self.pid))?;
            Ok::<_, JupyterError>(place(format!("/proc/{}/cwd", self.pid))? == home)
        };
        if is_home()? {
            return Ok(());
        }
        process::catches(self.pid, Signal::USR2).map_err(JupyterError::Home)?;
        process::signal(self.pid, self.started_ticks, Signal::USR2).map_err(JupyterError::Home)?;
        let deadline = Instant::now() + COME_HOME_LIMIT;
        while !is_home()? {
            if Instant::now() >= deadline {
                return Err(JupyterError::Home(io::ErrorKind::TimedOut.into()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub async fn gone(self) {
        process::gone(self.pid, self.started_ticks).await;
    }
}

/// How JupyterLab came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    Itself,
    Force,
}

/// What every process of the run gets. Settings are the person's, in their home; what is at work now is the run's.
pub fn variables(kind: MachineKind) -> Variables {
    // An image brings its own programs, and says where they are.
    let own = match kind {
        MachineKind::Sandbox => vec![("PATH", format!("{PLACE}/bin:{PATH}")), ("VIRTUAL_ENV", PLACE.to_owned())],
        MachineKind::Container => Vec::new(),
    };
    let all = [
        ("JUPYTER_RUNTIME_DIR", "/run/user/1000/jupyter".to_owned()),
        ("JUPYTERLAB_WORKSPACES_DIR", WORKSPACES.to_owned()),
    ];
    Variables(own.into_iter().chain(all).map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A path below the home.
pub fn in_home(path: &str) -> String {
    format!("{HOME}/{path}")
}

/// The link to the layouts of a notebook, or of a run that has none yet.
pub fn workspaces(notebook: Option<NotebookId>) -> Link {
    let whose = notebook.map_or_else(|| "nobody".to_owned(), |notebook| notebook.to_string());
    Link { path: WORKSPACES.to_owned(), to: in_home(&format!(".jupyter/lab/workspaces/{whose}")) }
}

/// `root` is where the host sees the run's files.
fn arguments(kind: MachineKind, root: &Path) -> Vec<String> {
    let program = match kind {
        MachineKind::Sandbox => format!("{PLACE}/bin/jupyter-lab"),
        MachineKind::Container => "jupyter-lab".to_owned(),
    };
    let mut arguments = vec![program, "--no-browser".to_owned()];
    let shell = if fs::symlink_metadata(root.join("bin/bash")).is_ok() {
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
        // They would ask the Internet, which is not there. (Without news the page still asks whether it should: see above.)
        ("LabApp.check_for_updates_class", "jupyterlab.NeverCheckForUpdate"),
        ("LabApp.news_url", "None"),
        ("LabApp.extension_manager", "readonly"),
        ("LabApp.extra_labextensions_path", &format!("{CONFIG_DIRECTORY}/labextensions")),
    ];
    arguments.extend(options.map(|(name, value)| format!("--{name}={value}")));
    arguments
}

/// The last lines that it wrote.
pub fn log_tail(directory: &Path) -> String {
    last_words(&log(directory), "it wrote no log")
}

/// The end of what it wrote, in whole lines; empty if there is nothing.
pub fn log(directory: &Path) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(directory.join(LOG))?;
        let over = file.metadata()?.len().saturating_sub(TOLD_LOG_BYTES);
        file.seek(SeekFrom::Start(over))?;
        let mut end = Vec::new();
        file.take(TOLD_LOG_BYTES).read_to_end(&mut end)?;
        let broken = if over == 0 { 0 } else { end.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
        Ok(end.split_off(broken))
    };
    read().unwrap_or_default()
}

/// Starts it, and returns when it answers.
pub async fn start(
    rooms: &Rooms,
    running: &Running,
    token: &str,
    notebook: Option<NotebookId>,
) -> Result<Process, JupyterError> {
    let directory: PathBuf = rooms.directory(running.kind, run_of(running.session));
    let log = fs::OpenOptions::new().create(true).write(true).truncate(true).open(directory.join(LOG));
    let env = [("JUPYTER_TOKEN_FILE", TOKEN_FILE), ("JUPYTER_CONFIG_PATH", CONFIG_DIRECTORY)];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let spec = ExecSpec { env, ..ExecSpec::new(arguments(running.kind, &running.root())) };
    let settings = [("jupyter_server_config.py", CONFIG), ("labconfig/default_setting_overrides.json", SETTINGS)];
    let mut files = vec![Placed::new(TOKEN_FILE, token)];
    files.extend(
        settings.iter().chain(&OUTPUTS).map(|(name, text)| Placed::new(&format!("{CONFIG_DIRECTORY}/{name}"), text)),
    );
    let pid = rooms
        .daemon(running, spec, (files, vec![workspaces(notebook)]), log.map_err(JupyterError::Log)?, LOG_BYTES)
        .await?;
    let Ok(started_ticks) = process::started_ticks(pid) else { return Err(ended(&directory).await) };
    let process = Process { pid, started_ticks };
    let environment = rooms.of(running.kind);
    tokio::select! {
        () = process.gone() => Err(ended(&directory).await),
        answered = answers(&*environment, running, token, &directory) => answered.map(|()| process),
    }
}

/// What it said before it ended. Its log is written by another process, which may be a moment behind.
async fn ended(directory: &Path) -> JupyterError {
    let deadline = Instant::now() + LAST_WORDS_LIMIT;
    while log(directory).is_empty() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    JupyterError::Ended(log_tail(directory))
}

async fn answers(
    environment: &dyn Environment,
    running: &Running,
    token: &str,
    directory: &Path,
) -> Result<(), JupyterError> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    let mut again = tokio::time::interval(ASK_EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        again.tick().await;
        match timeout(REQUEST_LIMIT, status(environment, running, token)).await {
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
async fn status(environment: &dyn Environment, running: &Running, token: &str) -> Result<String, AskError> {
    let mut connection = environment.connect(running, &Target::UnixSocket(SOCKET.to_owned())).await?;
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
