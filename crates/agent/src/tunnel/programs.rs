//! Programs and their standard streams. One that is asked to last goes on when its stream breaks, keeps what it writes
//! until that has arrived for good, and takes up with the next stream that comes to it where the last one left off.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use domain::ids::SessionId;
use protocol::tunnel::{
    AWAY_LIMIT_S, Control, INITIAL_CREDIT_BYTES, KEPT_BYTES, Lasting, MAX_DATA_BYTES, Position, Size, Standing,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, OnceCell, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    mux::{Channel, Gone, Input, Order, Stream},
    streams::exited,
    tape::Tape,
};
use crate::environments::{ExecControl, ExecError, ExecHandle, Exit, Reader, Writer};

/// Between hanging a program up and ending it by force; well within the keepalive's grace of 30 s.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// A program that has ended may have left its output to another: it is read until nothing came for this long.
const IDLE_AFTER_EXIT: Duration = Duration::from_millis(500);
const AWAY_LIMIT: Duration = Duration::from_secs(AWAY_LIMIT_S);
/// The most lasting programs of one session, with those that ended less than [`AWAY_LIMIT`] ago.
const MAX_PROGRAMS: usize = 64;
/// What a program took of its input is told in portions of this size.
const TAKEN_BYTES: u64 = INITIAL_CREDIT_BYTES as u64 / 4;

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("the session has {MAX_PROGRAMS} programs open already; end one first")]
    TooMany,
    #[error(
        "the program is not there any more: nobody came back to it for {AWAY_LIMIT_S} s, or the host's agent was restarted"
    )]
    NotThere,
    #[error("what the program wrote from there on is not kept any more")]
    Forgotten,
    #[error(transparent)]
    Exec(#[from] ExecError),
}

type Place = Arc<OnceCell<Arc<Program>>>;

/// The lasting ones, by their ids.
#[derive(Default)]
pub struct Programs(Mutex<HashMap<(SessionId, Uuid), Place>>);

impl Programs {
    fn all(&self) -> MutexGuard<'_, HashMap<(SessionId, Uuid), Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program of this name, which is started if there is none.
    pub async fn start(
        &self,
        session: SessionId,
        lasting: Option<Lasting>,
        start: impl Future<Output = Result<ExecHandle, ExecError>>,
    ) -> Result<Arc<Program>, ProgramError> {
        let Some(Lasting { id, resume }) = lasting else { return Ok(Program::new(None, start.await?)) };
        let key = (session, id);
        if resume.is_some() {
            let place = self.all().get(&key).cloned();
            return place.and_then(|place| place.get().cloned()).ok_or(ProgramError::NotThere);
        }
        let place = self.place(key)?;
        // Whoever asks for the same program meanwhile waits for it.
        let started = place.get_or_try_init(async || Ok(Program::new(Some(key), start.await?))).await;
        if started.is_err() {
            self.let_go(key, &place);
        }
        started.cloned()
    }

    /// Forgets a program that could not be started, unless another asks for the same and tries it now: what that starts is
    /// found here.
    fn let_go(&self, key: (SessionId, Uuid), place: &Place) {
        let mut all = self.all();
        // The map's and the caller's.
        let is_alone = Arc::strong_count(place) <= 2;
        if is_alone && all.get(&key).is_some_and(|there| Arc::ptr_eq(there, place)) {
            all.remove(&key);
        }
    }

    fn place(&self, key: (SessionId, Uuid)) -> Result<Place, ProgramError> {
        let mut all = self.all();
        let of_session = all.iter().filter(|((session, _), _)| *session == key.0);
        if !all.contains_key(&key) && of_session.clone().count() >= MAX_PROGRAMS {
            let over = of_session.clone().find(|(_, place)| place.get().is_some_and(|program| program.is_over()));
            let over = over.map(|(key, _)| *key).ok_or(ProgramError::TooMany)?;
            all.remove(&over);
        }
        Ok(all.entry(key).or_default().clone())
    }
}

struct State {
    stdout: Tape,
    stderr: Tape,
    input: VecDeque<Input>,
    input_bytes: usize,
    /// Bytes of input that came and that the program has taken, of all streams.
    received: u64,
    taken: u64,
    has_ended_input: bool,
    /// All that it wrote is on the tapes.
    exit: Option<io::Result<Exit>>,
}

impl State {
    fn tape(&mut self, channel: Channel) -> &mut Tape {
        match channel {
            Channel::Output => &mut self.stdout,
            Channel::Error => &mut self.stderr,
        }
    }
    fn forget(&mut self, arrived: Position) {
        self.stdout.forget(arrived.stdout);
        self.stderr.forget(arrived.stderr);
    }
}

pub struct Program {
    /// None: it ends with its stream.
    key: Option<(SessionId, Uuid)>,
    state: Mutex<State>,
    /// Told with all that a stream wants to know.
    changed: watch::Sender<()>,
    /// A tape has room.
    room: Notify,
    /// There is input.
    typed: Notify,
    /// The number of the stream that has the program, and whether it still has it.
    seat: watch::Sender<(u64, bool)>,
    control: Arc<dyn ExecControl>,
    /// Nobody will read what it writes, or write what it reads.
    hung_up: CancellationToken,
}

impl Program {
    fn new(key: Option<(SessionId, Uuid)>, handle: ExecHandle) -> Arc<Self> {
        let ExecHandle { stdin, stdout, stderr, control } = handle;
        let program = Arc::new(Self {
            key,
            state: Mutex::new(State {
                stdout: Tape::default(),
                stderr: Tape::default(),
                input: VecDeque::new(),
                input_bytes: 0,
                received: 0,
                taken: 0,
                has_ended_input: false,
                exit: None,
            }),
            changed: watch::Sender::new(()),
            room: Notify::new(),
            typed: Notify::new(),
            seat: watch::Sender::new((0, false)),
            control,
            hung_up: CancellationToken::new(),
        });
        // Ends with the program, which ends at the latest with its environment.
        tokio::spawn({
            let program = program.clone();
            async move { program.run(stdin, stdout, stderr).await }
        });
        program
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.state().exit.is_some() && !self.seat.borrow().1
    }

    /// Carries its streams until it ends.
    async fn run(&self, stdin: Option<Writer>, stdout: Reader, stderr: Option<Reader>) {
        let (has_exited, exited) = watch::channel(false);
        let output = async {
            tokio::join!(self.keep(stdout, Channel::Output, exited.clone()), async {
                if let Some(stderr) = stderr {
                    self.keep(stderr, Channel::Error, exited.clone()).await;
                }
            })
        };
        let wait = async {
            let exit = self.control.wait().await;
            has_exited.send_replace(true);
            exit
        };
        let exit = tokio::select! {
            (exit, _) = async { tokio::join!(wait, output) } => Some(exit),
            never = self.feed(stdin) => match never {},
            () = self.hung_up.cancelled() => None,
        };
        // Its streams are closed by now.
        let exit = match exit {
            Some(exit) => exit,
            None => self.control.wait().await,
        };
        self.state().exit = Some(exit);
        self.changed.send_replace(());
    }

    /// Reads to the end, or until nothing comes after the program has ended. Waits while the tape is full.
    async fn keep(&self, mut from: Reader, channel: Channel, mut exited: watch::Receiver<bool>) {
        let mut buffer = BytesMut::new();
        loop {
            loop {
                let room = self.room.notified();
                tokio::pin!(room);
                room.as_mut().enable();
                if self.state().tape(channel).len() < KEPT_BYTES {
                    break;
                }
                room.await;
            }
            buffer.clear();
            buffer.reserve(MAX_DATA_BYTES);
            let idle = async {
                if exited.wait_for(|exited| *exited).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(IDLE_AFTER_EXIT).await;
            };
            let read = tokio::select! {
                read = from.read_buf(&mut buffer) => read,
                () = idle => return,
            };
            match read {
                Ok(0) => return,
                Ok(_) => self.state().tape(channel).write(&buffer),
                Err(error) => {
                    // A terminal whose last process has ended reads as an error.
                    tracing::trace!(%error, "the end of a program's output");
                    return;
                }
            }
            self.changed.send_replace(());
        }
    }

    /// Passes the input on, for as long as it is polled.
    async fn feed(&self, mut stdin: Option<Writer>) -> std::convert::Infallible {
        loop {
            let next = self.state().input.pop_front();
            match next {
                Some(Input::Data(data)) => {
                    if let Some(writer) = &mut stdin {
                        let written = async {
                            writer.write_all(&data).await?;
                            writer.flush().await
                        };
                        if let Err(error) = written.await {
                            tracing::debug!(%error, "a program takes no more input");
                            stdin = None;
                        }
                    }
                    let mut state = self.state();
                    state.input_bytes -= data.len();
                    state.taken += data.len() as u64;
                    drop(state);
                    self.changed.send_replace(());
                }
                Some(Input::End) => stdin = None,
                None => self.typed.notified().await,
            }
        }
    }

    /// Serves a stream until it or the program is over, or another stream has come. `from` is what the client has; `size`
    /// is its terminal's.
    pub async fn attend(self: Arc<Self>, stream: Stream, lasting: Option<Lasting>, size: Option<Size>, all: &Programs) {
        let resume = lasting.and_then(|lasting| lasting.resume);
        let (seat, standing) = match self.sit(resume.unwrap_or_default()) {
            Ok(sat) => sat,
            Err(error) => return stream.finish(Control::Refused { why: error.to_string() }),
        };
        if let Some(size) = size.filter(|_| resume.is_some())
            && let Err(error) = self.control.resize(size).await
        {
            tracing::debug!(%error, "resizing a program's terminal");
        }
        let mut seats = self.seat.subscribe();
        if stream.opened(None, self.key.map(|_| standing)).is_ok() {
            tokio::select! {
                told = self.tell(&stream, resume.unwrap_or_default()) => if let Ok(exit) = told {
                    stream.finish(exit);
                },
                // These end with the stream alone.
                _ = self.grant(&stream, standing.taken) => {}
                _ = self.hear(&stream, seat) => {}
                _ = self.obey(&stream) => {}
                _ = seats.wait_for(|now| now.0 != seat) => {
                    let why = "another connection has taken the program over".to_owned();
                    return stream.finish(Control::Reset { why });
                }
            }
        }
        let is_hung_up = self.key.is_none() || stream.is_hung_up();
        drop(stream);
        self.seat.send_if_modified(|now| now.0 == seat && std::mem::replace(&mut now.1, false));
        let comes_back = timeout(AWAY_LIMIT, seats.wait_for(|now| now.0 != seat));
        let is_left = if is_hung_up { self.seat.borrow().0 == seat } else { comes_back.await.is_err() };
        if is_left {
            self.hung_up.cancel();
            hang_up(&*self.control).await;
            if let Some(key) = self.key {
                all.all().remove(&key);
            }
        }
    }

    /// Takes the program from whichever stream has it; where that left off.
    fn sit(&self, arrived: Position) -> Result<(u64, Standing), ProgramError> {
        let mut state = self.state();
        let reaches = |tape: &Tape, position: u64| (tape.start()..=tape.end()).contains(&position);
        if !reaches(&state.stdout, arrived.stdout) || !reaches(&state.stderr, arrived.stderr) {
            return Err(ProgramError::Forgotten);
        }
        let was_held = state.stdout.len().max(state.stderr.len()) >= KEPT_BYTES && !self.seat.borrow().1;
        state.forget(arrived);
        let standing = Standing { received: state.received, taken: state.taken, was_held };
        let mut seat = 0;
        // Under the state's lock: what an earlier stream brings after this is not taken any more.
        self.seat.send_modify(|now| {
            *now = (now.0 + 1, true);
            seat = now.0;
        });
        drop(state);
        self.room.notify_waiters();
        Ok((seat, standing))
    }

    /// Sends what is written, from the position on, to the end; then how it ended.
    async fn tell(&self, stream: &Stream, from: Position) -> Result<Control, Gone> {
        let mut changed = self.changed.subscribe();
        let mut at = from;
        loop {
            changed.borrow_and_update();
            loop {
                let (stdout, stderr) = {
                    let mut state = self.state();
                    if self.key.is_none() {
                        state.forget(at);
                    }
                    (state.stdout.read(at.stdout), state.stderr.read(at.stderr))
                };
                if self.key.is_none() {
                    self.room.notify_waiters();
                }
                if stdout.0.is_empty() && stderr.0.is_empty() {
                    break;
                }
                stream.send(Channel::Output, stdout.0).await?;
                stream.send(Channel::Error, stderr.0).await?;
                at = Position { stdout: stdout.1, stderr: stderr.1 };
            }
            {
                let state = self.state();
                let is_told = (state.stdout.end(), state.stderr.end()) == (at.stdout, at.stderr);
                if let Some(exit) = state.exit.as_ref().filter(|_| is_told) {
                    return Ok(exited(exit.as_ref().copied()));
                }
            }
            if changed.changed().await.is_err() {
                return Err(Gone);
            }
        }
    }

    /// Says how much input the program has taken.
    async fn grant(&self, stream: &Stream, from: u64) -> Gone {
        let mut changed = self.changed.subscribe();
        let mut granted = from;
        loop {
            changed.borrow_and_update();
            let taken = self.state().taken;
            if taken - granted >= TAKEN_BYTES {
                let bytes = u32::try_from(taken - granted).unwrap_or(u32::MAX);
                if let Err(gone) = stream.tell(Control::Taken { bytes }) {
                    return gone;
                }
                granted = taken;
            }
            if changed.changed().await.is_err() {
                return Gone;
            }
        }
    }

    /// Queues the input.
    async fn hear(&self, stream: &Stream, seat: u64) -> Gone {
        loop {
            let input = match stream.input().await {
                Ok(input) => input,
                Err(gone) => return gone,
            };
            let length = if let Input::Data(data) = &input { data.len() } else { 0 };
            {
                let mut state = self.state();
                if self.seat.borrow().0 != seat {
                    return Gone;
                }
                if state.input_bytes + length > INITIAL_CREDIT_BYTES as usize {
                    drop(state);
                    stream.finish(Control::Reset { why: "more input than was granted".to_owned() });
                    return Gone;
                }
                let is_end = input == Input::End;
                // Whoever comes back says once more that the input has ended.
                if !state.has_ended_input {
                    state.has_ended_input = is_end;
                    state.received += length as u64;
                    state.input_bytes += length;
                    state.input.push_back(input);
                }
            }
            self.typed.notify_one();
            stream.taken(length);
        }
    }

    /// Resizes, signals, forgets what has arrived.
    async fn obey(&self, stream: &Stream) -> Gone {
        loop {
            let done = match stream.order().await {
                Ok(Order::Resize(size)) => self.control.resize(size).await,
                Ok(Order::Signal(number)) => self.control.signal(number).await,
                Ok(Order::Received(position)) => {
                    self.state().forget(position);
                    self.room.notify_waiters();
                    Ok(())
                }
                Err(gone) => return gone,
            };
            if let Err(error) = done {
                tracing::debug!(%error, "an order for a program");
            }
        }
    }
}

/// Nobody will read what it writes.
async fn hang_up(control: &dyn ExecControl) {
    for signal in [nix::libc::SIGHUP, nix::libc::SIGKILL] {
        if let Err(error) = control.signal(signal).await {
            tracing::debug!(%error, signal, "a program whose stream is over");
        }
        if timeout(KILL_AFTER, control.wait()).await.is_ok() {
            return;
        }
    }
    tracing::warn!("a program whose stream is over does not end");
}

/// A program that could not be started, in a stream's words: scripts tell one that is not there from a failure of ours by the
/// shells' codes: 127, and 126 for one that may not be run.
pub async fn not_run(stream: &Stream, error: &ExecError) {
    let code = match error {
        ExecError::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
        ExecError::Program { .. } | ExecError::Bad(_) | ExecError::NotRunning(_) | ExecError::Enter(_) => 126,
    };
    let told = async {
        stream.opened(None, None)?;
        stream.send(Channel::Error, Bytes::from(format!("{error}\n"))).await
    };
    if told.await.is_ok() {
        stream.finish(Control::Exited { code: Some(code), signal: None });
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::oneshot;

    use super::*;

    /// A program that never writes and never ends.
    struct Silent;

    #[async_trait]
    impl ExecControl for Silent {
        async fn resize(&self, _: Size) -> io::Result<()> {
            Ok(())
        }
        async fn signal(&self, _: i32) -> io::Result<()> {
            Ok(())
        }
        async fn wait(&self) -> io::Result<Exit> {
            std::future::pending().await
        }
    }

    fn silent() -> ExecHandle {
        let stdout = Box::pin(tokio::io::empty());
        ExecHandle { stdin: None, stdout, stderr: None, control: Arc::new(Silent) }
    }

    #[tokio::test]
    async fn a_start_that_fails_does_not_hide_what_another_starts_meanwhile() {
        let (programs, session, id) = (Programs::default(), SessionId::new(), Uuid::new_v4());
        let asked = |resume| Some(Lasting { id, resume });
        let (fail, failing) = oneshot::channel::<()>();
        let first = programs.start(session, asked(None), async {
            drop(failing.await);
            Err(ExecError::NotRunning("not yet".to_owned()))
        });
        let second = async {
            let waiting = programs.start(session, asked(None), async { Ok(silent()) });
            tokio::pin!(waiting);
            // It waits for the first, which fails only now.
            assert!(futures_util::poll!(&mut waiting).is_pending());
            drop(fail);
            waiting.await
        };
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err());
        let started = second.expect("is started");
        let there = programs.start(session, asked(Some(Position::default())), async { Ok(silent()) }).await;
        assert!(Arc::ptr_eq(&there.expect("is found"), &started));
    }

    #[tokio::test]
    async fn a_start_that_failed_leaves_nothing() {
        let (programs, session) = (Programs::default(), SessionId::new());
        for _ in 0..=MAX_PROGRAMS {
            let asked = Some(Lasting { id: Uuid::new_v4(), resume: None });
            let failed = programs.start(session, asked, async { Err(ExecError::NotRunning("not yet".to_owned())) });
            assert!(matches!(failed.await, Err(ProgramError::Exec(_))));
        }
        assert!(programs.all().is_empty());
    }
}
