//! Sessions: what runs, what comes, what was.

use api::Page as Items;
use api::sessions::Session;
use domain::access::Action;
use domain::events::EventKind;
use domain::sessions::SessionState;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::components::empty::Empty;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::follow;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Time, at};
use crate::functions::Data;
use crate::live::use_live;
use crate::viewer::use_viewer;

/// Which sessions, as the address says it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    pub everybody: bool,
    pub state: Option<SessionState>,
    pub cursor: Option<String>,
}

#[server(prefix = "/fn", endpoint = "sessions-list", input = leptos::server_fn::codec::Json)]
pub async fn list(wanted: Wanted) -> Result<Items<Session>, Failure> {
    use services::reservations::Whose;
    let (services, call) = crate::server::asked()?;
    let ask = services::sessions::ListAsk {
        whose: if wanted.everybody { Whose::Everybodys } else { Whose::Mine },
        state: wanted.state,
        machine: None,
        page: services::page::PageAsk { limit: None, cursor: wanted.cursor },
    };
    let page = services::sessions::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, |session| Session::new(session, &call.actor)))
}

#[component]
pub fn Sessions() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Session, EventKind::Reservation]);
    let wanted = Memo::new(move |_| {
        query.with(|query| Wanted {
            everybody: query.get("whose").as_deref() == Some("everybody"),
            state: query.get("state").and_then(|state| state.parse().ok()),
            cursor: query.get("cursor"),
        })
    });
    let sessions = Data::new(move || List { wanted: wanted.get() }, move || live.get());
    let all = use_viewer().is_some_and(|viewer| viewer.may_for_all(Action::SessionsRead));
    view! {
        <Page title="Sessions" lede="What runs, what is booked, and what is over; logs are kept."
            actions=|| view! { <a class="button primary" href="/reserve"><Icon name="plus"/>"Reserve"</a> }>
            {move || view! { <Filters wanted=wanted.get() all/> }}
            {follow(sessions, move |sessions| view! { <Table sessions wanted/> }.into_any())}
        </Page>
    }
}

#[component]
fn Filters(wanted: Wanted, all: bool) -> impl IntoView {
    let states = SessionState::ALL
        .iter()
        .map(|state| {
            view! { <option value=state.word() selected=wanted.state == Some(*state)>{state.word()}</option> }
        })
        .collect_view();
    view! {
        <form class="toolbar" method="get" action="/sessions">
            {all.then(|| view! {
                <select class="select compact" name="whose" aria-label="Whose">
                    <option value="mine">"Mine"</option>
                    <option value="everybody" selected=wanted.everybody>"Everybody's"</option>
                </select>
            })}
            <select class="select compact" name="state" aria-label="State">
                <option value="">"Any state"</option>
                {states}
            </select>
            <button class="button" type="submit"><Icon name="filter"/>"Filter"</button>
        </form>
    }
}

#[component]
fn Table(sessions: Signal<Items<Session>>, wanted: Memo<Wanted>) -> impl IntoView {
    move || {
        let Items { items, next_cursor } = sessions.get();
        if items.is_empty() && wanted.with(|wanted| wanted.state.is_some()) {
            let everybody = wanted.with(|wanted| wanted.everybody);
            return view! {
                <Empty icon="search" title="No session is in this state">
                    <p>"Sessions in other states are left out here."</p>
                    <a class="button" href=if everybody { "/sessions?whose=everybody" } else { "/sessions" }>"Show any state"</a>
                </Empty>
            }
            .into_any();
        }
        if items.is_empty() {
            return view! {
                <Empty icon="sessions" title="No sessions here">
                    <p>"A session is the environment that runs on a machine while you have it booked."</p>
                    <a class="button primary" href="/machines">"Book a machine"</a>
                </Empty>
            }
            .into_any();
        }
        let shown = items.len();
        let next = next_cursor.map(|cursor| {
            let wanted = wanted.get();
            let whose = if wanted.everybody { "everybody" } else { "mine" };
            let state = wanted.state.map_or("", SessionState::word);
            format!("/sessions?whose={whose}&state={state}&cursor={}", query_part(&cursor))
        });
        view! {
            <SessionTable sessions=items caption="Sessions"/>
            <Pager next shown/>
        }
        .into_any()
    }
}

/// Sessions, one a row.
#[component]
pub fn SessionTable(sessions: Vec<Session>, caption: &'static str) -> impl IntoView {
    let rows = sessions.into_iter().map(|session| {
        let why = session.cause_detail.or_else(|| session.cause.map(super::session::cause_words));
        view! {
            <tr>
                <th scope="row"><a class="main-link" href=format!("/sessions/{}", session.id)>{session.machine}</a></th>
                <td data-label="State"><Status badge=session.state since=at(&session.since) why/></td>
                <td data-label="Who">{session.person}</td>
                <td data-label="From">{at(&session.start).map(|at| view! { <Time at/> })}</td>
                <td data-label="Until">{at(&session.end).map(|at| view! { <Time at/> })}</td>
            </tr>
        }
    }).collect_view();
    let headings = vec![
        Heading::text("Machine"),
        Heading::text("State"),
        Heading::text("Who"),
        Heading::text("From"),
        Heading::text("Until"),
    ];
    view! { <DataTable caption headings>{rows}</DataTable> }
}
