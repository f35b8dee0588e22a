//! Machines: what one can book, and who has it now.

use std::collections::HashMap;
use std::sync::Arc;

use api::Page as Items;
use api::machines::Machine;
use domain::access::Action;
use domain::events::EventKind;
use domain::machines::{MachineAction, MachineState};
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Failure;
use crate::components::chart::Meter;
use crate::components::empty::Empty;
use crate::components::field::SearchField;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::follow;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::{Tags, query_part};
use crate::components::time::{Ago, at};
use crate::components::units::{bytes, cores};
use crate::functions::Data;
use crate::live::use_live;
use crate::viewer::use_viewer;

use super::book::BookNow;
use super::load::{Load, Loads};

/// Which machines are wanted, as the address says it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    q: Option<String>,
    labels: Option<String>,
    state: Option<String>,
    cursor: Option<String>,
}

#[server(prefix = "/fn", endpoint = "machines-list", input = leptos::server_fn::codec::Json)]
async fn list(wanted: Wanted) -> Result<Items<Machine>, Failure> {
    use services::Error;
    let (services, call) = crate::server::asked()?;
    let labels = wanted.labels.unwrap_or_default().parse();
    let labels = labels
        .map_err(|bad: domain::labels::BadLabels| crate::server::failure(Error::invalid("labels", bad.to_string())))?;
    let state = wanted.state.filter(|state| !state.is_empty()).map(|state| state.parse()).transpose();
    let state =
        state.map_err(|bad: domain::UnknownWord| crate::server::failure(Error::invalid("state", bad.to_string())))?;
    let ask = services::machines::ListAsk {
        labels,
        state,
        q: wanted.q,
        host: None,
        page: services::page::PageAsk { limit: None, cursor: wanted.cursor },
    };
    let page = services::machines::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, |live| Machine::new(live, &call.actor)))
}

#[component]
pub fn Machines() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Machine, EventKind::Session, EventKind::Reservation, EventKind::Host]);
    let wanted = Memo::new(move |_| {
        query.with(|query| {
            let given = |name: &str| query.get(name).filter(|text| !text.is_empty());
            Wanted { q: given("q"), labels: given("labels"), state: given("state"), cursor: given("cursor") }
        })
    });
    let machines = Data::new(move || List { wanted: wanted.get() }, move || live.get());
    let loads = Loads::of_page();
    let filtered = Signal::derive(move || {
        wanted.with(|wanted| wanted.q.is_some() || wanted.labels.is_some() || wanted.state.is_some())
    });
    view! {
        <Page title="Machines" lede="What you can book, and who has it now."
            actions=|| view! { <a class="button" href="/reserve"><Icon name="timeline"/>"Reserve"</a> }>
            {move || view! { <Filters wanted=wanted.get() filtered=filtered.get()/> }}
            {follow(machines, move |machines| view! { <Table machines loads filtered/> }.into_any())}
        </Page>
    }
}

/// A form that a browser sends by itself: the address holds what was asked.
#[component]
fn Filters(wanted: Wanted, filtered: bool) -> impl IntoView {
    let states = MachineState::ALL
        .iter()
        .map(|state| {
            let chosen = wanted.state.as_deref() == Some(state.word());
            view! { <option value=state.word() selected=chosen>{state.word().replace('-', " ")}</option> }
        })
        .collect_view();
    view! {
        <form class="toolbar" method="get" action="/machines">
            <SearchField name="q" label="Search machines" placeholder="Name" value=wanted.q.unwrap_or_default()/>
            <input class="input compact mono" name="labels" aria-label="Labels" placeholder="os=debian12, gpu=a100" value=wanted.labels.unwrap_or_default()/>
            <select class="select compact" name="state" aria-label="State">
                <option value="">"Any state"</option>
                {states}
            </select>
            <button class="button" type="submit"><Icon name="filter"/>"Filter"</button>
            {filtered.then(|| view! { <a class="button quiet" href="/machines">"Clear"</a> })}
        </form>
    }
}

#[component]
fn Table(machines: Signal<Items<Machine>>, loads: Loads, filtered: Signal<bool>) -> impl IntoView {
    let loads = loads.by_host();
    let admin = use_viewer().is_some_and(|viewer| viewer.may(Action::HostsManage));
    let empty = Memo::new(move |_| machines.with(|machines| machines.items.is_empty()));
    let headings = || {
        vec![
            Heading::text("Machine"),
            Heading::text("State"),
            Heading::text("Who has it"),
            Heading::text("Next booking"),
            Heading::text("Host's load"),
            Heading::text("Offers"),
            Heading::actions(),
        ]
    };
    // Keyed by all that a row shows: an open menu in another row stays open.
    let key = |machine: &Machine| {
        (
            machine.id,
            machine.state.word(),
            machine.since.clone(),
            machine.next_booking.clone().map(|booking| booking.session),
            machine.holder.clone().map(|holder| holder.until),
        )
    };
    let query = use_query_map();
    let next = move || {
        let cursor = machines.with(|machines| machines.next_cursor.clone())?;
        let kept = query.with(|query| {
            let kept = ["q", "labels", "state"]
                .iter()
                .filter_map(|name| Some(format!("{name}={}&", query_part(&query.get(name)?))));
            kept.collect::<String>()
        });
        Some(format!("/machines?{kept}cursor={}", query_part(&cursor)))
    };
    move || match (empty.get(), filtered.get()) {
        (false, _) => view! {
            <DataTable caption="Machines" headings=headings()>
                <For each=move || machines.get().items key=key let:machine><Row machine loads/></For>
            </DataTable>
            {move || view! { <Pager next=next() shown=machines.with(|machines| machines.items.len())/> }}
        }
        .into_any(),
        (true, true) => view! {
            <Empty icon="search" title="No machine fits">
                <p>"None has this name, these labels and this state."</p>
                <a class="button" href="/machines">"Show all machines"</a>
            </Empty>
        }
        .into_any(),
        (true, false) => view! {
            <Empty icon="machines" title="No machines yet">
                <p>"Machines come with hosts: each host's configuration says what it offers. An admin adds hosts."</p>
                {admin.then(|| view! { <a class="button primary" href="/hosts/certificates">"Add a host"</a> })}
            </Empty>
        }
        .into_any(),
    }
}

#[component]
fn Row(machine: Machine, loads: Signal<Arc<HashMap<Uuid, Load>>>) -> impl IntoView {
    let (host, host_href) = (machine.host_id, format!("/hosts/{}", machine.host_id));
    let load = Memo::new(move |_| loads.with(|loads| loads.get(&host).map(|load| (load.cpu, load.memory))));
    let of_load = move |value: fn((u8, u8)) -> u8| {
        Signal::derive(move || load.get().map_or(0.0, |load| f64::from(value(load)) / 100.0))
    };
    let there = Memo::new(move |_| load.with(Option::is_some));
    let until_next = machine.next_booking.as_ref().map(|next| next.start.clone());
    let address = format!("/machines/{}", machine.id);
    let bookable = machine.state == MachineState::Free && machine.actions.contains(&MachineAction::Reserve);
    let reservable = machine.actions.contains(&MachineAction::Reserve);
    let limits = machine.limits;
    view! {
        <tr>
            <th scope="row">
                <a class="main-link" href=address>{machine.name.clone()}</a>
                <Tags labels=machine.labels link="/machines"/>
            </th>
            <td data-label="State">
                <Status badge=machine.state since=at(&machine.since) why=machine.reason/>
            </td>
            <td data-label="Who has it">{match machine.holder {
                Some(holder) => view! {
                    <div class="cell">
                        <div>{holder.person}</div>
                        <div class="soft small nowrap">"ends "{at(&holder.until).map(|at| view! { <Ago at/> })}</div>
                    </div>
                }.into_any(),
                None => view! { <span class="faint">"nobody"</span> }.into_any(),
            }}</td>
            <td data-label="Next booking">{match machine.next_booking {
                Some(next) => view! {
                    <div class="cell">
                        <div>{at(&next.start).map(|at| view! { <Ago at/> })}</div>
                        <div class="soft small nowrap">{next.person}</div>
                    </div>
                }.into_any(),
                None => view! { <span class="faint">"none"</span> }.into_any(),
            }}</td>
            <td data-label="Host's load">
                {move || if there.get() {
                    view! {
                        <a class="loads" href=host_href.clone()>
                            <span class="metric"><span class="what">"CPU"</span><Meter share=of_load(|load| load.0) label="CPU"/></span>
                            <span class="metric"><span class="what">"Mem"</span><Meter share=of_load(|load| load.1) label="Memory"/></span>
                        </a>
                    }.into_any()
                } else {
                    view! { <span class="faint">"–"</span> }.into_any()
                }}
            </td>
            <td data-label="Offers" class="soft nowrap">
                <div class="cell">
                    <div>{cores(limits.cpu_millis)}" · "{bytes(limits.memory_bytes)}</div>
                    <div class="small">{machine.kind.word()}</div>
                </div>
            </td>
            <td class="actions">
                {if bookable {
                    view! { <BookNow machine=machine.name id=machine.id.to_string() next=until_next/> }.into_any()
                } else if reservable {
                    let href = format!("/reserve?machine={}", query_part(&machine.name));
                    view! { <a class="button small" href=href aria-label=format!("Reserve {}", machine.name)>"Reserve"</a> }.into_any()
                } else {
                    ().into_any()
                }}
            </td>
        </tr>
    }
}

#[cfg(feature = "ssr")]
pub(super) async fn of_host(
    services: &services::Services,
    call: &services::Call,
    host: domain::ids::HostId,
) -> Result<Vec<Machine>, Failure> {
    let ask = services::machines::ListAsk { host: Some(host), ..services::machines::ListAsk::default() };
    let page = services::machines::list(services, call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, |live| Machine::new(live, &call.actor)).items)
}
