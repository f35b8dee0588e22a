//! Terminals and programs in a session over WebSocket (api::streams says what goes over it). A copy goes the way of a
//! program.
//!
//! Each connection is one task with four concerns, which [`serve`] joins and whose first end is the connection's:
//! [`listen`] to the client, [`forward`] its input to the host, [`tell`] it what comes, [`watch`] whether it may go on.
//! Nothing is queued without a limit: a client that does not read holds back its program, a program that does not read
//! holds back its client's input, and neither holds back signals.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use api::streams::{
    ClientFrame, CopyAsk, ExecAsk, INPUT_CREDIT_BYTES, Lasting, MAX_MESSAGE_BYTES, PING_PERIOD_S, Position, STDERR,
    STDIN, STDOUT, ServerFrame, Standing, TerminalSize,
};
use axum::{
    Extension,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use bytes::{BufMut, Bytes, BytesMut};
use domain::{
    events::Event,
    ids::{HostId, SessionId},
    sessions::{KEEPALIVE_GRACE, KEEPALIVE_PERIOD, SessionState},
};
use end::{End, GOING_AWAY, POLICY, Sink, Source, TRY_LATER, goodbye, text};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use protocol::tunnel::{self, Control, Open, Size, Transfer};
use seats::{Seat, Seats};
use serde::Deserialize;
use services::{
    Call, Error,
    links::{self, ByteStream, Chunk, StreamReader, StreamWriter},
    live, sessions,
};
use tokio::{
    sync::{broadcast, broadcast::error::RecvError, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::Caller,
    extract::{Ask, Named, Upgrade},
    failure::Failure,
    state::AppState,
};

mod end;
mod seats;

/// How often a stream asks whether its client may still use the session; besides with each event that may mean that they
/// may not. A lock cuts it within 1 s.
const RECHECK: Duration = Duration::from_millis(900);
/// How long a client may take to say what it wants to run, and the host to start it.
const START_LIMIT: Duration = Duration::from_secs(20);
/// A client that was not heard of for this long is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(3 * PING_PERIOD_S);
/// How long a terminal may take what was typed before its client left.
const LAST_INPUT: Duration = Duration::from_secs(2);
/// Pieces of input that wait to be sent to the host.
const INPUT_PIECES: usize = 16;
/// The largest request to run a program, bytes: it has to fit into one frame of the tunnel.
const MAX_ASK_BYTES: usize = 48 * 1024;
/// The largest terminal, columns or rows.
const MAX_SIDE: u16 = 1_000;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(terminal)).routes(routes!(exec)).layer(Extension(Seats::default()))
}

/// The size of the terminal, and which one.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct TerminalQuery {
    /// Columns, 80 if not given.
    cols: Option<u16>,
    /// Rows, 24 if not given.
    rows: Option<u16>,
    /// The id of a terminal that is there already, from its `attached` frame.
    attach: Option<Uuid>,
}

/// A login shell in the session, over WebSocket.
///
/// Binary frames are the terminal's bytes both ways. Text frames are JSON: from the client
/// `{"type":"resize","cols":80,"rows":24}` and `{"type":"signal","number":1}`; from the server
/// `{"type":"attached","terminal":ID}` first, and last `{"type":"exit","code":0}` or `{"type":"error","message":"…"}`.
/// A connection that closes without either can be made again with `attach=ID`.
///
/// A browser tells its page nothing of an upgrade that was refused. So what passes is said on the WebSocket: a session that
/// is not active, or has too many streams, by an `error` frame and close code 4409, a host that is not reachable now by
/// close code 1013 and its reason.
#[utoipa::path(
    get, path = "/sessions/{id}/terminal", tag = "sessions", operation_id = "open_terminal",
    params(("id" = Uuid, Path, description = "The session"), TerminalQuery),
    responses(
        (status = 101, description = "The terminal, or why there is none now")
    )
)]
async fn terminal(
    State(state): State<AppState>,
    Extension(seats): Extension<Seats>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
    Ask(query): Ask<TerminalQuery>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Failure> {
    let size = size(TerminalSize { cols: query.cols.unwrap_or(80), rows: query.rows.unwrap_or(24) });
    let opened = async {
        let connection = Connection::enter(state, seats, call, id).await?;
        let open = Open::Terminal { session: connection.session, attach: query.attach, size };
        let stream = connection.open(open).await?;
        Ok((connection, stream))
    };
    let upgrade = limited(upgrade);
    let end = match opened.await {
        Ok((connection, stream)) => {
            return Ok(upgrade.on_upgrade(move |socket| serve(connection, socket, stream, Kind::Terminal)));
        }
        Err(Error::Conflict(why)) => End::Refused(why),
        Err(Error::Unavailable(why)) => End::Closed(TRY_LATER, why),
        Err(error) => return Err(error.into()),
    };
    Ok(upgrade.on_upgrade(move |socket| {
        let (sink, source) = socket.split();
        goodbye(sink, source, end)
    }))
}

/// A program in the session, its standard streams over WebSocket.
///
/// The client's first text frame is an ExecAsk. Binary frames begin with a byte that names the channel: 0 standard
/// input, 1 output, 2 error. Input goes by credit: at most 262,144 bytes until the server sends
/// `{"type":"credit","bytes":N}`. Further text frames from the client: `resize`, `signal`, `eof`; from the server:
/// `started` first, and last `exit` (code 128 + n after signal n) or `error`. Closing the connection hangs the program up.
///
/// A program that the request names (`lasting`) goes on for 120 s when the connection breaks, or is closed with code 1001 or
/// 1013. The client says `{"type":"received","stdout":N,"stderr":N}` at least every 131,072 bytes and, to come back, asks for the
/// same id with `resume` at those positions: the output goes on from there, and the `standing` of the `started` frame says from
/// where to send the input again. Of each output 1 MiB is kept; at that much the program waits. A start whose answer was
/// lost may be asked for again: an id is started once.
#[utoipa::path(
    get, path = "/sessions/{id}/exec", tag = "sessions", operation_id = "run_in_session",
    params(("id" = Uuid, Path, description = "The session")),
    responses(
        (status = 101, description = "The program's streams; ExecAsk first", body = ExecAsk),
        (status = 409, description = "The session is not active, or has too many streams", body = api::Problem)
    )
)]
async fn exec(
    State(state): State<AppState>,
    Extension(seats): Extension<Seats>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
    Upgrade(upgrade): Upgrade,
) -> Result<Response, Failure> {
    let connection = Connection::enter(state, seats, call, id).await?;
    Ok(limited(upgrade).on_upgrade(move |socket| start(connection, socket)))
}

fn limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES).write_buffer_size(0)
}

fn size(size: TerminalSize) -> Size {
    Size { columns: size.cols.clamp(1, MAX_SIDE), rows: size.rows.clamp(1, MAX_SIDE) }
}

/// A client that may use the session now.
struct Connection {
    state: AppState,
    call: Call,
    session: SessionId,
    host: HostId,
    seat: Seat,
}

impl Connection {
    /// Checks, and notes that the session is taken up.
    async fn enter(state: AppState, seats: Seats, call: Call, id: SessionId) -> Result<Self, Error> {
        let session = sessions::touch(&state.services, &call, id).await?;
        let seat = seats.take(id)?;
        Ok(Self { state, call, session: id, host: session.host, seat })
    }

    async fn open(&self, open: Open) -> Result<ByteStream, Error> {
        links::open_stream(&self.state.services, self.call.actor.tenant, self.host, open).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Terminal,
    Exec { is_lasting: bool },
}

/// Reads what the client wants to run, and runs it.
async fn start(connection: Connection, mut socket: WebSocket) {
    let begun = timeout(START_LIMIT, async {
        let ask = first_frame(&mut socket).await?;
        if ask.copy.is_some() && (ask.lasting.is_some() || ask.tty.is_some() || !ask.argv.is_empty()) {
            return Err(End::error("a copy is no program: it has no argv, no terminal, and does not last"));
        }
        let kind = Kind::Exec { is_lasting: ask.lasting.is_some() };
        let open = match ask.copy {
            Some(copy) => Open::Copy { session: connection.session, transfer: transfer(copy) },
            None => Open::Exec {
                session: connection.session,
                argv: ask.argv,
                env: ask.env.into_iter().collect(),
                cwd: ask.cwd,
                terminal: ask.tty.map(size),
                lasting: ask.lasting.map(lasting),
            },
        };
        match connection.open(open).await {
            Ok(stream) => Ok((stream, kind)),
            // It is started once, however often it is asked for.
            Err(Error::Unavailable(why)) if ask.lasting.is_some() => Err(End::Closed(TRY_LATER, why)),
            Err(error) => Err(End::error(error.to_string())),
        }
    });
    match begun.await {
        Ok(Ok((stream, kind))) => serve(connection, socket, stream, kind).await,
        Ok(Err(end)) => {
            let (sink, source) = socket.split();
            goodbye(sink, source, end).await;
        }
        Err(_) => {
            let (sink, source) = socket.split();
            goodbye(sink, source, End::error("the program was not started in time; try again")).await;
        }
    }
}

fn transfer(asked: CopyAsk) -> Transfer {
    match asked {
        CopyAsk::Out { path } => Transfer::Out { path },
        CopyAsk::FileIn { path, name, mode, size } => Transfer::FileIn { path, name, mode, size },
        CopyAsk::TreeIn { path, name } => Transfer::TreeIn { path, name },
    }
}

fn lasting(asked: Lasting) -> tunnel::Lasting {
    tunnel::Lasting { id: asked.id, resume: asked.resume.map(position) }
}

fn position(Position { stdout, stderr }: Position) -> tunnel::Position {
    tunnel::Position { stdout, stderr }
}

async fn first_frame(socket: &mut WebSocket) -> Result<ExecAsk, End> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(ask))) if ask.len() > MAX_ASK_BYTES => {
                let length = ask.len();
                return Err(End::error(format!(
                    "the command and its variables have {length} bytes; at most {MAX_ASK_BYTES}: put them into a file"
                )));
            }
            Some(Ok(Message::Text(ask))) => {
                return serde_json::from_str(&ask)
                    .map_err(|error| End::error(format!("the first frame is no request to run a program: {error}")));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(End::error("the first frame has to say what to run")),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        }
    }
}

/// When the client was heard of last.
struct Heard(Mutex<Instant>);

impl Heard {
    fn now(&self) {
        *self.0.lock() = Instant::now();
    }
    fn ago(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

/// What goes to the host, in order.
enum Input {
    Data(Bytes),
    End,
}

async fn serve(connection: Connection, socket: WebSocket, stream: ByteStream, kind: Kind) {
    let (mut sink, mut source) = socket.split();
    let (reader, writer) = stream.split();
    let (input_sender, mut input) = mpsc::channel(INPUT_PIECES);
    let heard = Heard(Mutex::new(Instant::now()));
    let outstanding = AtomicU32::new(0);
    let end = tokio::select! {
        end = listen(&mut source, kind, &writer, &input_sender, &heard, &outstanding) => end,
        end = forward(&mut input, &writer) => end,
        end = tell(&mut sink, kind, reader, &outstanding) => end,
        end = watch(&connection, &heard) => end,
        () = connection.state.stop.cancelled() => End::Closed(GOING_AWAY, "the server restarts".to_owned()),
    };
    // A terminal goes on without its client, and what was typed last is still its own.
    if matches!(end, End::Left | End::Gone)
        && kind == Kind::Terminal
        && timeout(LAST_INPUT, last(input, &writer)).await.is_err()
    {
        tracing::debug!("a terminal did not take what was typed last");
    }
    // The program is hung up now, not when the client has taken note. One that lasts waits for its client, unless that is out.
    if end.is_for_good() {
        writer.hang_up();
    }
    drop(writer);
    goodbye(sink, source, end).await;
    drop(connection.seat);
}

/// The client's frames: input into the queue, signals and sizes past it.
async fn listen(
    source: &mut Source,
    kind: Kind,
    writer: &StreamWriter,
    input: &mpsc::Sender<Input>,
    heard: &Heard,
    outstanding: &AtomicU32,
) -> End {
    loop {
        let message = source.next().await;
        heard.now();
        let piece = match message {
            Some(Ok(Message::Binary(bytes))) => match kind {
                Kind::Terminal => Input::Data(bytes),
                Kind::Exec { .. } => {
                    let data = match bytes.first() {
                        Some(&STDIN) => bytes.slice(1..),
                        Some(_) | None => return End::Closed(POLICY, "a client writes to channel 0 alone".to_owned()),
                    };
                    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    if outstanding.fetch_add(length, Ordering::AcqRel).saturating_add(length) > INPUT_CREDIT_BYTES {
                        return End::Closed(POLICY, "more input than there was credit for".to_owned());
                    }
                    Input::Data(data)
                }
            },
            Some(Ok(Message::Text(frame))) => {
                let control = match serde_json::from_str(&frame) {
                    Ok(ClientFrame::Resize { cols, rows }) => Control::Resize(size(TerminalSize { cols, rows })),
                    Ok(ClientFrame::Signal { number: number @ 1..=31 }) => Control::Signal(number),
                    Ok(ClientFrame::Signal { number }) => {
                        return End::Closed(POLICY, format!("{number} is no signal from 1 to 31"));
                    }
                    Ok(ClientFrame::Eof) => {
                        if input.send(Input::End).await.is_err() {
                            return End::Gone;
                        }
                        continue;
                    }
                    Ok(ClientFrame::Received(received)) => Control::Received(position(received)),
                    Err(_) => return End::Closed(POLICY, "a text frame that is none of the protocol's".to_owned()),
                };
                // A stream that has ended says so itself, by its last chunk.
                if let Err(links::StreamClosed::Full) = writer.control(control) {
                    return End::Closed(POLICY, "too many signals and sizes at once".to_owned());
                }
                continue;
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_))) => return End::Left,
            Some(Err(_)) | None => return End::Gone,
        };
        if input.send(piece).await.is_err() {
            return End::Gone;
        }
    }
}

/// The queued input to the host.
async fn forward(input: &mut mpsc::Receiver<Input>, writer: &StreamWriter) -> End {
    while let Some(piece) = input.recv().await {
        let sent = match piece {
            Input::End => writer.control(Control::EndOfInput),
            Input::Data(data) => writer.write(data).await,
        };
        // The stream's last chunk says why, and is what the client is told.
        if sent.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// What was queued when the client left.
async fn last(mut input: mpsc::Receiver<Input>, writer: &StreamWriter) {
    input.close();
    while let Some(piece) = input.recv().await {
        let Input::Data(data) = piece else { continue };
        if writer.write(data).await.is_err() {
            return;
        }
    }
    writer.flushed().await;
}

/// What comes from the host, to the client.
async fn tell(sink: &mut Sink, kind: Kind, mut reader: StreamReader, outstanding: &AtomicU32) -> End {
    let mut pings = interval(Duration::from_secs(PING_PERIOD_S));
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    loop {
        let message = tokio::select! {
            chunk = reader.next() => match chunk {
                Some(Chunk::Stdout(data)) => output(kind, STDOUT, data),
                Some(Chunk::Stderr(data)) => output(kind, STDERR, data),
                Some(Chunk::Control(control)) => match said(control, kind) {
                    Ok(frame) => {
                        if let ServerFrame::Credit { bytes } = frame {
                            // More than was outstanding is no harm: it is the client's own limit.
                            let left = outstanding.load(Ordering::Acquire).min(bytes);
                            outstanding.fetch_sub(left, Ordering::AcqRel);
                        }
                        text(&frame)
                    }
                    Err(end) => return end,
                },
                None => return End::Closed(TRY_LATER, "the stream broke off".to_owned()),
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return End::Gone;
        }
    }
}

fn output(kind: Kind, channel: u8, data: Bytes) -> Message {
    match kind {
        Kind::Terminal => Message::Binary(data),
        Kind::Exec { .. } => {
            let mut piece = BytesMut::with_capacity(data.len() + 1);
            piece.put_u8(channel);
            piece.put_slice(&data);
            Message::Binary(piece.freeze())
        }
    }
}

/// What the host says of the stream, for the client.
fn said(control: Control, kind: Kind) -> Result<ServerFrame, End> {
    match (control, kind) {
        (Control::Opened { terminal: Some(terminal), .. }, Kind::Terminal) => Ok(ServerFrame::Attached { terminal }),
        (Control::Opened { standing, .. }, Kind::Exec { .. }) => {
            let standing =
                standing.map(|tunnel::Standing { received, taken, was_held }| Standing { received, taken, was_held });
            Ok(ServerFrame::Started { standing })
        }
        (Control::Taken { bytes }, Kind::Exec { .. }) => Ok(ServerFrame::Credit { bytes }),
        (Control::Refused { why }, _) => Err(End::error(why)),
        (Control::Exited { code, signal }, _) => {
            let by_signal = signal.map_or(0, |signal| 128 + signal);
            Err(End::Said(ServerFrame::Exit { code: code.unwrap_or(by_signal), signal }))
        }
        // It may still be there when the tunnel is again.
        (Control::Reset { why }, Kind::Terminal | Kind::Exec { is_lasting: true }) => Err(End::Closed(TRY_LATER, why)),
        (Control::Reset { why }, Kind::Exec { is_lasting: false }) => Err(End::error(why)),
        (
            Control::Opened { terminal: None, .. }
            | Control::Taken { .. }
            | Control::Resize(_)
            | Control::Signal(_)
            | Control::EndOfInput
            | Control::Received(_)
            | Control::HangUp,
            _,
        ) => Err(End::error("the host's agent broke the protocol; an operator should look at its version")),
    }
}

/// The next event that may mean that the caller is out.
async fn concerning(events: &mut broadcast::Receiver<Event>, call: &Call) {
    loop {
        match events.recv().await {
            Ok(event) if live::concerns_caller(&event, call) => return,
            Ok(_) => {}
            // What was missed may have been it.
            Err(RecvError::Lagged(_)) => return,
            // The server stops; whoever waits besides ends by itself.
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Returns when the client is gone or may not go on; until then the open stream keeps the session alive.
async fn watch(connection: &Connection, heard: &Heard) -> End {
    let services = &connection.state.services;
    let mut recheck = interval(RECHECK);
    recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept_at: Option<Instant> = None;
    let mut events = services.live().subscribe_all();
    loop {
        tokio::select! {
            _ = recheck.tick() => {}
            () = concerning(&mut events, &connection.call) => {}
        }
        if heard.ago() > SILENCE_LIMIT {
            return End::Gone;
        }
        if let Some(why) = live::ousted(services, &connection.call).await {
            return End::Ousted(why);
        }
        match sessions::get(services, &connection.call, connection.session).await {
            Ok(session) if session.state == SessionState::Active => {}
            Ok(session) => {
                let why = session.cause.map_or_else(|| session.state.to_string(), |cause| cause.to_string());
                return End::error(format!("the session is over: {why}"));
            }
            Err(Error::NotFound { .. } | Error::Denied(_) | Error::NotSignedIn) => {
                return End::error("the session is not yours to use any more");
            }
            // A database that does not answer ends no stream.
            Err(error) => tracing::warn!(%error, "cannot check an open stream's session; trying again"),
        }
        let due = kept_at.is_none_or(|at| at.elapsed() >= KEEPALIVE_PERIOD.unsigned_abs());
        if due && heard.ago() < KEEPALIVE_GRACE.unsigned_abs() {
            match sessions::keepalive(services, &connection.call, connection.session).await {
                Ok(_) => kept_at = Some(Instant::now()),
                Err(error) => tracing::debug!(%error, "a keepalive by an open stream"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEC: Kind = Kind::Exec { is_lasting: false };

    #[test]
    fn what_the_host_says() {
        let exit = |code, signal| match said(Control::Exited { code, signal }, EXEC) {
            Err(End::Said(ServerFrame::Exit { code, .. })) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(exit(Some(3), None), 3);
        assert_eq!(exit(None, Some(9)), 137);
        let why = || Control::Reset { why: "the connection to the host was lost".to_owned() };
        assert!(matches!(said(why(), Kind::Terminal), Err(End::Closed(TRY_LATER, _))));
        let lasting = Kind::Exec { is_lasting: true };
        assert!(matches!(said(why(), lasting), Err(End::Closed(TRY_LATER, _))));
        assert!(matches!(said(why(), EXEC), Err(End::Said(ServerFrame::Error { .. }))));
        assert!(matches!(said(Control::Signal(2), EXEC), Err(End::Said(ServerFrame::Error { .. }))));
    }

    #[test]
    fn a_terminal_has_a_size_that_a_terminal_can_have() {
        assert_eq!(size(TerminalSize { cols: 0, rows: 65_535 }), Size { columns: 1, rows: MAX_SIDE });
    }
}
