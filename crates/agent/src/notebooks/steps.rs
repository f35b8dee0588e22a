//! The steps of a start as the page shows them, in their order.

use std::sync::{Mutex, PoisonError};

use domain::sessions::{Step, StepState};
use protocol::ProgressEvent;
use tokio_util::sync::CancellationToken;

use crate::{
    environments::{Cause, PrepareError, PrepareStep, StepEvent},
    progress::{self, Progress},
};

pub const ENVIRONMENT: &str = "environment";
pub const FILES: &str = "files";
pub const JUPYTER: &str = "jupyter";
pub const ORDER: [&str; 6] = [ENVIRONMENT, FILES, "root", "limits", "start", JUPYTER];

/// Why a run did not start.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub struct StartError {
    step: &'static str,
    #[source]
    cause: Cause,
    pub cancelled: bool,
}

impl From<PrepareError> for StartError {
    fn from(error: PrepareError) -> Self {
        Self { step: error.step.name(), cause: error.cause, cancelled: error.cancelled }
    }
}

impl StartError {
    pub fn new(step: &'static str, cause: impl Into<Cause>) -> Self {
        Self { step, cause: cause.into(), cancelled: false }
    }
}

pub struct Steps<'a> {
    steps: Mutex<Vec<Step>>,
    progress: Progress<'a>,
}

impl<'a> Steps<'a> {
    /// Tells all of them as pending.
    pub fn new(progress: Progress<'a>) -> Self {
        let steps: Vec<Step> = ORDER.into_iter().map(progress::pending).collect();
        for step in &steps {
            progress(ProgressEvent::Step(step.clone()));
        }
        Self { steps: Mutex::new(steps), progress }
    }

    pub fn output(&self, bytes: &[u8]) {
        progress::output(bytes, self.progress);
    }

    pub fn set(&self, name: &str, state: StepState, detail: Option<String>) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = steps.iter_mut().find(|step| step.name == name) {
            progress::advance(step, state, detail, self.progress);
        }
    }

    pub fn skip(&self, name: &str, why: &str) {
        self.set(name, StepState::Skipped, Some(why.to_owned()));
    }

    /// Those of the sandbox. Its baseline is no step of a notebook, and it has no set-up script.
    pub fn sandbox(&self, event: StepEvent) {
        let Some((step, state, detail)) = progress::change(event, self.progress) else { return };
        match step {
            PrepareStep::Root | PrepareStep::Limits | PrepareStep::Start => self.set(step.name(), state, detail),
            PrepareStep::Baseline | PrepareStep::SetUp => {}
        }
    }

    /// Does one step and tells of it; the value comes with the line that says what was done.
    pub async fn step<T, E: Into<Cause>>(
        &self,
        name: &'static str,
        cancel: &CancellationToken,
        work: impl Future<Output = Result<(T, String), E>>,
    ) -> Result<T, StartError> {
        self.set(name, StepState::Running, None);
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(StartError { step: name, cause: "cancelled".into(), cancelled: true }),
            done = work => done.map_err(|cause| StartError::new(name, cause)),
        };
        match outcome {
            Ok((value, detail)) => {
                self.set(name, StepState::Done, Some(detail));
                Ok(value)
            }
            Err(error) => {
                self.set(name, StepState::Failed, Some(error.cause.to_string()));
                Err(error)
            }
        }
    }
}
