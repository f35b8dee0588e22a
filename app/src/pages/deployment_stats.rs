//! How a deployment does: on its own page, and briefly in the list.

use std::collections::HashMap;

use api::objects::{
    DeploymentBrief, DeploymentStats, HostRollout, HostStanding, HostStats, RolloutStanding, StatsPoint, running_on,
};
use leptos::prelude::*;

use crate::Failure;
use crate::components::chart::Sparkline;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading};
use crate::components::time::{Time, at};
use crate::components::units::{bytes, count, grouped, micros, rate};

/// Points of one row of the table: a minute.
const ROW_POINTS: usize = 6;

#[server(prefix = "/fn", endpoint = "deployments-stats", input = leptos::server_fn::codec::Json)]
pub async fn fetch_stats(deployment: String) -> Result<DeploymentStats, Failure> {
    let (services, call) = crate::server::asked()?;
    let (version, placement, told) =
        services::objects::status(&services, &call, &deployment).await.map_err(crate::server::failure)?;
    Ok(DeploymentStats::new(version, placement, told, services.clock().now()))
}

/// Of the deployments on one page of the list.
#[server(prefix = "/fn", endpoint = "deployments-briefs", input = leptos::server_fn::codec::Json)]
pub async fn fetch_briefs(cursor: Option<String>) -> Result<Vec<DeploymentBrief>, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let (page, told) = services::objects::briefs(&services, &call, &ask).await.map_err(crate::server::failure)?;
    let now = services.clock().now();
    Ok(page.items.iter().map(|deployment| told.brief(deployment, now)).collect())
}

/// By name.
pub(super) fn by_name(briefs: Vec<DeploymentBrief>) -> HashMap<String, DeploymentBrief> {
    briefs.into_iter().map(|brief| (brief.name.clone(), brief)).collect()
}

/// Of nothing a dash.
fn latency(us: Option<u64>) -> String {
    us.map_or_else(|| "–".to_owned(), micros)
}

#[component]
pub(super) fn StatsSection(stats: Signal<DeploymentStats>) -> impl IntoView {
    let standing = Memo::new(move |_| stats.with(|stats| stats.standing));
    let reached = Memo::new(move |_| {
        stats.with(|stats| {
            let running = stats.hosts.iter().filter(|host| host.rollout.standing == HostStanding::Runs).count();
            let running = u32::try_from(running).unwrap_or(u32::MAX);
            format!("version {}, {}", grouped(stats.version.into()), running_on(running, stats.hosts.len()))
        })
    });
    view! {
        <section class="card" aria-labelledby="now">
            <div class="card-head">
                <h2 id="now">"Now"</h2>
                <div class="row" aria-live="polite">
                    {move || (standing.get() != RolloutStanding::Nowhere).then(|| view! { <span class="soft">{reached.get()}</span> })}
                    {move || view! { <Status badge=standing.get()/> }}
                </div>
            </div>
            {move || (standing.get() == RolloutStanding::Nowhere).then(|| view! {
                <p class="soft">"No host runs objects: it answers as soon as an agent with an [objects] section in its configuration is linked."</p>
            })}
            {move || stats.with(|stats| stats.problem.clone()).filter(|_| standing.get() == RolloutStanding::Starting).map(|why| view! {
                <p class="soft">"It is deployed, and "{why}"."</p>
            })}
            <Charts stats/>
            <details>
                <summary>"The last 15 minutes as a table"</summary>
                {move || view! { <Points points=stats.with(|stats| stats.points.clone())/> }}
            </details>
        </section>
        {move || {
            let hosts = stats.with(|stats| stats.hosts.clone());
            (!hosts.is_empty()).then(|| view! { <Hosts hosts/> })
        }}
    }
}

#[expect(clippy::cast_precision_loss, reason = "charts of a few hundred points")]
#[component]
fn Charts(stats: Signal<DeploymentStats>) -> impl IntoView {
    let trace = move |value: fn(&StatsPoint) -> f64| {
        Signal::derive(move || stats.with(|stats| stats.points.iter().map(value).collect::<Vec<_>>()))
    };
    let latest = move |value: fn(&StatsPoint) -> Option<u64>| {
        move || latency(stats.with(|stats| stats.points.iter().rev().find_map(value)))
    };
    view! {
        <div class="columns metrics">
            <div class="column">
                <div class="row between"><span class="soft">"Requests / s"</span><strong class="num">{move || rate(stats.with(|stats| stats.requests_per_s))}</strong></div>
                <Sparkline big=true values=trace(|point| point.requests as f64) label="Requests in the last 15 minutes"/>
            </div>
            <div class="column">
                <div class="row between"><span class="soft">"Errors / s"</span><strong class="num">{move || rate(stats.with(|stats| stats.errors_per_s))}</strong></div>
                <Sparkline big=true values=trace(|point| point.errors as f64) label="Errors in the last 15 minutes"/>
            </div>
            <div class="column">
                <div class="row between"><span class="soft">"Latency p50"</span><strong class="num">{latest(|point| point.p50_us)}</strong></div>
                <Sparkline big=true values=trace(|point| point.p50_us.unwrap_or_default() as f64) label="Half of the requests were answered within this time, in the last 15 minutes"/>
            </div>
            <div class="column">
                <div class="row between"><span class="soft">"Latency p99"</span><strong class="num">{latest(|point| point.p99_us)}</strong></div>
                <Sparkline big=true values=trace(|point| point.p99_us.unwrap_or_default() as f64) label="99 of 100 requests were answered within this time, in the last 15 minutes"/>
            </div>
            <div class="column">
                <div class="row between"><span class="soft">"CPU"</span><strong class="num">{move || format!("{:.2} cores", stats.with(|stats| stats.cpu))}</strong></div>
                <Sparkline big=true values=trace(|point| point.cpu_us as f64) label="Processor time in the last 15 minutes"/>
            </div>
        </div>
        <p class="soft">{move || stats.with(|stats| {
            let live = count(stats.live as usize, "object", "objects");
            format!("{live} in memory, {} of memory on {}", bytes(stats.memory_bytes), count(stats.hosts.len(), "host", "hosts"))
        })}</p>
    }
}

#[component]
fn Points(points: Vec<StatsPoint>) -> impl IntoView {
    let headings = vec![
        Heading::text("From"),
        Heading::number("Requests"),
        Heading::number("Errors"),
        Heading::number("p50"),
        Heading::number("p99"),
        Heading::number("CPU"),
    ];
    let row = |points: &[StatsPoint]| {
        let sum = |value: fn(&StatsPoint) -> u64| points.iter().map(value).sum::<u64>();
        let top = |value: fn(&StatsPoint) -> Option<u64>| latency(points.iter().filter_map(value).max());
        let from = points.first().and_then(|point| at(&point.at));
        view! {
            <tr>
                <th scope="row">{from.map(|at| view! { <Time at/> })}</th>
                <td class="num" data-label="Requests">{grouped(sum(|point| point.requests))}</td>
                <td class="num" data-label="Errors">{grouped(sum(|point| point.errors))}</td>
                <td class="num" data-label="p50">{top(|point| point.p50_us)}</td>
                <td class="num" data-label="p99">{top(|point| point.p99_us)}</td>
                <td class="num" data-label="CPU">{micros(sum(|point| point.cpu_us))}</td>
            </tr>
        }
    };
    let rows = points.rchunks_exact(ROW_POINTS).map(row).collect_view();
    view! { <DataTable caption="Requests by minute, the highest latency of each" headings>{rows}</DataTable> }
}

#[component]
fn Hosts(hosts: Vec<HostStats>) -> impl IntoView {
    let headings = vec![
        Heading::text("Host"),
        Heading::text("State"),
        Heading::number("Version"),
        Heading::number("Its objects"),
        Heading::number("In memory"),
        Heading::number("Memory"),
    ];
    let row = move |host: HostStats| {
        let HostStats { rollout, share, live, memory_bytes } = host;
        let HostRollout { host, host_id, standing, version, problem, refused: _ } = rollout;
        view! {
            <tr>
                <th scope="row"><a href=format!("/hosts/{host_id}")>{host}</a></th>
                <td data-label="State"><Status badge=standing why=problem/></td>
                <td class="num" data-label="Version">{version.map_or("–".to_owned(), |version| grouped(version.into()))}</td>
                <td class="num" data-label="Its objects">{format!("{:.0} %", share * 100.0)}</td>
                <td class="num" data-label="In memory">{grouped(live.into())}</td>
                <td class="num" data-label="Memory">{bytes(memory_bytes)}</td>
            </tr>
        }
    };
    view! {
        <section class="card flush" aria-labelledby="hosts">
            <div class="card-head"><h2 id="hosts">"Hosts"</h2></div>
            <DataTable caption="Hosts that run it" headings>{hosts.into_iter().map(row).collect_view()}</DataTable>
        </section>
    }
}
