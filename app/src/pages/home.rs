//! Now and next: what runs of mine, what comes, what is free, what needs me.

use api::machines::Machine;
use api::sessions::Session;
use domain::access::Action;
use domain::events::EventKind;
use domain::machines::MachineState;
use domain::sessions::SessionState;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::book::BookNow;
use super::sessions::SessionTable;
use super::team::{Look, TeamNow};
use crate::Failure;
use crate::clock::use_beat;
use crate::components::empty::Empty;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::follow;
use crate::components::tags::Tags;
use crate::functions::Data;
use crate::live::use_live;
use crate::viewer::use_viewer;

/// Beats of the page between two looks at how much is used.
const MINUTE_BEATS: u64 = 12;
const FREE_SHOWN: usize = 6;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Now {
    sessions: Vec<Session>,
    machines: Vec<Machine>,
}

#[server(prefix = "/fn", endpoint = "home-now", input = leptos::server_fn::codec::Json)]
async fn now_and_next() -> Result<Now, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let mine = services::sessions::ListAsk::default();
    let sessions = services::sessions::list(&services, &call, &mine).await.map_err(refuse)?;
    let page = services::page::PageAsk { limit: Some(services::page::MAX_LIMIT), cursor: None };
    let all = services::machines::ListAsk { page, ..services::machines::ListAsk::default() };
    let machines = services::machines::list(&services, &call, &all).await.map_err(refuse)?;
    let sessions = crate::server::page(sessions, |session| Session::new(session, &call.actor)).items;
    let machines = crate::server::page(machines, |live| Machine::new(live, &call.actor)).items;
    Ok(Now { sessions: sessions.into_iter().filter(|session| !session.state.is_final()).collect(), machines })
}

#[component]
pub fn Home() -> impl IntoView {
    let live = use_live(&[EventKind::Machine, EventKind::Session, EventKind::Reservation, EventKind::Host]);
    let now = Data::new(|| NowAndNext {}, move || live.get());
    let beat = use_beat();
    let manages = use_viewer().is_some_and(|viewer| viewer.may_for_all(Action::SessionsRead));
    let everybody = manages.then(|| Data::new(|| Look {}, move || live.get() + beat.get() / MINUTE_BEATS));
    view! {
        <Page title="Now and next" lede="What is yours, and what is free."
            actions=|| view! { <a class="button primary" href="/reserve"><Icon name="plus"/>"Reserve"</a> }>
            {follow(now, move |now| view! { <Mine now/> }.into_any())}
            {everybody.map(|team| view! { <TeamNow team/> })}
            {follow(now, move |now| view! { <FreeNow now/> }.into_any())}
        </Page>
    }
}

/// How many machines are in each state, and what is one's own.
#[component]
fn Mine(now: Signal<Now>) -> impl IntoView {
    let of = move |wanted: fn(SessionState) -> bool| {
        now.with(|now| now.sessions.iter().filter(|session| wanted(session.state)).cloned().collect::<Vec<_>>())
    };
    let running = Memo::new(move |_| of(|state| state != SessionState::Scheduled));
    let coming = Memo::new(move |_| {
        let mut coming = of(|state| state == SessionState::Scheduled);
        coming.sort_by(|one, other| one.start.cmp(&other.start));
        coming
    });
    view! {
        <Figures now/>
        <section class="column" aria-labelledby="running">
            <h2 id="running">"Running now"</h2>
            {move || {
                let running = running.get();
                if running.is_empty() {
                    view! {
                        <Empty icon="sessions" title="Nothing of yours runs">
                            <p>"Book a free machine below for now, or one ahead of time."</p>
                            <a class="button" href="/machines">"See all machines"</a>
                        </Empty>
                    }.into_any()
                } else {
                    view! { <SessionTable sessions=running caption="Your sessions that run now"/> }.into_any()
                }
            }}
        </section>
        {move || {
            let coming = coming.get();
            (!coming.is_empty()).then(|| view! {
                <section class="column" aria-labelledby="coming">
                    <h2 id="coming">"Booked"</h2>
                    <SessionTable sessions=coming caption="Your next bookings"/>
                </section>
            })
        }}
    }
}

/// Machines by state; each number leads to the list of them.
#[component]
fn Figures(now: Signal<Now>) -> impl IntoView {
    let count = move |states: &'static [MachineState]| {
        now.with(|now| now.machines.iter().filter(|machine| states.contains(&machine.state)).count())
    };
    let dirty = Memo::new(move |_| count(&[MachineState::Quarantined]));
    let figure = move |word: &'static str, state: &'static str, states: &'static [MachineState]| {
        view! {
            <div class="figure">
                <dt><a href=format!("/machines?state={state}")>{word}</a></dt>
                <dd>{move || count(states)}</dd>
            </div>
        }
    };
    view! {
        {move || (dirty.get() > 0).then(|| view! {
            <div class="notice warn" role="status">
                <Icon name="warning"/>
                <span>{match dirty.get() {
                    1 => "1 machine is in quarantine, until it is checked or released.".to_owned(),
                    many => format!("{many} machines are in quarantine, until they are checked or released."),
                }}</span>
                <a class="button small" href="/machines?state=quarantined">"Show"</a>
            </div>
        })}
        <dl class="figures">
            {figure("Free", "free", &[MachineState::Free])}
            {figure("In use", "in-use", &[MachineState::InUse])}
            {figure("Held", "held", &[MachineState::Held])}
            {figure("Reverting", "reverting", &[MachineState::Reverting])}
            {figure("Offline", "offline", &[MachineState::Offline])}
            {figure("In maintenance", "in-maintenance", &[MachineState::InMaintenance])}
        </dl>
    }
}

/// Some machines that can be booked at once.
#[component]
fn FreeNow(now: Signal<Now>) -> impl IntoView {
    let free = Memo::new(move |_| {
        now.with(|now| {
            let free = now.machines.iter().filter(|machine| machine.state == MachineState::Free);
            free.take(FREE_SHOWN).cloned().collect::<Vec<_>>()
        })
    });
    let key = |machine: &Machine| (machine.id, machine.next_booking.as_ref().map(|next| next.session));
    view! {
        <section class="column" aria-labelledby="free">
            <h2 id="free">"Free machines"</h2>
            <ul class="columns even" role="list">
                <For each=move || free.get() key=key let:machine>
                    <li class="card">
                        <div class="card-head">
                            <a class="main-link" href=format!("/machines/{}", machine.id)>{machine.name.clone()}</a>
                            <BookNow machine=machine.name.clone() id=machine.id.to_string() next=machine.next_booking.map(|next| next.start)/>
                        </div>
                        <Tags labels=machine.labels link="/machines"/>
                    </li>
                </For>
            </ul>
            {move || free.with(Vec::is_empty).then(|| view! { <p class="soft">"None is free at the moment."</p> })}
        </section>
    }
}
