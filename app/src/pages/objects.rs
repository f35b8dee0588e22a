//! The objects of a deployment, and its console.

use api::deployments::Deployment;
use api::objects::{ObjectInfo, Objects};
use domain::events::EventKind;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};

use super::deployment::{Part, Parts, named};
use super::deployments::Address;
use crate::Failure;
use crate::clock::use_beat;
use crate::components::console::Console;
use crate::components::empty::Empty;
use crate::components::field::SearchField;
use crate::components::icon::Icon;
use crate::components::load::follow;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Ago, at};
use crate::components::units::{bytes, grouped};
use crate::functions::Data;
use crate::live::use_live;

/// Which objects are wanted, as the address says it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// A name, or what an id begins with.
    q: Option<String>,
    class: Option<String>,
    live: bool,
    cursor: Option<String>,
}

impl Wanted {
    fn is_filter(&self) -> bool {
        self.q.is_some() || self.class.is_some() || self.live
    }

    /// The address of the page after this one.
    fn next(&self, deployment: &str, cursor: &str) -> String {
        let part = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("{name}={}&", query_part(value))).unwrap_or_default()
        };
        let live = if self.live { "live=true&" } else { "" };
        let (q, class) = (part("q", &self.q), part("class", &self.class));
        format!("/deployments/{deployment}/objects?{q}{class}{live}cursor={}", query_part(cursor))
    }
}

/// The deployment, the classes of the version that runs, and what was found.
type Shown = (Deployment, Vec<String>, Objects);

#[server(prefix = "/fn", endpoint = "objects-list", input = leptos::server_fn::codec::Json)]
async fn list(deployment: String, wanted: Wanted) -> Result<Shown, Failure> {
    use services::objects::Filter;
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let found = services::deployments::get(&services, &call, &deployment).await.map_err(refuse)?;
    let version = services::deployments::version(&services, &call, &deployment, found.version).await.map_err(refuse)?;
    let mut classes: Vec<String> = version.code.bindings.into_iter().map(|binding| binding.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let ask = services::page::PageAsk { limit: None, cursor: wanted.cursor };
    let filter = Filter { class: wanted.class, is_live: wanted.live, ..Filter::default() };
    let objects = match &wanted.q {
        Some(typed) => services::objects::search(&services, &call, &deployment, &filter, typed, &ask).await,
        None => services::objects::list(&services, &call, &deployment, &filter, &ask).await,
    };
    let (page, silent) = objects.map_err(refuse)?;
    let page = crate::server::page(page, ObjectInfo::from);
    let objects = Objects { items: page.items, next_cursor: page.next_cursor, silent_hosts: silent };
    Ok((services::deployments::seen(&services, &call, found), classes, objects))
}

#[component]
pub fn ObjectsPage() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Deployment]);
    let beat = use_beat();
    let id = named();
    let wanted = Memo::new(move |_| {
        query.with(|query| {
            let given = |name: &str| query.get(name).filter(|text| !text.is_empty());
            Wanted { q: given("q"), class: given("class"), live: given("live").is_some(), cursor: given("cursor") }
        })
    });
    let shown = Data::new(move || List { deployment: id.get(), wanted: wanted.get() }, move || live.get() + beat.get());
    let about = Signal::derive(move || Some(shown.get()?.map(|(deployment, ..)| deployment.name)));
    view! {
        <Parts part=Part::Objects about>
            {follow(shown, move |shown| view! { <Found shown wanted/> }.into_any())}
        </Parts>
    }
}

#[component]
fn Found(shown: Signal<Shown>, wanted: Memo<Wanted>) -> impl IntoView {
    let filters = Memo::new(move |_| shown.with(|(deployment, classes, _)| (deployment.name.clone(), classes.clone())));
    view! {
        {move || {
            let (deployment, classes) = filters.get();
            view! { <Filters deployment classes wanted=wanted.get()/> }
        }}
        {move || {
            let (deployment, _, objects) = shown.get();
            view! { <Table deployment objects wanted=wanted.get()/> }
        }}
    }
}

/// A form that a browser sends by itself: the address holds what was asked.
#[component]
fn Filters(deployment: String, classes: Vec<String>, wanted: Wanted) -> impl IntoView {
    let filtered = wanted.is_filter();
    let options = classes
        .into_iter()
        .map(|class| {
            let chosen = wanted.class.as_ref() == Some(&class);
            view! { <option value=class.clone() selected=chosen>{class.clone()}</option> }
        })
        .collect_view();
    let all = format!("/deployments/{deployment}/objects");
    let cleared = all.clone();
    view! {
        <form class="toolbar" method="get" action=all>
            <SearchField name="q" label="Search objects" placeholder="Name, or beginning of an id" value=wanted.q.unwrap_or_default()/>
            <select class="select compact" name="class" aria-label="Class">
                <option value="">"Any class"</option>
                {options}
            </select>
            <label class="check"><input type="checkbox" name="live" value="true" checked=wanted.live/><span>"In memory"</span></label>
            <button class="button" type="submit"><Icon name="filter"/>"Filter"</button>
            {filtered.then(|| view! { <a class="button quiet" href=cleared>"Clear"</a> })}
        </form>
    }
}

#[component]
fn Table(deployment: Deployment, objects: Objects, wanted: Wanted) -> impl IntoView {
    let Deployment { name: deployment, address, .. } = deployment;
    let Objects { items, next_cursor, silent_hosts } = objects;
    let is_whole = silent_hosts.is_empty();
    let silent = (!is_whole).then(|| {
        let rest = match silent_hosts.len() {
            1 => " does not answer: its objects are missing here until it does.",
            _ => " do not answer: their objects are missing here until they do.",
        };
        view! {
            <div class="notice warn" role="status">
                <Icon name="warning"/>
                <span>{silent_hosts.join(", ")}{rest}</span>
            </div>
        }
    });
    if items.is_empty() {
        let (icon, title, text) = match (wanted.is_filter(), is_whole) {
            (true, true) => ("search", "No object fits", "None has this name or id, this class and this state."),
            (true, false) => (
                "search",
                "No object fits",
                "None has this name or id, this class and this state on a host that answers.",
            ),
            (false, false) => (
                "deployments",
                "No objects on the hosts that answer",
                "Those of the other hosts are listed as soon as they answer again.",
            ),
            (false, true) => (
                "deployments",
                "No objects yet",
                "An object begins with the first request that the code sends to it, and is listed here once it has written something or is in memory.",
            ),
        };
        // Who asks it has it make one.
        let address = (!wanted.is_filter() && is_whole).then(|| view! { <Address address/> });
        return view! { {silent}<Empty icon title><p>{text}</p>{address}</Empty> }.into_any();
    }
    let headings = vec![
        Heading::text("Object"),
        Heading::text("Class"),
        Heading::text("State"),
        Heading::text("Host"),
        Heading::number("Size"),
        Heading::number("Sockets"),
        Heading::text("Last used"),
    ];
    let count = items.len();
    let next = next_cursor.map(|cursor| wanted.next(&deployment, &cursor));
    let row = move |object: ObjectInfo| {
        let href = format!("/deployments/{deployment}/objects/{}/{}", query_part(&object.class), object.id);
        let begun: String = object.id.chars().take(12).collect();
        let state = object.state();
        let title = object.name.clone().unwrap_or_else(|| object.id.clone());
        view! {
            <tr>
                <th scope="row"><a class="main-link mono clip" href=href title=title>{object.name.clone().unwrap_or_else(|| format!("{begun}…"))}</a></th>
                <td data-label="Class">{object.class}</td>
                <td data-label="State"><Status badge=state/></td>
                <td data-label="Host">{object.host}</td>
                <td class="num" data-label="Size">{bytes(object.bytes)}</td>
                <td class="num" data-label="Sockets">{grouped(object.sockets.into())}</td>
                <td data-label="Last used" class="nowrap">{object.last_used_at.as_deref().and_then(at).map(|at| view! { <Ago at/> })}</td>
            </tr>
        }
    };
    view! {
        {silent}
        <DataTable caption="Objects" headings>{items.into_iter().map(row).collect_view()}</DataTable>
        <Pager next shown=count/>
    }
    .into_any()
}

#[component]
pub fn ConsolePage() -> impl IntoView {
    let live = use_live(&[EventKind::Deployment]);
    let id = named();
    let shown = Data::new(move || super::deployment::Fetch { deployment: id.get() }, move || live.get());
    let about = Signal::derive(move || Some(shown.get()?.map(|(deployment, _)| deployment.name)));
    view! {
        <Parts part=Part::Console about>
            {follow(shown, move |shown| {
                let kept = Memo::new(move |_| shown.with(|(deployment, _)| (deployment.name.clone(), deployment.can_manage)));
                view! { {move || {
                    let (name, can_look) = kept.get();
                    if can_look {
                        view! { <Console address=format!("/api/v1/deployments/{name}/console") label="Console of the deployment"/> }.into_any()
                    } else {
                        view! { <p class="soft">"Only whoever deployed it, or an admin, sees what it writes to its console."</p> }.into_any()
                    }
                }} }.into_any()
            })}
        </Parts>
    }
}
