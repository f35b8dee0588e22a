//! The byte tunnel: terminals, commands and connections into sessions, on a socket and a task of its own, so that it
//! cannot delay the control link.

mod mux;
mod programs;
mod streams;
mod tape;
mod terminals;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use protocol::{
    CloseReason,
    tunnel::{Frame, Open, TunnelError},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
use tokio_util::sync::CancellationToken;

use self::{mux::Mux, streams::Held};
use crate::{
    dial::{DialError, Dialer, Socket},
    environments::{Environment, Running},
    link::{Backoff, HEARTBEAT_PERIOD, Retry, SILENCE_LIMIT, advice},
    notebooks::Notebooks,
    objects::Objects,
    sessions::{NotRunning, Sessions},
};

pub const TUNNEL_PATH: &str = "/agent/tunnel";
/// How long the tunnel stays after the agent's end, for what is on its way.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(200);
const BUFFER_BYTES: usize = 64 * 1024;
/// The longest that the server may take to read what was sent.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum TunnelLoss {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the tunnel broke: {0}")]
    Socket(Box<tungstenite::Error>),
    #[error("the server sent {0}")]
    Frame(#[from] TunnelError),
    #[error("the server broke the tunnel's rules: {0}")]
    Rules(#[from] mux::Broken),
    #[error("the server closed the tunnel: {}", reason.map_or("no reason given", advice))]
    Closed { reason: Option<CloseReason> },
    #[error("the server stalled")]
    Stalled,
}

impl TunnelLoss {
    fn blame(&self) -> Option<CloseReason> {
        match self {
            Self::Frame(TunnelError::Length(_)) => Some(CloseReason::TooLarge),
            Self::Frame(TunnelError::Kind(_) | TunnelError::Malformed(_) | TunnelError::Encode(_)) => {
                Some(CloseReason::Malformed)
            }
            Self::Rules(_) => Some(CloseReason::Unexpected),
            Self::Dial(_) | Self::Socket(_) | Self::Closed { .. } | Self::Stalled => None,
        }
    }
}

/// Why a stream leads nowhere.
#[derive(Debug, thiserror::Error)]
enum ReachError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error("this host runs no objects")]
    NoObjects,
}

/// What the tunnel leads to.
pub struct Reach {
    pub sessions: Arc<Sessions>,
    pub notebooks: Arc<Notebooks>,
    /// None where the host runs no objects.
    pub objects: Option<Arc<Objects>>,
}

impl Reach {
    /// The environment that a stream is for. A notebook's run is reached through its JupyterLab alone.
    fn running(&self, open: &Open) -> Result<(Arc<dyn Environment>, Running), ReachError> {
        match open {
            Open::Connect { session, .. } => {
                Ok(self.sessions.running(*session).or_else(|_| self.notebooks.running(*session))?)
            }
            Open::Exec { session, .. } | Open::Copy { session, .. } | Open::Terminal { session, .. } => {
                Ok(self.sessions.running(*session)?)
            }
            Open::Objects { .. } => Err(ReachError::NoObjects),
        }
    }
}

/// What the control link tells the tunnel's task.
#[derive(Clone, Default)]
pub struct Tunnel(Arc<Wishes>);

#[derive(Default)]
struct Wishes {
    link_up: AtomicBool,
    changed: Notify,
}

impl Tunnel {
    pub fn new() -> Self {
        Self::default()
    }
    /// The tunnel is dialled while the link is up; one that is open stays open without it.
    pub fn link_is_up(&self, up: bool) {
        self.0.link_up.store(up, Ordering::Release);
        if up {
            self.0.changed.notify_one();
        }
    }
    /// The server wants it now: no more waiting after a failure.
    pub fn open_now(&self) {
        self.0.changed.notify_one();
    }
}

/// Keeps the tunnel open until `stop`.
pub async fn keep(tunnel: Tunnel, dialer: watch::Receiver<Dialer>, reach: Arc<Reach>, stop: CancellationToken) {
    let held = Arc::new(Held::default());
    let mut backoff = Backoff::default();
    loop {
        while !tunnel.0.link_up.load(Ordering::Acquire) {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tunnel.0.changed.notified() => {}
            }
        }
        let opened_at = Instant::now();
        let current = dialer.borrow().clone();
        let serving = serve(&current, &reach, &held);
        tokio::pin!(serving);
        let lost = tokio::select! {
            () = stop.cancelled() => {
                // What was said last has not left yet.
                drop(tokio::time::timeout(LAST_WORDS_LIMIT, serving).await);
                return;
            }
            lost = &mut serving => lost,
        };
        if opened_at.elapsed() > Duration::from_secs(10) {
            backoff.reset();
        }
        let pause = backoff.next(Retry::Soon);
        tracing::info!(pause_ms = pause.as_millis(), "no tunnel: {lost}");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = tunnel.0.changed.notified() => {}
        }
    }
}

async fn serve(dialer: &Dialer, reach: &Arc<Reach>, held: &Arc<Held>) -> TunnelLoss {
    let socket = match dialer.websocket(TUNNEL_PATH, BUFFER_BYTES).await {
        Ok(socket) => socket,
        Err(error) => return error.into(),
    };
    tracing::info!("the tunnel is open");
    let mux = Arc::new(Mux::default());
    let loss = carry(socket, &mux, |stream, open| {
        tokio::spawn(streams::serve(stream, open, reach.clone(), held.clone()));
    })
    .await;
    mux.close();
    loss
}

/// Reads and writes until the socket is lost. Each stream that the server opens is given to `serve`, which ends with it:
/// there are at most `MAX_STREAMS`.
async fn carry(socket: Socket, mux: &Arc<Mux>, mut serve: impl FnMut(mux::Stream, Open)) -> TunnelLoss {
    let (mut sink, mut source) = socket.split();
    let write = async {
        let mut heartbeat = tokio::time::interval(HEARTBEAT_PERIOD);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = match mux.try_next() {
                Some(frame) => Message::Binary(frame.encode()?),
                None => tokio::select! {
                    () = mux.wait() => continue,
                    _ = heartbeat.tick() => Message::Ping(bytes::Bytes::new()),
                },
            };
            match tokio::time::timeout(WRITE_LIMIT, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err::<(), _>(TunnelLoss::Socket(Box::new(error))),
                Err(_) => return Err(TunnelLoss::Stalled),
            }
        }
    };
    let read = async {
        loop {
            match tokio::time::timeout(SILENCE_LIMIT, source.next()).await {
                Err(_) => return Err::<(), _>(TunnelLoss::Stalled),
                Ok(None) => return Err(TunnelLoss::Closed { reason: None }),
                Ok(Some(Err(error))) => return Err(TunnelLoss::Socket(Box::new(error))),
                Ok(Some(Ok(Message::Binary(bytes)))) => {
                    if let Some((stream, open)) = mux.take(Frame::decode(bytes)?)? {
                        serve(stream, open);
                    }
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let reason = frame.and_then(|frame| CloseReason::from_code(frame.code.into()));
                    return Err(TunnelLoss::Closed { reason });
                }
                Ok(Some(Ok(Message::Text(_) | Message::Frame(_)))) => {
                    return Err(mux::Broken("a text message").into());
                }
            }
        }
    };
    let lost = {
        tokio::pin!(write, read);
        tokio::select! {
            lost = write => lost,
            lost = read => lost,
        }
    };
    let Err(loss) = lost else { return TunnelLoss::Closed { reason: None } };
    if let Some(reason) = loss.blame() {
        let close = CloseFrame { code: CloseCode::from(reason.code()), reason: "".into() };
        if tokio::time::timeout(Duration::from_secs(1), sink.send(Message::Close(Some(close)))).await.is_err() {
            tracing::debug!("the server did not take the closing of the tunnel");
        }
    }
    loss
}

/// A tunnel for a simulated host: whoever wants a stream is told that there is nothing behind it.
pub async fn refuse_all(dialer: &Dialer) -> TunnelLoss {
    let socket = match dialer.websocket(TUNNEL_PATH, 4096).await {
        Ok(socket) => socket,
        Err(error) => return error.into(),
    };
    let mux = Arc::new(Mux::default());
    carry(socket, &mux, |stream, _| {
        let why = "this host is simulated: there is nothing to connect to".to_owned();
        stream.finish(protocol::tunnel::Control::Refused { why });
    })
    .await
}
