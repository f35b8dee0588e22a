//! A program in a sandbox that outlives the agent as the sandbox does, with a log of limited size.
//!
//! The helper stays as the program's parent, inside the sandbox's control group and namespaces, and reads what it writes:
//! without a reader the program would hang or fill a disk.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, FileExt, OpenOptionsExt, symlink},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use nix::{sys::signal::SigSet, unistd::setsid};
use rustix::{
    event::{PollFd, PollFlags, poll},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::{Deserialize, Serialize};

use super::{
    super::ExecError,
    cannot::{Cannot, cannot},
    exec::{HELPER_LIMIT, Helper},
    helper::{Enter, Reply, Request, join_cgroups, send_reply, settle_in, spawn},
};

#[derive(Debug, Serialize, Deserialize)]
pub struct Daemon {
    pub enter: Enter,
    /// Written before it starts.
    pub files: Vec<Placed>,
    pub links: Vec<Link>,
    /// The log is cut to its last half when it has grown beyond this.
    pub log_bytes: u64,
}

/// A file inside that only the sandbox's user can read; it may hold a secret.
#[derive(Serialize, Deserialize)]
pub struct Placed {
    pub path: String,
    pub text: String,
}

impl Placed {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn write(&self) -> io::Result<()> {
        if let Some(above) = Path::new(&self.path).parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(above)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        file.write_all(self.text.as_bytes())
    }
}

/// A symbolic link inside to a directory that is there too; takes the place of an earlier one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Link {
    pub path: String,
    pub to: String,
}

impl Link {
    pub(super) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.to)?;
        let new = format!("{}.new", self.path);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        symlink(&self.to, &new)?;
        fs::rename(&new, &self.path)
    }
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Placed({})", self.path)
    }
}

/// The agent's half: which process of the host it is.
pub async fn start(helper: &PathBuf, order: Daemon, log: File) -> Result<i32, ExecError> {
    let named = order.enter.argv.first().cloned().unwrap_or_default();
    let entering = |error: io::Error| ExecError::Enter(error.into());
    let started = Helper::start(helper, &Request::Daemon(order), vec![log.into()]).await;
    let mut helper = started.map_err(entering)?;
    match tokio::time::timeout(HELPER_LIMIT, helper.reply()).await {
        Ok(Ok(Reply::StartedAs { pid })) => Ok(pid),
        Ok(Ok(Reply::NoProgram { errno })) => {
            Err(ExecError::Program { program: named, source: io::Error::from_raw_os_error(errno) })
        }
        Ok(Ok(Reply::Failed { message })) => Err(ExecError::Enter(message.into())),
        Ok(Ok(Reply::Started | Reply::ExitedCode(_) | Reply::ExitedSignal(_))) => {
            Err(ExecError::Enter("it ended before it started".into()))
        }
        Ok(Err(error)) => Err(entering(error)),
        Err(_elapsed) => Err(ExecError::Enter(format!("not started within {} s", HELPER_LIMIT.as_secs()).into())),
    }
}

pub(super) fn serve(socket: &mut UnixStream, order: &Daemon, descriptors: Vec<OwnedFd>) -> Result<(), Cannot> {
    let Ok([log]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(cannot("start")("it needs one descriptor"));
    };
    join_cgroups(&order.enter.procs_files)?;
    setsid().map_err(cannot("begin a session"))?;
    settle_in(&order.enter)?;
    for file in &order.files {
        file.write().map_err(cannot(format!("write {}", file.path)))?;
    }
    for link in &order.links {
        link.make().map_err(cannot(format!("make {}", link.path)))?;
    }
    let pipe = || -> io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let second = write.try_clone()?;
        Ok((read, write, second))
    };
    let (read, stdout, stderr) = pipe().map_err(cannot("make a pipe"))?;
    let child = match spawn(&order.enter, Stdio::null(), Stdio::from(stdout), Stdio::from(stderr))? {
        Ok(child) => child,
        Err(error) => return send_reply(socket, &Reply::NoProgram { errno: error.raw_os_error().unwrap_or(0) }),
    };
    SigSet::all().thread_block().map_err(cannot("leave signals to the program"))?;
    let pid = i32::try_from(child.id()).map_err(cannot("learn the program's number"))?;
    send_reply(socket, &Reply::StartedAs { pid })?;
    // An agent that has gone has nothing more to say either.
    drop(socket.shutdown(Shutdown::Both));
    let exited = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(cannot("watch the program"))?;
    keep(&mut Attended { pipe: File::from(read), child: Some((child, exited)) }, &File::from(log), order.log_bytes);
    Ok(())
}

/// What the program and its children write. The program is reaped as soon as it ends: others may hold the pipe open after
/// it, and unreaped it would hold up the end of the namespaces. (No thread can: this process's children are in another
/// process namespace, and the kernel makes none for such a one.)
struct Attended {
    pipe: File,
    child: Option<(Child, OwnedFd)>,
}

impl Read for Attended {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some((child, exited)) = &mut self.child {
            let mut wanted = [PollFd::new(&self.pipe, PollFlags::IN), PollFd::new(&*exited, PollFlags::IN)];
            poll(&mut wanted, None)?;
            let has_ended = !wanted[1].revents().is_empty();
            if !wanted[0].revents().is_empty() {
                break;
            }
            if has_ended {
                child.wait()?;
                self.child = None;
            }
        }
        self.pipe.read(buffer)
    }
}

/// Reads to the end. What cannot be kept, as on a full disk, is lost; the program does not wait for it.
fn keep(from: &mut impl Read, log: &File, most: u64) {
    let mut buffer = [0; 8 * 1024];
    let mut length = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if log.write_all_at(&buffer[..read], length).is_ok() {
            length += read as u64;
        }
        if length > most {
            length = shorten(log, length, most / 2).unwrap_or(0);
        }
    }
}

/// Leaves the last `keep` bytes; says how many there are now.
fn shorten(log: &File, length: u64, keep: u64) -> io::Result<u64> {
    let mut last = vec![0; usize::try_from(keep).unwrap_or(0)];
    log.read_exact_at(&mut last, length.saturating_sub(keep))?;
    log.write_all_at(&last, 0)?;
    log.set_len(keep)?;
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_end() {
        let log = tempfile::tempfile().expect("a file");
        let text: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
        keep(&mut text.as_bytes(), &log, 20_000);
        let length = log.metadata().expect("is there").len();
        assert!((10_000..=20_000).contains(&length), "{length}");
        let mut kept = vec![0; usize::try_from(length).expect("small")];
        log.read_exact_at(&mut kept, 0).expect("is read");
        assert!(text.as_bytes().ends_with(&kept));
    }
}
