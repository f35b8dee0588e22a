//! One session: its steps as they go, terminals, its end, and the logs that outlive it.

use api::sessions::{Session, SessionLogLine};
use domain::events::EventKind;
use domain::sessions::{EndCause, SessionAction, SessionState};
use jiff::SignedDuration;
#[cfg(feature = "ssr")]
use jiff::Timestamp;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use uuid::Uuid;

use crate::Failure;
use crate::clock::use_now;
use crate::components::confirm::{Confirm, ConfirmButtons};
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::steps::Steps;
use crate::components::terminal::Terminals;
use crate::components::time::{Ago, Time, at, length};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

type Shown = (Session, Vec<SessionLogLine>);

#[server(prefix = "/fn", endpoint = "sessions-get", input = leptos::server_fn::codec::Json)]
async fn fetch(session: String) -> Result<Shown, Failure> {
    let (services, call) = crate::server::asked()?;
    let id = crate::server::id(&session, "session")?;
    let session = services::sessions::get(&services, &call, id).await.map_err(crate::server::failure)?;
    let ask = services::page::PageAsk { limit: Some(services::page::MAX_LIMIT), cursor: None };
    let logs = services::sessions::logs(&services, &call, id, &ask).await.map_err(crate::server::failure)?;
    Ok((Session::new(session, &call.actor), crate::server::page(logs, SessionLogLine::from).items))
}

/// Notice of completion: the session ends and its machine is brought back.
#[server(prefix = "/fn", endpoint = "sessions-end")]
pub async fn end(session: Uuid) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::sessions::end(&services, &call, session.into()).await.map(|_| ()).map_err(crate::server::failure)
}

/// Moves the end of the session's reservation by `minutes`.
#[server(prefix = "/fn", endpoint = "sessions-extend")]
async fn extend(reservation: Uuid, end: String, minutes: u32) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let end = end.parse::<Timestamp>().ok();
    let end = end.and_then(|end| end.checked_add(SignedDuration::from_mins(i64::from(minutes))).ok());
    let change = api::reservations::ReservationChange { end: end.map(|end| end.to_string()), ..Default::default() };
    super::reserve::change(&services, &call, reservation, change).await
}

/// Cancels a booking that has not begun, or ends what runs of it.
#[server(prefix = "/fn", endpoint = "reservations-cancel")]
pub async fn cancel(reservation: Uuid) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let cancelled = services::reservations::cancel(&services, &call, reservation.into()).await;
    cancelled.map(|_| ()).map_err(crate::server::failure)
}

/// Why a session ended, in words.
pub(super) fn cause_words(cause: EndCause) -> String {
    match cause {
        EndCause::Completed => "given back",
        EndCause::TimeUp => "its time was over",
        EndCause::Lapsed => "its client went away",
        EndCause::Cancelled => "cancelled",
        EndCause::NoShow => "nobody used it",
        EndCause::EndedByAdmin => "ended by an admin",
        EndCause::HostRevoked => "its host was revoked",
        EndCause::HostLost => "its host was lost",
        EndCause::EnvironmentLost => "its environment was lost",
        EndCause::PrepareFailed => "it could not be prepared",
        EndCause::RevertFailed => "the machine did not come out clean",
    }
    .to_owned()
}

/// What the state means, and what comes next.
fn next(state: SessionState, cause: Option<EndCause>, own: bool) -> &'static str {
    match state {
        SessionState::Ended if cause == Some(EndCause::PrepareFailed) => {
            "Its environment could not be set up: steps and logs say why. The machine was checked and is clean."
        }
        SessionState::Active if !own => {
            "What is left on the machine at the end is destroyed. Only its owner opens a terminal."
        }
        SessionState::Scheduled => "It is prepared when its time comes.",
        SessionState::Preparing => "Its environment is being set up. The terminal opens by itself.",
        SessionState::Active => "The machine is yours until the end. What is left on it then is destroyed.",
        SessionState::Reverting => "The machine is brought back to its initial state and checked.",
        SessionState::Ended => "The machine was checked and is clean.",
        SessionState::Failed => "An admin sees the machine in quarantine if it is not known to be clean.",
    }
}

#[component]
pub fn SessionPage() -> impl IntoView {
    let params = use_params_map();
    let live = use_live(&[EventKind::Session, EventKind::Reservation, EventKind::Instruction]);
    let ending = Submission::<End>::new();
    let extending = Submission::<Extend>::new();
    let cancelling = Submission::<Cancel>::new();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let session = Data::new(
        move || Fetch { session: id.get() },
        move || live.get() + ending.answered() + extending.answered() + cancelling.answered(),
    );
    let about = Signal::derive(move || Some(format!("Session on {}", session.get()?.ok()?.0.machine)));
    view! {
        <Page title="Session" about up=("/sessions", "Sessions")>
            {failure_of(move || ending.failure())}
            {failure_of(move || extending.failure())}
            {failure_of(move || cancelling.failure())}
            {follow(session, move |shown| view! { <Shown shown ending extending cancelling/> }.into_any())}
        </Page>
    }
}

#[component]
fn Shown(
    shown: Signal<Shown>,
    ending: Submission<End>,
    extending: Submission<Extend>,
    cancelling: Submission<Cancel>,
) -> impl IntoView {
    let session = Memo::new(move |_| shown.with(|(session, _)| session.clone()));
    let logs = Memo::new(move |_| shown.with(|(_, logs)| logs.clone()));
    // What holds a terminal or a form changes only when it must.
    let terminal = Memo::new(move |_| {
        session.with(|session| {
            let usable = session.state == SessionState::Active && session.actions.contains(&SessionAction::Use);
            usable.then(|| session.id.to_string())
        })
    });
    let acts = Memo::new(move |_| {
        session.with(|session| {
            (
                session.id,
                session.reservation,
                session.end.clone(),
                session.state,
                session.actions.contains(&SessionAction::End),
            )
        })
    });
    let steps = Memo::new(move |_| session.with(|session| session.steps.clone()));
    view! {
        {move || view! { <Warning session=session.get()/> }}
        <section class="card" aria-labelledby="state">
            <div class="card-head">
                <h2 id="state" class="visually-hidden">"State"</h2>
                <div aria-live="polite">
                    {move || {
                        let session = session.get();
                        let why = session.cause_detail.or_else(|| session.cause.map(cause_words));
                        view! { <Status badge=session.state since=at(&session.since) why/> }
                    }}
                </div>
                {move || {
                    let (session, reservation, end, state, may_end) = acts.get();
                    may_end.then(|| view! { <Acts session reservation end state ending extending cancelling/> })
                }}
            </div>
            <p class="soft">{move || session.with(|session| next(session.state, session.cause, session.actions.contains(&SessionAction::Use)))}</p>
            {move || view! { <Facts session=session.get()/> }}
        </section>
        {move || terminal.get().map(|session| view! { <Terminals session/> })}
        {move || {
            let steps = steps.get();
            (!steps.is_empty()).then(|| view! {
                <section class="card" aria-labelledby="steps">
                    <h2 id="steps">"Steps"</h2>
                    <Steps steps label="Steps of this session"/>
                </section>
            })
        }}
        {move || {
            let logs = logs.get();
            (!logs.is_empty()).then(|| view! { <Logs logs/> })
        }}
    }
}

#[component]
fn Facts(session: Session) -> impl IntoView {
    // How far away is what comes next: its begin, or its end.
    let waits = session.state == SessionState::Scheduled;
    view! {
        <dl class="facts two">
            <dt>"Machine"</dt><dd><a href=format!("/machines/{}", session.machine_id)>{session.machine}</a></dd>
            <dt>"Who"</dt><dd>{session.person}</dd>
            <dt>"From"</dt><dd>{at(&session.start).map(|at| view! { <Time at/>{waits.then(|| view! { " ("<Ago at/>")" })} })}</dd>
            <dt>"Until"</dt><dd>{at(&session.end).map(|at| view! { <Time at/>{(!waits).then(|| view! { " ("<Ago at/>")" })} })}</dd>
        </dl>
    }
}

/// Said before the end, in time to extend or save.
#[component]
fn Warning(session: Session) -> impl IntoView {
    let now = use_now();
    let end = at(&session.end).filter(|_| session.state == SessionState::Active);
    let left = Memo::new(move |_| {
        let left = end?.duration_since(now.get()?);
        let near = left <= SignedDuration::from_mins(10) && left > SignedDuration::ZERO;
        near.then(|| length(left))
    });
    view! {
        <div role="status">
            {move || left.get().map(|left| view! {
                <div class="notice warn">
                    <Icon name="warning"/>
                    <span>"This session ends in "<strong>{left}</strong>". Extend it or save what you need: everything on the machine is destroyed."</span>
                </div>
            })}
        </div>
    }
}

#[component]
fn Acts(
    session: Uuid,
    reservation: Uuid,
    end: String,
    state: SessionState,
    ending: Submission<End>,
    extending: Submission<Extend>,
    cancelling: Submission<Cancel>,
) -> impl IntoView {
    let extend = move |minutes: u32, word: &'static str| {
        view! {
            <button type="submit" class="button" name="minutes" value=minutes.to_string() disabled=move || extending.pending().get()>{word}</button>
        }
    };
    match state {
        SessionState::Scheduled => view! {
            <SubmitForm to=cancelling>
                <input type="hidden" name="reservation" value=reservation.to_string()/>
                <button type="submit" class="button danger" disabled=move || cancelling.pending().get()>"Cancel booking"</button>
            </SubmitForm>
        }.into_any(),
        SessionState::Preparing | SessionState::Active => view! {
            <div class="row">
                <SubmitForm to=extending class="row">
                    <input type="hidden" name="reservation" value=reservation.to_string()/>
                    <input type="hidden" name="end" value=end/>
                    {extend(30, "+30 min")}
                    {extend(120, "+2 h")}
                </SubmitForm>
                <Confirm id="end" label="End session" icon="stop" title="End this session?">
                    <SubmitForm to=ending class="form">
                        <input type="hidden" name="session" value=session.to_string()/>
                        <p>"Everything on the machine is destroyed, and others can book it."</p>
                        <ConfirmButtons id="end" label="End session"/>
                    </SubmitForm>
                </Confirm>
            </div>
        }.into_any(),
        SessionState::Reverting | SessionState::Ended | SessionState::Failed => ().into_any(),
    }
}

#[component]
fn Logs(logs: Vec<SessionLogLine>) -> impl IntoView {
    let of = |source: &str| {
        logs.iter().filter(|line| line.source == source).map(|line| line.content.as_str()).collect::<String>()
    };
    let part = |title: &'static str, text: String| {
        (!text.is_empty()).then(|| {
            view! {
                <div class="column">
                    <h3>{title}</h3>
                    <pre class="output" tabindex="0" aria-label=title>{text}</pre>
                </div>
            }
        })
    };
    view! {
        <section class="card" aria-labelledby="logs">
            <h2 id="logs">"Logs"</h2>
            {part("While preparing", of("prepare"))}
            {part("While reverting", of("revert"))}
        </section>
    }
}
