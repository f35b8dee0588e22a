//! Hosts: the computers that run an agent.

use std::collections::HashMap;
use std::sync::Arc;

use api::Page as Items;
use api::hosts::{Host, ListHosts};
use domain::access::Action;
use domain::events::EventKind;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use uuid::Uuid;

use crate::Failure;
use crate::components::chart::{Meter, Percent, Sparkline};
use crate::components::empty::Empty;
use crate::components::field::SearchField;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::{Tags, query_part};
use crate::components::time::at;
use crate::components::units::bytes;
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;
use crate::viewer::use_viewer;

use super::host::{Act, act_word};
use super::load::{Load, Loads};
use domain::hosts::{HostAct, HostIntent};

#[server(prefix = "/fn", endpoint = "hosts-list", input = leptos::server_fn::codec::Json)]
async fn list(ask: ListHosts) -> Result<Items<Host>, Failure> {
    let (services, call) = crate::server::asked()?;
    listed(&services, &call, ask).await
}

#[cfg(feature = "ssr")]
pub(super) async fn listed(
    services: &services::Services,
    call: &services::Call,
    ask: ListHosts,
) -> Result<Items<Host>, Failure> {
    let labels = ask.labels.unwrap_or_default().parse();
    let labels = labels.map_err(|bad: domain::labels::BadLabels| {
        crate::server::failure(services::Error::invalid("labels", bad.to_string()))
    })?;
    let wanted = services::hosts::Wanted { name: ask.name, labels, intent: ask.intent, link: ask.link };
    let page = services::page::PageAsk { limit: ask.limit, cursor: ask.cursor };
    let page = services::hosts::list(services, call, &wanted, &page).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, |host| with_reading(services, host)))
}

#[cfg(feature = "ssr")]
pub(super) fn with_reading(services: &services::Services, host: domain::hosts::Host) -> Host {
    let newest = services.links().newest_reading(host.id);
    Host::new(host, newest)
}

#[component]
pub fn Hosts() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Host]);
    let loads = Loads::of_page();
    let acting = Submission::<Act>::new();
    let ask = Memo::new(move |_| {
        query.with(|query| ListHosts {
            name: query.get("q").filter(|q| !q.is_empty()),
            labels: query.get("labels").filter(|labels| !labels.is_empty()),
            cursor: query.get("cursor"),
            ..ListHosts::default()
        })
    });
    let hosts = Data::new(move || List { ask: ask.get() }, move || live.get() + acting.answered());
    let admin = use_viewer().is_some_and(|viewer| viewer.may(Action::HostsManage));
    let filtered = Signal::derive(move || ask.with(|ask| ask.name.is_some() || ask.labels.is_some()));
    view! {
        <Page title="Hosts" lede="The computers that run an agent and offer machines."
            actions=move || admin.then(|| view! {
                <a class="button" href="/hosts/certificates"><Icon name="shield"/>"Zero certificates"</a>
                <a class="button primary" href="/hosts/certificates"><Icon name="plus"/>"Add a host"</a>
            })>
            <form class="toolbar" method="get" action="/hosts">
                <SearchField name="q" label="Search hosts" placeholder="Name" value=ask.get_untracked().name.unwrap_or_default()/>
                <input class="input compact mono" name="labels" aria-label="Labels" placeholder="os=debian12" value=ask.get_untracked().labels.unwrap_or_default()/>
                <button class="button" type="submit"><Icon name="filter"/>"Filter"</button>
                {move || filtered.get().then(|| view! { <a class="button quiet" href="/hosts">"Clear"</a> })}
            </form>
            {failure_of(move || acting.failure())}
            {follow(hosts, move |hosts| view! { <Table hosts loads admin filtered acting/> }.into_any())}
        </Page>
    }
}

#[component]
fn Table(
    hosts: Signal<Items<Host>>,
    loads: Loads,
    admin: bool,
    filtered: Signal<bool>,
    acting: Submission<Act>,
) -> impl IntoView {
    let loads = loads.by_host();
    let headings = || {
        vec![
            Heading::text("Host"),
            Heading::text("Link"),
            Heading::text("Service"),
            Heading::text("CPU"),
            Heading::text("Memory"),
            Heading::number("Disk"),
            Heading::text("Agent"),
            Heading::actions(),
        ]
    };
    move || {
        let Items { items, next_cursor } = hosts.get();
        if items.is_empty() {
            return if filtered.get() {
                view! {
                    <Empty icon="search" title="No host fits">
                        <p>"No host has this name and these labels."</p>
                        <a class="button" href="/hosts">"Show all hosts"</a>
                    </Empty>
                }
                .into_any()
            } else {
                view! {
                    <Empty icon="hosts" title="No hosts yet">
                        <p>"A host joins with a zero certificate: make one, carry the file over, and run “berth-agent enroll FILE”."</p>
                        {admin.then(|| view! { <a class="button primary" href="/hosts/certificates">"Make a zero certificate"</a> })}
                    </Empty>
                }.into_any()
            };
        }
        let shown = items.len();
        let next = next_cursor.map(|cursor| format!("/hosts?cursor={}", query_part(&cursor)));
        let rows = items.into_iter().map(|host| view! { <Row host loads admin acting/> }).collect_view();
        view! {
            <DataTable caption="Hosts" headings=headings()>{rows}</DataTable>
            <Pager next shown/>
        }
        .into_any()
    }
}

#[component]
fn Row(host: Host, loads: Signal<Arc<HashMap<Uuid, Load>>>, admin: bool, acting: Submission<Act>) -> impl IntoView {
    let id = host.id.to_string();
    let load = Memo::new(move |_| loads.with(|loads| loads.get(&host.id).cloned()));
    let there = Memo::new(move |_| load.with(Option::is_some));
    let of_load = move |value: fn(&Load) -> u8| {
        Signal::derive(move || load.with(|load| load.as_ref().map_or(0.0, |load| f64::from(value(load)) / 100.0)))
    };
    let trace = Signal::derive(move || {
        load.with(|load| {
            let points = load.as_ref().map(|load| load.trace.iter().map(|point| f64::from(*point) / 100.0).collect());
            points.unwrap_or_default()
        })
    });
    let pending = host.intent == HostIntent::Pending && host.can.contains(&HostAct::Approve) && admin;
    let none = || view! { <span class="faint">"–"</span> }.into_any();
    view! {
        <tr>
            <th scope="row">
                <a class="main-link" href=format!("/hosts/{id}")>{host.name.clone()}</a>
                <Tags labels=host.labels link="/hosts"/>
            </th>
            <td data-label="Link"><Status badge=host.link since=at(&host.link_since)/></td>
            <td data-label="Service"><Status badge=host.intent/></td>
            <td data-label="CPU">{move || if there.get() {
                view! {
                    <span class="metric">
                        <Sparkline values=trace max=1.0 label="CPU over the last ten minutes"/>
                        <Percent share=of_load(|load| load.cpu)/>
                    </span>
                }.into_any()
            } else {
                none()
            }}</td>
            <td data-label="Memory">{move || if there.get() {
                view! { <Meter share=of_load(|load| load.memory) label="Memory"/> }.into_any()
            } else {
                none()
            }}</td>
            <td data-label="Disk" class="num">{move || match load.with(|load| load.as_ref().map(|load| load.disk_free_bytes)) {
                Some(free) => view! { <span>{bytes(free)}" free"</span> }.into_any(),
                None => none(),
            }}</td>
            <td data-label="Agent" class="soft">{host.agent_version.unwrap_or_else(|| "–".to_owned())}</td>
            <td class="actions">
                {pending.then(|| view! {
                    <SubmitForm to=acting>
                        <input type="hidden" name="host" value=id/>
                        <input type="hidden" name="act" value=HostAct::Approve.word()/>
                        <button type="submit" class="button small primary" aria-label=format!("Approve {}", host.name)>{act_word(HostAct::Approve)}</button>
                    </SubmitForm>
                })}
            </td>
        </tr>
    }
}

/// `used` of `total`, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "shown in whole percent")]
pub(super) fn share(used: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { used as f64 / total as f64 }
}
