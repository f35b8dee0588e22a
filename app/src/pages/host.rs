//! One host: how it is, its machines, and what an admin can do with it.

use api::hosts::{Host, HostReading};
use api::machines::Machine;
use domain::access::Action;
use domain::events::EventKind;
use domain::hosts::{HostAct, HostIntent};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::hosts::share;
use crate::Failure;
use crate::clock::use_beat;
use crate::components::chart::{Meter, Sparkline};
use crate::components::confirm::{Confirm, ConfirmWord};
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading};
use crate::components::tags::{Tags, query_part};
use crate::components::time::{Ago, Time, at};
use crate::components::units::{bytes, count};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;
use crate::viewer::use_viewer;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    host: Host,
    /// Of the last minutes.
    readings: Vec<HostReading>,
    machines: Vec<Machine>,
    /// So many deployments have objects on it, and on no other.
    objects_of: u64,
}

#[server(prefix = "/fn", endpoint = "hosts-get", input = leptos::server_fn::codec::Json)]
async fn fetch(host: String) -> Result<Shown, Failure> {
    let (services, call) = crate::server::asked()?;
    let id = crate::server::id(&host, "host")?;
    let host = services::hosts::get(&services, &call, id).await.map_err(crate::server::failure)?;
    let readings = services::hosts::readings(&services, &call, id).await.map_err(crate::server::failure)?;
    let machines = super::machines::of_host(&services, &call, id).await?;
    let objects_of = services::hosts::objects_of(&services, &call, id).await.map_err(crate::server::failure)?;
    let readings = readings.into_iter().map(HostReading::from).collect();
    Ok(Shown { host: super::hosts::with_reading(&services, host), readings, machines, objects_of })
}

/// What confirms an act that cannot be undone: the host's name, and what is lost with it.
fn word_of(act: HostAct, name: &str, objects_of: u64) -> String {
    if act == HostAct::Delete && objects_of > 0 {
        format!("{name} and the objects of {}", deployments(objects_of))
    } else {
        name.to_owned()
    }
}

fn deployments(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "deployment", "deployments")
}

/// Does `act` with the host. What cannot be undone wants [`word_of`] it in `confirm`, unless it has never been let in.
#[server(prefix = "/fn", endpoint = "hosts-act")]
pub async fn act(host: Uuid, act: HostAct, confirm: Option<String>) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let host = host.into();
    let mut objects_of = 0;
    if matches!(act, HostAct::Revoke | HostAct::Delete) {
        objects_of = services::hosts::objects_of(&services, &call, host).await.map_err(crate::server::failure)?;
        let found = services::hosts::get(&services, &call, host).await.map_err(crate::server::failure)?;
        let word = word_of(act, &found.name, objects_of);
        let confirmed = confirm.is_some_and(|said| said.trim() == word);
        if !confirmed && found.intent != HostIntent::Pending {
            let what = if word == found.name { "the host's name, " } else { "" };
            let why = format!("type {what}{word}");
            return Err(crate::server::failure(services::Error::invalid("confirm", why)));
        }
    }
    let done = match act {
        HostAct::Approve => services::hosts::approve(&services, &call, host).await.map(|_| ()),
        HostAct::PutInService => {
            services::hosts::change_intent(&services, &call, host, HostIntent::InService).await.map(|_| ())
        }
        HostAct::Drain => {
            services::hosts::change_intent(&services, &call, host, HostIntent::Draining).await.map(|_| ())
        }
        HostAct::PutInMaintenance => {
            services::hosts::change_intent(&services, &call, host, HostIntent::Maintenance).await.map(|_| ())
        }
        HostAct::Revoke => services::hosts::revoke(&services, &call, host).await.map(|_| ()),
        HostAct::Delete => services::hosts::delete(&services, &call, host, objects_of).await,
    };
    done.map_err(crate::server::failure)?;
    if act == HostAct::Delete {
        leptos_axum::redirect("/hosts");
    }
    Ok(())
}

/// What the button says.
pub(super) fn act_word(act: HostAct) -> &'static str {
    match act {
        HostAct::Approve => "Approve",
        HostAct::PutInService => "Put in service",
        HostAct::Drain => "Drain",
        HostAct::PutInMaintenance => "Put in maintenance",
        HostAct::Revoke => "Revoke",
        HostAct::Delete => "Delete",
    }
}

/// What the state of the host means, and what comes next.
fn meaning(intent: HostIntent) -> &'static str {
    match intent {
        HostIntent::Pending => {
            "Joined and waits for an admin. Until then its agent cannot link and its machines cannot be booked."
        }
        HostIntent::InService => "Its machines can be booked.",
        HostIntent::Draining => "Takes no new sessions; those that run go on until they end.",
        HostIntent::Maintenance => "Takes no sessions until it is put in service again.",
        HostIntent::Revoked => {
            "Its certificates are worth nothing any more. Enrolled again it is a new host, which inherits nothing of this one."
        }
    }
}

#[component]
pub fn HostPage() -> impl IntoView {
    let params = use_params_map();
    let live = use_live(&[EventKind::Host, EventKind::Machine]);
    let beat = use_beat();
    let acting = Submission::<Act>::new();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    // Whoever deletes the host is led away from a page of which nothing is left.
    let changes = Memo::new(move |before: Option<&u64>| match (before, acting.pending().get() || acting.led_away()) {
        (Some(before), true) => *before,
        (Some(_), false) | (None, _) => live.get() + beat.get() + acting.answered(),
    });
    let host = Data::new(move || Fetch { host: id.get() }, move || changes.get());
    let about = Signal::derive(move || Some(host.get()?.ok()?.host.name));
    view! {
        <Page title="Host" about up=("/hosts", "Hosts")>
            {failure_of(move || acting.failure())}
            {follow(host, move |shown| view! { <Shown shown acting/> }.into_any())}
        </Page>
    }
}

#[component]
fn Shown(shown: Signal<Shown>, acting: Submission<Act>) -> impl IntoView {
    let host = Memo::new(move |_| shown.with(|shown| shown.host.clone()));
    let readings = Memo::new(move |_| shown.with(|shown| shown.readings.clone()));
    let machines = Memo::new(move |_| shown.with(|shown| shown.machines.clone()));
    let admin = use_viewer().is_some_and(|viewer| viewer.may(Action::HostsManage));
    let objects_of = Memo::new(move |_| shown.with(|shown| shown.objects_of));
    let can = Memo::new(move |_| host.with(|host| (host.id, host.name.clone(), host.can.clone(), objects_of.get())));
    view! {
        <div class="with-aside">
            <div class="column wide-gap">
                <section class="card" aria-labelledby="state">
                    <h2 id="state">"State"</h2>
                    {move || {
                        let host = host.get();
                        view! {
                            <div class="row">
                                <Status badge=host.link since=at(&host.link_since)/>
                                <Status badge=host.intent/>
                            </div>
                            <p class="soft">{meaning(host.intent)}</p>
                        }
                    }}
                    {move || {
                        let (id, name, can, objects_of) = can.get();
                        admin.then(|| view! { <Acts id name can objects_of acting/> })
                    }}
                </section>
                {move || view! { <Metrics readings=readings.get()/> }}
                {move || view! { <Machines machines=machines.get()/> }}
            </div>
            <aside class="card" aria-labelledby="facts">
                <h2 id="facts">"Facts"</h2>
                {move || view! { <Facts host=host.get()/> }}
            </aside>
        </div>
    }
}

#[component]
fn Acts(id: Uuid, name: String, can: Vec<HostAct>, objects_of: u64, acting: Submission<Act>) -> impl IntoView {
    let run = format!("/instructions?hosts={}", query_part(&name));
    let button = move |act: HostAct| {
        let word = act_word(act);
        match act {
            HostAct::Approve | HostAct::PutInService | HostAct::Drain | HostAct::PutInMaintenance => view! {
                <SubmitForm to=acting>
                    <input type="hidden" name="host" value=id.to_string()/>
                    <input type="hidden" name="act" value=act.word()/>
                    <button type="submit" class=if act == HostAct::Approve { "button primary" } else { "button" }>{word}</button>
                </SubmitForm>
            }.into_any(),
            HostAct::Revoke => view! {
                <Final host=id name=name.clone() act objects_of acting
                    warning="Its link is cut and its certificates are worth nothing any more, for good. Sessions on it fail, and its machines cannot be booked."
                    of_objects="Objects that no other host has answer no more"/>
            }.into_any(),
            HostAct::Delete => view! {
                <Final host=id name=name.clone() act objects_of acting
                    warning="The host is revoked and leaves the list with its machines. Their past sessions stay in the history."
                    of_objects="Objects that no other host has are lost"/>
            }.into_any(),
        }
    };
    view! {
        <div class="row">
            <a class="button" href=run>"Run an instruction"</a>
            {can.into_iter().map(button).collect_view()}
        </div>
    }
}

/// What cannot be undone, behind the host's name.
#[component]
fn Final(
    host: Uuid,
    name: String,
    act: HostAct,
    objects_of: u64,
    warning: &'static str,
    /// Of those that it has.
    of_objects: &'static str,
    acting: Submission<Act>,
) -> impl IntoView {
    let (id, word) = (act.word(), act_word(act));
    let typed = word_of(act, &name, objects_of);
    view! {
        <Confirm id label=word title=format!("{word} {name}?")>
            <SubmitForm to=acting class="form">
                <input type="hidden" name="host" value=host.to_string()/>
                <input type="hidden" name="act" value=id/>
                <p>{warning}</p>
                {(objects_of > 0).then(|| view! { <p><strong>{of_objects}": those of "{deployments(objects_of)}"."</strong></p> })}
                <ConfirmWord id label=word word=typed error=acting.error_of(&["confirm"])/>
            </SubmitForm>
        </Confirm>
    }
}

#[component]
fn Metrics(readings: Vec<HostReading>) -> impl IntoView {
    let Some(last) = readings.last().copied() else {
        return view! {
            <section class="card" aria-labelledby="metrics">
                <h2 id="metrics">"Load"</h2>
                <p class="soft">"No readings: the host is not linked. They come every second while it is."</p>
            </section>
        }
        .into_any();
    };
    let line = |value: fn(&HostReading) -> f64| readings.iter().map(value).collect::<Vec<f64>>();
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let rate = line(|reading| (reading.rx_bytes_per_s + reading.tx_bytes_per_s) as f64);
    let waiting = |share: f32| format!("{:.0} %", share * 100.0);
    view! {
        <section class="card" aria-labelledby="metrics">
            <h2 id="metrics">"Load"</h2>
            <div class="columns metrics">
                <div class="column">
                    <div class="row between"><strong>"CPU"</strong><span class="soft">{last.cores}" cores, load "{format!("{:.2}", last.load_1m)}</span></div>
                    <Meter share=f64::from(last.cpu_used) label="CPU"/>
                    <Sparkline values=line(|reading| f64::from(reading.cpu_used)) max=1.0 big=true label="CPU over the last ten minutes"/>
                </div>
                <div class="column">
                    <div class="row between"><strong>"Memory"</strong><span class="soft">{bytes(last.memory_used_bytes)}" of "{bytes(last.memory_total_bytes)}</span></div>
                    <Meter share=share(last.memory_used_bytes, last.memory_total_bytes) label="Memory"/>
                    <Sparkline values=line(|reading| share(reading.memory_used_bytes, reading.memory_total_bytes)) max=1.0 big=true label="Memory over the last ten minutes"/>
                </div>
                <div class="column">
                    <div class="row between"><strong>"Network"</strong><span class="soft">{bytes(last.rx_bytes_per_s)}"/s in, "{bytes(last.tx_bytes_per_s)}"/s out"</span></div>
                    <Sparkline values=rate big=true label="Network over the last ten minutes"/>
                </div>
            </div>
            <dl class="facts">
                <dt>"Disk"</dt><dd>{bytes(last.disk_used_bytes)}" of "{bytes(last.disk_total_bytes)}" used"</dd>
                <dt>"Waiting for"</dt>
                <dd>"CPU "{waiting(last.psi_cpu)}", memory "{waiting(last.psi_memory)}", disk "{waiting(last.psi_io)}" of the time"</dd>
                {last.objects.map(|objects| view! {
                    <dt>"Objects"</dt>
                    <dd>{objects.live}" in memory, "{objects.engines}" engines with "{bytes(objects.memory_bytes)}</dd>
                    <dt>"Requests"</dt>
                    <dd>
                        {format!("{:.1}", objects.requests_per_s)}" a second, "{format!("{:.1}", objects.errors_per_s)}" of them failed; "
                        {format!("{:.2}", objects.cpu)}" CPUs"
                    </dd>
                })}
            </dl>
        </section>
    }.into_any()
}

#[component]
fn Machines(machines: Vec<Machine>) -> impl IntoView {
    if machines.is_empty() {
        return view! {
            <section class="card" aria-labelledby="machines">
                <h2 id="machines">"Machines"</h2>
                <p class="soft">"It offers none. Its configuration file says which; they appear here when its agent links."</p>
            </section>
        }.into_any();
    }
    let rows = machines.into_iter().map(|machine| view! {
        <tr>
            <th scope="row"><a class="main-link" href=format!("/machines/{}", machine.id)>{machine.name}</a></th>
            <td data-label="Kind"><span class="tag">{machine.kind.word()}</span></td>
            <td data-label="State"><Status badge=machine.state since=at(&machine.since)/></td>
            <td data-label="Who has it">{match machine.holder {
                Some(holder) => view! { <span>{holder.person}</span> }.into_any(),
                None => view! { <span class="faint">"nobody"</span> }.into_any(),
            }}</td>
        </tr>
    }).collect_view();
    let headings =
        vec![Heading::text("Machine"), Heading::text("Kind"), Heading::text("State"), Heading::text("Who has it")];
    view! {
        <section class="column" aria-labelledby="machines">
            <h2 id="machines">"Machines"</h2>
            <DataTable caption="Machines of this host" headings>{rows}</DataTable>
        </section>
    }
    .into_any()
}

#[component]
fn Facts(host: Host) -> impl IntoView {
    view! {
        <dl class="facts">
            <dt>"Labels"</dt><dd><Tags labels=host.labels link="/hosts"/></dd>
            <dt>"Agent"</dt><dd>{host.agent_version.unwrap_or_else(|| "never linked".to_owned())}</dd>
            <dt>"Heard of"</dt><dd>{match host.last_heartbeat_at.as_deref().and_then(at) {
                Some(at) => view! { <Ago at/> }.into_any(),
                None => "never".into_any(),
            }}</dd>
            <dt>"Enrolled"</dt><dd>{at(&host.enrolled_at).map(|at| view! { <Time at/> })}</dd>
            <dt>"Certificate"</dt><dd><code>{host.certificate_serial}</code></dd>
            <dt>"Good until"</dt><dd>{at(&host.certificate_expires_at).map(|at| view! { <Time at/> })}<div class="soft small">"Renewed by itself at two thirds of its life."</div></dd>
        </dl>
    }
}
