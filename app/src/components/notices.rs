//! What a person has to know of wherever they are in the portal: that a notebook of theirs stops, or was stopped, as nobody uses
//! it.

use std::collections::HashSet;

use api::notebooks::Notebook;
use domain::events::EventKind;
use jiff::SignedDuration;
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use uuid::Uuid;

use super::icon::Icon;
use super::time::{Prose, Time, at};
use crate::Failure;
use crate::clock::browser_time;
use crate::functions::{Submission, SubmitForm};
use crate::live::use_live;

/// A stop is told for this long.
const TOLD_FOR: SignedDuration = SignedDuration::from_mins(30);

#[server(prefix = "/fn", endpoint = "notebooks-notices", input = leptos::server_fn::codec::Json)]
async fn notices() -> Result<Vec<Notebook>, Failure> {
    use domain::notebooks::{IDLE_CAUSE, NotebookState};
    let (services, call) = crate::server::asked()?;
    let ask = services::notebooks::ListAsk::default();
    let own = services::notebooks::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    let was_idle = |notebook: &Notebook| {
        let cause = notebook.cause.as_deref().unwrap_or_default();
        notebook.state == NotebookState::Stopped && cause.starts_with(IDLE_CAUSE)
    };
    let is_told = |notebook: &Notebook| notebook.stops_at.is_some() || was_idle(notebook);
    let own = crate::server::page(own, |notebook| Notebook::new(notebook, &call.actor)).items;
    Ok(own.into_iter().filter(is_told).collect())
}

#[server(prefix = "/fn", endpoint = "notebooks-keep")]
pub async fn keep(notebook: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::notebooks::keep(&services, &call, &notebook).await.map(|_| ()).map_err(crate::server::failure)
}

/// What happened may be told anew in the browser alone: the server does not know how long ago it was read.
fn is_fresh(notebook: &Notebook) -> bool {
    let since = at(&notebook.since).zip(browser_time());
    since.is_some_and(|(since, now)| now.duration_since(since) < TOLD_FOR)
}

/// When it stops, since when nothing runs in it, and the button against that:
///
/// ```text
/// <IdleNotice notebook keeping=Submission::<Keep>::new()/>
/// ```
#[component]
pub fn IdleNotice(notebook: Notebook, keeping: Submission<Keep>) -> impl IntoView {
    let Notebook { name, stops_at, active_at, since, access, .. } = notebook;
    let idle_since = active_at.as_deref().and_then(at).or_else(|| at(&since));
    let may_keep = access == Some(domain::notebooks::Access::Full);
    stops_at.as_deref().and_then(at).map(|stops_at| {
        view! {
            <div class="notice warn">
                <Icon name="warning"/>
                <span>
                    <a href=format!("/notebooks/{name}")>{name.clone()}</a>" stops at "<Time at=stops_at/>
                    {idle_since.map(|at| view! { ", as nothing has run in it since "<Time at/> })}
                    ". Its files are kept."
                </span>
                {may_keep.then(|| view! {
                    <SubmitForm to=keeping>
                        <input type="hidden" name="notebook" value=name.clone()/>
                        <button type="submit" class="button small" aria-label=format!("Keep running: {name}") disabled=move || keeping.pending().get()>"Keep running"</button>
                    </SubmitForm>
                })}
            </div>
        }
    })
}

/// Between the top bar and the page, once the page is alive.
#[component]
pub fn Notices() -> impl IntoView {
    let live = use_live(&[EventKind::Notebook]);
    let keeping = Submission::<Keep>::new();
    let path = use_location().pathname;
    let told = RwSignal::new(Vec::<Notebook>::new());
    let closed = RwSignal::new(HashSet::<Uuid>::new());
    Effect::new(move || {
        live.get();
        keeping.answered();
        leptos::task::spawn_local(async move {
            // Without an answer what is shown stays; the banner of the stream says that the server is away.
            if let Ok(found) = notices().await {
                told.set(found);
            }
        });
    });
    let shown = Memo::new(move |_| {
        let is_shown = |notebook: &&Notebook| notebook.stops_at.is_some() || is_fresh(notebook);
        let is_open = |notebook: &&Notebook| closed.with(|closed| !closed.contains(&notebook.id));
        // Its own page says it itself.
        let is_elsewhere = |notebook: &&Notebook| path.with(|path| *path != format!("/notebooks/{}", notebook.name));
        told.with(|told| told.iter().filter(is_shown).filter(is_open).filter(is_elsewhere).cloned().collect::<Vec<_>>())
    });
    view! {
        <div role="status" class="notices">
            {move || shown.get().into_iter().map(|notebook| match notebook.stops_at {
                Some(_) => view! { <IdleNotice notebook keeping/> }.into_any(),
                None => view! { <Stopped notebook closed/> }.into_any(),
            }).collect_view()}
        </div>
    }
}

#[component]
fn Stopped(notebook: Notebook, closed: RwSignal<HashSet<Uuid>>) -> impl IntoView {
    let Notebook { id, name, cause, .. } = notebook;
    view! {
        <div class="notice">
            <Icon name="stop"/>
            <span>
                <a href=format!("/notebooks/{name}")>{name.clone()}</a>" was stopped: "<Prose text=cause.unwrap_or_default()/>". Its files are kept."
            </span>
            <button type="button" class="button small quiet" aria-label=format!("Close the notice of {name}")
                on:click=move |_| closed.update(|closed| { closed.insert(id); })>"Close"</button>
        </div>
    }
}
