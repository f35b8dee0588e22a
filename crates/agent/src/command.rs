//! Commands on the host itself: an admin's instruction.

use std::{io, process::Stdio, time::Duration};

use domain::ids::TransactionId;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use protocol::{MAX_PROGRESS_BYTES, Outcome, ProgressEvent};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// Between the request to end and the end by force.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How long output is still read after the command itself has ended: a process that it left may hold the pipe open.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Output that comes in quick succession is told in one piece.
const GATHER: Duration = Duration::from_millis(20);
/// Orphans are no children, whose end nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Every process of a command has this variable with the transaction's id, unless it took pains to lose it.
const MARKER: &str = "BERTH_TRANSACTION";

/// Why the command is being ended.
enum Ending {
    Cancelled,
    TimedOut,
}

/// Runs a command in a process group of its own, from `/`, with a small environment and no input.
pub async fn run(
    argv: &[String],
    id: TransactionId,
    limit: Duration,
    progress: &(dyn Fn(ProgressEvent) + Send + Sync),
    cancel: &CancellationToken,
) -> Outcome {
    let failed = |cause: String| Outcome::Failed { exit_code: None, cause };
    let Some((program, arguments)) = argv.split_first() else { return failed("no program is named".to_owned()) };
    let spawned = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .env(MARKER, id.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return failed(format!("cannot run '{program}': {error}")),
    };
    progress(ProgressEvent::Started);
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return failed("the command's output was not to be had".to_owned());
    };
    let mut ending = None;
    let status = {
        let output = async {
            tokio::join!(
                pump(stdout, |bytes| progress(ProgressEvent::Stdout(bytes))),
                pump(stderr, |bytes| progress(ProgressEvent::Stderr(bytes)))
            )
        };
        tokio::pin!(output);
        let deadline = Instant::now() + limit;
        let mut drained = false;
        let mut kill_at: Option<Instant> = None;
        let status = loop {
            let until = kill_at.unwrap_or(deadline);
            tokio::select! {
                status = child.wait() => break status,
                _ = &mut output, if !drained => drained = true,
                () = cancel.cancelled(), if ending.is_none() => {
                    ending = Some(Ending::Cancelled);
                    kill_at = Some(Instant::now() + KILL_AFTER);
                    signal(group, Signal::SIGTERM);
                }
                () = tokio::time::sleep_until(until) => {
                    if ending.is_none() {
                        ending = Some(Ending::TimedOut);
                        signal(group, Signal::SIGTERM);
                    } else {
                        signal(group, Signal::SIGKILL);
                    }
                    kill_at = Some(Instant::now() + KILL_AFTER);
                }
            }
        };
        if !drained && timeout(DRAIN_LIMIT, &mut output).await.is_err() {
            tracing::debug!(transaction = %id, "a process that the command left behind holds its output open");
        }
        status
    };
    if ending.is_some() {
        // What ignored the polite signal goes with its group.
        signal(group, Signal::SIGKILL);
    }
    match (ending, status) {
        (Some(Ending::Cancelled), _) => Outcome::Cancelled,
        (Some(Ending::TimedOut), _) => failed(format!("not done within its {} s", limit.as_secs())),
        (None, Err(error)) => Outcome::Unknown { cause: format!("the command's end was not seen: {error}") },
        (None, Ok(status)) => match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (Some(0), _) => Outcome::Done { exit_code: Some(0) },
            (Some(code), _) => Outcome::Failed { exit_code: Some(code), cause: format!("exit code {code}") },
            (None, Some(signal)) => failed(format!("ended by signal {signal}")),
            (None, None) => Outcome::Unknown { cause: "the command ended in no known way".to_owned() },
        },
    }
}

/// The processes of a command that an earlier agent started.
fn orphans(id: TransactionId) -> io::Result<Vec<Pid>> {
    let marker = format!("{MARKER}={id}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends while it is looked at is none that is left.
        let variables = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if variables.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

/// Ends what is left of a command whose agent was killed: politely first, by force after [`KILL_AFTER`]. How many processes
/// there were.
pub async fn end_orphans(id: TransactionId) -> io::Result<usize> {
    let first = orphans(id)?;
    let mut left = first.clone();
    let kill_at = Instant::now() + KILL_AFTER;
    let mut how = Signal::SIGTERM;
    let mut told: Vec<Pid> = Vec::new();
    while !left.is_empty() {
        for pid in left.iter().filter(|pid| how == Signal::SIGKILL || !told.contains(pid)) {
            match kill(*pid, how) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        told.clone_from(&left);
        if Instant::now() >= kill_at + KILL_AFTER {
            return Err(io::Error::other(format!("{} of its processes cannot be ended", left.len())));
        }
        if Instant::now() >= kill_at {
            how = Signal::SIGKILL;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        left = orphans(id)?;
    }
    Ok(first.len())
}

fn signal(group: Option<Pid>, signal: Signal) {
    let Some(group) = group else { return };
    match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(%error, %group, "cannot signal a command"),
    }
}

/// Reads to the end, telling in pieces.
async fn pump(mut from: impl AsyncRead + Unpin, tell: impl Fn(Vec<u8>)) {
    let mut piece = Vec::with_capacity(4096);
    loop {
        match from.read_buf(&mut piece).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "reading a command's output");
                return;
            }
        }
        let gathered = Instant::now() + GATHER;
        let mut ended = false;
        while piece.len() < MAX_PROGRESS_BYTES {
            match timeout_at(gathered, from.read_buf(&mut piece)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => {
                    ended = true;
                    break;
                }
                Err(_) => break,
            }
        }
        tell(std::mem::take(&mut piece));
        if ended {
            return;
        }
        piece.reserve(4096);
    }
}
