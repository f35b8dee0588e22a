//! The control link (DESIGN D3): one WebSocket, MessagePack frames, a version agreed on in the first exchange. Used by
//! the agent and by simulated hosts alike.

use std::time::Duration;

use domain::ids::HostId;
use futures_util::{SinkExt, StreamExt};
use protocol::{CloseReason, FrameError, HEARTBEAT_PERIOD_MS, OLDEST_VERSION, ToAgent, ToServer, VERSION};
use rand::Rng;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::dial::{DialError, Dialer, Socket};

pub const LINK_PATH: &str = "/agent/link";
pub const HEARTBEAT_PERIOD: Duration = Duration::from_millis(HEARTBEAT_PERIOD_MS);
/// A server from which nothing came for this long is gone: each heartbeat pings, so a live one answers.
pub const SILENCE_LIMIT: Duration = Duration::from_millis(3 * HEARTBEAT_PERIOD_MS);
/// The longest that the server may take to read one message, or to answer Hello.
pub const TALK_LIMIT: Duration = Duration::from_secs(10);
/// How long a link that cannot be written to is still read.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server closed the link: {}{}", reason.map_or("no reason given", advice), if words.is_empty() { String::new() } else { format!(" ({words})") })]
    Closed { reason: Option<CloseReason>, words: String },
    #[error("the link broke: {0}")]
    Broken(#[from] Box<tungstenite::Error>),
    #[error("the server sent {0}")]
    Frame(#[from] FrameError),
    #[error("the server sent what the link's state does not expect: {0}")]
    Unexpected(&'static str),
    #[error(
        "the server wants version {wanted} of the protocol; this agent speaks {OLDEST_VERSION} to {VERSION}: update the older of the two"
    )]
    Version { wanted: u16 },
    #[error("the server stalled: {0}")]
    Stalled(&'static str),
}

/// What a close reason means for the person who reads the agent's log.
pub fn advice(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Version => {
            "it speaks no version of the protocol that this agent knows; update the agent or the server"
        }
        CloseReason::Malformed => "it could not read a message of this agent",
        CloseReason::TooLarge => "a message of this agent was too large",
        CloseReason::Unexpected => "a message of this agent came at the wrong time",
        CloseReason::Revoked => "this host's certificate was revoked; to use the host again, enrol it anew",
        CloseReason::Replaced => {
            "the same host connected from elsewhere; if that was no restart, two computers share one state directory"
        }
        CloseReason::NotApproved => "an admin has to approve this host in the portal first",
        CloseReason::ShuttingDown => "it is shutting down or restarting",
        CloseReason::Overloaded => "this agent read too slowly",
    }
}

/// How soon to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// With the growing backoff.
    Soon,
    /// A person has to act first, or the other side needs peace.
    Late,
}

impl LinkError {
    /// The server has told that this host's certificate is worth nothing any more.
    pub fn is_revoked(&self) -> bool {
        matches!(self, Self::Closed { reason: Some(CloseReason::Revoked), .. })
    }

    pub fn retry(&self) -> Retry {
        match self {
            Self::Closed { reason: Some(reason), .. } => match reason {
                CloseReason::Version | CloseReason::Revoked | CloseReason::Replaced => Retry::Late,
                CloseReason::Malformed
                | CloseReason::TooLarge
                | CloseReason::Unexpected
                | CloseReason::NotApproved
                | CloseReason::ShuttingDown
                | CloseReason::Overloaded => Retry::Soon,
            },
            Self::Version { .. } => Retry::Late,
            Self::Dial(_)
            | Self::Closed { reason: None, .. }
            | Self::Broken(_)
            | Self::Frame(_)
            | Self::Unexpected(_)
            | Self::Stalled(_) => Retry::Soon,
        }
    }

    /// The code with which to answer, where the fault is the server's.
    pub fn blame(&self) -> Option<CloseReason> {
        match self {
            Self::Frame(FrameError::TooLarge(_)) => Some(CloseReason::TooLarge),
            Self::Frame(FrameError::Malformed(_) | FrameError::Encode(_)) => Some(CloseReason::Malformed),
            Self::Unexpected(_) => Some(CloseReason::Unexpected),
            Self::Version { .. } => Some(CloseReason::Version),
            Self::Dial(_) | Self::Closed { .. } | Self::Broken(_) | Self::Stalled(_) => None,
        }
    }
}

/// Full jitter between 0 and a ceiling that doubles from 0.2 s to 10 s: hosts that lost one server do not all come
/// back in the same instant.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST_MS: u64 = 200;
    const LAST_MS: u64 = 10_000;

    pub fn reset(&mut self) {
        self.failures = 0;
    }

    pub fn next(&mut self, retry: Retry) -> Duration {
        let ceiling = (Self::FIRST_MS << self.failures.min(10)).min(Self::LAST_MS);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(match retry {
            Retry::Soon => rand::rng().random_range(0..=ceiling),
            Retry::Late => rand::rng().random_range(Self::LAST_MS..=3 * Self::LAST_MS),
        })
    }
}

/// The server's answer to Hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    pub version: u16,
    pub host: HostId,
    pub host_name: String,
    pub server_time_ms: i64,
}

/// A link on which Hello and Welcome were exchanged.
pub struct Link {
    socket: Socket,
    heard_at: Instant,
}

impl Link {
    pub async fn open(dialer: &Dialer, hello: &ToServer, buffer_bytes: usize) -> Result<(Self, Welcome), LinkError> {
        let socket = dialer.websocket(LINK_PATH, buffer_bytes).await?;
        let mut link = Self { socket, heard_at: Instant::now() };
        link.send(hello).await?;
        let answer = tokio::time::timeout(TALK_LIMIT, link.receive())
            .await
            .map_err(|_| LinkError::Stalled("no answer to Hello"))
            .and_then(|answer| answer);
        let welcome = answer.and_then(|answer| match answer {
            ToAgent::Welcome { version, host, host_name, server_time_ms } => {
                if (OLDEST_VERSION..=VERSION).contains(&version) {
                    Ok(Welcome { version, host, host_name, server_time_ms })
                } else {
                    Err(LinkError::Version { wanted: version })
                }
            }
            ToAgent::Offer { .. }
            | ToAgent::Instructions { .. }
            | ToAgent::NotYours { .. }
            | ToAgent::Acknowledge { .. }
            | ToAgent::Cancel { .. }
            | ToAgent::Renewed { .. }
            | ToAgent::OpenTunnel
            | ToAgent::PlanChanged => Err(LinkError::Unexpected("a message before Welcome")),
        });
        match welcome {
            Ok(welcome) => Ok((link, welcome)),
            Err(error) => {
                if let Some(reason) = error.blame() {
                    link.close(reason).await;
                }
                Err(error)
            }
        }
    }

    /// Sends one message and waits until it is on its way.
    pub async fn send(&mut self, message: &ToServer) -> Result<(), LinkError> {
        let frame = protocol::encode(message)?;
        self.write(Message::Binary(frame.into())).await
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&mut self) -> Result<(), LinkError> {
        if self.heard_at.elapsed() > SILENCE_LIMIT {
            return Err(LinkError::Stalled("nothing came from it for three heartbeats"));
        }
        self.write(Message::Ping(bytes::Bytes::new())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), LinkError> {
        match tokio::time::timeout(TALK_LIMIT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.last_words().await.unwrap_or_else(|| broken(error))),
            Err(_) => Err(LinkError::Stalled("it does not read")),
        }
    }

    /// Why the server closed, where that came before the write that failed.
    async fn last_words(&mut self) -> Option<LinkError> {
        let listen = async {
            loop {
                match self.receive().await {
                    Ok(_) => {}
                    Err(closed @ LinkError::Closed { reason: Some(_), .. }) => return Some(closed),
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(LAST_WORDS_LIMIT, listen).await.ok().flatten()
    }

    /// The next message. Safe to cancel.
    pub async fn receive(&mut self) -> Result<ToAgent, LinkError> {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(broken(error)),
                None => return Err(LinkError::Closed { reason: None, words: String::new() }),
            };
            self.heard_at = Instant::now();
            match message {
                Message::Binary(frame) => return Ok(protocol::decode(&frame)?),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(frame) => {
                    return Err(match frame {
                        Some(CloseFrame { code, reason }) => LinkError::Closed {
                            reason: CloseReason::from_code(code.into()),
                            words: reason.chars().take(200).collect(),
                        },
                        None => LinkError::Closed { reason: None, words: String::new() },
                    });
                }
                Message::Text(_) | Message::Frame(_) => return Err(LinkError::Unexpected("a text message")),
            }
        }
    }

    /// Says why, and goes; a server that does not listen is not waited for.
    pub async fn close(mut self, reason: CloseReason) {
        let frame = CloseFrame { code: CloseCode::from(reason.code()), reason: "".into() };
        match tokio::time::timeout(Duration::from_secs(2), self.socket.close(Some(frame))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "closing the link"),
            Err(_) => tracing::debug!("the server did not take the closing of the link"),
        }
    }
}

fn broken(error: tungstenite::Error) -> LinkError {
    if let tungstenite::Error::Capacity(_) = &error {
        return LinkError::Frame(FrameError::TooLarge(protocol::MAX_FRAME_BYTES + 1));
    }
    LinkError::Broken(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_ceiling_and_no_further() {
        let mut backoff = Backoff::default();
        for round in 0..40 {
            let ceiling = (200u64 << round.min(10)).min(10_000);
            assert!(backoff.next(Retry::Soon) <= Duration::from_millis(ceiling), "round {round}");
        }
        let late = backoff.next(Retry::Late);
        assert!((10..=30).contains(&late.as_secs()), "{late:?}");
        backoff.reset();
        assert!(backoff.next(Retry::Soon) <= Duration::from_millis(200));
    }
}
