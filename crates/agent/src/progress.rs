//! What is told of work under way: its steps, and what its programs write.

use domain::sessions::{Step, StepState};
use protocol::ProgressEvent;

use crate::{
    clock,
    environments::{PrepareStep, StepEvent},
};

pub(crate) type Progress<'a> = &'a (dyn Fn(ProgressEvent) + Send + Sync);

/// How much of what a step says is kept as its detail: the end of it, bytes.
const DETAIL_BYTES: usize = 4 * 1024;

pub(crate) fn pending(name: &str) -> Step {
    Step { name: name.to_owned(), state: StepState::Pending, started_at: None, ended_at: None, detail: None }
}

/// Brings a step to a state, and tells it.
pub(crate) fn advance(step: &mut Step, state: StepState, detail: Option<String>, progress: Progress<'_>) {
    let now = clock::now();
    step.state = state;
    match state {
        StepState::Running => step.started_at = Some(now),
        StepState::Done | StepState::Failed | StepState::Skipped => step.ended_at = Some(now),
        StepState::Pending => {}
    }
    if let Some(detail) = detail.filter(|detail| !detail.is_empty()) {
        step.detail = Some(tail(detail));
    }
    progress(ProgressEvent::Step(step.clone()));
}

pub(crate) fn output(bytes: &[u8], progress: Progress<'_>) {
    for piece in bytes.chunks(protocol::MAX_PROGRESS_BYTES) {
        progress(ProgressEvent::Stdout(piece.to_vec()));
    }
}

/// The step that an event of preparing is about, and what becomes of it; output of a step is told at once and changes none.
pub(crate) fn change(event: StepEvent, progress: Progress<'_>) -> Option<(PrepareStep, StepState, Option<String>)> {
    match event {
        StepEvent::Began(step) => Some((step, StepState::Running, None)),
        StepEvent::Done(step, detail) => Some((step, StepState::Done, Some(detail))),
        StepEvent::Failed(step, detail) => Some((step, StepState::Failed, Some(detail))),
        StepEvent::Skipped(step, detail) => Some((step, StepState::Skipped, Some(detail))),
        StepEvent::Output(_, bytes) => {
            output(&bytes, progress);
            None
        }
    }
}

/// The end of a long text, cut at a character.
pub(crate) fn tail(text: String) -> String {
    let Some(over) = text.len().checked_sub(DETAIL_BYTES).filter(|over| *over > 0) else { return text };
    let from = (over..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("…{}", &text[from..])
}
