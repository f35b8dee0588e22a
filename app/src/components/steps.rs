//! The steps of a long operation, as they go.

use api::sessions::Step;
use domain::sessions::StepState;
use leptos::prelude::*;

use super::icon::Icon;
use super::status::Badge;
use super::time::{Elapsed, at};

/// `<Steps steps=session.steps label="Preparing"/>`: each with its state, its time, and what there is to know of it.
#[component]
pub fn Steps(steps: Vec<Step>, #[prop(into)] label: String) -> impl IntoView {
    let items = steps.into_iter().map(|step| {
        let badge = Badge::from(step.state);
        let detail = step.detail.map(|detail| {
            // More than a line is output.
            if detail.contains('\n') {
                view! { <pre class="output" tabindex="0">{detail}</pre> }.into_any()
            } else {
                view! { <span class="step-detail">{detail}</span> }.into_any()
            }
        });
        let class = match step.state {
            StepState::Pending => "step pending",
            StepState::Running => "step running",
            StepState::Done => "step done",
            StepState::Failed => "step failed",
            StepState::Skipped => "step skipped",
        };
        view! {
            <li class=class aria-current=(step.state == StepState::Running).then_some("step")>
                <Icon name=badge.icon/>
                <span class="step-name">{step.name}<span class="visually-hidden">": "{badge.word}</span></span>
                <span class="step-time">
                    {step.started_at.as_deref().and_then(at).map(|from| view! { <Elapsed from to=step.ended_at.as_deref().and_then(at)/> })}
                </span>
                {detail}
            </li>
        }
    });
    view! { <ol class="steps" role="list" aria-label=label>{items.collect_view()}</ol> }
}
