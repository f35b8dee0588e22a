//! Deployments: what runs under which address.

use std::collections::HashMap;

use api::Page as Items;
use api::deployments::Deployment;
use api::objects::{DeploymentBrief, RolloutStanding};
use domain::access::Action;
use domain::events::EventKind;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use super::deployment_stats::{FetchBriefs, by_name};
use crate::clock::use_beat;
use crate::components::empty::Empty;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::follow;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Ago, at};
use crate::components::units::{grouped, rate};
use crate::functions::Data;
use crate::live::use_live;
use crate::viewer::use_viewer;
use crate::{DEPLOY, Failure};

#[server(prefix = "/fn", endpoint = "deployments-list", input = leptos::server_fn::codec::Json)]
async fn list(cursor: Option<String>) -> Result<Items<Deployment>, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let page = services::deployments::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, |deployment| services::deployments::seen(&services, &call, deployment)))
}

#[component]
pub fn Deployments() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Deployment]);
    let shown = Data::new(move || List { cursor: query.with(|query| query.get("cursor")) }, move || live.get());
    let beat = use_beat();
    let briefs = Data::new(
        move || FetchBriefs { cursor: query.with(|query| query.get("cursor")) },
        move || live.get() + beat.get(),
    );
    let may_deploy = use_viewer().is_some_and(|viewer| viewer.may(Action::DeploymentsManage));
    view! {
        <Page title="Deployments" needs=Action::DeploymentsRead
            lede="Workers, and objects that live on one host each and keep what they write."
            actions=move || may_deploy.then(|| view! { <a class="button primary" href=DEPLOY><Icon name="plus"/>"Deploy"</a> })>
            {follow(shown, move |shown| view! { <Table shown briefs may_deploy/> }.into_any())}
        </Page>
    }
}

#[component]
fn Table(shown: Signal<Items<Deployment>>, briefs: Data<Vec<DeploymentBrief>>, may_deploy: bool) -> impl IntoView {
    let briefs = Memo::new(move |before: Option<&HashMap<String, DeploymentBrief>>| match (briefs.get(), before) {
        (Some(Ok(briefs)), _) => by_name(briefs),
        (Some(Err(_)) | None, Some(before)) => before.clone(),
        (Some(Err(_)) | None, None) => HashMap::new(),
    });
    let headings = || {
        vec![
            Heading::text("Name"),
            Heading::text("State"),
            Heading::text("Address"),
            Heading::number("Requests / s"),
            Heading::number("In memory"),
            Heading::number("Version"),
            Heading::text("Who"),
            Heading::text("Changed"),
        ]
    };
    let row = move |deployment: Deployment| {
        let Deployment { name, address, version, person, changed_at, .. } = deployment;
        let of = name.clone();
        let brief = Memo::new(move |_| briefs.with(|briefs| briefs.get(&of).cloned()));
        let standing = Memo::new(move |_| {
            brief.with(|brief| {
                let DeploymentBrief { standing, problem, running, hosts, .. } = brief.as_ref()?;
                let why = match standing {
                    RolloutStanding::Partly => Some(format!("on {running} of {hosts} hosts")),
                    RolloutStanding::Starting => problem.clone(),
                    RolloutStanding::Runs | RolloutStanding::Failed | RolloutStanding::Nowhere => None,
                };
                Some((*standing, why))
            })
        });
        let standing = move || match standing.get() {
            Some((standing, why)) => view! { <Status badge=standing why/> }.into_any(),
            None => view! { <span class="faint">"–"</span> }.into_any(),
        };
        let figure = move |of: fn(&DeploymentBrief) -> String| {
            move || brief.with(|brief| brief.as_ref().map_or_else(|| "–".to_owned(), of))
        };
        let rate = figure(|brief| rate(brief.requests_per_s));
        let live = figure(|brief| grouped(brief.live.into()));
        view! {
            <tr>
                <th scope="row"><a class="main-link" href=format!("/deployments/{name}")>{name.clone()}</a></th>
                <td data-label="State">{standing}</td>
                <td data-label="Address"><Address address/></td>
                <td class="num" data-label="Requests / s">{rate}</td>
                <td class="num" data-label="In memory">{live}</td>
                <td class="num" data-label="Version">{grouped(version.into())}</td>
                <td data-label="Who">{person}</td>
                <td data-label="Changed" class="nowrap">{at(&changed_at).map(|at| view! { <Ago at/> })}</td>
            </tr>
        }
    };
    move || {
        let Items { items, next_cursor } = shown.get();
        if items.is_empty() {
            return view! { <Teach may_deploy/> }.into_any();
        }
        let count = items.len();
        let next = next_cursor.map(|cursor| format!("/deployments?cursor={}", query_part(&cursor)));
        view! {
            <DataTable caption="Deployments" headings=headings()>{items.into_iter().map(row).collect_view()}</DataTable>
            <Pager next shown=count/>
        }
        .into_any()
    }
}

/// Where a deployment answers, in a tab of its own.
#[component]
pub(super) fn Address(#[prop(into)] address: String) -> impl IntoView {
    let shown = address.split_once("://").map_or(address.clone(), |(_, host)| host.to_owned());
    view! { <a class="address mono" href=address rel="external noopener" target="_blank">{shown}<Icon name="external"/></a> }
}

#[component]
fn Teach(may_deploy: bool) -> impl IntoView {
    view! {
        <Empty icon="deployments" title="Nothing is deployed yet">
            <p>"A deployment is a folder with JavaScript or TypeScript and a wrangler.toml. It answers under an address of its own. Each of its \
                objects lives on one host, one thing at a time, and what it writes is on disk before anybody hears of it."</p>
            {may_deploy.then(|| view! { <a class="button primary" href=DEPLOY><Icon name="plus"/>"Deploy a folder"</a> })}
            <p>"On the command line: " <code>"berth objects deploy examples/objects/counter"</code></p>
        </Empty>
    }
}
