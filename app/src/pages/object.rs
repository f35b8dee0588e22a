//! One object: where it is, what it holds and says, and its end.

use api::objects::{KvEntries, KvEntry, ObjectInfo, ObjectState, SqlResult};
use domain::access::Action;
use domain::events::EventKind;
use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Failure;
use crate::clock::use_beat;
use crate::components::confirm::{Confirm, ConfirmWord};
use crate::components::console::Console;
use crate::components::icon::Icon;
use crate::components::layout::{Page, Up};
use crate::components::load::{failure_of, follow};
use crate::components::problem::FailurePanel;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading};
use crate::components::tags::query_part;
use crate::components::time::{Ago, Time, at};
use crate::components::units::{bytes, count, grouped};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

/// Keys of one page.
#[cfg(feature = "ssr")]
const KEYS: u32 = 50;
/// Rows of a query's answer.
#[cfg(feature = "ssr")]
const ROWS: u32 = 500;
/// The longest query that goes into the page's address.
#[cfg(feature = "ssr")]
const MAX_QUERY_BYTES: usize = 4_000;
/// Digits of an id that stand for it.
const SHORT_DIGITS: usize = 12;

/// Which one, as the address says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Which {
    deployment: String,
    class: String,
    id: String,
}

impl Which {
    fn address(&self) -> String {
        format!("/deployments/{}/objects/{}/{}", self.deployment, query_part(&self.class), self.id)
    }

    #[cfg(feature = "ssr")]
    fn parts(&self) -> (&str, &str, &str) {
        (&self.deployment, &self.class, &self.id)
    }
}

fn short(id: &str) -> String {
    id.chars().take(SHORT_DIGITS).collect()
}

/// The object, and whether who asks may see what it holds.
type Shown = (ObjectInfo, bool);

#[server(prefix = "/fn", endpoint = "objects-get", input = leptos::server_fn::codec::Json)]
async fn fetch(which: Which) -> Result<Shown, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let deployment = services::deployments::get(&services, &call, &which.deployment).await.map_err(refuse)?;
    let object = services::objects::get(&services, &call, which.parts()).await.map_err(refuse)?;
    let can_look = services::deployments::seen(&services, &call, deployment).can_manage;
    Ok((object.into(), can_look))
}

/// What it holds, for who may see it: a page of keys, and the answer to a query if one was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    kv: Result<KvEntries, Failure>,
    sql: Option<Result<SqlResult, Failure>>,
}

#[server(prefix = "/fn", endpoint = "objects-held", input = leptos::server_fn::codec::Json)]
async fn fetch_held(which: Which, start: String, query: String) -> Result<Option<Held>, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let deployment = services::deployments::get(&services, &call, &which.deployment).await.map_err(refuse)?;
    if !services::deployments::seen(&services, &call, deployment).can_manage {
        return Ok(None);
    }
    let kv = services::objects::keys(&services, &call, which.parts(), start, KEYS).await.map_err(crate::server::told);
    let sql = match query.trim() {
        "" => None,
        query => Some(rows(&services, &call, &which, query).await.map_err(crate::server::told)),
    };
    Ok(Some(Held { kv, sql }))
}

#[cfg(feature = "ssr")]
async fn rows(
    services: &services::Services,
    call: &services::Call,
    which: &Which,
    query: &str,
) -> services::Result<SqlResult> {
    if query.len() > MAX_QUERY_BYTES {
        let why = format!("at most {MAX_QUERY_BYTES} bytes here; “berth objects sql” takes more");
        return Err(services::Error::invalid("sql", why));
    }
    services::objects::sql(services, call, which.parts(), query.to_owned(), ROWS).await
}

#[server(prefix = "/fn", endpoint = "objects-delete")]
async fn delete(deployment: String, class: String, id: String, confirm: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    if confirm.trim() != short(&id) {
        let why = format!("type the beginning of its id, {}", short(&id));
        return Err(crate::server::failure(services::Error::invalid("confirm", why)));
    }
    let which = (deployment.as_str(), class.as_str(), id.as_str());
    services::objects::delete(&services, &call, which).await.map_err(crate::server::failure)?;
    leptos_axum::redirect(&format!("/deployments/{deployment}/objects"));
    Ok(())
}

#[component]
pub fn ObjectPage() -> impl IntoView {
    let params = use_params_map();
    let live = use_live(&[EventKind::Deployment]);
    let beat = use_beat();
    let deleting = Submission::<Delete>::new();
    let which = Memo::new(move |_| {
        params.with(|params| {
            let part = |name: &str| params.get(name).unwrap_or_default();
            Which { deployment: part("id"), class: part("class"), id: part("object") }
        })
    });
    // Whoever deletes it is led away from a page of which nothing is left.
    let changes =
        Memo::new(move |before: Option<&u64>| match (before, deleting.pending().get() || deleting.led_away()) {
            (Some(before), true) => *before,
            (Some(_), false) | (None, _) => live.get() + beat.get() + deleting.answered(),
        });
    let shown = Data::new(move || Fetch { which: which.get() }, move || changes.get());
    let query = use_query_map();
    let given = move |name: &'static str| query.with(|query| query.get(name)).unwrap_or_default();
    // Asked when the page is opened and when another thing is: looking at an object brings it into memory.
    let held = Data::new(
        move || FetchHeld { which: which.get(), start: given("start"), query: given("sql") },
        move || deleting.answered(),
    );
    let up = Up(Signal::derive(move || {
        which.with(|Which { deployment, .. }| {
            (format!("/deployments/{deployment}/objects"), format!("Objects of {deployment}"))
        })
    }));
    let about = Signal::derive(move || {
        let (object, _) = shown.get()?.ok()?;
        Some(object.name.unwrap_or_else(|| format!("{} {}…", object.class, short(&object.id))))
    });
    view! {
        <Page title="Object" about needs=Action::DeploymentsRead up>
            {failure_of(move || deleting.failure_beside(&["confirm"]))}
            {follow(shown, move |shown| view! { <Shown shown held which deleting/> }.into_any())}
        </Page>
    }
}

#[component]
fn Shown(
    shown: Signal<Shown>,
    held: Data<Option<Held>>,
    which: Memo<Which>,
    deleting: Submission<Delete>,
) -> impl IntoView {
    let can_look = Memo::new(move |_| shown.with(|(_, can_look)| *can_look));
    view! {
        <section class="card" aria-labelledby="state">
            <h2 id="state" class="visually-hidden">"State"</h2>
            {move || view! { <State object=shown.with(|(object, _)| object.clone())/> }}
        </section>
        {move || can_look.get().then(|| view! {
            {follow(held, move |held| view! { <HeldSections held which/> }.into_any())}
            <Inside which deleting/>
        })}
    }
}

fn why_and_what_next(state: ObjectState) -> Option<&'static str> {
    match state {
        ObjectState::GivenUp => Some(
            "it ended its process again and again, and answers with an error until its host's agent is started again. What it holds stays.",
        ),
        ObjectState::Live | ObjectState::AtRest => None,
    }
}

#[component]
fn State(object: ObjectInfo) -> impl IntoView {
    let state = object.state();
    let time = |text: &Option<String>| text.as_deref().and_then(at);
    let (used, alarm) = (time(&object.last_used_at), time(&object.alarm_at));
    view! {
        <div aria-live="polite"><Status badge=state why=why_and_what_next(state).map(str::to_owned)/></div>
        <dl class="facts two">
            {object.name.map(|name| view! { <dt class="whole">"Name"</dt><dd class="mono whole">{name}</dd> })}
            <dt>"Class"</dt><dd class="mono">{object.class}</dd>
            <dt>"Host"</dt><dd><a href=format!("/hosts/{}", object.host_id)>{object.host}</a></dd>
            <dt>"Size"</dt><dd>{bytes(object.bytes)}</dd>
            <dt>"Last used"</dt><dd>{used.map(|at| view! { <Ago at/> })}</dd>
            <dt>"Sockets"</dt><dd>{grouped(object.sockets.into())}</dd>
            <dt>"At work on"</dt><dd>{count(object.running as usize, "event", "events")}</dd>
            <dt>"Alarm"</dt><dd>{alarm.map_or_else(|| "none".into_any(), |at| view! { <Time at/> }.into_any())}</dd>
            <dt class="whole">"Id"</dt><dd class="mono whole">{object.id}</dd>
        </dl>
    }
}

#[component]
fn Inside(which: Memo<Which>, deleting: Submission<Delete>) -> impl IntoView {
    view! {
        {move || {
            let Which { deployment, class, id } = which.get();
            let address = format!("/api/v1/objects/{deployment}/{}/{id}/console", query_part(&class));
            view! {
                <section class="card" aria-labelledby="console">
                    <h2 id="console">"Console"</h2>
                    <Console address label="Console of the object"/>
                </section>
                <section class="card" aria-labelledby="end">
                    <h2 id="end">"Delete"</h2>
                    <p class="soft">"All that it holds is lost, and its sockets are closed. The next request to it begins an empty one."</p>
                    <div>
                        <Confirm id="delete" label="Delete" icon="trash" title="Delete this object?">
                            <SubmitForm to=deleting class="form">
                                <input type="hidden" name="deployment" value=deployment/>
                                <input type="hidden" name="class" value=class/>
                                <input type="hidden" name="id" value=id.clone()/>
                                <p>"All that it holds is lost for ever."</p>
                                <ConfirmWord id="delete" label="Delete" word=short(&id) error=deleting.error_of(&["confirm"])/>
                            </SubmitForm>
                        </Confirm>
                    </div>
                </section>
            }
        }}
    }
}

#[component]
fn HeldSections(held: Signal<Option<Held>>, which: Memo<Which>) -> impl IntoView {
    let there = Memo::new(move |_| held.with(Option::is_some));
    move || there.get().then(|| view! { <HeldThere held which/> })
}

#[component]
fn HeldThere(held: Signal<Option<Held>>, which: Memo<Which>) -> impl IntoView {
    let query = use_query_map();
    let asked = query.with_untracked(|query| query.get("sql")).unwrap_or_default();
    let given = move |name: &'static str| query.with(|query| query.get(name)).unwrap_or_default();
    view! {
        <section class="card" aria-labelledby="kv">
            <h2 id="kv">"Keys"</h2>
            <form class="toolbar" method="get" action=move || which.with(Which::address)>
                <input class="input compact mono" name="start" aria-label="From this key on" placeholder="from this key on" value=move || given("start")/>
                <button class="button" type="submit">"Show"</button>
            </form>
            {move || held.with(|held| held.as_ref().map(|held| held.kv.clone())).map(|kv| match kv {
                Ok(entries) => view! { <Keys entries which=which.get() from=given("start")/> }.into_any(),
                Err(failure) => view! { <FailurePanel failure/> }.into_any(),
            })}
        </section>
        <section class="card" aria-labelledby="sql">
            <h2 id="sql">"SQL"</h2>
            <form class="form" method="get" action=move || which.with(Which::address)>
                <div class="field">
                    <label for="sql-query">"One statement that only reads"</label>
                    <textarea class="textarea mono" id="sql-query" name="sql" rows="3" placeholder="select name from sqlite_master">{asked}</textarea>
                </div>
                <div class="form-actions"><button class="button" type="submit"><Icon name="play"/>"Ask"</button></div>
            </form>
            {move || held.with(|held| held.as_ref()?.sql.clone()).map(|answer| match answer {
                Ok(result) => view! { <Rows result/> }.into_any(),
                Err(failure) => view! { <FailurePanel failure/> }.into_any(),
            })}
        </section>
    }
}

#[component]
fn Keys(entries: KvEntries, which: Which, from: String) -> impl IntoView {
    let KvEntries { items, next_start } = entries;
    if items.is_empty() {
        let none = if from.is_empty() { "It has no keys." } else { "No keys from there on." };
        return view! { <p class="soft">{none}</p> }.into_any();
    }
    let headings = vec![Heading::text("Key"), Heading::text("Value"), Heading::number("Size")];
    let row = |entry: KvEntry| {
        let value = entry.text.unwrap_or_else(|| format!("0x{}", entry.value));
        view! {
            <tr>
                <th scope="row" class="mono wrap">{entry.key}</th>
                <td data-label="Value" class="mono wrap">{value}</td>
                <td class="num" data-label="Size">{bytes(entry.bytes)}</td>
            </tr>
        }
    };
    let next = next_start.map(|start| format!("{}?start={}", which.address(), query_part(&start)));
    view! {
        <DataTable caption="Keys and values" headings>{items.into_iter().map(row).collect_view()}</DataTable>
        {next.map(|next| view! { <div><a class="button small" rel="next" href=next>"Next keys"</a></div> })}
    }
    .into_any()
}

fn cell(value: &Value) -> String {
    match (value, value.get("hex").and_then(Value::as_str)) {
        (_, Some(hex)) => format!("x'{hex}'"),
        (Value::String(text), None) => text.clone(),
        (other, None) => other.to_string(),
    }
}

#[component]
fn Rows(result: SqlResult) -> impl IntoView {
    let SqlResult { columns, rows, more } = result;
    if rows.is_empty() {
        return view! { <p class="soft">"No rows."</p> }.into_any();
    }
    let of_numbers = |at: usize| rows.iter().all(|row| row.get(at).is_some_and(Value::is_number));
    let columns: Vec<(&String, bool)> = columns.iter().enumerate().map(|(at, name)| (name, of_numbers(at))).collect();
    let headings =
        columns.iter().map(|(name, numbers)| if *numbers { Heading::number(name) } else { Heading::text(name) });
    let headings = headings.collect();
    let row = |row: &Vec<Value>| {
        let cells = row.iter().zip(&columns).map(|(value, (name, numbers))| {
            let class = if *numbers { "num" } else { "wrap" };
            view! { <td class=class data-label=(*name).clone()>{cell(value)}</td> }
        });
        view! { <tr>{cells.collect_view()}</tr> }
    };
    let rows = rows.iter().map(row).collect_view();
    view! {
        <DataTable caption="What the query found" headings>{rows}</DataTable>
        {more.then(|| view! { <p class="soft">"There are more rows than are shown."</p> })}
    }
    .into_any()
}
