//! What the kinds of environments share in doing one thing after the other, each with an end.

use std::{
    collections::BTreeSet,
    future::Future,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Cause, Check, PrepareError, PrepareStep, StepEvent, StepSink};

/// Runs one step: says that it began, and how it ended. The step's value comes with the line that says what was done.
pub async fn step<T, E: Into<Cause>>(
    steps: &StepSink,
    cancel: &CancellationToken,
    step: PrepareStep,
    work: impl Future<Output = Result<(T, String), E>>,
) -> Result<T, PrepareError> {
    steps.send(StepEvent::Began(step)).await;
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(PrepareError::cancelled(step)),
        done = work => done.map_err(|cause| PrepareError::new(step, cause)),
    };
    match outcome {
        Ok((value, detail)) => {
            steps.send(StepEvent::Done(step, detail)).await;
            Ok(value)
        }
        Err(error) => {
            steps.send(StepEvent::Failed(step, error.cause.to_string())).await;
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

/// The checks that are being worked on, by the environment's directory: one that hangs holds its thread for ever, and
/// each further try would hold one more.
static AT_WORK: Mutex<BTreeSet<(PathBuf, &'static str)>> = Mutex::new(BTreeSet::new());

struct AtWork(PathBuf, &'static str);

impl AtWork {
    fn all() -> MutexGuard<'static, BTreeSet<(PathBuf, &'static str)>> {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn begin(scratch: &Path, name: &'static str) -> Option<Self> {
        Self::all().insert((scratch.to_owned(), name)).then(|| Self(scratch.to_owned(), name))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        Self::all().remove(&(std::mem::take(&mut self.0), self.1));
    }
}

/// One check of the environment in `scratch`, or a failed one if it hangs.
pub async fn within(
    scratch: &Path,
    name: &'static str,
    limit: Duration,
    work: impl FnOnce() -> Check + Send + 'static,
) -> Check {
    let Some(at_work) = AtWork::begin(scratch, name) else {
        return Check::new(name, false, "still hangs since an earlier try");
    };
    let hung = || Check::new(name, false, format!("hangs: not done after {} s", limit.as_secs()));
    let work = move || {
        let check = work();
        drop(at_work);
        check
    };
    blocking(limit, work).await.unwrap_or_else(hung)
}
