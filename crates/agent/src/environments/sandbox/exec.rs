//! The agent's side of a process in a sandbox: starts the helper, hands it the descriptors, passes signals on and hears
//! of the end.

use std::{
    io, os::fd::OwnedFd, os::unix::net::UnixStream as StdStream, path::PathBuf, process::Stdio, sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    pipe::{PipeFlags, pipe_with},
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    },
    process::{Child, Command},
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    super::{
        ExecControl, ExecError, ExecHandle, ExecSpec, Exit, Reader, Size, Writer, check_transfer,
        streams::{Terminal, resize},
    },
    Instance,
    copy::Copying,
    helper::{self, Enter, Reply, Request},
    root,
};

/// How long a helper may take to say that it has started.
pub const HELPER_LIMIT: Duration = Duration::from_secs(15);

/// A helper at work and the line to it.
pub struct Helper {
    pub child: Child,
    pub replies: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    pub orders: OwnedWriteHalf,
}

impl Helper {
    /// Starts a helper and sends it the request.
    pub async fn start(program: &PathBuf, request: &Request, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        helper::send_descriptors(&ours, &descriptors)?;
        drop(descriptors);
        let child = Command::new(program)
            .arg(helper::COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        ours.set_nonblocking(true)?;
        let (reading, mut orders) = UnixStream::from_std(ours)?.into_split();
        orders.write_all(&helper::encode(request)?).await?;
        Ok(Self { child, replies: BufReader::new(reading).lines(), orders })
    }

    /// The next reply; an error if the helper ended without one.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        match self.replies.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the helper ended without an answer")),
        }
    }
}

/// Three pipes or one terminal: what the program gets and what the agent keeps.
struct Ends {
    theirs: Vec<OwnedFd>,
    stdin: Writer,
    stdout: Reader,
    stderr: Option<Reader>,
    terminal: Option<Terminal>,
}

fn pipes() -> io::Result<Ends> {
    let pair = || pipe_with(PipeFlags::CLOEXEC);
    let ((in_read, in_write), (out_read, out_write), (err_read, err_write)) = (pair()?, pair()?, pair()?);
    for ours in [&in_write, &out_read, &err_read] {
        rustix::fs::fcntl_setfl(ours, rustix::fs::fcntl_getfl(ours)? | OFlags::NONBLOCK)?;
    }
    Ok(Ends {
        theirs: vec![in_read, out_write, err_write],
        stdin: Box::pin(pipe::Sender::from_owned_fd(in_write)?),
        stdout: Box::pin(pipe::Receiver::from_owned_fd(out_read)?),
        stderr: Some(Box::pin(pipe::Receiver::from_owned_fd(err_read)?)),
        terminal: None,
    })
}

/// A terminal of the sandbox's own devpts, so that its name means the same inside.
fn terminal(instance: &Instance, size: Size) -> io::Result<Ends> {
    let root = std::fs::File::open(format!("/proc/{}/root", instance.pid))?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Nothing that the sandbox could have put there leads out of it.
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let master = openat2(&root, "dev/pts/ptmx", flags, Mode::empty(), resolve)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    resize(&master, size)?;
    let theirs = vec![slave.try_clone()?, slave.try_clone()?, slave];
    let terminal = Terminal::new(master)?;
    Ok(Ends {
        theirs,
        stdin: Box::pin(terminal.clone()),
        stdout: Box::pin(terminal.clone()),
        stderr: None,
        terminal: Some(terminal),
    })
}

/// Starts a program in the sandbox.
pub async fn exec(program: &PathBuf, instance: &Instance, spec: ExecSpec) -> Result<ExecHandle, ExecError> {
    spec.check()?;
    let entering = |error: io::Error| ExecError::Enter(error.into());
    let ends = match spec.terminal {
        Some(size) => terminal(instance, size),
        None => pipes(),
    }
    .map_err(entering)?;
    let named = spec.argv.first().cloned().unwrap_or_default();
    let request = Request::Enter(entry(instance, spec));
    launch(program, &request, ends, named).await
}

/// What the helper needs to run a program in the sandbox.
pub fn entry(instance: &Instance, spec: ExecSpec) -> Enter {
    let mut env = root::variables(&instance.machine, &instance.identity.session);
    env.extend(instance.variables.0.iter().map(|(key, value)| (key.clone(), value.clone())));
    if spec.terminal.is_some() {
        env.push(("TERM".to_owned(), "xterm-256color".to_owned()));
        env.push(("COLORTERM".to_owned(), "truecolor".to_owned()));
    }
    env.extend(spec.env);
    Enter {
        procs_files: instance.cgroup.as_ref().map(|group| group.procs_files()).unwrap_or_default(),
        pid: instance.pid,
        uid: root::UID,
        argv: spec.argv,
        env,
        cwd: spec.cwd.unwrap_or_else(|| root::HOME.to_owned()),
        terminal: spec.terminal.is_some(),
        largest_file_bytes: instance.largest_file_bytes,
    }
}

/// Copies into an environment or out of it.
pub async fn copy(program: &PathBuf, order: Copying) -> Result<ExecHandle, ExecError> {
    check_transfer(&order.transfer)?;
    let ends = pipes().map_err(|error| ExecError::Enter(error.into()))?;
    launch(program, &Request::Copy(order), ends, "a copy".to_owned()).await
}

/// Starts the helper, and returns when what it was asked for runs.
async fn launch(program: &PathBuf, request: &Request, ends: Ends, named: String) -> Result<ExecHandle, ExecError> {
    let entering = |error: io::Error| ExecError::Enter(error.into());
    let mut helper = Helper::start(program, request, ends.theirs).await.map_err(entering)?;
    match timeout(HELPER_LIMIT, helper.reply()).await {
        Ok(Ok(Reply::Started)) => {}
        Ok(Ok(Reply::NoProgram { errno })) => {
            return Err(ExecError::Program { program: named, source: io::Error::from_raw_os_error(errno) });
        }
        Ok(Ok(Reply::Failed { message })) => return Err(ExecError::Enter(message.into())),
        Ok(Ok(Reply::StartedAs { .. } | Reply::ExitedCode(_) | Reply::ExitedSignal(_))) => {
            return Err(ExecError::Enter("it ended before it started".into()));
        }
        Ok(Err(error)) => return Err(entering(error)),
        Err(_elapsed) => {
            // It has not become anything yet; its end is reaped by tokio.
            drop(helper.child.start_kill());
            return Err(ExecError::Enter(format!("not started within {} s", HELPER_LIMIT.as_secs()).into()));
        }
    }
    let (signals, signal_queue) = mpsc::channel(8);
    let (end, ended) = watch::channel(None);
    // Ends with the process, or with the helper; when the handle is dropped the helper hears it and hangs up.
    tokio::spawn(attend(helper, signal_queue, end));
    let control = Arc::new(Control { signals, ended, terminal: ends.terminal });
    Ok(ExecHandle { stdin: Some(ends.stdin), stdout: ends.stdout, stderr: ends.stderr, control })
}

/// Why it is not known how a program ended.
#[derive(Debug, Clone, thiserror::Error)]
enum EndError {
    #[error("{0}")]
    Helper(String),
    #[error("the helper's answer makes no sense")]
    Nonsense,
    #[error("the helper's answer cannot be read: {0}")]
    Unreadable(#[source] Arc<serde_json::Error>),
    #[error("nobody waits for the helper any more")]
    Unattended,
}

type End = Result<Exit, EndError>;

async fn attend(helper: Helper, mut signals: mpsc::Receiver<u8>, end: watch::Sender<Option<End>>) {
    let Helper { mut child, mut replies, orders } = helper;
    let mut orders = Some(orders);
    let outcome = loop {
        tokio::select! {
            line = replies.next_line() => break match line {
                Ok(Some(line)) => match serde_json::from_str(&line) {
                    Ok(Reply::ExitedCode(code)) => Ok(Exit::Code(code)),
                    Ok(Reply::ExitedSignal(signal)) => Ok(Exit::Signal(signal)),
                    Ok(Reply::Failed { message }) => Err(EndError::Helper(message)),
                    Ok(Reply::Started | Reply::StartedAs { .. } | Reply::NoProgram { .. }) => Err(EndError::Nonsense),
                    Err(error) => Err(EndError::Unreadable(Arc::new(error))),
                },
                // The helper was killed with the sandbox, its child too.
                Ok(None) | Err(_) => Ok(Exit::Signal(rustix::process::Signal::KILL.as_raw())),
            },
            signal = signals.recv(), if orders.is_some() => match (signal, &mut orders) {
                (Some(signal), Some(open)) => {
                    if open.write_all(&[signal]).await.is_err() {
                        orders = None;
                    }
                }
                (_, _) => orders = None,
            },
        }
    };
    drop(orders);
    end.send_replace(Some(outcome));
    // It has said its last word; waiting only reaps it.
    drop(child.wait().await);
}

struct Control {
    signals: mpsc::Sender<u8>,
    ended: watch::Receiver<Option<End>>,
    terminal: Option<Terminal>,
}

#[async_trait]
impl ExecControl for Control {
    async fn resize(&self, size: Size) -> io::Result<()> {
        self.terminal.as_ref().map_or(Ok(()), |terminal| terminal.resize(size))
    }
    async fn signal(&self, signal: i32) -> io::Result<()> {
        let number = u8::try_from(signal).ok().filter(|n| (1..=31).contains(n)).ok_or(io::ErrorKind::InvalidInput)?;
        if self.signals.send(number).await.is_err() {
            tracing::debug!(signal, "the process has ended and needs no signal");
        }
        Ok(())
    }
    async fn wait(&self) -> io::Result<Exit> {
        let mut ended = self.ended.clone();
        let outcome = match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_closed) => None,
        };
        outcome.unwrap_or(Err(EndError::Unattended)).map_err(io::Error::other)
    }
}
