//! An open WebSocket between JupyterLab's pages and a notebook: its bytes are passed on as they come, and what they say is
//! followed only as far as it tells whether anybody is at work.

use std::{io, time::Duration};

use domain::notebooks::Access;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use services::notebooks::{self, Visitor};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, mpsc},
    time::{Instant, interval_at, sleep},
};

use super::{
    frames::Frames,
    messages::{Channel, From, Listener},
    reading::Gate,
};
use crate::state::AppState;

/// How often an open socket's visitor is asked about.
pub(super) const RECHECK: Duration = Duration::from_millis(700);
/// A socket tells of work no more often.
const TELL_EVERY: Duration = Duration::from_secs(15);
const PIECE_BYTES: usize = 16 * 1024;
/// Refusals that wait for the end of a message.
const MAX_ANSWERS: usize = 32;

/// What is known of a socket by its opening.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    pub channel: Channel,
    /// Kernel messages are in the newer subprotocol.
    pub is_v1: bool,
}

/// Carries an open socket, for as long as its visitor may stay.
pub(super) async fn join(
    state: &AppState,
    visitor: &Visitor,
    opened: Opened,
    browser: TokioIo<Upgraded>,
    notebook: TokioIo<Upgraded>,
) {
    let work = Notify::new();
    let (from_browser, to_browser) = tokio::io::split(browser);
    let (from_notebook, to_notebook) = tokio::io::split(notebook);
    let listener = |from| Listener::new(from, opened.channel, opened.is_v1);
    let (answers, between) = mpsc::channel(MAX_ANSWERS);
    let up = async {
        match visitor.access {
            Access::Full => {
                // Nothing comes between.
                drop(answers);
                carry(from_browser, to_notebook, listener(From::Browser), &work).await
            }
            Access::Read => {
                let gate = Gate::new(opened.channel, opened.is_v1);
                carry_gated(state, from_browser, to_notebook, gate, answers).await
            }
        }
    };
    let down = carry_between(from_notebook, to_browser, listener(From::Notebook), &work, between);
    tokio::select! {
        // Whichever side ends ends the other.
        carried = async { tokio::try_join!(up, down) } => {
            if let Err(error) = carried {
                tracing::debug!(%error, "a notebook's socket broke");
            }
        }
        () = gone(state, visitor) => {
            tracing::info!(notebook = %visitor.notebook, "a notebook's socket was cut: its visitor may not stay");
            return;
        }
        () = tell(state, visitor, &work) => {}
        () = state.stop.cancelled() => {}
    }
    if take(&work) {
        notebooks::note_work(&state.services, visitor).await;
    }
}

/// Waits until the visitor may not stay any more.
pub(super) async fn gone(state: &AppState, visitor: &Visitor) {
    // They have just been asked about.
    let mut again = interval_at(Instant::now() + RECHECK, RECHECK);
    loop {
        again.tick().await;
        if !notebooks::may_stay(&state.services, visitor).await {
            return;
        }
    }
}

/// Tells the services of work, for as long as it is polled.
async fn tell(state: &AppState, visitor: &Visitor, work: &Notify) {
    loop {
        work.notified().await;
        notebooks::note_work(&state.services, visitor).await;
        sleep(TELL_EVERY).await;
    }
}

/// Whether there was work that has not been told.
fn take(work: &Notify) -> bool {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Waker},
    };
    pin!(work.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Passes one direction on until its end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut listener: Listener,
    work: &Notify,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
        follow(&mut frames, &piece[..length], &mut listener, work);
    }
}

/// What cannot be followed is passed on all the same: it is for the two ends to refuse it.
fn follow(frames: &mut Frames, piece: &[u8], listener: &mut Listener, work: &Notify) {
    if frames.feed(piece, listener).is_ok() && listener.take_work() {
        work.notify_one();
    }
}

/// As [`carry`], with frames of our own put between messages.
async fn carry_between(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut listener: Listener,
    work: &Notify,
    mut between: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        tokio::select! {
            read = from.read(&mut piece) => {
                let length = read?;
                if length == 0 {
                    return to.shutdown().await;
                }
                to.write_all(&piece[..length]).await?;
                follow(&mut frames, &piece[..length], &mut listener, work);
            }
            Some(own) = between.recv(), if frames.is_between() => to.write_all(&own).await?,
        }
    }
}

/// Passes on what a visitor may say who only reads.
async fn carry_gated(
    state: &AppState,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: Gate,
    answers: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        gate.at(state.services.clock().now().to_string(), rand::random());
        // What cannot be read cannot be judged.
        frames
            .feed(&piece[..length], &mut gate)
            .map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken))?;
        to.write_all(&std::mem::take(&mut gate.passed)).await?;
        let answer = std::mem::take(&mut gate.answered);
        // Whoever asks faster than it is refused goes without the answer.
        if !answer.is_empty() && answers.try_send(answer).is_err() {
            tracing::debug!("a reader's requests come too fast to be refused each");
        }
    }
}
