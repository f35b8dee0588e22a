//! The engine's process as the host sees it: started, killed, reaped.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use tokio::{
    io::{AsyncReadExt, BufReader},
    process::{Child, Command},
};

use super::status::StatusPage;

/// Of what an engine writes to its log, so much is kept for the message about its end.
const LAST_WORDS_BYTES: usize = 4096;

/// How the engine's program is started: this program again, with a word that says so.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    /// Memory of the whole process.
    pub memory_bytes: u64,
    /// Files to which the process writes `0` to join control groups, before its walls are up.
    pub control_groups: Vec<PathBuf>,
}

impl Program {
    /// This very program with `word` as its argument.
    pub fn this(word: &str, memory_bytes: u64) -> io::Result<Self> {
        // What was started, not what has been installed over it since.
        let path = PathBuf::from("/proc/self/exe");
        let path = if path.exists() { path } else { std::env::current_exe()? };
        Ok(Program { path, arguments: vec![word.into()], memory_bytes, control_groups: Vec::new() })
    }
}

/// A process that was started. Dropped, it is killed.
#[derive(Debug)]
pub struct EngineProcess {
    child: Child,
    pub pid: u32,
    stderr: Option<tokio::process::ChildStderr>,
}

/// Kills an engine and reads what it is at; outlives the task that reaps it only by name.
#[derive(Debug)]
pub struct Handle {
    pidfd: OwnedFd,
    clock: ClockId,
    status: StatusPage,
}

impl Handle {
    pub fn kill(&self) {
        if let Err(error) = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL) {
            tracing::debug!(%error, "an engine had ended when it was to be killed");
        }
    }

    /// CPU time that the whole process has used. None if it has ended.
    pub fn cpu(&self) -> Option<Duration> {
        let time = clock_gettime(self.clock).ok()?;
        Some(Duration::new(u64::try_from(time.tv_sec()).ok()?, u32::try_from(time.tv_nsec()).ok()?))
    }

    pub fn status(&self) -> &StatusPage {
        &self.status
    }
}

/// Starts an engine. The socket is the host's end.
pub fn start(program: &Program) -> io::Result<(EngineProcess, UnixStream, Handle)> {
    let (ours, theirs) = UnixStream::pair()?;
    let status = StatusPage::make()?;
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .arg(program.memory_bytes.to_string())
        .args(&program.control_groups)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(status.descriptor()?))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = child.id().ok_or_else(gone)?;
    let raw = i32::try_from(pid).map_err(io::Error::other)?;
    let named = rustix::process::Pid::from_raw(raw).ok_or_else(gone)?;
    let handle = Handle {
        pidfd: rustix::process::pidfd_open(named, rustix::process::PidfdFlags::empty())?,
        clock: clock_getcpuclockid(nix::unistd::Pid::from_raw(raw))?,
        status: StatusPage::of(status.descriptor()?),
    };
    let stderr = child.stderr.take();
    Ok((EngineProcess { child, pid, stderr }, ours, handle))
}

/// How an engine ended.
#[derive(Debug)]
pub struct Ended {
    pub status: io::Result<std::process::ExitStatus>,
    /// The end of what it wrote to its log.
    pub last_words: String,
}

impl EngineProcess {
    /// Waits for its end, reading what it writes to its log meanwhile.
    pub async fn ended(mut self) -> Ended {
        let mut last = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            let mut reader = BufReader::new(stderr);
            let mut part = [0; 1024];
            while let Ok(read @ 1..) = reader.read(&mut part).await {
                last.extend_from_slice(&part[..read]);
                let surplus = last.len().saturating_sub(LAST_WORDS_BYTES);
                last.drain(..surplus);
            }
        }
        let status = self.child.wait().await;
        Ended { status, last_words: String::from_utf8_lossy(&last).trim().to_owned() }
    }
}
