//! Errors, as a person should see them.

use api::Problem;
use leptos::prelude::*;

use super::copy::CopyButton;
use super::icon::Icon;
use super::time::Time;
use crate::Failure;

/// What happened, whether one's thing is safe, what next, and the request's id to copy. Stands beside the thing:
///
/// ```text
/// {move || action.value().get().and_then(Result::err).map(|failure| view! { <FailurePanel failure/> })}
/// ```
#[component]
pub fn FailurePanel(failure: Failure) -> impl IntoView {
    view! { <ProblemPanel problem=failure.0/> }
}

/// As [`FailurePanel`], of a problem; an overlap tells who holds the machine and when it is free.
#[component]
pub fn ProblemPanel(problem: Problem) -> impl IntoView {
    let Problem { title, detail, request_id, held_by, next_free, .. } = problem;
    let held = held_by.filter(|held| !held.is_empty()).map(|held| {
        let items = held.into_iter().map(|held| {
            view! {
                <li>
                    <strong>{held.machine}</strong>": "{held.person}" until "
                    {held.end.parse().ok().map(|at| view! { <Time at/> })}
                </li>
            }
        });
        view! { <ul>{items.collect_view()}</ul> }
    });
    let free = next_free.filter(|slots| !slots.is_empty()).map(|slots| {
        let items = slots.into_iter().filter_map(|slot| {
            let (start, end) = (slot.start.parse().ok()?, slot.end.parse().ok()?);
            Some(view! { <li><Time at=start/>" to "<Time at=end/></li> })
        });
        view! { <div><p>"Free next:"</p><ul>{items.collect_view()}</ul></div> }
    });
    let request = request_id.map(|id| {
        view! {
            <div class="request">
                "Request " <code>{id.clone()}</code>
                <CopyButton text=Signal::stored(id) what="the request's id"/>
            </div>
        }
    });
    view! {
        <div class="problem" role="alert">
            <Icon name="error"/>
            <div class="body">
                <strong>{title}</strong>
                <p>{detail}</p>
                {held}
                {free}
                {request}
            </div>
        </div>
    }
}
