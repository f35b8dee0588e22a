//! A host: the agent as a real process, which can be stopped and killed at any step.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use domain::instructions::Work;
use nix::{sys::signal::Signal, unistd::Pid};

use super::{Peer, within};
use crate::support::until;

/// A host: a directory with its state, and the agent's process.
pub struct Host {
    directory: tempfile::TempDir,
    child: Option<Child>,
    /// What a shell does before the agent, in a mount namespace that both have for themselves.
    before: Option<String>,
    /// The command that the agent is given to, with its arguments.
    wrapper: Vec<String>,
    /// Variables that the agent has beside the test's own.
    pub variables: Vec<(&'static str, String)>,
}

impl Host {
    pub fn new(machines: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("berth-it-").tempdir_in("/var/tmp").expect("a directory");
        let host = Self { directory, child: None, before: None, wrapper: Vec::new(), variables: Vec::new() };
        std::fs::write(
            host.config(),
            format!("state_dir = \"{}\"\n{machines}", host.state().display())
                .replace("DIR", &host.path().display().to_string()),
        )
        .expect("writes");
        host
    }

    /// Enrolled and running.
    pub async fn started(peer: &Peer, machines: &str) -> Self {
        let mut host = Self::new(machines);
        let (status, output) = host.enroll(peer, &[]).await;
        assert!(status.success(), "{output}");
        host.start();
        host
    }

    /// The same in a mount namespace of its own, in which a shell does something first; `DIR` is the host's directory.
    pub async fn started_in(peer: &Peer, machines: &str, before: &str) -> Self {
        let mut host = Self::new(machines);
        let (status, output) = host.enroll(peer, &[]).await;
        assert!(status.success(), "{output}");
        host.before(before);
        host.start();
        host
    }

    /// Its next start is in a mount namespace of its own, in which a shell does this first.
    pub fn before(&mut self, script: &str) {
        self.before = Some(script.to_owned());
    }

    /// Its next start is by this program.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|part| (*part).to_owned()).collect();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }
    /// Adds to the configuration, which the next start reads.
    pub fn configure(&self, more: &str) {
        let text = std::fs::read_to_string(self.config()).expect("is read");
        std::fs::write(self.config(), text + more).expect("is written");
    }

    fn config(&self) -> PathBuf {
        self.path().join("agent.toml")
    }

    pub fn command(&self, word: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
        command.arg(word).stdin(Stdio::null());
        command
    }

    /// `berth-agent enroll`: how it ended, and all that it said.
    pub async fn enroll(&self, peer: &Peer, more: &[&str]) -> (ExitStatus, String) {
        let file = self.path().join("zero.toml");
        std::fs::write(&file, toml::to_string(&peer.zero()).expect("TOML")).expect("writes");
        let mut command = self.command("enroll");
        command.arg(&file).arg("--config").arg(self.config()).args(["--name", "h"]).args(more);
        ended(command).await
    }

    /// `berth-agent clear`: how it ended, and all that it said.
    pub async fn clear(&self) -> (ExitStatus, String) {
        let mut command = self.command("clear");
        command.arg("--config").arg(self.config());
        ended(command).await
    }

    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path().join("log")).expect("a log");
        let mut command = match &self.before {
            None => match self.wrapper.as_slice() {
                [] => self.command("run"),
                [program, arguments @ ..] => {
                    let mut command = Command::new(program);
                    command.args(arguments).args([env!("CARGO_BIN_EXE_berth-agent"), "run"]).stdin(Stdio::null());
                    command
                }
            },
            Some(before) => {
                let mut command = Command::new("unshare");
                let before = before.replace("DIR", &self.path().display().to_string());
                let script = format!("{before} && exec \"$@\"");
                command.args(["-m", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_berth-agent"), "run"]);
                command.stdin(Stdio::null());
                command
            }
        };
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.arg("--config").arg(self.config()).stderr(log).spawn().expect("starts"));
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("runs");
        child.kill().expect("kills");
        child.wait().expect("is gone");
    }

    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// When this is over all its threads are stopped: it takes in nothing of what it is sent, until it is killed.
    pub async fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = PathBuf::from(format!("/proc/{}/task", self.pid()));
        until("all its threads are stopped", || {
            std::fs::read_dir(&tasks).expect("it runs").all(|task| {
                let stat = std::fs::read_to_string(task.expect("is read").path().join("stat"));
                // The state is behind the name, which is in brackets.
                stat.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T")))
            })
        })
        .await;
    }

    /// The agent's own control groups, one a hierarchy.
    pub fn control_groups(&self) -> Vec<PathBuf> {
        let tag = agent::environments::tag(&std::fs::canonicalize(self.state()).expect("a state directory"));
        let root = Path::new("/sys/fs/cgroup");
        let below = std::fs::read_dir(root).expect("is mounted").map(|entry| entry.expect("is read").path());
        let all = below.chain([root.to_owned()]).map(|hierarchy| hierarchy.join("berth").join(&tag));
        all.filter(|group| group.exists()).collect()
    }

    /// The agent's process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("runs").id()).expect("an id")
    }

    fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.pid()), signal).expect("signals");
    }

    pub async fn exited(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("runs");
        let waited = tokio::task::spawn_blocking(move || child.wait());
        within("the agent's end", waited).await.expect("waits").expect("waits")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// A shell command that notes its run in `runs`, then does more.
    pub fn noted(&self, more: &str) -> Work {
        let runs = self.path().join("runs");
        shell(&format!("echo $$ >> {}; {more}", runs.display()))
    }

    /// The process ids of all runs of [`Host::noted`].
    pub fn runs(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.path().join("runs")).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a process id")).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        // A sandbox outlives its agent, and a test that failed has not reverted its own.
        let mut command = self.command("clear");
        let cleared = command.arg("--config").arg(self.config()).output().expect("berth-agent clear");
        let said = String::from_utf8_lossy(&[cleared.stdout, cleared.stderr].concat()).into_owned();
        assert!(cleared.status.success() || std::thread::panicking(), "something is left: {said}");
    }
}

pub fn shell(script: &str) -> Work {
    Work::Run { argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), timeout_s: 60 }
}

async fn ended(mut command: Command) -> (ExitStatus, String) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&text).into_owned())
}
