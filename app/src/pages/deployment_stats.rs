//! How a deployment does: on its own page, and briefly in the list.

use std::collections::HashMap;

use api::objects::{DeploymentStats, HostStats, StatsPoint};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::components::chart::Sparkline;
use crate::components::status::{Badge, Status};
use crate::components::table::{DataTable, Heading};
use crate::components::time::{Time, at};
use crate::components::units::{bytes, count};

/// Deployments of a list of which hosts are asked, so many at a time.
#[cfg(feature = "ssr")]
const MOST_BRIEFS: usize = 50;
#[cfg(feature = "ssr")]
const AT_ONCE: usize = 8;
/// Points of one row of the table: a minute.
const ROW_POINTS: usize = 6;

#[cfg(feature = "ssr")]
async fn of(services: &services::Services, call: &services::Call, which: &str) -> services::Result<DeploymentStats> {
    use services::objects::OnHost;
    let by_host =
        |OnHost { host, host_name, groups, status }| api::objects::ToldByHost { host, host_name, groups, status };
    let told = services::objects::status(services, call, which).await?;
    Ok(DeploymentStats::new(told.into_iter().map(by_host).collect(), services.clock().now()))
}

#[server(prefix = "/fn", endpoint = "deployments-stats", input = leptos::server_fn::codec::Json)]
pub async fn fetch_stats(deployment: String) -> Result<DeploymentStats, Failure> {
    let (services, call) = crate::server::asked()?;
    of(&services, &call, &deployment).await.map_err(crate::server::failure)
}

/// What the list shows of one deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    pub name: String,
    pub standing: Standing,
    pub requests_per_s: f64,
    pub live: u32,
}

/// Of the deployments on one page of the list.
#[server(prefix = "/fn", endpoint = "deployments-briefs", input = leptos::server_fn::codec::Json)]
pub async fn fetch_briefs(cursor: Option<String>) -> Result<Vec<Brief>, Failure> {
    use futures_util::StreamExt as _;
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let page = services::deployments::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    let asked = page.items.into_iter().take(MOST_BRIEFS).map(|deployment| {
        let (services, call) = (services.clone(), call.clone());
        async move {
            // One that was deleted this moment has none.
            let stats = of(&services, &call, &deployment.id.to_string()).await.ok()?;
            let standing = Standing::of(&stats.hosts, deployment.version);
            let DeploymentStats { requests_per_s, live, .. } = stats;
            Some(Brief { standing, name: deployment.name, requests_per_s, live })
        }
    });
    Ok(futures_util::stream::iter(asked).buffered(AT_ONCE).filter_map(std::future::ready).collect().await)
}

/// By name.
pub(super) fn by_name(briefs: Vec<Brief>) -> HashMap<String, Brief> {
    briefs.into_iter().map(|brief| (brief.name.clone(), brief)).collect()
}

/// Whether what is wanted runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Runs,
    /// Some host does not run the version yet.
    Starting,
    /// A host says why it cannot.
    Wrong,
    /// No host runs objects.
    Nowhere,
}

impl Standing {
    pub fn of(hosts: &[HostStats], version: u32) -> Self {
        if hosts.is_empty() {
            Standing::Nowhere
        } else if hosts.iter().any(|host| host.problem.is_some()) {
            Standing::Wrong
        } else if hosts.iter().all(|host| host.version == Some(version)) {
            Standing::Runs
        } else {
            Standing::Starting
        }
    }
}

impl From<Standing> for Badge {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Runs => Badge::runs(),
            Standing::Starting => Badge::starting(),
            Standing::Wrong => Badge::in_trouble(),
            Standing::Nowhere => Badge::without_host(),
        }
    }
}

/// `0`, `0.3`, `1,200` a second.
pub(super) fn rate(per_s: f64) -> String {
    if per_s < 10.0 && per_s.fract() > 0.0 { format!("{per_s:.1}") } else { format!("{per_s:.0}") }
}

/// `800 µs`, `1.5 ms`, `2 s`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(super) fn micros(us: Option<u64>) -> String {
    match us {
        None => "–".to_owned(),
        Some(us @ ..1_000) => format!("{us} µs"),
        Some(us @ ..1_000_000) => format!("{} ms", rate(us as f64 / 1e3)),
        Some(us) => format!("{} s", rate(us as f64 / 1e6)),
    }
}

#[component]
pub(super) fn StatsSection(stats: Signal<DeploymentStats>, version: Signal<u32>) -> impl IntoView {
    let standing = Memo::new(move |_| stats.with(|stats| Standing::of(&stats.hosts, version.get())));
    view! {
        <section class="card" aria-labelledby="now">
            <div class="card-head">
                <h2 id="now">"Now"</h2>
                <div aria-live="polite">{move || view! { <Status badge=standing.get()/> }}</div>
            </div>
            {move || (standing.get() == Standing::Nowhere).then(|| view! {
                <p class="soft">"No host runs objects: it answers as soon as an agent with an [objects] section in its configuration is linked."</p>
            })}
            <Charts stats/>
            <details>
                <summary>"The last 15 minutes as a table"</summary>
                {move || view! { <Points points=stats.with(|stats| stats.points.clone())/> }}
            </details>
        </section>
        {move || {
            let hosts = stats.with(|stats| stats.hosts.clone());
            (!hosts.is_empty()).then(|| view! { <Hosts hosts wanted=version.get()/> })
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
        move || micros(stats.with(|stats| stats.points.iter().rev().find_map(value)))
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
        let top = |value: fn(&StatsPoint) -> Option<u64>| micros(points.iter().filter_map(value).max());
        let from = points.first().and_then(|point| at(&point.at));
        view! {
            <tr>
                <th scope="row">{from.map(|at| view! { <Time at/> })}</th>
                <td class="num" data-label="Requests">{sum(|point| point.requests)}</td>
                <td class="num" data-label="Errors">{sum(|point| point.errors)}</td>
                <td class="num" data-label="p50">{top(|point| point.p50_us)}</td>
                <td class="num" data-label="p99">{top(|point| point.p99_us)}</td>
                <td class="num" data-label="CPU">{micros(Some(sum(|point| point.cpu_us)))}</td>
            </tr>
        }
    };
    let rows = points.rchunks(ROW_POINTS).map(row).collect_view();
    view! { <DataTable caption="Requests by minute, the highest latency of each" headings>{rows}</DataTable> }
}

#[component]
fn Hosts(hosts: Vec<HostStats>, wanted: u32) -> impl IntoView {
    let headings = vec![
        Heading::text("Host"),
        Heading::text("State"),
        Heading::number("Version"),
        Heading::number("Its objects"),
        Heading::number("In memory"),
        Heading::number("Memory"),
    ];
    let row = move |host: HostStats| {
        let standing = Standing::of(std::slice::from_ref(&host), wanted);
        let HostStats { host, host_id, version, problem, share, live, memory_bytes } = host;
        view! {
            <tr>
                <th scope="row"><a href=format!("/hosts/{host_id}")>{host}</a></th>
                <td data-label="State"><Status badge=standing why=problem/></td>
                <td class="num" data-label="Version">{version.map_or("–".to_owned(), |version| version.to_string())}</td>
                <td class="num" data-label="Its objects">{format!("{:.0} %", share * 100.0)}</td>
                <td class="num" data-label="In memory">{live}</td>
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_short() {
        assert_eq!((rate(0.0), rate(0.25), rate(12.6)), ("0".to_owned(), "0.2".to_owned(), "13".to_owned()));
        assert_eq!(micros(None), "–");
        assert_eq!(micros(Some(900)), "900 µs");
        assert_eq!(micros(Some(1_500)), "1.5 ms");
        assert_eq!(micros(Some(20_000)), "20 ms");
        assert_eq!(micros(Some(2_000_000)), "2 s");
    }

    #[test]
    fn it_runs_where_all_hosts_run_what_is_wanted() {
        let host = |version, problem: Option<&str>| HostStats {
            host: "a".to_owned(),
            host_id: uuid::Uuid::nil(),
            version,
            problem: problem.map(str::to_owned),
            share: 1.0,
            live: 0,
            memory_bytes: 0,
        };
        assert_eq!(Standing::of(&[], 1), Standing::Nowhere);
        assert_eq!(Standing::of(&[host(Some(1), None)], 1), Standing::Runs);
        assert_eq!(Standing::of(&[host(Some(1), None), host(None, None)], 1), Standing::Starting);
        assert_eq!(Standing::of(&[host(Some(1), None), host(Some(1), Some("no"))], 1), Standing::Wrong);
    }
}
