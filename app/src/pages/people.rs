//! The people of the tenant: invite, give roles, lock.

use api::Page as Items;
use api::people::{InvitedPerson, OneTimeLink, Person};
use domain::access::Action;
use domain::events::EventKind;
use domain::people::Role;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use uuid::Uuid;

use crate::Failure;
use crate::components::copy::Secret;
use crate::components::field::{SelectField, TextField};
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::{Badge, Status};
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::Time;
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

#[server(prefix = "/fn", endpoint = "people-list", input = leptos::server_fn::codec::Json)]
async fn list(cursor: Option<String>) -> Result<(Items<Person>, Uuid), Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let page = services::people::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok((crate::server::page(page, Person::from), call.actor.person.uuid()))
}

#[server(prefix = "/fn", endpoint = "people-invite")]
async fn invite(email: String, name: String, role: Role) -> Result<InvitedPerson, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = api::people::InvitePerson { email, name: Some(name).filter(|name| !name.trim().is_empty()), role };
    let invited = services::people::invite(&services, &call, &ask.email, ask.name.as_deref(), ask.role).await;
    let (person, link) = invited.map_err(crate::server::failure)?;
    Ok(InvitedPerson { person: person.into(), link: shown(link) })
}

#[server(prefix = "/fn", endpoint = "people-change")]
async fn change(person: Uuid, role: Option<Role>, locked: Option<bool>) -> Result<Person, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::people::ChangeAsk { name: None, role, locked };
    let changed = services::people::change(&services, &call, person.into(), &ask).await;
    changed.map(Person::from).map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "people-link")]
async fn link(person: Uuid) -> Result<OneTimeLink, Failure> {
    let (services, call) = crate::server::asked()?;
    services::people::link(&services, &call, person.into()).await.map(shown).map_err(crate::server::failure)
}

#[cfg(feature = "ssr")]
fn shown(link: services::people::OneTimeLink) -> OneTimeLink {
    OneTimeLink { url: link.url, expires_at: link.expires_at }
}

pub(super) fn roles() -> Vec<(String, String)> {
    Role::ALL.iter().map(|role| (role.word().to_owned(), role.word().to_owned())).collect()
}

/// Fields of the form beside which a refusal is said.
const FIELDS: &[&str] = &["email", "name"];

#[component]
pub fn People() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Person]);
    let inviting = Submission::<Invite>::new();
    let changing = Submission::<Change>::new();
    let linking = Submission::<Link>::new();
    let people = Data::new(
        move || List { cursor: query.with(|query| query.get("cursor")) },
        move || live.get() + inviting.answered() + changing.answered(),
    );
    view! {
        <Page title="People" needs=Action::PeopleManage lede="Who may use this portal, and what they may do in it.">
            <section class="card" aria-labelledby="invite">
                <h2 id="invite">"Invite somebody"</h2>
                <SubmitForm to=inviting class="form">
                    <div class="form-row">
                        <TextField name="email" label="E-mail" kind="email" autocomplete="off" max_length=254 error=inviting.error_of(&["email"])/>
                        <TextField name="name" label="Name" optional=true autocomplete="off" max_length=120 error=inviting.error_of(&["name"])/>
                        <SelectField name="role" label="Role" options=roles() selected="engineer"
                            hint="Engineers book for themselves, managers for all; admins run the hosts too."/>
                    </div>
                    <div class="form-actions">
                        <button type="submit" class="button primary" disabled=move || inviting.pending().get()>"Invite"</button>
                    </div>
                </SubmitForm>
                {failure_of(move || inviting.failure_beside(FIELDS))}
                {move || inviting.done().map(|invited| view! {
                    <HandOver name=invited.person.name link=invited.link/>
                })}
            </section>
            {failure_of(move || changing.failure())}
            {failure_of(move || linking.failure())}
            {move || linking.done().map(|link| view! { <HandOver name="them" link/> })}
            {follow(people, move |people| {
                view! { <Table people changing linking/> }.into_any()
            })}
        </Page>
    }
}

/// A link to hand over, shown this once.
#[component]
fn HandOver(#[prop(into)] name: String, link: OneTimeLink) -> impl IntoView {
    view! {
        <div class="column" role="status">
            <p>"Hand this link to "{name}". It works once, until "<Time at=link.expires_at/>", and is not shown again."</p>
            <Secret text=link.url what="the link"/>
        </div>
    }
}

#[component]
fn Table(
    people: Signal<(Items<Person>, Uuid)>,
    changing: Submission<Change>,
    linking: Submission<Link>,
) -> impl IntoView {
    let headings = vec![
        Heading::text("Name"),
        Heading::text("State"),
        Heading::text("Role"),
        Heading::text("Since"),
        Heading::actions(),
    ];
    let rows = move || {
        let (people, me) = people.get();
        people
            .items
            .into_iter()
            .map(move |person| {
                let own = person.id == me;
                view! { <Row person own changing linking/> }
            })
            .collect_view()
    };
    let next = move || people.get().0.next_cursor.map(|cursor| format!("/people?cursor={}", query_part(&cursor)));
    view! {
        <DataTable caption="People" headings>{rows}</DataTable>
        {move || view! { <Pager next=next() shown=people.get().0.items.len()/> }}
    }
}

#[component]
fn Row(person: Person, own: bool, changing: Submission<Change>, linking: Submission<Link>) -> impl IntoView {
    let (id, name) = (person.id, StoredValue::new(person.name));
    let badge = match (person.locked, person.has_password) {
        (true, _) => Badge::locked(),
        (false, true) => Badge::active(),
        (false, false) => Badge::invited(),
    };
    let role = if own {
        view! { <span>{person.role.word()}" (you)"</span> }.into_any()
    } else {
        let options = Role::ALL.iter().map(move |role| {
            view! { <option value=role.word() selected=*role == person.role>{role.word()}</option> }
        });
        view! {
            <SubmitForm to=changing class="row">
                <input type="hidden" name="person" value=id.to_string()/>
                <select class="select compact" name="role" aria-label=format!("Role of {}", name.get_value())>{options.collect_view()}</select>
                <button type="submit" class="button small quiet" aria-label=format!("Set the role of {}", name.get_value())>"Set"</button>
            </SubmitForm>
        }.into_any()
    };
    let (word, icon) = if person.locked { ("Unlock", "undo") } else { ("Lock", "blocked") };
    view! {
        <tr>
            <th scope="row">
                <div>{name.get_value()}</div>
                <div class="soft small">{person.email}</div>
            </th>
            <td data-label="State"><Status badge/></td>
            <td data-label="Role">{role}</td>
            <td data-label="Since"><Time at=person.created_at/></td>
            <td class="actions">
                {(!own).then(|| view! {
                    <div class="row end">
                        <SubmitForm to=linking>
                            <input type="hidden" name="person" value=id.to_string()/>
                            <button type="submit" class="button small" disabled=person.locked aria-label=format!("New sign-in link for {}", name.get_value())>"Sign-in link"</button>
                        </SubmitForm>
                        <SubmitForm to=changing>
                            <input type="hidden" name="person" value=id.to_string()/>
                            <input type="hidden" name="locked" value=(!person.locked).to_string()/>
                            <button type="submit" class="button small" aria-label=format!("{word} {}", name.get_value())><Icon name=icon/>{word}</button>
                        </SubmitForm>
                    </div>
                })}
            </td>
        </tr>
    }
}
