//! One machine: how it is and why, who has it, what was on it, and what one can do with it.

#[cfg(feature = "ssr")]
use api::machines::MachineChange;
use api::machines::{Booking, Machine, MachineDetail};
use domain::events::EventKind;
use domain::machines::{MachineAction, MachineState};
use jiff::Timestamp;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use super::book::BookNow;
use super::reserve::rows;
use crate::Failure;
use crate::components::field::TextField;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading};
use crate::components::tags::{Tags, query_part};
use crate::components::time::{Time, at};
use crate::components::timeline::Timeline;
use crate::components::units::{bytes, cores};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;
use crate::viewer::use_viewer;

/// The machine, and the window of time that its bookings are of.
type Shown = (MachineDetail, (i64, i64));

#[server(prefix = "/fn", endpoint = "machines-get", input = leptos::server_fn::codec::Json)]
async fn fetch(machine: String) -> Result<Shown, Failure> {
    let (services, call) = crate::server::asked()?;
    let now = services.clock().now();
    let hours = jiff::SignedDuration::from_hours;
    let bounds = (now.saturating_sub(hours(6)).unwrap_or(now), now.saturating_add(hours(7 * 24)).unwrap_or(now));
    let window = domain::interval::Interval::new(bounds.0, bounds.1).ok();
    let found = services::machines::get(&services, &call, &machine, window).await.map_err(crate::server::failure)?;
    let detail = MachineDetail {
        machine: Machine::new(found.live, &call.actor),
        bookings: found.bookings.into_iter().map(Booking::from).collect(),
        history: found.history.into_iter().map(Booking::from).collect(),
    };
    Ok((detail, (bounds.0.as_millisecond(), bounds.1.as_millisecond())))
}

/// Takes the machine out of use, has it checked, or lets it go back.
#[server(prefix = "/fn", endpoint = "machines-change")]
async fn change(machine: String, action: MachineAction, reason: Option<String>) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = MachineChange { action: action.word().to_owned(), reason };
    let ask = services::machines::Change::try_from(ask).map_err(crate::server::failure)?;
    services::machines::change(&services, &call, &machine, ask).await.map(|_| ()).map_err(crate::server::failure)
}

/// What comes next, and what the state means.
fn next(state: MachineState) -> &'static str {
    match state {
        MachineState::Free => "Book it now or ahead.",
        MachineState::Held => "Its session is being prepared or about to begin.",
        MachineState::InUse => "When its session ends, it is brought back to its initial state and checked.",
        MachineState::Reverting => {
            "What the session left is destroyed and the machine is checked. Clean, it is free again."
        }
        MachineState::Quarantined => {
            "It is never handed out like this. Its host checks it again; an admin can have it checked now or release it."
        }
        MachineState::Offline => "Its host has no link to the server. Bookings stay; sessions begin when it is back.",
        MachineState::InMaintenance => "Its host takes no sessions now. An admin puts it back in service.",
        MachineState::Withdrawn => "Its host's configuration offers it no longer. Its history stays.",
    }
}

#[component]
pub fn MachinePage() -> impl IntoView {
    let params = use_params_map();
    let live = use_live(&[EventKind::Machine, EventKind::Session, EventKind::Reservation, EventKind::Host]);
    let changing = Submission::<Change>::new();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let machine = Data::new(move || Fetch { machine: id.get() }, move || live.get() + changing.answered());
    let about = Signal::derive(move || Some(machine.get()?.ok()?.0.machine.name));
    view! {
        <Page title="Machine" about up=("/machines", "Machines")>
            {failure_of(move || changing.failure())}
            {follow(machine, move |shown| view! { <Shown shown changing/> }.into_any())}
        </Page>
    }
}

#[component]
fn Shown(shown: Signal<Shown>, changing: Submission<Change>) -> impl IntoView {
    let machine = Memo::new(move |_| shown.with(|(detail, _)| detail.machine.clone()));
    let can = Memo::new(move |_| {
        machine.with(|machine| {
            let next = machine.next_booking.as_ref().map(|next| next.start.clone());
            (machine.id.to_string(), machine.name.clone(), machine.actions.clone(), machine.state, next)
        })
    });
    let me = use_viewer().map(|viewer| viewer.name).unwrap_or_default();
    let strip = move || shown.with(|(detail, window)| (detail.machine.clone(), detail.bookings.clone(), *window));
    view! {
        <div class="with-aside">
            <div class="column wide-gap">
                <section class="card" aria-labelledby="state">
                    <h2 id="state">"State"</h2>
                    {move || {
                        let machine = machine.get();
                        view! {
                            <Status badge=machine.state since=at(&machine.since) why=machine.reason/>
                            {machine.holder.map(|holder| view! {
                                <p><strong>{holder.person}</strong>" has it until "{at(&holder.until).map(|at| view! { <Time at/> })}"."</p>
                            })}
                            <p class="soft">{next(machine.state)}</p>
                        }
                    }}
                    {move || {
                        let (id, name, can, state, next) = can.get();
                        view! { <Acts id name can state next changing/> }
                    }}
                </section>
                <section class="column" aria-labelledby="bookings">
                    <h2 id="bookings">"Next seven days"</h2>
                    {move || {
                        let (machine, bookings, (from_ms, to_ms)) = strip();
                        let edges = Timestamp::from_millisecond(from_ms).ok().zip(Timestamp::from_millisecond(to_ms).ok());
                        view! {
                            {edges.map(|(from, to)| view! { <Timeline from to rows=rows(vec![machine], &bookings, &me)/> })}
                            <Bookings bookings caption="Bookings" empty="Nothing is booked."/>
                        }
                    }}
                </section>
                <section class="column" aria-labelledby="history">
                    <h2 id="history">"History"</h2>
                    {move || view! {
                        <Bookings bookings=shown.with(|(detail, _)| detail.history.clone()) caption="Sessions that are over" empty="Nothing ran here yet."/>
                    }}
                </section>
            </div>
            <aside class="card" aria-labelledby="facts">
                <h2 id="facts">"Facts"</h2>
                {move || view! { <Facts machine=machine.get()/> }}
            </aside>
        </div>
    }
}

#[component]
fn Acts(
    id: String,
    name: String,
    can: Vec<MachineAction>,
    state: MachineState,
    /// When the next booking begins.
    next: Option<String>,
    changing: Submission<Change>,
) -> impl IntoView {
    let asks_why = |action: MachineAction, word: &'static str, what: &'static str| {
        let (menu, id) = (format!("{}-menu", action.word()), id.clone());
        view! {
            <button type="button" class="button" popovertarget=menu.clone()>{word}</button>
            <div class="popover-menu" id=menu popover="auto" role="dialog" aria-label=word>
                <SubmitForm to=changing class="form padded">
                    <input type="hidden" name="machine" value=id.clone()/>
                    <input type="hidden" name="action" value=action.word()/>
                    <p class="soft">{what}</p>
                    <TextField name="reason" id=format!("{}-reason", action.word()) label="Why" max_length=200/>
                    <div class="form-actions"><button type="submit" class="button primary">{word}</button></div>
                </SubmitForm>
            </div>
        }
    };
    let buttons = can
        .into_iter()
        .map(|action| match action {
            MachineAction::Reserve => {
                let href = format!("/reserve?machine={}", query_part(&name));
                let now = (state == MachineState::Free)
                    .then(|| view! { <BookNow machine=name.clone() id="now" next=next.clone()/> });
                view! { {now}<a class="button" href=href>"Reserve"</a> }.into_any()
            }
            MachineAction::Quarantine => {
                asks_why(action, "Quarantine", "Takes it out of use. Bookings stay, and wait.").into_any()
            }
            MachineAction::Verify => {
                let id = id.clone();
                view! {
                <SubmitForm to=changing>
                    <input type="hidden" name="machine" value=id.clone()/>
                    <input type="hidden" name="action" value=action.word()/>
                    <button type="submit" class="button primary">"Check again now"</button>
                </SubmitForm>
                }
                .into_any()
            }
            MachineAction::Release => {
                asks_why(action, "Release", "Back into use without a check: only if you know that it is clean.")
                    .into_any()
            }
        })
        .collect_view();
    view! { <div class="row">{buttons}</div> }
}

#[component]
fn Bookings(bookings: Vec<Booking>, caption: &'static str, empty: &'static str) -> impl IntoView {
    if bookings.is_empty() {
        return view! { <p class="soft">{empty}</p> }.into_any();
    }
    let rows = bookings.into_iter().map(|booking| view! {
        <tr>
            <th scope="row">{at(&booking.start).map(|at| view! { <a class="main-link" href=format!("/sessions/{}", booking.session)><Time at/></a> })}</th>
            <td data-label="Until">{at(&booking.end).map(|at| view! { <Time at/> })}</td>
            <td data-label="Who">{booking.person}</td>
            <td data-label="State"><Status badge=booking.state why=booking.cause.map(super::session::cause_words)/></td>
        </tr>
    }).collect_view();
    let headings = vec![Heading::text("From"), Heading::text("Until"), Heading::text("Who"), Heading::text("State")];
    view! { <DataTable caption headings>{rows}</DataTable> }.into_any()
}

#[component]
fn Facts(machine: Machine) -> impl IntoView {
    let limits = machine.limits;
    view! {
        <dl class="facts">
            <dt>"Host"</dt><dd><a href=format!("/hosts/{}", machine.host_id)>{machine.host}</a></dd>
            <dt>"Kind"</dt><dd>{machine.kind.word()}</dd>
            <dt>"Labels"</dt><dd><Tags labels=machine.labels link="/machines"/></dd>
            <dt>"CPU"</dt><dd>{cores(limits.cpu_millis)}</dd>
            <dt>"Memory"</dt><dd>{bytes(limits.memory_bytes)}</dd>
            <dt>"Disk"</dt><dd>{bytes(limits.disk_bytes)}</dd>
            <dt>"Processes"</dt><dd>{limits.pids}</dd>
        </dl>
    }
}
