//! Errors, as a person should see them.

use api::Problem;
use domain::access::Action;
use leptos::prelude::*;
use leptos_meta::Title;

use super::copy::CopyButton;
use super::empty::Empty;
use super::icon::Icon;
use super::time::{Prose, Time};
use crate::Failure;

/// What happened, whether one's thing is safe, what next, and the request's id to copy. Stands beside the thing:
///
/// ```text
/// {failure_of(move || acting.failure())}
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
    // The list says it with the reader's own times.
    let detail = held.is_none().then(|| view! { <p><Prose text=sentence(&detail)/></p> });
    let request = request_id.map(|id| view! { <RequestId id/> });
    view! {
        <div class="problem" role="alert">
            <Icon name="error"/>
            <div class="body">
                <strong>{title}</strong>
                {detail}
                {held}
                {free}
                {request}
            </div>
        </div>
    }
}

/// As people write: programs get it without a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let Some(first) = letters.next() else { return String::new() };
    let mut out: String = first.to_uppercase().chain(letters).collect();
    if !out.ends_with(['.', '!', '?', '…']) {
        out.push('.');
    }
    out
}

/// What the log names the request, to hand to an operator.
#[component]
fn RequestId(id: String) -> impl IntoView {
    view! {
        <div class="request">
            "Request " <code>{id.clone()}</code>
            <CopyButton text=Signal::stored(id) what="the request's id"/>
        </div>
    }
}

/// In the place of what a page is about, where it cannot be shown: what happened, whether anything is lost, what next.
#[component]
pub fn FailurePage(failure: Failure) -> impl IntoView {
    let Problem { title, detail, status, request_id, .. } = failure.0;
    let (icon, heading, next) = match status {
        404 => ("search", "This is not here", "It may have been deleted, or the link is incomplete."),
        401 | 403 => ("blocked", "This is not for you to see", "If you need it, ask an admin of your tenant."),
        500.. => (
            "warning",
            "The server cannot show this now",
            "Nothing was changed, and what runs goes on. Try again in a moment; if it stays, hand the request's id to an operator.",
        ),
        _ => ("error", "This cannot be shown", "Check the address and the filters."),
    };
    let retry = status >= 500;
    view! {
        <Empty icon title=heading>
            <p>{sentence(if detail.is_empty() { &title } else { &detail })}</p>
            <p>{next}</p>
            <div class="row">
                // The same address anew, from the server.
                {retry.then(|| view! { <a class="button primary" href="" rel="external"><Icon name="refresh"/>"Try again"</a> })}
                <a class="button" href="/">"Go to the first page"</a>
            </div>
            {request_id.filter(|_| retry).map(|id| view! { <RequestId id/> })}
        </Empty>
    }
}

/// A page that the viewer's role does not open.
#[component]
pub fn Denied(title: String, action: Action) -> impl IntoView {
    #[cfg(feature = "ssr")]
    if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
        response.set_status(http::StatusCode::FORBIDDEN);
    }
    let rule = action.rule();
    let least = [rule.own, rule.tenant].into_iter().flatten().min();
    let who = least.map_or_else(|| "others".to_owned(), |role| format!("{}s", role.word()));
    view! {
        <Title text=title.clone()/>
        <header class="page-head"><h1 tabindex="-1">{title}</h1></header>
        <Empty icon="blocked" title=format!("This page is for {who}")>
            <p>"If your work needs it, ask an admin of your tenant for the role. Everything that is yours is on the first page."</p>
            <a class="button" href="/">"Go to the first page"</a>
        </Empty>
    }
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn a_detail_becomes_a_sentence() {
        assert_eq!(sentence("there is no machine 'x'"), "There is no machine 'x'.");
        assert_eq!(sentence("Nothing was changed."), "Nothing was changed.");
        assert_eq!(sentence("ärger"), "Ärger.");
        assert_eq!(sentence(""), "");
    }
}
