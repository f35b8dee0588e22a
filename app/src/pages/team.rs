//! The team on the first page, for managers: who has what now, what is in trouble, how today was used.

use domain::hosts::{HostIntent, HostLink};
use jiff::Timestamp;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Failure;
use crate::components::chart::{Bar, BarChart, Meter};
use crate::components::load::follow;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading};
use crate::components::tags::query_part;
use crate::components::time::Ago;
use crate::components::units::count;
use crate::functions::Data;

/// Lines of a list on the first page; the rest is a click away.
const LINES: usize = 5;
const BARS: usize = 8;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Team {
    people: Vec<Share>,
    hosts: Vec<Host>,
    quarantined: Vec<Dirty>,
    machines: usize,
    hours: f64,
    used: f64,
}

/// What one person has now and had today.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Share {
    name: String,
    machines: usize,
    #[serde(deserialize_with = "api::times::read_option")]
    first_free: Option<Timestamp>,
    hours: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Host {
    id: Uuid,
    name: String,
    intent: HostIntent,
    link: HostLink,
    #[serde(deserialize_with = "api::times::read")]
    since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Dirty {
    id: Uuid,
    name: String,
    reason: Option<String>,
    #[serde(deserialize_with = "api::times::read")]
    since: Timestamp,
}

#[server(prefix = "/fn", endpoint = "home-team", input = leptos::server_fn::codec::Json)]
pub(super) async fn look() -> Result<Team, Failure> {
    let (services, call) = crate::server::asked()?;
    let refuse = crate::server::failure;
    let now = services.clock().now();
    let zone = crate::preferences::from_request().zone;
    let midnight = zone.timestamp(zone.local(now).date().at(0, 0, 0, 0)).unwrap_or(now);
    let nothing = |_| refuse(services::Error::Unavailable("the day has just begun; try again in a moment".to_owned()));
    let today = domain::interval::Interval::new(midnight, now).map_err(nothing)?;
    let seen = services::team::look(&services, &call, today).await.map_err(refuse)?;
    let hours = |held: jiff::SignedDuration| held.as_secs_f64() / 3_600.0;
    Ok(Team {
        people: seen
            .people
            .into_iter()
            .map(|share| Share {
                name: share.name,
                machines: share.machines,
                first_free: share.first_free,
                hours: hours(share.held),
            })
            .collect(),
        hosts: seen
            .hosts
            .into_iter()
            .map(|host| Host {
                id: host.id.uuid(),
                since: match host.intent {
                    HostIntent::Pending => host.enrolled_at,
                    HostIntent::InService | HostIntent::Draining | HostIntent::Maintenance | HostIntent::Revoked => {
                        host.link_since
                    }
                },
                name: host.name,
                intent: host.intent,
                link: host.link,
            })
            .collect(),
        quarantined: seen
            .quarantined
            .into_iter()
            .map(|machine| Dirty {
                id: machine.id.uuid(),
                name: machine.name,
                reason: machine.reason,
                since: machine.condition_since,
            })
            .collect(),
        machines: seen.machines,
        hours: hours(seen.held),
        used: seen.used,
    })
}

/// `team` is made at the top of the page.
#[component]
pub(super) fn TeamNow(team: Data<Team>) -> impl IntoView {
    view! {
        <section class="column" aria-labelledby="team">
            <h2 id="team">"The team"</h2>
            {follow(team, |team| view! { <Shown team/> }.into_any())}
        </section>
    }
}

#[component]
fn Shown(team: Signal<Team>) -> impl IntoView {
    view! {
        <div class="columns three">
            <section class="card" aria-labelledby="team-now">
                <h3 id="team-now">"Has machines now"</h3>
                {move || view! { <People people=team.with(|team| team.people.clone())/> }}
            </section>
            <section class="card" aria-labelledby="team-trouble">
                <h3 id="team-trouble">"Needs attention"</h3>
                {move || team.with(|team| view! { <Trouble hosts=team.hosts.clone() quarantined=team.quarantined.clone()/> })}
            </section>
            <section class="card" aria-labelledby="team-today">
                <h3 id="team-today">"Use today"</h3>
                {move || view! { <Today team=team.get()/> }}
            </section>
        </div>
    }
}

#[component]
fn People(people: Vec<Share>) -> impl IntoView {
    let holding: Vec<Share> = people.into_iter().filter(|share| share.machines > 0).collect();
    if holding.is_empty() {
        return view! { <p class="soft">"Nobody has a machine at the moment."</p> }.into_any();
    }
    let more = holding.len().saturating_sub(LINES);
    let rows = holding.into_iter().take(LINES).map(|share| {
        view! {
            <tr>
                <th scope="row">{share.name}</th>
                <td data-label="Machines" class="num">{share.machines}</td>
                <td data-label="First free" class="num">{share.first_free.map(|at| view! { <Ago at/> })}</td>
            </tr>
        }
    });
    let headings = vec![Heading::text("Who"), Heading::number("Machines"), Heading::number("First free")];
    view! {
        <DataTable caption="Who has machines now" headings>{rows.collect_view()}</DataTable>
        <a class="small" href="/sessions?whose=everybody&state=active">
            {if more > 0 { format!("{}, and what runs", count(more, "more person", "more people")) } else { "What runs".to_owned() }}
        </a>
    }
    .into_any()
}

#[component]
fn Trouble(hosts: Vec<Host>, quarantined: Vec<Dirty>) -> impl IntoView {
    if hosts.is_empty() && quarantined.is_empty() {
        return view! { <p class="soft">"All hosts are linked, and no machine is in quarantine."</p> }.into_any();
    }
    let (more_hosts, more_dirty) = (hosts.len().saturating_sub(LINES), quarantined.len().saturating_sub(LINES));
    let hosts = hosts.into_iter().take(LINES).map(|host| {
        let status = if host.intent == HostIntent::Pending {
            view! { <Status badge=host.intent since=host.since/> }
        } else {
            view! { <Status badge=host.link since=host.since/> }
        };
        view! { <li><a class="main-link" href=format!("/hosts/{}", host.id)>{host.name}</a>{status}</li> }
    });
    let dirty = quarantined.into_iter().take(LINES).map(|machine| {
        let badge = domain::machines::MachineState::Quarantined;
        view! {
            <li>
                <a class="main-link" href=format!("/machines/{}", machine.id)>{machine.name}</a>
                <Status badge since=machine.since why=machine.reason/>
            </li>
        }
    });
    view! {
        <ul class="attention" role="list">{hosts.collect_view()}{dirty.collect_view()}</ul>
        {(more_hosts > 0).then(|| view! { <a class="small" href="/hosts">{count(more_hosts, "more host", "more hosts")}</a> })}
        {(more_dirty > 0).then(|| view! {
            <a class="small" href=format!("/machines?state={}", query_part("quarantined"))>{count(more_dirty, "more machine", "more machines")}" in quarantine"</a>
        })}
    }
    .into_any()
}

#[component]
fn Today(team: Team) -> impl IntoView {
    let Team { people, machines, hours, used, .. } = team;
    let mut people: Vec<Share> = people.into_iter().filter(|share| share.hours > 0.05).collect();
    people.sort_by(|one, other| other.hours.total_cmp(&one.hours));
    let bars: Vec<Bar> =
        people.iter().take(BARS).map(|share| Bar { label: share.name.clone(), value: share.hours }).collect();
    view! {
        <div class="row between"><Meter share=used label="Used today"/><strong class="num">{format!("{hours:.0} machine hours")}</strong></div>
        {(!bars.is_empty()).then(|| view! { <BarChart title="Machine hours today, by person" unit="h" bars/> })}
        <details>
            <summary>"What this counts"</summary>
            <p class="soft small">
                "The hours for which bookings held machines since midnight, as a share of all hours that "
                {count(machines, "machine", "machines")}" had in that time. Booked time counts, whether or not anything ran in it."
            </p>
        </details>
    }
}
