//! What is at the end of a stream: a process, a terminal, or a socket in a session's environment.

use std::sync::Arc;

use bytes::BytesMut;
use protocol::tunnel::{Control, Door, MAX_DATA_BYTES, Open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Reach,
    mux::{Channel, Gone, Input, Stream},
    programs::{ProgramError, Programs, not_run},
    terminals::Terminals,
};
use crate::{
    environments::{ExecError, ExecSpec, Exit},
    objects::Objects,
};

/// Between a stream and what serves it.
const BUFFER_BYTES: usize = 64 * 1024;

/// What outlives its stream.
#[derive(Default)]
pub struct Held {
    terminals: Arc<Terminals>,
    programs: Programs,
}

pub async fn serve(stream: Stream, open: Open, reach: Arc<Reach>, held: Arc<Held>) {
    let refuse = |why: String| stream.finish(Control::Refused { why });
    if let (Open::Objects { door, deployment: _ }, Some(objects)) = (&open, &reach.objects) {
        return match objects.admit(*door) {
            Some(_under_way) => to_objects(stream, objects, *door).await,
            None => refuse("this host is being stopped".to_owned()),
        };
    }
    let (environment, running) = match reach.running(&open) {
        Ok(found) => found,
        Err(error) => return refuse(error.to_string()),
    };
    match open {
        Open::Exec { session, argv, env, cwd, terminal, lasting } => {
            let start = environment.exec(&running, ExecSpec { argv, env, cwd, terminal });
            match held.programs.start(session, lasting, start).await {
                Ok(program) => Box::pin(program.attend(stream, lasting, terminal, &held.programs)).await,
                Err(ProgramError::Exec(error @ ExecError::Program { .. })) => not_run(&stream, &error).await,
                Err(error) => refuse(error.to_string()),
            }
        }
        Open::Copy { session, transfer } => {
            match held.programs.start(session, None, environment.copy(&running, transfer)).await {
                Ok(program) => Box::pin(program.attend(stream, None, None, &held.programs)).await,
                Err(error) => refuse(error.to_string()),
            }
        }
        Open::Terminal { session, attach: Some(id), size } => match held.terminals.find(id, session) {
            Some(terminal) => terminal.show(&stream, size).await,
            None => refuse(
                "that terminal has ended: its shell was left, or the host's agent was restarted; open a new one"
                    .to_owned(),
            ),
        },
        Open::Terminal { session, attach: None, size } => {
            match held.terminals.open(session, size, &*environment, &running).await {
                Ok(terminal) => terminal.show(&stream, size).await,
                Err(error) => refuse(error.to_string()),
            }
        }
        Open::Objects { door: _, deployment: _ } => refuse(super::ReachError::NoObjects.to_string()),
        Open::Connect { session: _, to } => match environment.connect(&running, &to).await {
            Ok(connection) => connect(stream, connection).await,
            Err(error) => refuse(error.to_string()),
        },
    }
}

pub(super) fn exited(exit: Result<Exit, &std::io::Error>) -> Control {
    match exit {
        Ok(Exit::Code(code)) => Control::Exited { code: Some(code), signal: None },
        Ok(Exit::Signal(signal)) => Control::Exited { code: None, signal: Some(signal) },
        Err(error) => Control::Reset { why: format!("the end of the process was not seen: {error}") },
    }
}

/// The stream's bytes, as they are, are HTTP.
async fn to_objects(stream: Stream, objects: &Objects, door: Door) {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    // Both end when either does: the one finds the other's end of the pipe closed.
    tokio::join!(connect(stream, Box::new(near)), objects.serve(door, far));
}

async fn connect(stream: Stream, connection: Box<dyn crate::environments::Connection>) {
    if stream.opened(None, None).is_err() {
        return;
    }
    let (mut from, mut to) = tokio::io::split(connection);
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
    let output = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(MAX_DATA_BYTES);
            match from.read_buf(&mut buffer).await {
                Ok(1..) => stream.send(Channel::Output, buffer.split().freeze()).await?,
                Ok(0) | Err(_) => return Ok::<(), Gone>(()),
            }
        }
    };
    tokio::select! {
        () = input => {}
        _ = output => {}
    }
    stream.finish(Control::Exited { code: None, signal: None });
}
