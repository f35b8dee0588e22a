//! Terminals outlive their streams: a page that was reloaded, or a tunnel that was lost, comes back to the same shell
//! and sees the last of what it wrote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use domain::ids::SessionId;
use protocol::tunnel::{Control, MAX_DATA_BYTES, Size};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, watch},
    time::timeout,
};
use uuid::Uuid;

use super::{
    mux::{Channel, Gone, Input, Order, Stream},
    streams::exited,
    tape::Tape,
};
use crate::environments::{Environment, ExecControl, ExecError, ExecHandle, ExecSpec, Exit, Reader, Running, Writer};

/// What a terminal remembers, bytes: replayed to whoever attaches.
const REMEMBERED_BYTES: usize = 256 * 1024;
/// A shell whose output nobody keeps up with waits once a viewer is this far behind, bytes.
const BEHIND_BYTES: u64 = 128 * 1024;
/// But not longer than this: then the viewer misses some.
const WAIT_FOR_VIEWER: Duration = Duration::from_secs(5);
/// The most terminals of one session.
const MAX_TERMINALS: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    #[error("the session has {MAX_TERMINALS} terminals open already; close one")]
    TooMany,
    #[error(transparent)]
    Exec(#[from] ExecError),
}

#[derive(Default)]
pub struct Terminals(Mutex<HashMap<Uuid, Arc<Terminal>>>);

struct Screen {
    tape: Tape,
    /// Position up to which each viewer has read.
    viewers: HashMap<Uuid, u64>,
    exit: Option<std::io::Result<Exit>>,
}

impl Screen {
    fn lag(&self) -> u64 {
        self.viewers.values().map(|position| self.tape.end().saturating_sub(*position)).max().unwrap_or(0)
    }
    fn write(&mut self, bytes: &[u8]) {
        self.tape.write(bytes);
        self.tape.keep_last(REMEMBERED_BYTES);
    }
}

/// One who may type into a terminal.
struct Typist {
    is_over: Box<dyn Fn() -> bool + Send + Sync>,
    /// Closed when all that came on the stream is typed.
    typed: watch::Receiver<()>,
}

pub struct Terminal {
    id: Uuid,
    session: SessionId,
    screen: Mutex<Screen>,
    /// Told with each write and at the end.
    written: watch::Sender<()>,
    /// A viewer has read on or left.
    read: Notify,
    input: tokio::sync::Mutex<Option<Writer>>,
    typists: Mutex<Vec<Typist>>,
    control: Arc<dyn ExecControl>,
}

impl Terminals {
    fn all(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Terminal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn find(&self, id: Uuid, session: SessionId) -> Option<Arc<Terminal>> {
        self.all().get(&id).filter(|terminal| terminal.session == session).cloned()
    }

    /// A login shell in a new terminal.
    pub async fn open(
        self: &Arc<Self>,
        session: SessionId,
        size: Size,
        environment: &dyn Environment,
        running: &Running,
    ) -> Result<Arc<Terminal>, TerminalError> {
        if self.all().values().filter(|terminal| terminal.session == session).count() >= MAX_TERMINALS {
            return Err(TerminalError::TooMany);
        }
        let mut spec =
            ExecSpec::new(["/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash -l; exec /bin/sh -l"]);
        spec.env = vec![("TERM".to_owned(), "xterm-256color".to_owned())];
        spec.terminal = Some(size);
        let ExecHandle { stdin, stdout, stderr: _, control } = environment.exec(running, spec).await?;
        let terminal = Arc::new(Terminal {
            id: Uuid::new_v4(),
            session,
            screen: Mutex::new(Screen { tape: Tape::default(), viewers: HashMap::new(), exit: None }),
            written: watch::Sender::new(()),
            read: Notify::new(),
            input: tokio::sync::Mutex::new(stdin),
            typists: Mutex::default(),
            control,
        });
        self.all().insert(terminal.id, terminal.clone());
        // Ends with the shell, which ends at the latest with its environment.
        tokio::spawn({
            let (terminals, terminal) = (self.clone(), terminal.clone());
            async move {
                terminal.remember(stdout).await;
                terminals.all().remove(&terminal.id);
            }
        });
        Ok(terminal)
    }
}

impl Terminal {
    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the shell writes, until it ends.
    async fn remember(&self, mut output: Reader) {
        let mut buffer = BytesMut::new();
        loop {
            buffer.clear();
            buffer.reserve(MAX_DATA_BYTES);
            match output.read_buf(&mut buffer).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::trace!(%error, "the end of a terminal");
                    break;
                }
            }
            let keep_up = async {
                while self.screen().lag() > BEHIND_BYTES {
                    self.read.notified().await;
                }
            };
            if timeout(WAIT_FOR_VIEWER, keep_up).await.is_err() {
                tracing::debug!(terminal = %self.id, "a viewer does not keep up and misses output");
            }
            self.screen().write(&buffer);
            self.written.send_replace(());
        }
        let exit = self.control.wait().await;
        self.screen().exit = Some(exit);
        self.written.send_replace(());
    }

    /// Shows the terminal on a stream, from what is remembered on, until the stream or the shell ends.
    pub async fn show(self: Arc<Self>, stream: &Stream, size: Size) {
        if let Err(error) = self.control.resize(size).await {
            tracing::debug!(%error, "resizing a terminal");
        }
        if stream.opened(Some(self.id), None).is_err() {
            return;
        }
        let viewer = Viewer { id: Uuid::new_v4(), terminal: &self };
        let (leaving, _until_all_is_typed) = self.typist(stream);
        let typing = async {
            self.typed_before(leaving).await;
            self.type_in(stream).await
        };
        tokio::pin!(typing);
        let is_typing = tokio::select! {
            // All end with the stream, the last with the shell too; what that wrote last is sent before the end.
            _ = &mut typing => false,
            _ = self.obey(stream) => true,
            ended = viewer.watch(stream) => match ended {
                Ok(exit) => return stream.finish(exit),
                Err(Gone) => true,
            },
        };
        // Typed right before the viewer left: the piece at hand, and what came behind it.
        let typed = async {
            if is_typing {
                typing.await;
            }
            for data in stream.rest() {
                self.enter(&data).await;
            }
        };
        if timeout(WAIT_FOR_VIEWER, typed).await.is_err() {
            tracing::debug!(terminal = %self.id, "the shell did not take what was typed last");
        }
    }

    /// Those who left before this stream came and have not typed all yet, and what to hold until this one has.
    fn typist(&self, stream: &Stream) -> (Vec<watch::Receiver<()>>, watch::Sender<()>) {
        let (typing, typed) = watch::channel(());
        let mut typists = self.typists.lock().unwrap_or_else(PoisonError::into_inner);
        typists.retain(|typist| typist.typed.has_changed().is_ok());
        let leaving = typists.iter().filter(|typist| (typist.is_over)()).map(|typist| typist.typed.clone()).collect();
        typists.push(Typist { is_over: Box::new(stream.end()), typed });
        (leaving, typing)
    }

    /// What was typed first is entered first, over streams that follow each other.
    async fn typed_before(&self, leaving: Vec<watch::Receiver<()>>) {
        let all = async {
            for mut typed in leaving {
                while typed.changed().await.is_ok() {}
            }
        };
        if timeout(WAIT_FOR_VIEWER, all).await.is_err() {
            tracing::debug!(terminal = %self.id, "the shell did not take what was typed before");
        }
    }

    async fn enter(&self, data: &[u8]) {
        if let Some(writer) = &mut *self.input.lock().await {
            let typed = async {
                writer.write_all(data).await?;
                writer.flush().await
            };
            if let Err(error) = typed.await {
                tracing::debug!(%error, "a terminal takes no more input");
            }
        }
    }

    async fn type_in(&self, stream: &Stream) -> Gone {
        loop {
            match stream.input().await {
                Ok(Input::Data(data)) => {
                    self.enter(&data).await;
                    stream.taken(data.len());
                }
                // The next viewer may type again.
                Ok(Input::End) => {}
                Err(gone) => return gone,
            }
        }
    }

    async fn obey(&self, stream: &Stream) -> Gone {
        loop {
            let done = match stream.order().await {
                Ok(Order::Resize(size)) => self.control.resize(size).await,
                Ok(Order::Signal(number)) => self.control.signal(number).await,
                // A terminal forgets by itself.
                Ok(Order::Received(_)) => Ok(()),
                Err(gone) => return gone,
            };
            if let Err(error) = done {
                tracing::debug!(%error, "an order for a terminal");
            }
        }
    }
}

/// One who looks at a terminal.
struct Viewer<'a> {
    id: Uuid,
    terminal: &'a Terminal,
}

impl Viewer<'_> {
    async fn watch(&self, stream: &Stream) -> Result<Control, Gone> {
        let mut written = self.terminal.written.subscribe();
        let mut position = self.terminal.screen().tape.start();
        loop {
            written.borrow_and_update();
            loop {
                let (piece, next) = {
                    let mut screen = self.terminal.screen();
                    screen.viewers.insert(self.id, position);
                    screen.tape.read(position)
                };
                self.terminal.read.notify_one();
                if piece.is_empty() {
                    break;
                }
                stream.send(Channel::Output, piece).await?;
                position = next;
            }
            if let Some(exit) = &self.terminal.screen().exit {
                return Ok(exited(exit.as_ref().copied()));
            }
            if written.changed().await.is_err() {
                return Err(Gone);
            }
        }
    }
}

impl Drop for Viewer<'_> {
    fn drop(&mut self) {
        self.terminal.screen().viewers.remove(&self.id);
        self.terminal.read.notify_one();
    }
}
