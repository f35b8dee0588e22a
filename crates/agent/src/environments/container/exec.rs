//! A process in a container, by the engine's exec. The engine's stream is read here and not by the client library,
//! which takes the first byte of a terminal's output for a frame's header.

use std::{io, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bollard::{Docker, models::ExecConfig, query_parameters::ResizeExecOptionsBuilder};
use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE},
};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split},
    net::UnixStream,
    sync::{mpsc, watch},
};

use super::{
    super::{
        ExecControl, ExecError, ExecHandle, ExecSpec, Exit, Size,
        baseline::MARKER,
        namespace::{Kind, Likeness, Namespace},
    },
    Instance,
    error::{EngineError, Operation},
};

/// Bytes that may wait between the engine and a slow reader; then the program waits.
const BUFFER_BYTES: usize = 64 * 1024;
/// How often the engine is asked whether a process has ended that left its output open.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The engine says a moment later than its stream that a process has ended.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How often a terminal is resized again that the engine has not made yet.
const RESIZE_TRIES: usize = 50;

/// Starts a program in the container.
pub(super) async fn exec(
    engine: Docker,
    socket: &Path,
    instance: Arc<Instance>,
    spec: ExecSpec,
) -> Result<ExecHandle, ExecError> {
    spec.check()?;
    let program = spec.argv.first().cloned().unwrap_or_default();
    let tty = spec.terminal.is_some();
    let mut env =
        vec![format!("{MARKER}={}", instance.identity.session), format!("BERTH_MACHINE={}", instance.machine)];
    env.extend(instance.variables.0.iter().map(|(key, value)| format!("{key}={value}")));
    if tty {
        env.extend(["TERM=xterm-256color".to_owned(), "COLORTERM=truecolor".to_owned()]);
    }
    env.extend(spec.env.iter().map(|(key, value)| format!("{key}={value}")));
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(tty),
        console_size: spec.terminal.map(|size| vec![size.rows.into(), size.columns.into()]),
        env: Some(env),
        cmd: Some(spec.argv),
        working_dir: spec.cwd,
        ..ExecConfig::default()
    };
    let created = engine.create_exec(&instance.name, config).await.map_err(EngineError::of(Operation::CreateExec));
    let created = created.map_err(|error| ExecError::Enter(error.into()))?;
    let stream = attach(socket, &created.id, tty).await.map_err(|error| refused(&program, error))?;
    let (reading, writing) = split(stream);
    let (stdin, input) = duplex(BUFFER_BYTES);
    let (output, stdout) = duplex(BUFFER_BYTES);
    let (errors, stderr) = duplex(BUFFER_BYTES);
    let (signals, signal_queue) = mpsc::channel(8);
    let (end, ended) = watch::channel(None);
    let attended = Attended { engine: engine.clone(), id: created.id.clone(), instance };
    // They end with the process, or when the engine closes the stream; with the handle's drop it is hung up.
    tokio::spawn(send_input(input, writing, tty));
    tokio::spawn(async move {
        let pumping =
            async move { if tty { raw(reading, output).await } else { demultiplex(reading, output, errors).await } };
        attended.attend(pumping, signal_queue, end).await;
    });
    let control = Arc::new(Control { engine, id: created.id, signals, ended, tty });
    if let Some(size) = spec.terminal {
        control.first_size(size).await;
    }
    Ok(ExecHandle {
        stdin: Some(Box::pin(stdin)),
        stdout: Box::pin(stdout),
        stderr: if tty { None } else { Some(Box::pin(stderr)) },
        control,
    })
}

/// What the engine says of a program that it cannot start.
fn refused(program: &str, error: io::Error) -> ExecError {
    let text = error.to_string();
    if text.contains("not found") || text.contains("no such file") {
        ExecError::Program { program: program.to_owned(), source: io::ErrorKind::NotFound.into() }
    } else if text.contains("permission denied") {
        ExecError::Program { program: program.to_owned(), source: io::ErrorKind::PermissionDenied.into() }
    } else {
        ExecError::Enter(error.into())
    }
}

/// Starts the process and takes the connection over for its bytes.
async fn attach(socket: &Path, id: &str, tty: bool) -> io::Result<TokioIo<hyper::upgrade::Upgraded>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends when the connection is taken over or lost.
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(format!("/exec/{id}/start"))
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(Full::new(Bytes::from(format!("{{\"Detach\":false,\"Tty\":{tty}}}"))))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        return Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
    }
    Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(io::Error::other)?))
}

async fn send_input(mut input: DuplexStream, mut writing: impl AsyncWrite + Unpin, tty: bool) {
    // A program that has ended reads no more; what else was typed is nobody's.
    let sent = tokio::io::copy(&mut input, &mut writing).await;
    if sent.is_ok() && !tty {
        drop(writing.shutdown().await);
    }
}

async fn raw(mut reading: impl AsyncRead + Unpin, mut output: DuplexStream) -> io::Result<()> {
    tokio::io::copy(&mut reading, &mut output).await.map(|_| ())
}

/// Frames of 8 bytes' head (kind, 3 zeros, length) and payload.
async fn demultiplex(
    mut reading: impl AsyncRead + Unpin,
    mut output: DuplexStream,
    mut errors: DuplexStream,
) -> io::Result<()> {
    loop {
        let mut head = [0u8; 8];
        match reading.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let length = u64::from(u32::from_be_bytes([head[4], head[5], head[6], head[7]]));
        let mut payload = (&mut reading).take(length);
        let to = if head[0] == 2 { &mut errors } else { &mut output };
        if tokio::io::copy(&mut payload, to).await.is_err() {
            // The reader has closed its end; the rest has to be read for the other stream's sake.
            tokio::io::copy(&mut payload, &mut tokio::io::sink()).await?;
        }
    }
}

/// How it ended; the error is shared by all who wait.
type Ended = Option<Result<Exit, Arc<ExitUnseen>>>;

/// Why nobody can say how a process ended.
#[derive(Debug, thiserror::Error)]
enum ExitUnseen {
    #[error("the engine knows no exit code")]
    NoCode,
    #[error(transparent)]
    Engine(EngineError),
}

struct Attended {
    engine: Docker,
    id: String,
    instance: Arc<Instance>,
}

impl Attended {
    async fn attend(
        self,
        pumping: impl Future<Output = io::Result<()>>,
        mut signals: mpsc::Receiver<i32>,
        end: watch::Sender<Ended>,
    ) {
        let mut open = true;
        let mut connected = true;
        let mut pause = ASK_EVERY;
        tokio::pin!(pumping);
        loop {
            tokio::select! {
                _ = &mut pumping, if open => {
                    open = false;
                    pause = ASK_AGAIN;
                }
                signal = signals.recv(), if connected => {
                    let number = signal.unwrap_or_else(|| Signal::HUP.as_raw());
                    connected = signal.is_some();
                    self.kill(number).await;
                    continue;
                }
                () = tokio::time::sleep(pause) => {}
            }
            match self.engine.inspect_exec(&self.id).await {
                Ok(state) if state.running == Some(true) => {}
                Ok(state) => {
                    let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
                    end.send_replace(Some(code.map(Exit::Code).ok_or_else(|| Arc::new(ExitUnseen::NoCode))));
                    break;
                }
                Err(error) => {
                    let error = EngineError::of(Operation::InspectExec)(error);
                    end.send_replace(Some(Err(Arc::new(ExitUnseen::Engine(error)))));
                    break;
                }
            }
        }
        if open {
            // Something that the process left behind holds its output; whoever reads goes on reading.
            drop(pumping.await);
        }
    }

    /// The engine's API has no signal for an exec; its process is on this host.
    async fn kill(&self, number: i32) {
        let Some(signal) = Signal::from_named_raw(number) else { return };
        let Ok(state) = self.engine.inspect_exec(&self.id).await else { return };
        let Some(pid) = state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1) else { return };
        let known = &self.instance.identity.namespaces;
        let inside = Namespace::of(pid, Kind::Pid).is_ok_and(|namespace| namespace.among(known) >= Likeness::Number);
        if let (true, Some(pid)) = (inside && state.running == Some(true), Pid::from_raw(pid)) {
            // It may have ended at this moment.
            let _ = kill_process(pid, signal);
        }
    }
}

struct Control {
    engine: Docker,
    id: String,
    signals: mpsc::Sender<i32>,
    ended: watch::Receiver<Ended>,
    tty: bool,
}

impl Control {
    /// The terminal is made a moment after the engine has answered.
    async fn first_size(&self, size: Size) {
        for _ in 0..RESIZE_TRIES {
            if self.resize(size).await.is_ok() || self.ended.borrow().is_some() {
                return;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        tracing::warn!(exec = %self.id, "the terminal's size could not be set");
    }
}

#[async_trait]
impl ExecControl for Control {
    async fn resize(&self, size: Size) -> io::Result<()> {
        if !self.tty {
            return Ok(());
        }
        let options = ResizeExecOptionsBuilder::new().h(size.rows.into()).w(size.columns.into()).build();
        self.engine.resize_exec(&self.id, options).await.map_err(io::Error::other)
    }
    async fn signal(&self, signal: i32) -> io::Result<()> {
        if !(1..=31).contains(&signal) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if self.signals.send(signal).await.is_err() {
            tracing::debug!(exec = %self.id, signal, "the process has ended and needs no signal");
        }
        Ok(())
    }
    async fn wait(&self) -> io::Result<Exit> {
        let mut ended = self.ended.clone();
        let outcome = ended.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        outcome.unwrap_or_else(|| Err(Arc::new(ExitUnseen::NoCode))).map_err(io::Error::other)
    }
}
