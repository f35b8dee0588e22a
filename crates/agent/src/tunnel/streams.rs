//! What is at the end of a stream: a process, a terminal, or a socket in a session's environment.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use protocol::tunnel::{Control, MAX_DATA_BYTES, Open};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

use super::{
    mux::{Channel, Gone, Input, Order, Stream},
    terminals::Terminals,
};
use crate::{
    environments::{ExecControl, ExecError, ExecHandle, ExecSpec, Exit, Writer},
    sessions::Sessions,
};

/// Between hanging a process up and ending it by force; well within the keepalive's grace of 30 s.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// A process that has ended may have left its output to another: it is read until nothing came for this long.
const IDLE_AFTER_EXIT: Duration = Duration::from_millis(500);

pub async fn serve(stream: Stream, open: Open, sessions: Arc<Sessions>, terminals: Arc<Terminals>) {
    let session = match &open {
        Open::Exec { session, .. } | Open::Terminal { session, .. } | Open::Connect { session, .. } => *session,
    };
    let refuse = |why: String| stream.finish(Control::Refused { why });
    let (environment, running) = match sessions.running(session) {
        Ok(found) => found,
        Err(error) => return refuse(error.to_string()),
    };
    match open {
        Open::Exec { session: _, argv, env, cwd, terminal } => {
            match environment.exec(&running, ExecSpec { argv, env, cwd, terminal }).await {
                Ok(handle) => Box::pin(exec(stream, handle)).await,
                Err(error @ ExecError::Program { .. }) => not_run(&stream, &error).await,
                Err(error) => refuse(error.to_string()),
            }
        }
        Open::Terminal { session, attach: Some(id), size } => match terminals.find(id, session) {
            Some(terminal) => terminal.show(&stream, size).await,
            None => refuse(
                "that terminal has ended: its shell was left, or the host's agent was restarted; open a new one"
                    .to_owned(),
            ),
        },
        Open::Terminal { session, attach: None, size } => {
            match terminals.open(session, size, &*environment, &running).await {
                Ok(terminal) => terminal.show(&stream, size).await,
                Err(error) => refuse(error.to_string()),
            }
        }
        Open::Connect { session: _, to } => match environment.connect(&running, &to).await {
            Ok(connection) => connect(stream, connection).await,
            Err(error) => refuse(error.to_string()),
        },
    }
}

/// Scripts tell a program that is not there from a failure of ours by the shells' codes: 127, and 126 for one that may not
/// be run.
async fn not_run(stream: &Stream, error: &ExecError) {
    let code = match error {
        ExecError::Program { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
        ExecError::Program { .. } | ExecError::Bad(_) | ExecError::NotRunning(_) | ExecError::Enter(_) => 126,
    };
    let told = async {
        stream.opened(None)?;
        stream.send(Channel::Error, format!("{error}\n").into()).await
    };
    if told.await.is_ok() {
        stream.finish(Control::Exited { code: Some(code), signal: None });
    }
}

pub(super) fn exited(exit: std::io::Result<Exit>) -> Control {
    match exit {
        Ok(Exit::Code(code)) => Control::Exited { code: Some(code), signal: None },
        Ok(Exit::Signal(signal)) => Control::Exited { code: None, signal: Some(signal) },
        Err(error) => Control::Reset { why: format!("the end of the process was not seen: {error}") },
    }
}

async fn exec(stream: Stream, handle: ExecHandle) {
    let ExecHandle { stdin, stdout, stderr, control } = handle;
    if stream.opened(None).is_err() {
        return hang_up(&*control).await;
    }
    let (has_exited, exited_seen) = watch::channel(false);
    let served = {
        let output = async {
            tokio::try_join!(pump(&stream, stdout, Channel::Output, exited_seen.clone()), async {
                match stderr {
                    Some(stderr) => pump(&stream, stderr, Channel::Error, exited_seen.clone()).await,
                    None => Ok(()),
                }
            })
        };
        let wait = async {
            let exit = control.wait().await;
            has_exited.send_replace(true);
            exit
        };
        let ending = async { tokio::join!(wait, output) };
        tokio::pin!(ending);
        let input = feed(&stream, stdin);
        let orders = obey(&stream, &*control);
        let others = async { tokio::join!(input, orders) };
        tokio::pin!(others);
        tokio::select! {
            // Both feed and obey end only with the stream.
            _ = &mut others => None,
            (exit, output) = &mut ending => output.ok().map(|_| exit),
        }
    };
    match served {
        Some(exit) => stream.finish(exited(exit)),
        None => hang_up(&*control).await,
    }
}

/// The stream is over and its process is not: nobody will read what it writes.
async fn hang_up(control: &dyn ExecControl) {
    for signal in [nix::libc::SIGHUP, nix::libc::SIGKILL] {
        if let Err(error) = control.signal(signal).await {
            tracing::debug!(%error, signal, "a process whose stream is over");
        }
        if timeout(KILL_AFTER, control.wait()).await.is_ok() {
            return;
        }
    }
    tracing::warn!("a process whose stream is over does not end");
}

/// Passes the input on. Returns when the stream is over.
async fn feed(stream: &Stream, mut stdin: Option<Writer>) -> Gone {
    loop {
        match stream.input().await {
            Ok(Input::Data(data)) => {
                if let Some(writer) = &mut stdin {
                    let written = async {
                        writer.write_all(&data).await?;
                        writer.flush().await
                    };
                    if let Err(error) = written.await {
                        tracing::debug!(%error, "a process takes no more input");
                        stdin = None;
                    }
                }
                stream.taken(data.len());
            }
            Ok(Input::End) => stdin = None,
            Err(gone) => return gone,
        }
    }
}

/// Resizes and signals. Returns when the stream is over.
async fn obey(stream: &Stream, control: &dyn ExecControl) -> Gone {
    loop {
        let done = match stream.order().await {
            Ok(Order::Resize(size)) => control.resize(size).await,
            Ok(Order::Signal(number)) => control.signal(number).await,
            Err(gone) => return gone,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "an order for a process");
        }
    }
}

/// Reads to the end, or until nothing comes after the process has ended.
async fn pump(
    stream: &Stream,
    mut from: impl AsyncRead + Unpin,
    channel: Channel,
    mut exited: watch::Receiver<bool>,
) -> Result<(), Gone> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(MAX_DATA_BYTES);
        let idle = async {
            if exited.wait_for(|exited| *exited).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(IDLE_AFTER_EXIT).await;
        };
        let read = tokio::select! {
            read = from.read_buf(&mut buffer) => read,
            () = idle => return Ok(()),
        };
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => stream.send(channel, buffer.split().freeze()).await?,
            Err(error) => {
                // A terminal whose last process has ended reads as an error.
                tracing::trace!(%error, "the end of a process's output");
                return Ok(());
            }
        }
    }
}

async fn connect(stream: Stream, connection: Box<dyn crate::environments::Connection>) {
    if stream.opened(None).is_err() {
        return;
    }
    let (from, mut to) = tokio::io::split(connection);
    let (_keep, never) = watch::channel(false);
    let input = async {
        loop {
            match stream.input().await {
                Ok(Input::Data(data)) => {
                    if to.write_all(&data).await.is_err() {
                        return;
                    }
                    stream.taken(data.len());
                }
                // Half closed: the answer may still come.
                Ok(Input::End) => {
                    if to.shutdown().await.is_err() {
                        return;
                    }
                }
                Err(Gone) => return,
            }
        }
    };
    tokio::select! {
        () = input => {}
        _ = pump(&stream, from, Channel::Output, never) => {}
    }
    stream.finish(Control::Exited { code: None, signal: None });
}
