//! Who did what.

use api::Page as Items;
use api::audit::AuditLine;
use domain::access::Action;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use crate::Failure;
use crate::components::empty::Empty;
use crate::components::layout::Page;
use crate::components::load::follow;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Prose, Time};
use crate::functions::Data;

#[server(prefix = "/fn", endpoint = "audit-list", input = leptos::server_fn::codec::Json)]
async fn list(cursor: Option<String>) -> Result<Items<AuditLine>, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let page = services::audit::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, services::audit::line))
}

#[component]
pub fn Audit() -> impl IntoView {
    let query = use_query_map();
    let lines = Data::new(move || List { cursor: query.with(|query| query.get("cursor")) }, || 0);
    view! {
        <Page title="Audit" needs=Action::AuditRead lede="Who did what, newest first. Lines are never changed.">
            {follow(lines, |lines| view! { <Lines lines/> }.into_any())}
        </Page>
    }
}

#[component]
fn Lines(lines: Signal<Items<AuditLine>>) -> impl IntoView {
    let headings = || {
        vec![
            Heading::text("When"),
            Heading::text("Who"),
            Heading::text("Did"),
            Heading::text("To"),
            Heading::text("Detail"),
            Heading::text("Request"),
        ]
    };
    let row = |line: AuditLine| {
        view! {
            <tr>
                <td data-label="When"><Time at=line.at seconds=true/></td>
                <td data-label="Who" class="nowrap">{if line.person_id.is_some() { line.person } else { "the server".to_owned() }}</td>
                <th scope="row" data-label="Did"><code>{line.action}</code></th>
                <td data-label="To"><span class="nowrap">{line.subject_kind}" "<code class="faint" title=line.subject_id.clone()>{short(&line.subject_id)}</code></span></td>
                <td data-label="Detail" class="wrap"><Prose text=line.detail/></td>
                <td data-label="Request">{line.request_id.map(|id| view! { <code class="faint" title=id.clone()>{short(&id)}</code> })}</td>
            </tr>
        }
    };
    move || {
        let Items { items, next_cursor } = lines.get();
        if items.is_empty() {
            return view! {
                <Empty icon="audit" title="Nothing yet">
                    <p>"Each booking, change and sign-in leaves a line here."</p>
                </Empty>
            }
            .into_any();
        }
        let shown = items.len();
        let next = next_cursor.map(|cursor| format!("/audit?cursor={}", query_part(&cursor)));
        view! {
            <DataTable caption="Audit log" headings=headings()>{items.into_iter().map(row).collect_view()}</DataTable>
            <Pager next shown/>
        }
        .into_any()
    }
}

/// The end of an id, which tells it from its neighbours; the whole is in the title.
fn short(id: &str) -> String {
    let skip = id.chars().count().saturating_sub(8);
    id.chars().skip(skip).collect()
}
