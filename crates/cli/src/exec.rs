//! A program in a session's environment, its standard streams and signals over one WebSocket. A program that lasts
//! ([`Lasting`]) is come back to when the connection breaks.

use std::{io, time::Duration};

use api::streams::{
    ClientFrame, ExecAsk, Lasting, PING_PERIOD_S, Position, RECEIPT_BYTES, STDERR, STDOUT, ServerFrame, Standing,
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    again::{Again, SILENCE_LIMIT},
    client::Client,
    fault::Fault,
    socket::{self, Socket},
    terminal,
    typed::{Next, Typed},
};

/// SIGPIPE.
const PIPE_SIGNAL: ClientFrame = ClientFrame::Signal { number: 13 };
/// How long to wait for the reason after the connection refused a write.
const REASON_LIMIT: Duration = Duration::from_secs(2);
/// Frames of this side's own making that wait to be sent.
const OWN_FRAMES: usize = 4;

/// A program that runs.
pub struct Exec {
    client: Client,
    session: String,
    ask: ExecAsk,
    socket: Socket,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").field("session", &self.session).finish_non_exhaustive()
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
    /// Told, in words for a person, when the connection breaks and when it is made again.
    pub tell: fn(&str),
}

/// What stays when a connection breaks.
struct Life<I, O, E> {
    stdin: I,
    typed: Typed,
    controls: Option<mpsc::Receiver<ClientFrame>>,
    stdout: Out<O>,
    stderr: Out<E>,
    /// What was written here.
    at: Position,
}

/// How a connection ended.
enum End {
    Exit(u8),
    Broken(String),
}

fn text<T: serde::Serialize>(frame: &T) -> Result<Message, Fault> {
    let text = serde_json::to_string(frame).map_err(|error| Fault::Failed(format!("cannot send: {error}")))?;
    Ok(Message::text(text))
}

/// The answer is the program's, or why there is none.
async fn open(client: &Client, session: &str, ask: &ExecAsk) -> Result<(Socket, Option<Standing>), Fault> {
    let mut socket = socket::connect(client, &["sessions", session, "exec"], &[]).await?;
    let lost = |why: String| client.unreachable(why);
    socket.send(text(ask)?).await.map_err(|error| lost(error.to_string()))?;
    loop {
        match timeout(SILENCE_LIMIT, socket.next()).await {
            Ok(Some(Ok(Message::Text(frame)))) => match serde_json::from_str(&frame) {
                Ok(ServerFrame::Started { standing }) => return Ok((socket, standing)),
                Ok(ServerFrame::Error { message }) => return Err(Fault::Failed(message)),
                Ok(ServerFrame::Exit { .. } | ServerFrame::Credit { .. } | ServerFrame::Attached { .. }) | Err(_) => {
                    return Err(client.strange("an unexpected frame"));
                }
            },
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(other) => return Err(lost(socket::closed_because(other))),
            Err(_) => return Err(lost("nothing was heard of it".to_owned())),
        }
    }
}

impl Exec {
    /// Starts the program; returns when it runs. A program that lasts may be started again after a failure that passes: it
    /// runs once.
    pub async fn start(client: &Client, session: &str, ask: &ExecAsk) -> Result<Self, Fault> {
        let (socket, _) = open(client, session, ask).await?;
        Ok(Self { client: client.clone(), session: session.to_owned(), ask: ask.clone(), socket })
    }

    /// Passes bytes and controls both ways until the program ends; its exit code, 128 + n if signal n ended it.
    pub async fn run<I, O, E>(self, ends: Ends<I, O, E>) -> Result<u8, Fault>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let Exec { client, session, mut ask, mut socket } = self;
        let mut life = Life {
            stdin: ends.stdin,
            typed: Typed::default(),
            controls: Some(ends.controls),
            stdout: Out::new(ends.stdout),
            stderr: Out::new(ends.stderr),
            at: Position::default(),
        };
        loop {
            let why = match life.carry(&client, socket, ask.lasting.is_some()).await? {
                End::Exit(code) => return Ok(code),
                End::Broken(why) => why,
            };
            let Some(lasting) = ask.lasting else {
                return Err(client.unreachable(format!("the connection broke while the program ran: {why}")));
            };
            (ends.tell)(&format!("the connection broke ({why}); the program goes on, trying to reach it again"));
            ask.lasting = Some(Lasting { resume: Some(life.at), ..lasting });
            ask.tty = ask.tty.map(|_| terminal::size());
            let standing;
            (socket, standing) = come_back(&client, &session, &ask).await?;
            life.typed.resume(standing);
            (ends.tell)(if standing.was_held {
                "connected again; meanwhile the program had to wait: it wrote more than is kept. Nothing is lost"
            } else {
                "connected again; nothing is lost"
            });
        }
    }
}

async fn come_back(client: &Client, session: &str, ask: &ExecAsk) -> Result<(Socket, Standing), Fault> {
    let mut again = Again::new();
    loop {
        again.wait().await;
        match open(client, session, ask).await {
            Ok((socket, Some(standing))) => return Ok((socket, standing)),
            Ok((_, None)) => return Err(client.strange("a program that does not say where it stands")),
            Err(fault) if fault.is_passing() && !again.is_over() => {}
            Err(fault) => return Err(fault),
        }
    }
}

impl<I, O, E> Life<I, O, E>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    /// One connection, to its end or the program's.
    async fn carry(&mut self, client: &Client, socket: Socket, is_lasting: bool) -> Result<End, Fault> {
        let (mut sink, mut source) = socket.split();
        let Life { stdin, typed, controls, stdout, stderr, at } = self;
        let typed = &*typed;
        // Frames of this side's own making: SIGPIPE, and what was received.
        let (own, mut own_frames) = mpsc::channel(OWN_FRAMES);

        let input = async {
            let mut pings = interval(Duration::from_secs(PING_PERIOD_S));
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut buffer = vec![0; api::streams::MAX_MESSAGE_BYTES];
            let mut next = None;
            loop {
                next = next.or_else(|| typed.next());
                let may = typed.may_read();
                let message = tokio::select! {
                    biased;
                    control = next_control(controls) => text(&control)?,
                    Some(frame) = own_frames.recv() => text(&frame)?,
                    _ = pings.tick(), if next.is_none() => socket::ping(),
                    () = typed.room.notified(), if next.is_none() && may == Some(0) => continue,
                    read = stdin.read(&mut buffer[..may.unwrap_or(0)]), if next.is_none() && may.is_some_and(|may| may > 0) => {
                        // A terminal that was closed reads as an error; there is no more input either way.
                        typed.read(&buffer[..read.unwrap_or(0)]);
                        continue;
                    }
                    () = std::future::ready(()), if next.is_some() => match next.take() {
                        Some(Next::Piece(piece)) => Message::Binary(piece),
                        Some(Next::End) => text(&ClientFrame::Eof)?,
                        None => continue,
                    },
                };
                if let Err(error) = sink.send(message).await {
                    return Ok::<String, Fault>(error.to_string());
                }
            }
        };
        let output = async {
            if stdout.is_closed() || stderr.is_closed() {
                own.try_send(PIPE_SIGNAL).unwrap_or_default();
            }
            let mut said = *at;
            loop {
                let Ok(message) = timeout(SILENCE_LIMIT, source.next()).await else {
                    return Ok(End::Broken("nothing was heard of the server".to_owned()));
                };
                match message {
                    Some(Ok(Message::Binary(piece))) => {
                        let Some((&channel, bytes)) = piece.split_first() else { continue };
                        let open = match channel {
                            STDOUT => {
                                let open = stdout.write(bytes).await?;
                                at.stdout += bytes.len() as u64;
                                open
                            }
                            STDERR => {
                                let open = stderr.write(bytes).await?;
                                at.stderr += bytes.len() as u64;
                                open
                            }
                            other => return Err(client.strange(format!("channel {other}"))),
                        };
                        // What a pipe to a reader that went away does to a local program.
                        if !open {
                            own.try_send(PIPE_SIGNAL).unwrap_or_default();
                        }
                        let unsaid = at.stdout - said.stdout + at.stderr - said.stderr;
                        // One place is left for the signal; what is not said now is said with the next piece.
                        if is_lasting
                            && unsaid >= u64::from(RECEIPT_BYTES)
                            && own.capacity() > 1
                            && own.try_send(ClientFrame::Received(*at)).is_ok()
                        {
                            said = *at;
                        }
                    }
                    Some(Ok(Message::Text(frame))) => match serde_json::from_str(&frame) {
                        Ok(ServerFrame::Exit { code, .. }) => {
                            return Ok(End::Exit(u8::try_from(code & 0xff).unwrap_or(crate::fault::code::BERTH)));
                        }
                        Ok(ServerFrame::Error { message }) => return Err(Fault::Failed(message)),
                        Ok(ServerFrame::Credit { bytes }) => typed.taken(u64::from(bytes)),
                        Ok(ServerFrame::Started { .. } | ServerFrame::Attached { .. }) | Err(_) => {
                            return Err(client.strange("an unexpected frame"));
                        }
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => return Ok(End::Broken(socket::closed_because(other))),
                }
            }
        };
        tokio::pin!(output);
        tokio::select! {
            ended = &mut output => ended,
            refused = input => {
                let why = refused?;
                timeout(REASON_LIMIT, output).await.unwrap_or(Ok(End::Broken(why)))
            }
        }
    }
}

/// The next signal or size; none ever once nobody can send one.
async fn next_control(controls: &mut Option<mpsc::Receiver<ClientFrame>>) -> ClientFrame {
    loop {
        match controls {
            Some(open) => match open.recv().await {
                Some(control) => return control,
                None => *controls = None,
            },
            None => std::future::pending::<()>().await,
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
    fn is_closed(&self) -> bool {
        self.writer.is_none()
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
