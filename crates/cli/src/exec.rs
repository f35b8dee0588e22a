//! A program in a session's environment, its standard streams and signals over one WebSocket.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use api::streams::{ClientFrame, ExecAsk, INPUT_CREDIT_BYTES, PING_PERIOD_S, STDERR, STDIN, STDOUT, ServerFrame};
use bytes::{BufMut, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::Client,
    fault::Fault,
    socket::{self, Socket},
};

/// Standard input is sent in pieces of at most this many bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// How long to wait for the reason after the connection refused a write.
const REASON_LIMIT: Duration = Duration::from_secs(2);

/// A program that runs.
pub struct Exec {
    socket: Socket,
    server: String,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").finish_non_exhaustive()
    }
}

/// The ends on this side.
#[derive(Debug)]
pub struct Ends<I, O, E> {
    pub stdin: I,
    pub stdout: O,
    pub stderr: E,
    /// Signals and sizes to pass on.
    pub controls: mpsc::Receiver<ClientFrame>,
}

/// Bytes of standard input that may be sent.
struct Credit {
    bytes: AtomicU64,
    more: Notify,
}

fn text<T: serde::Serialize>(frame: &T) -> Result<Message, Fault> {
    let text = serde_json::to_string(frame).map_err(|error| Fault::Failed(format!("cannot send: {error}")))?;
    Ok(Message::text(text))
}

impl Exec {
    /// Starts the program; returns when it runs.
    pub async fn start(client: &Client, session: &str, ask: &ExecAsk) -> Result<Self, Fault> {
        let mut socket = socket::connect(client, &["sessions", session, "exec"], &[]).await?;
        let lost = |why: String| client.unreachable(why);
        socket.send(text(ask)?).await.map_err(|error| lost(error.to_string()))?;
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(frame))) => match serde_json::from_str(&frame) {
                    Ok(ServerFrame::Started) => return Ok(Self { socket, server: client.name() }),
                    Ok(ServerFrame::Error { message }) => return Err(Fault::Failed(message)),
                    Ok(ServerFrame::Exit { .. } | ServerFrame::Credit { .. } | ServerFrame::Attached { .. })
                    | Err(_) => return Err(client.strange("an unexpected frame")),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return Err(lost(socket::closed_because(other))),
            }
        }
    }

    /// Passes bytes and controls both ways until the program ends; its exit code, 128 + n if signal n ended it.
    pub async fn run<I, O, E>(self, ends: Ends<I, O, E>) -> Result<u8, Fault>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let Exec { socket, server } = self;
        let (mut sink, mut source) = socket.split();
        let unexpected = |what: &str| Fault::Answer { server: server.clone(), what: what.to_owned() };
        let Ends { mut stdin, stdout, stderr, mut controls } = ends;
        let credit = Credit { bytes: AtomicU64::new(u64::from(INPUT_CREDIT_BYTES)), more: Notify::new() };
        // Signals of this side's own making: SIGPIPE.
        let (own, mut own_controls) = mpsc::channel(1);

        let input = async {
            let mut pings = interval(Duration::from_secs(PING_PERIOD_S));
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut buffer = vec![0; PIECE_BYTES];
            let (mut open, mut controlled) = (true, true);
            loop {
                let may = usize::try_from(credit.bytes.load(Ordering::Acquire)).unwrap_or(0).min(PIECE_BYTES);
                let message = tokio::select! {
                    biased;
                    control = controls.recv(), if controlled => match control {
                        Some(control) => text(&control)?,
                        None => { controlled = false; continue }
                    },
                    Some(control) = own_controls.recv() => text(&control)?,
                    _ = pings.tick() => socket::ping(),
                    () = credit.more.notified(), if open && may == 0 => continue,
                    read = stdin.read(&mut buffer[..may]), if open && may > 0 => match read {
                        Ok(0) => { open = false; text(&ClientFrame::Eof)? }
                        Ok(count) => {
                            credit.bytes.fetch_sub(count as u64, Ordering::AcqRel);
                            let mut piece = BytesMut::with_capacity(count + 1);
                            piece.put_u8(STDIN);
                            piece.put_slice(&buffer[..count]);
                            Message::Binary(piece.freeze())
                        }
                        // A terminal that was closed reads as an error; there is no more input either way.
                        Err(_) => { open = false; text(&ClientFrame::Eof)? }
                    },
                };
                if let Err(error) = sink.send(message).await {
                    return Ok::<String, Fault>(error.to_string());
                }
            }
        };
        let output = async {
            let (mut stdout, mut stderr) = (Out::new(stdout), Out::new(stderr));
            loop {
                match source.next().await {
                    Some(Ok(Message::Binary(piece))) => {
                        let Some((&channel, bytes)) = piece.split_first() else { continue };
                        let open = match channel {
                            STDOUT => stdout.write(bytes).await?,
                            STDERR => stderr.write(bytes).await?,
                            other => return Err(unexpected(&format!("channel {other}"))),
                        };
                        // What a pipe to a reader that went away does to a local program.
                        if !open && own.try_send(ClientFrame::Signal { number: 13 }).is_err() {
                            continue;
                        }
                    }
                    Some(Ok(Message::Text(frame))) => match serde_json::from_str(&frame) {
                        Ok(ServerFrame::Exit { code, .. }) => {
                            return Ok(u8::try_from(code & 0xff).unwrap_or(crate::fault::code::BERTH));
                        }
                        Ok(ServerFrame::Error { message }) => return Err(Fault::Failed(message)),
                        Ok(ServerFrame::Credit { bytes }) => {
                            credit.bytes.fetch_add(u64::from(bytes), Ordering::AcqRel);
                            credit.more.notify_one();
                        }
                        Ok(ServerFrame::Started | ServerFrame::Attached { .. }) | Err(_) => {
                            return Err(unexpected("an unexpected frame"));
                        }
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => {
                        return Err(Fault::Unreachable {
                            server: server.clone(),
                            why: format!(
                                "the connection broke while the program ran: {}",
                                socket::closed_because(other)
                            ),
                        });
                    }
                }
            }
        };
        tokio::pin!(output);
        tokio::select! {
            ended = &mut output => ended,
            refused = input => match timeout(REASON_LIMIT, output).await {
                Ok(ended) => ended,
                Err(_) => Err(Fault::Unreachable { server: server.clone(), why: refused? }),
            },
        }
    }
}

/// An end that may be closed early: what comes after that is dropped.
struct Out<W> {
    writer: Option<W>,
}

impl<W: AsyncWrite + Unpin> Out<W> {
    fn new(writer: W) -> Self {
        Self { writer: Some(writer) }
    }
    /// False if the reader went away.
    async fn write(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        let Some(writer) = &mut self.writer else { return Ok(true) };
        let written = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        match written.await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.writer = None;
                Ok(false)
            }
            Err(source) => Err(Fault::Io { what: "cannot write the program's output".to_owned(), source }),
        }
    }
}

/// Keeps the first bytes of what is written and lets go of the rest: messages for a person.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
}

impl Head {
    const LIMIT_BYTES: usize = 4 * 1024;

    pub fn text(&self) -> String {
        crate::table::printable_lines(String::from_utf8_lossy(&self.bytes).trim())
    }
}

impl AsyncWrite for Head {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let room = Head::LIMIT_BYTES.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        std::task::Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
