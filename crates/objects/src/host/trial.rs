//! Whether a version loads: tried in an engine of its own, before anybody's requests go to it.

use std::{io, os::unix::process::ExitStatusExt, time::Duration};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{
    HostOptions,
    deployment::Version,
    process::{self, Ended, Handle},
};
use crate::wire::{ClassInfo, FrameError, Frames, FromEngine, Load, Problem, SocketId, ToEngine, write_frame};

/// CPU time for what the modules do when they are loaded.
const CPU_MS: u32 = 5_000;
/// The engine stops by itself at its limit, if it hears; so much later it has not heard. Its own start counts as well.
const GRACE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
/// However busy the host is.
const LIMIT: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It would be the same the next time.
    #[error("{0}")]
    DoesNotLoad(Problem),
    #[error("an engine cannot be started: {0}")]
    Start(#[source] io::Error),
    #[error("the engine's socket failed: {0}")]
    Socket(#[source] io::Error),
    #[error("the engine does not keep to the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the engine ended ({status}): {last_words}")]
    Ended { status: std::process::ExitStatus, last_words: String },
    #[error("how the engine ended is not known: {0}")]
    Wait(#[source] io::Error),
    #[error("it was not loaded within {} s: the host is too busy", LIMIT.as_secs())]
    Busy,
}

fn too_long() -> TrialError {
    let message = format!("Its modules take more than {} s of CPU time to load.", CPU_MS / 1000);
    TrialError::DoesNotLoad(Problem::new("Error", message))
}

/// The classes that the main module exports.
pub(super) async fn load(options: &HostOptions, version: &Version) -> Result<Vec<ClassInfo>, TrialError> {
    let (child, socket, handle) = process::start(&options.program).map_err(TrialError::Start)?;
    let asked = timeout(LIMIT, async {
        tokio::select! {
            asked = ask(socket, version.load(SocketId(0), CPU_MS, options.now_ms())) => asked,
            () = spent(&handle) => Err(too_long()),
        }
    });
    let asked = asked.await.unwrap_or(Err(TrialError::Busy));
    // Of one that has ended by itself it is that end which is told.
    handle.kill();
    let ended = child.ended().await;
    match asked? {
        Some(classes) => Ok(classes),
        None => Err(end_of(ended)),
    }
}

fn end_of(Ended { status, last_words }: Ended) -> TrialError {
    match status {
        // Not by its own words, and so by what it was given to load. SIGKILL is not of the engine's making: it comes from the kernel when
        // the host, or all engines together, have no memory left, or from a person.
        Ok(status) if status.signal().is_some_and(|signal| signal != Signal::KILL.as_raw()) => {
            let message = format!("Its modules end the engine that loads them ({status}).");
            TrialError::DoesNotLoad(Problem::new("Error", message))
        }
        Ok(status) => TrialError::Ended { status, last_words },
        Err(error) => TrialError::Wait(error),
    }
}

/// None: the engine hung up.
async fn ask(socket: std::os::unix::net::UnixStream, load: Load) -> Result<Option<Vec<ClassInfo>>, TrialError> {
    socket.set_nonblocking(true).map_err(TrialError::Socket)?;
    let mut socket = UnixStream::from_std(socket).map_err(TrialError::Socket)?;
    let mut bytes = Vec::new();
    write_frame(&ToEngine::Load(load), &mut bytes)?;
    if socket.write_all(&bytes).await.is_err() {
        return Ok(None);
    }
    let (mut frames, mut buffer) = (Frames::default(), vec![0; READ_BYTES]);
    loop {
        match frames.next_message::<FromEngine>()? {
            Some(FromEngine::Loaded { classes, handlers: _ }) => return Ok(Some(classes)),
            Some(FromEngine::LoadFailed { problem }) => return Err(TrialError::DoesNotLoad(problem)),
            // What its modules write to the console, and the like.
            Some(_) => continue,
            None => {}
        }
        match socket.read(&mut buffer).await {
            Ok(0) => return Ok(None),
            Ok(read) => frames.push(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(TrialError::Socket(error)),
        }
    }
}

/// Ends when the engine has used up its time.
async fn spent(handle: &Handle) {
    let limit = Duration::from_millis(CPU_MS.into()) + GRACE;
    let mut looks = tokio::time::interval(LOOK);
    while handle.cpu().is_none_or(|cpu| cpu < limit) {
        looks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn an_engine_that_somebody_kills_says_nothing_of_its_version() {
        let ended = |status: i32| end_of(Ended { status: Ok(ExitStatus::from_raw(status)), last_words: String::new() });
        assert!(matches!(ended(Signal::KILL.as_raw()), TrialError::Ended { .. }));
        for signal in [Signal::SEGV, Signal::ABORT, Signal::SYS] {
            assert!(matches!(ended(signal.as_raw()), TrialError::DoesNotLoad(_)), "{signal:?}");
        }
        assert!(matches!(ended(1 << 8), TrialError::Ended { .. }));
    }
}
