//! With whom a notebook is shared, on its owner's page; and what others share, on the list.

use api::notebooks::{Notebook, NotebookShare};
use domain::events::EventKind;
use domain::notebooks::Access;
use leptos::prelude::*;

use super::notebooks::brief;
use crate::Failure;
use crate::components::field::{SelectField, TextField};
use crate::components::icon::Icon;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading};
use crate::components::time::{Time, at};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

#[server(prefix = "/fn", endpoint = "notebooks-shares", input = leptos::server_fn::codec::Json)]
async fn shares(notebook: String) -> Result<Vec<NotebookShare>, Failure> {
    let (services, call) = crate::server::asked()?;
    let found = services::notebooks::shares(&services, &call, &notebook).await.map_err(crate::server::failure)?;
    Ok(found.into_iter().map(NotebookShare::from).collect())
}

#[server(prefix = "/fn", endpoint = "notebooks-share")]
async fn share(notebook: String, person: String, access: Access) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let shared = services::notebooks::share(&services, &call, &notebook, &person, access).await;
    if let Err(services::Error::NotFound { kind: "person", what }) = &shared {
        let why = format!("nobody of your team has the address '{what}'");
        return Err(crate::server::failure(services::Error::invalid("person", why)));
    }
    shared.map(|_| ()).map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "notebooks-unshare")]
async fn unshare(notebook: String, person: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::notebooks::unshare(&services, &call, &notebook, &person).await.map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "notebooks-shared", input = leptos::server_fn::codec::Json)]
async fn shared() -> Result<Vec<Notebook>, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: Some(services::page::MAX_LIMIT), cursor: None };
    let found = services::notebooks::shared(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(found, |notebook| Notebook::new(notebook, &call.actor)).items)
}

/// What it lets somebody do, in few words.
fn words(access: Access) -> &'static str {
    match access {
        Access::Read => "Read-only",
        Access::Full => "Full access",
    }
}

/// Who else gets in, and the form for one more.
#[component]
pub fn SharesSection(notebook: String) -> impl IntoView {
    let live = use_live(&[EventKind::Notebook]);
    let sharing = Submission::<Share>::new();
    let taking_back = Submission::<Unshare>::new();
    let name = StoredValue::new(notebook);
    let found = Data::new(
        move || Shares { notebook: name.get_value() },
        move || live.get() + sharing.answered() + taking_back.answered(),
    );
    let choices = Access::ALL.iter().map(|access| (access.word().to_owned(), words(*access).to_owned())).collect();
    view! {
        <section class="card" aria-labelledby="shares">
            <h2 id="shares">"Shared with"</h2>
            {failure_of(move || taking_back.failure())}
            {follow(found, move |found| view! { <List found name taking_back/> }.into_any())}
            <SubmitForm to=sharing class="form">
                <input type="hidden" name="notebook" value=name.get_value()/>
                <div class="form-row">
                    <TextField name="person" label="Colleague" kind="email" autocomplete="off" placeholder="name@example.org" hint="Their address here." error=sharing.error_of(&["person"])/>
                    <SelectField name="access" label="Access" options=choices selected=Access::Read.word()/>
                </div>
                <p class="soft">
                    "All your notebooks on a host have the same files. Read-only shows a colleague every document and file in your home, and what \
                     runs. With full access they also run code as you: they can change and delete every file, and open terminals."
                </p>
                <div class="form-actions">
                    <button type="submit" class="button" disabled=move || sharing.pending().get()>"Share"</button>
                </div>
            </SubmitForm>
            {failure_of(move || sharing.failure_beside(&["person"]))}
        </section>
    }
}

#[component]
fn List(
    found: Signal<Vec<NotebookShare>>,
    name: StoredValue<String>,
    taking_back: Submission<Unshare>,
) -> impl IntoView {
    let row = move |share: NotebookShare| {
        let NotebookShare { person_id, person, email, access, created_at } = share;
        let act = format!("Take back from {person}");
        view! {
            <tr>
                <th scope="row">{person}</th>
                <td data-label="Address">{email}</td>
                <td data-label="Access">{words(access)}</td>
                <td data-label="Since">{at(&created_at).map(|at| view! { <Time at/> })}</td>
                <td class="actions">
                    <SubmitForm to=taking_back>
                        <input type="hidden" name="notebook" value=name.get_value()/>
                        <input type="hidden" name="person" value=person_id.to_string()/>
                        <button type="submit" class="button small danger" aria-label=act disabled=move || taking_back.pending().get()>"Take back"</button>
                    </SubmitForm>
                </td>
            </tr>
        }
    };
    move || {
        let found = found.get();
        if found.is_empty() {
            return view! { <p class="soft">"Nobody but you gets in."</p> }.into_any();
        }
        let headings = ["Who", "Address", "Access", "Since"].map(Heading::text).into_iter().chain([Heading::actions()]);
        view! {
            <DataTable caption="Who gets in" headings=headings.collect()>{found.into_iter().map(row).collect_view()}</DataTable>
        }
        .into_any()
    }
}

/// Other people's notebooks that are shared with the viewer; nothing where there are none.
#[component]
pub fn SharedWithMe() -> impl IntoView {
    let live = use_live(&[EventKind::Notebook]);
    let found = Data::new(|| Shared {}, move || live.get());
    let row = |notebook: Notebook| {
        let Notebook { name, state, since, cause, person, access, .. } = notebook;
        view! {
            <tr>
                <th scope="row"><a class="main-link" href=format!("/notebooks/{name}")>{name.clone()}</a></th>
                <td data-label="State"><Status badge=state since=at(&since) why=cause.as_deref().map(brief)/></td>
                <td data-label="Whose">{person}</td>
                <td data-label="Access">{access.map(words)}</td>
            </tr>
        }
    };
    follow(found, move |found| {
        let section = move || {
            let found = found.get();
            (!found.is_empty()).then(|| {
                let headings = ["Name", "State", "Whose", "Access"].map(Heading::text).into();
                view! {
                    <section class="column" aria-labelledby="shared">
                        <h2 id="shared">"Shared with you"</h2>
                        <DataTable caption="Others' notebooks" headings>{found.into_iter().map(row).collect_view()}</DataTable>
                    </section>
                }
            })
        };
        section.into_any()
    })
}

/// What the viewer may do with a notebook that is another's.
#[component]
pub fn Whose(notebook: Notebook) -> impl IntoView {
    let Notebook { person, access, is_own, .. } = notebook;
    let said = match access {
        Some(Access::Read) => "You can look at its documents and files, and at what runs, and change nothing.",
        Some(Access::Full) => "You can do in it what its owner can, with its owner's files.",
        None => "You see that it is there. What is in it is its owner's.",
    };
    let icon = view! { <Icon name="user"/> };
    (!is_own).then(|| view! { <p class="notice">{icon}<span>{person}"'s notebook. "{said}</span></p> })
}
