//! One connection, either end of it: one task that reads and writes.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Open, Outbox, PeerError, PeerFrame};
use crate::{
    host::deployment::{Deployment, LinkId},
    wire::Frames,
};

const READ_BYTES: usize = 64 << 10;
/// How often it is looked whether the other end still lives.
const TICK: Duration = Duration::from_secs(3);
/// After so many ticks without a word, though some was asked for, it does not.
const SILENT_TICKS: u32 = 3;
/// What has not left by then never will.
const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// A buffer that grew beyond it is given back.
const KEPT_BYTES: usize = 1 << 20;

/// Runs until the connection ends, and says why. `frames`: what was read of it before.
pub async fn run<C>(
    deployment: &Arc<Deployment>,
    link: LinkId,
    connection: C,
    frames: Frames,
    outbox: &Outbox,
) -> PeerError
where
    C: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(connection);
    let heard = AtomicBool::new(true);
    let ended: Result<Infallible, PeerError> = tokio::select! {
        ended = read(deployment, link, reader, frames, &heard) => ended,
        ended = write(deployment, link, writer, outbox, &heard) => ended,
    };
    match ended {
        Err(error) => error,
    }
}

async fn read(
    deployment: &Arc<Deployment>,
    link: LinkId,
    mut connection: impl AsyncRead + Unpin,
    mut frames: Frames,
    heard: &AtomicBool,
) -> Result<Infallible, PeerError> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let mut said = Vec::new();
        while let Some(frame) = frames.next_message::<PeerFrame>()? {
            said.push(frame);
        }
        if !said.is_empty() {
            deployment.link_said(link, said)?;
        }
        match connection.read(&mut buffer).await {
            Ok(0) => return Err(PeerError::Closed),
            Ok(read) => frames.push(&buffer[..read]),
            Err(error) => return Err(PeerError::Read(error)),
        }
        heard.store(true, Ordering::Relaxed);
    }
}

async fn write(
    deployment: &Arc<Deployment>,
    link: LinkId,
    mut connection: impl AsyncWrite + Unpin,
    outbox: &Outbox,
    heard: &AtomicBool,
) -> Result<Infallible, PeerError> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            () = outbox.changed.notified() => {}
            _now = ticks.tick() => {
                silent = if heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
                match deployment.link_ticks(link) {
                    LinkUse::Idle => return Err(PeerError::Closed),
                    LinkUse::Unused => silent = 0,
                    LinkUse::Used if silent >= SILENT_TICKS => return Err(PeerError::Silent),
                    LinkUse::Used => {}
                }
            }
        }
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES);
        let open = outbox.take(&mut bytes)?;
        if !bytes.is_empty() {
            let written = timeout(WRITE_LIMIT, async {
                connection.write_all(&bytes).await?;
                connection.flush().await
            });
            match written.await {
                Ok(Ok(())) => {}
                // It hung up: the reader says how, after what had still come.
                Ok(Err(error)) if gone(&error) => std::future::pending::<()>().await,
                Ok(Err(error)) => return Err(PeerError::Write(error)),
                Err(_late) => return Err(PeerError::Silent),
            }
        }
        if open == Open::No {
            // Whether the other end hears of the orderly end is its affair.
            drop(timeout(WRITE_LIMIT, connection.shutdown()).await);
            return Err(PeerError::Closed);
        }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkUse {
    /// Somebody waits for the other end.
    Used,
    Unused,
    /// For long: it is not worth its keep.
    Idle,
}
