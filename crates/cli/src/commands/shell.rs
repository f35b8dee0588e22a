//! `berth shell`: a terminal in a session. It outlives the connection, so a broken one is made again and `~.` leaves it.

use std::time::Duration;

use api::streams::{ClientFrame, PING_PERIOD_S, ServerFrame, TerminalSize};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Stdin, Stdout},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::{
    again::{Again, SILENCE_LIMIT},
    args::ShellArgs,
    client::Client,
    commands::sessions,
    fault::Fault,
    signals::{self, Signals},
    socket::{self, Lost, Socket},
    table::printable,
    terminal::{self, Act, Escape, Raw},
};

const PIECE_BYTES: usize = 16 * 1024;

/// How a connection to the terminal ended.
enum End {
    Exit(u8),
    Detached,
    Broken(Lost),
    Signal(i32),
}

/// This side of the terminal, over all its connections.
struct Here {
    stdin: Stdin,
    stdout: Stdout,
    signals: Signals,
    escape: Escape,
    /// Standard input has ended: nothing more is typed.
    closed: bool,
    terminal: Option<Uuid>,
    /// While there is no terminal: how long it is tried again.
    broken: Option<Again>,
}

/// The exit code of the remote shell; 0 if it was left with `~.`.
pub async fn shell(client: &Client, ask: &ShellArgs) -> Result<u8, Fault> {
    if !terminal::is_interactive() {
        return Err(Fault::Usage("berth shell needs a terminal; berth run works without".to_owned()));
    }
    let session = sessions::find(client, &ask.session).await?;
    let machine = printable(&session.machine);
    let mut here = Here {
        stdin: tokio::io::stdin(),
        stdout: tokio::io::stdout(),
        signals: Signals::listen()?,
        escape: Escape::default(),
        closed: false,
        terminal: ask.attach,
        broken: None,
    };
    let id = session.id.to_string();
    // The first connection fails as any command does; later ones are tried again.
    let first = connect(client, &id, ask.attach).await?;
    eprintln!("{machine}: ~. leaves the shell running, ~? helps.");
    let raw = Raw::enter()?;
    let end = here.stay(client, &id, first).await;
    drop(raw);
    match end? {
        End::Exit(code) => Ok(code),
        End::Signal(number) => Ok(signals::exit_code(number)),
        End::Detached => {
            match here.terminal {
                Some(terminal) => {
                    eprintln!("\nThe shell goes on. Come back: berth shell {} --attach {terminal}", session.id);
                }
                None => eprintln!("\nLeft before the shell was open."),
            }
            Ok(0)
        }
        End::Broken(lost) => Err(lost.fault(client)),
    }
}

async fn connect(client: &Client, session: &str, attach: Option<Uuid>) -> Result<Socket, Fault> {
    let TerminalSize { cols, rows } = terminal::size();
    let mut query = vec![("cols", cols.to_string()), ("rows", rows.to_string())];
    query.extend(attach.map(|attach| ("attach", attach.to_string())));
    socket::connect(client, &["sessions", session, "terminal"], &query).await
}

fn text(frame: &ClientFrame) -> Option<Message> {
    serde_json::to_string(frame).ok().map(Message::text)
}

impl Here {
    /// One connection after the other until the shell ends or is left.
    async fn stay(&mut self, client: &Client, session: &str, first: Socket) -> Result<End, Fault> {
        let mut socket = first;
        loop {
            let lost = match self.pump(client, socket).await? {
                End::Broken(lost) => lost,
                end @ (End::Exit(_) | End::Detached | End::Signal(_)) => return Ok(end),
            };
            // The server may let in and say that the host is away: that is no end of the patience, and said once.
            let over = self.broken.as_ref().is_some_and(Again::is_over);
            if self.terminal.is_none() || over {
                return Ok(End::Broken(lost));
            }
            if self.broken.is_none() {
                terminal::say(&format!("the connection broke ({lost}); trying again, ~. gives up"));
            }
            socket = match self.reconnect(client, session).await? {
                Ok(socket) => socket,
                Err(end) => return Ok(end),
            };
        }
    }

    async fn reconnect(&mut self, client: &Client, session: &str) -> Result<Result<Socket, End>, Fault> {
        let mut again = self.broken.take().unwrap_or_default();
        let mut buffer = [0; 1024];
        loop {
            let terminal = self.terminal;
            let attempt = async {
                again.wait().await;
                connect(client, session, terminal).await
            };
            let mut attempt = Box::pin(attempt);
            let connected = loop {
                tokio::select! {
                    connected = &mut attempt => break connected,
                    number = self.signals.stop() => return Ok(Err(End::Signal(number))),
                    read = self.stdin.read(&mut buffer), if !self.closed => match read {
                        Ok(0) | Err(_) => self.closed = true,
                        // What is typed now goes nowhere; only leaving is heard.
                        Ok(count) => if self.escape.typed(&buffer[..count]).act == Some(Act::Detach) {
                            return Ok(Err(End::Detached));
                        },
                    },
                }
            };
            drop(attempt);
            match connected {
                Ok(socket) => {
                    self.broken = Some(again);
                    return Ok(Ok(socket));
                }
                Err(fault) if !fault.is_passing() || again.is_over() => return Err(fault),
                Err(_) => {}
            }
        }
    }

    async fn pump(&mut self, client: &Client, socket: Socket) -> Result<End, Fault> {
        let (mut sink, mut source) = socket.split();
        let mut pings = interval(Duration::from_secs(PING_PERIOD_S));
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let message = tokio::select! {
                message = timeout(SILENCE_LIMIT, source.next()) => {
                    let Ok(message) = message else {
                        return Ok(End::Broken(Lost::Broken("nothing was heard of the server".to_owned())));
                    };
                    match message {
                        Some(Ok(Message::Binary(bytes))) => self.show(&bytes).await?,
                        Some(Ok(Message::Text(frame))) => match serde_json::from_str(&frame) {
                            Ok(ServerFrame::Attached { terminal }) => {
                                self.terminal = Some(terminal);
                                self.broken = None;
                            }
                            Ok(ServerFrame::Exit { code, .. }) => {
                                return Ok(End::Exit(u8::try_from(code & 0xff).unwrap_or(crate::fault::code::BERTH)));
                            }
                            Ok(ServerFrame::Error { message }) => return Err(Fault::Failed(printable(&message))),
                            Ok(ServerFrame::Started { .. } | ServerFrame::Credit { .. }) | Err(_) => {
                                return Err(client.strange("an unexpected frame"));
                            }
                        },
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        other => return Ok(End::Broken(socket::closed_because(other))),
                    }
                    None
                }
                read = self.stdin.read(&mut buffer), if !self.closed => match read {
                    Ok(0) | Err(_) => { self.closed = true; text(&ClientFrame::Eof) }
                    Ok(count) => {
                        let typed = self.escape.typed(&buffer[..count]);
                        match typed.act {
                            Some(Act::Detach) => {
                                // What was typed before it is still the shell's.
                                if !typed.pass.is_empty()
                                    && let Err(error) = sink.send(Message::Binary(Bytes::from(typed.pass))).await
                                {
                                    return Ok(End::Broken(Lost::Broken(error.to_string())));
                                }
                                return Ok(End::Detached);
                            }
                            Some(Act::Help) => terminal::say("~. leaves the shell running, ~~ types a tilde, ~? shows this"),
                            None => {}
                        }
                        (!typed.pass.is_empty()).then(|| Message::Binary(Bytes::from(typed.pass)))
                    }
                },
                number = self.signals.next() => if number == signals::WINCH {
                    let TerminalSize { cols, rows } = terminal::size();
                    text(&ClientFrame::Resize { cols, rows })
                } else {
                    return Ok(End::Signal(number));
                },
                _ = pings.tick() => Some(socket::ping()),
            };
            if let Some(message) = message
                && let Err(error) = sink.send(message).await
            {
                return Ok(End::Broken(Lost::Broken(error.to_string())));
            }
        }
    }

    async fn show(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let written = async {
            self.stdout.write_all(bytes).await?;
            self.stdout.flush().await
        };
        written.await.map_err(Fault::io("cannot write to the terminal"))
    }
}
