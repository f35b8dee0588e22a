//! Zero certificates: the files with which hosts join, and the hosts that wait to be let in.

use api::Page as Items;
use api::hosts::Host;
#[cfg(feature = "ssr")]
use api::hosts::ListHosts;
use api::zero_certificates::{CreatedZeroCertificate, ZeroCertificate};
use domain::access::Action;
use domain::certificates::{JoinPolicy, ZeroCertificateState};
use domain::events::EventKind;
use domain::hosts::HostAct;
#[cfg(feature = "ssr")]
use domain::hosts::HostIntent;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use uuid::Uuid;

use super::host::{Act, act_word};
use crate::Failure;
use crate::components::copy::CopyButton;
use crate::components::empty::Empty;
use crate::components::field::{SelectField, TextField};
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Time, at};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

type Shown = (Items<ZeroCertificate>, Vec<Host>);

#[server(prefix = "/fn", endpoint = "zero-certificates-list", input = leptos::server_fn::codec::Json)]
async fn list(cursor: Option<String>) -> Result<Shown, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let zeros = services::zero_certificates::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    let now = services.clock().now();
    let zeros = crate::server::page(zeros, |zero| ZeroCertificate::at(zero, now));
    let waiting = ListHosts { intent: Some(HostIntent::Pending), ..ListHosts::default() };
    let waiting = super::hosts::listed(&services, &call, waiting).await?;
    Ok((zeros, waiting.items))
}

#[server(prefix = "/fn", endpoint = "zero-certificates-create")]
async fn create(
    name: String,
    max_uses: u32,
    lifetime_hours: u32,
    join: JoinPolicy,
) -> Result<CreatedZeroCertificate, Failure> {
    let (services, call) = crate::server::asked()?;
    let lifetime = jiff::SignedDuration::from_hours(i64::from(lifetime_hours));
    let ask = services::zero_certificates::Ask { name, max_uses, lifetime, join };
    let created = services::zero_certificates::create(&services, &call, ask).await.map_err(crate::server::failure)?;
    let file_name = format!("berth-zero-{}.toml", created.zero_certificate.id);
    let zero_certificate = ZeroCertificate::at(created.zero_certificate, services.clock().now());
    Ok(CreatedZeroCertificate { zero_certificate, file_name, file: created.file })
}

#[server(prefix = "/fn", endpoint = "zero-certificates-revoke")]
async fn revoke(id: Uuid) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::zero_certificates::revoke(&services, &call, id.into()).await.map(|_| ()).map_err(crate::server::failure)
}

/// Fields of the form beside which a refusal is said.
const FIELDS: &[&str] = &["name", "max_uses", "lifetime_hours"];

#[component]
pub fn Certificates() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::ZeroCertificate, EventKind::Host]);
    let creating = Submission::<Create>::new();
    let revoking = Submission::<Revoke>::new();
    let acting = Submission::<Act>::new();
    let shown = Data::new(
        move || List { cursor: query.with(|query| query.get("cursor")) },
        move || live.get() + creating.answered() + revoking.answered() + acting.answered(),
    );
    let joins = vec![
        (JoinPolicy::Open.word().to_owned(), "at once".to_owned()),
        (JoinPolicy::Approval.word().to_owned(), "after an admin approves".to_owned()),
    ];
    view! {
        <Page title="Zero certificates" needs=Action::ZeroCertificatesManage up=("/hosts", "Hosts")
            lede="A file with which hosts join: good for a number of hosts and a limited time. Each host makes its own key and gets its own certificate.">
            <section class="card" aria-labelledby="create">
                <h2 id="create">"New zero certificate"</h2>
                <SubmitForm to=creating class="form">
                    <div class="form-row">
                        <TextField name="name" label="What for" placeholder="rack 7" max_length=80 autocomplete="off" error=creating.error_of(&["name"])/>
                        <TextField name="max_uses" label="Hosts that may join" kind="number" value="1" min="1" max="100000" error=creating.error_of(&["max_uses"])/>
                        <TextField name="lifetime_hours" label="Hours it is good for" kind="number" value="24" min="1" max="2160" error=creating.error_of(&["lifetime_hours"])/>
                        <SelectField name="join" label="Hosts join" options=joins selected="open"/>
                    </div>
                    <div class="form-actions">
                        <button type="submit" class="button primary" disabled=move || creating.pending().get()>"Make zero certificate"</button>
                    </div>
                </SubmitForm>
                {failure_of(move || creating.failure_beside(FIELDS))}
                {move || creating.done().map(|created| view! { <File created/> })}
            </section>
            {failure_of(move || revoking.failure())}
            {failure_of(move || acting.failure())}
            {follow(shown, move |shown| view! { <Shown shown revoking acting/> }.into_any())}
        </Page>
    }
}

/// The file, shown this once, and how to use it.
#[component]
fn File(created: CreatedZeroCertificate) -> impl IntoView {
    let CreatedZeroCertificate { file_name, file, .. } = created;
    let href = format!("data:application/toml;charset=utf-8,{}", query_part(&file));
    let commands = format!("berth-agent enroll {file_name} && berth-agent run");
    view! {
        <div class="notice-box column" role="status">
            <p>"Carry this file to the host. It is shown this once; whoever holds it can enrol hosts until it is used up, expires or is revoked."</p>
            <div class="row">
                <a class="button primary" href=href download=file_name.clone()><Icon name="download"/>"Download "{file_name.clone()}</a>
                <CopyButton text=Signal::stored(file.clone()) what="the file"/>
            </div>
            <details>
                <summary>"Show the file"</summary>
                <pre class="output" tabindex="0" aria-label="The file">{file}</pre>
            </details>
            <p>"Then, on the host:"</p>
            <div class="secret"><code>{commands.clone()}</code><CopyButton text=Signal::stored(commands) what="the command"/></div>
        </div>
    }
}

#[component]
fn Shown(shown: Signal<Shown>, revoking: Submission<Revoke>, acting: Submission<Act>) -> impl IntoView {
    let zeros = Memo::new(move |_| shown.with(|(zeros, _)| zeros.clone()));
    let waiting = Memo::new(move |_| shown.with(|(_, waiting)| waiting.clone()));
    view! {
        {move || {
            let waiting = waiting.get();
            (!waiting.is_empty()).then(|| view! { <Waiting hosts=waiting acting/> })
        }}
        {move || view! { <Table zeros=zeros.get() revoking/> }}
    }
}

#[component]
fn Waiting(hosts: Vec<Host>, acting: Submission<Act>) -> impl IntoView {
    let rows = hosts.into_iter().map(|host| {
        let (id, name) = (host.id.to_string(), host.name.clone());
        let button = move |act: HostAct, class: &'static str| {
            let (id, name) = (id.clone(), name.clone());
            view! {
            <SubmitForm to=acting>
                <input type="hidden" name="host" value=id.clone()/>
                <input type="hidden" name="act" value=act.word()/>
                <button type="submit" class=class aria-label=format!("{} {}", act_word(act), name)>{act_word(act)}</button>
            </SubmitForm>
            }
        };
        let buttons = (button(HostAct::Approve, "button small primary"), button(HostAct::Revoke, "button small danger"));
        view! {
            <tr>
                <th scope="row"><a class="main-link" href=format!("/hosts/{}", host.id)>{host.name.clone()}</a></th>
                <td data-label="Joined">{at(&host.enrolled_at).map(|at| view! { <Time at/> })}</td>
                <td class="actions"><div class="row end">{buttons}</div></td>
            </tr>
        }
    }).collect_view();
    view! {
        <section class="column" aria-labelledby="waiting">
            <h2 id="waiting">"Waiting for approval"</h2>
            <DataTable caption="Hosts that wait for approval" headings=vec![Heading::text("Host"), Heading::text("Joined"), Heading::actions()]>
                {rows}
            </DataTable>
        </section>
    }
}

#[component]
fn Table(zeros: Items<ZeroCertificate>, revoking: Submission<Revoke>) -> impl IntoView {
    let Items { items, next_cursor } = zeros;
    if items.is_empty() {
        return view! {
            <Empty icon="shield" title="No zero certificates yet">
                <p>"Make one above to add the first host. It is the only file that has to be carried to a host."</p>
            </Empty>
        }
        .into_any();
    }
    let shown = items.len();
    let next = next_cursor.map(|cursor| format!("/hosts/certificates?cursor={}", query_part(&cursor)));
    let rows = items.into_iter().map(|zero| view! {
        <tr>
            <th scope="row">{zero.name.clone()}</th>
            <td data-label="State"><Status badge=zero.state/></td>
            <td data-label="Used" class="num">{zero.uses}" of "{zero.max_uses}</td>
            <td data-label="Hosts join">{match zero.join { JoinPolicy::Open => "at once", JoinPolicy::Approval => "after approval" }}</td>
            <td data-label="Made">{at(&zero.created_at).map(|at| view! { <Time at/> })}</td>
            <td data-label="Expires">{at(&zero.expires_at).map(|at| view! { <Time at/> })}</td>
            <td class="actions">
                {(zero.state == ZeroCertificateState::Valid).then(|| view! {
                    <SubmitForm to=revoking>
                        <input type="hidden" name="id" value=zero.id.to_string()/>
                        <button type="submit" class="button small danger" aria-label=format!("Revoke {}", zero.name)>"Revoke"</button>
                    </SubmitForm>
                })}
            </td>
        </tr>
    }).collect_view();
    let headings = vec![
        Heading::text("What for"),
        Heading::text("State"),
        Heading::number("Used"),
        Heading::text("Hosts join"),
        Heading::text("Made"),
        Heading::text("Expires"),
        Heading::actions(),
    ];
    view! {
        <section class="column" aria-labelledby="zeros">
            <h2 id="zeros">"Made so far"</h2>
            <DataTable caption="Zero certificates" headings>{rows}</DataTable>
            <Pager next shown/>
        </section>
    }
    .into_any()
}
