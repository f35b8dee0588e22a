//! The set-up scripts of an environment: the machine's own, then the reservation's.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Cause, DEFAULT_SETUP_TIMEOUT, Environment, ExecSpec, Exit, PrepareError, PrepareSpec, PrepareStep, Running,
    StepEvent, StepSink,
};

/// The most output of one set-up that is passed on, bytes; the script runs on, the rest is dropped.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;
/// How long after a script's end its output is still read, if something else holds the pipes open.
const LAST_OUTPUT_LIMIT: Duration = Duration::from_millis(100);

/// Runs the scripts one after the other; the first that fails ends the preparing.
pub(super) async fn run(
    environment: &dyn Environment,
    running: &Running,
    spec: &PrepareSpec,
    steps: &StepSink,
    cancel: &CancellationToken,
) -> Result<(), PrepareError> {
    let step = PrepareStep::SetUp;
    let scripts: Vec<&String> = spec.machine.setup.iter().chain(&spec.asked.setup).collect();
    if scripts.is_empty() {
        steps.send(StepEvent::Skipped(step, "no set-up script".to_owned())).await;
        return Ok(());
    }
    steps.send(StepEvent::Began(step)).await;
    let limit = spec.asked.setup_timeout_s.map_or(DEFAULT_SETUP_TIMEOUT, |s| Duration::from_secs(s.into()));
    let deadline = Instant::now() + limit;
    for script in scripts {
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(PrepareError::cancelled(step)),
            done = timeout_at(deadline, one(environment, running, script, steps)) => match done {
                Ok(Ok(Exit::Code(0))) => Ok(()),
                Ok(Ok(Exit::Code(code))) => Err(PrepareError::new(step, format!("the set-up script ended with {code}"))),
                Ok(Ok(Exit::Signal(signal))) => {
                    Err(PrepareError::new(step, format!("the set-up script was ended by signal {signal}")))
                }
                Ok(Err(cause)) => Err(PrepareError::new(step, cause)),
                Err(_elapsed) => {
                    Err(PrepareError::new(step, format!("the set-up script took longer than {} s", limit.as_secs())))
                }
            },
        };
        if let Err(error) = outcome {
            steps.send(StepEvent::Failed(step, error.cause.to_string())).await;
            return Err(error);
        }
    }
    steps.send(StepEvent::Done(step, "set up".to_owned())).await;
    Ok(())
}

async fn one(environment: &dyn Environment, running: &Running, script: &str, steps: &StepSink) -> Result<Exit, Cause> {
    let spec = ExecSpec::new(["/bin/sh", "-ec", script]);
    let mut handle = environment.exec(running, spec).await?;
    handle.stdin = None;
    let mut stdout = handle.stdout;
    let stderr = handle.stderr;
    let errors = async {
        match stderr {
            Some(mut stderr) => pass_on(&mut stderr, steps).await,
            None => Ok(()),
        }
    };
    // A process that the script left in the background may keep the pipes open; the script's own end is what counts.
    let output = async { tokio::try_join!(pass_on(&mut stdout, steps), errors) };
    tokio::pin!(output);
    let exit = tokio::select! {
        exit = handle.control.wait() => {
            // What the script wrote last is already in the pipes.
            let _ = tokio::time::timeout(LAST_OUTPUT_LIMIT, &mut output).await;
            exit
        }
        read = &mut output => match read {
            Ok(_) => handle.control.wait().await,
            Err(error) => Err(error),
        },
    };
    exit.map_err(Cause::from)
}

async fn pass_on(reader: &mut (dyn AsyncRead + Send + Sync + Unpin), steps: &StepSink) -> std::io::Result<()> {
    let mut passed = 0;
    let mut chunk = vec![0u8; CHUNK_BYTES];
    loop {
        let length = reader.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        if passed < MAX_OUTPUT_BYTES {
            passed += length;
            steps.send(StepEvent::Output(PrepareStep::SetUp, chunk[..length].to_vec())).await;
        }
    }
}
