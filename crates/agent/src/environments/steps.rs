//! What the kinds of environments share in doing one thing after the other, each with an end.

use std::{future::Future, time::Duration};

use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Check, PrepareError, PrepareStep, StepEvent, StepSink};

/// Runs one step: says that it began, and how it ended. The step's value comes with the line that says what was done.
pub async fn step<T>(
    steps: &StepSink,
    cancel: &CancellationToken,
    step: PrepareStep,
    work: impl Future<Output = Result<(T, String), String>>,
) -> Result<T, PrepareError> {
    steps.send(StepEvent::Began(step)).await;
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(PrepareError::cancelled(step)),
        done = work => done.map_err(|message| PrepareError::new(step, message)),
    };
    match outcome {
        Ok((value, detail)) => {
            steps.send(StepEvent::Done(step, detail)).await;
            Ok(value)
        }
        Err(error) => {
            steps.send(StepEvent::Failed(step, error.message.clone())).await;
            Err(error)
        }
    }
}

/// Runs blocking work on a thread of its own, which a hung file system may hold for ever without holding anything
/// else. None if it takes longer than `limit`.
pub async fn blocking<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("environment".to_owned())
        .spawn(move || {
            // Past the time limit nobody waits for it any more.
            drop(sender.send(work()));
        })
        .ok()?;
    timeout(limit, receiver).await.ok()?.ok()
}

/// The check, or a failed one if it hangs.
pub async fn within(name: &'static str, limit: Duration, work: impl FnOnce() -> Check + Send + 'static) -> Check {
    let hung = || Check::new(name, false, format!("hangs: not done after {} s", limit.as_secs()));
    blocking(limit, work).await.unwrap_or_else(hung)
}
