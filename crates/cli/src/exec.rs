//! A program in a session's environment, its standard streams and signals over one WebSocket. A program that lasts
//! ([`Lasting`]) is come back to when the connection breaks.

use std::{io, time::Duration};

use api::streams::{
    ClientFrame, ExecAsk, Lasting, PING_PERIOD_S, Position, RECEIPT_BYTES, STDERR, STDOUT, ServerFrame, Standing,
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
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
    table::printable_lines,
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
                Ok(ServerFrame::Error { message }) => return Err(Fault::Failed(printable_lines(&message))),
                Ok(ServerFrame::Exit { .. } | ServerFrame::Credit { .. } | ServerFrame::Attached { .. }) | Err(_) => {
                    return Err(client.strange("an unexpected frame"));
                }
            },
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(other) => return Err(socket::closed_because(other).fault(client)),
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
        let (sink, source) = socket.split();
        let (own, own_frames) = mpsc::channel(OWN_FRAMES);
        let Life { stdin, typed, controls, stdout, stderr, at } = self;
        let typed = &*typed;
        let mut inward = Inward { client, typed, stdout, stderr, at, own, is_lasting };
        let mut outward = Outward { stdin, typed, controls, own_frames };
        let output = inward.carry(source);
        tokio::pin!(output);
        tokio::select! {
            ended = &mut output => ended,
            refused = outward.carry(sink) => {
                let why = refused?;
                timeout(REASON_LIMIT, output).await.unwrap_or(Ok(End::Broken(why)))
            }
        }
    }
}

/// What goes to the program on one connection.
struct Outward<'a, I> {
    stdin: &'a mut I,
    typed: &'a Typed,
    controls: &'a mut Option<mpsc::Receiver<ClientFrame>>,
    /// Frames of this side's own making: SIGPIPE, and what was received.
    own_frames: mpsc::Receiver<ClientFrame>,
}

impl<I: AsyncRead + Unpin> Outward<'_, I> {
    /// Sends until the connection refuses it; how it did.
    async fn carry(&mut self, mut sink: SplitSink<Socket, Message>) -> Result<String, Fault> {
        let Outward { stdin, typed, controls, own_frames } = self;
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
                return Ok(error.to_string());
            }
        }
    }
}

/// What comes from the program on one connection. May be broken off at any point: what was written here is counted.
struct Inward<'a, O, E> {
    client: &'a Client,
    typed: &'a Typed,
    stdout: &'a mut Out<O>,
    stderr: &'a mut Out<E>,
    at: &'a mut Position,
    own: mpsc::Sender<ClientFrame>,
    is_lasting: bool,
}

impl<O: AsyncWrite + Unpin, E: AsyncWrite + Unpin> Inward<'_, O, E> {
    async fn carry(&mut self, mut source: SplitStream<Socket>) -> Result<End, Fault> {
        if self.stdout.is_closed() || self.stderr.is_closed() {
            self.say_closed();
        }
        let mut said = *self.at;
        loop {
            let Ok(message) = timeout(SILENCE_LIMIT, source.next()).await else {
                return Ok(End::Broken("nothing was heard of the server".to_owned()));
            };
            match message {
                Some(Ok(Message::Binary(piece))) => {
                    self.write(&piece).await?;
                    self.say_received(&mut said);
                }
                Some(Ok(Message::Text(frame))) => {
                    if let Some(end) = self.hear(&frame)? {
                        return Ok(end);
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return Ok(End::Broken(socket::closed_because(other).to_string())),
            }
        }
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), Fault> {
        let Some((&channel, bytes)) = piece.split_first() else { return Ok(()) };
        let is_open = match channel {
            STDOUT => self.stdout.write(bytes, &mut self.at.stdout).await?,
            STDERR => self.stderr.write(bytes, &mut self.at.stderr).await?,
            other => return Err(self.client.strange(format!("channel {other}"))),
        };
        if !is_open {
            self.say_closed();
        }
        Ok(())
    }

    /// What a pipe to a reader that went away does to a local program.
    fn say_closed(&self) {
        self.own.try_send(PIPE_SIGNAL).unwrap_or_default();
    }

    fn say_received(&self, said: &mut Position) {
        let unsaid = self.at.stdout - said.stdout + self.at.stderr - said.stderr;
        // One place is left for the signal; what is not said now is said with the next piece.
        if self.is_lasting
            && unsaid >= u64::from(RECEIPT_BYTES)
            && self.own.capacity() > 1
            && self.own.try_send(ClientFrame::Received(*self.at)).is_ok()
        {
            *said = *self.at;
        }
    }

    fn hear(&self, frame: &str) -> Result<Option<End>, Fault> {
        match serde_json::from_str(frame) {
            Ok(ServerFrame::Exit { code, .. }) => {
                Ok(Some(End::Exit(u8::try_from(code & 0xff).unwrap_or(crate::fault::code::BERTH))))
            }
            Ok(ServerFrame::Error { message }) => Err(Fault::Failed(printable_lines(&message))),
            Ok(ServerFrame::Credit { bytes }) => {
                self.typed.taken(u64::from(bytes));
                Ok(None)
            }
            Ok(ServerFrame::Started { .. } | ServerFrame::Attached { .. }) | Err(_) => {
                Err(self.client.strange("an unexpected frame"))
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
    /// False if the reader went away. Each byte is counted as it is given away: who breaks off in the middle, because the
    /// connection broke and the reader is slow, does not ask for it again.
    async fn write(&mut self, mut bytes: &[u8], position: &mut u64) -> Result<bool, Fault> {
        let Some(writer) = &mut self.writer else {
            *position += bytes.len() as u64;
            return Ok(true);
        };
        let written = async {
            while !bytes.is_empty() {
                let count = writer.write(bytes).await?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                *position += count as u64;
                bytes = &bytes[count..];
            }
            writer.flush().await
        };
        match written.await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                *position += bytes.len() as u64;
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
        printable_lines(String::from_utf8_lossy(&self.bytes).trim())
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
