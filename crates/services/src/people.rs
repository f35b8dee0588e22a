//! People of the tenant: list, invite, change, lock, remove; and what the operator does without being signed in.

use domain::{
    access::{Action, Permit},
    events::EventKind,
    ids::PersonId,
    people::{Change, Person, Role, may_change},
};
use jiff::{SignedDuration, Timestamp};
pub use store::people::Removal;
use store::{Tx, audit::Entry, people::NewPerson};

use crate::{
    Call, Error, Result, Services, Via, audit,
    page::{Page, PageAsk},
    secrets,
};

/// An invitation is good for this long.
pub const INVITATION_LIFE: SignedDuration = SignedDuration::from_hours(24 * 7);
/// A link that an admin or the operator makes for somebody who is known is good for this long.
pub const LINK_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// A link that lets a person in once. The secret is in it: show it, do not store or log it.
#[derive(Clone)]
pub struct OneTimeLink {
    pub url: String,
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for OneTimeLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneTimeLink").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What is to change; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct ChangeAsk {
    pub name: Option<String>,
    pub role: Option<Role>,
    pub locked: Option<bool>,
}

fn fit_email(text: &str) -> Result<String> {
    domain::people::email(text).map_err(|unfit| Error::invalid("email", unfit.to_string()))
}

fn fit_name(text: &str) -> Result<String> {
    domain::people::name(text).map_err(|unfit| Error::invalid("name", unfit.to_string()))
}

/// The part before the @, for people who were invited without a name.
fn name_from(email: &str) -> String {
    email.split('@').next().unwrap_or(email).chars().take(domain::people::MAX_NAME_CHARS).collect()
}

fn entry(action: &'static str, person: PersonId, detail: String) -> Entry {
    Entry { action, subject_kind: "person", subject_id: person.to_string(), detail }
}

fn no_person(person: PersonId) -> Error {
    Error::not_found("person", person)
}

/// By address.
pub async fn list(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<Person>> {
    let permit = call.permit(Action::PeopleRead)?;
    let limit = ask.limit()?;
    let people = store::people::list(services.store(), &permit, ask.after::<String>()?, limit + 1).await?;
    Ok(Page::cut(people, limit, |person| person.email.clone()))
}

pub async fn get(services: &Services, call: &Call, person: PersonId) -> Result<Person> {
    let permit = call.permit(Action::PeopleRead)?;
    store::people::get(services.store(), &permit, person).await?.ok_or_else(|| no_person(person))
}

/// The caller's own record.
pub async fn me(services: &Services, call: &Call) -> Result<Person> {
    let permit = call.permit(Action::PeopleRead)?;
    store::people::get(services.store(), &permit, call.actor.person).await?.ok_or(Error::NotSignedIn)
}

async fn new_link(
    services: &Services,
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    life: SignedDuration,
) -> Result<OneTimeLink> {
    let now = services.clock().now();
    let secret = secrets::random(32)?;
    let expires_at = now + life;
    store::one_time_links::create(tx, permit, person, secrets::digest(&secret), expires_at, now).await?;
    let base = services.settings().public_url.trim_end_matches('/');
    Ok(OneTimeLink { url: format!("{base}/sign-in/link?token={secret}"), expires_at })
}

/// Makes the person, and the link by which they choose a password. The link is shown to the admin, who hands it over.
pub async fn invite(
    services: &Services,
    call: &Call,
    email: &str,
    name: Option<&str>,
    role: Role,
) -> Result<(Person, OneTimeLink)> {
    let permit = call.permit(Action::PeopleManage)?;
    let email = fit_email(email)?;
    let name = name.map_or_else(|| Ok(name_from(&email)), fit_name)?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let new = NewPerson { email: email.clone(), name, role };
    let person = store::people::create(&tx, &permit, new, now)
        .await?
        .ok_or_else(|| Error::Conflict(format!("{email} is in your tenant already; make them a new link instead")))?;
    let link = new_link(services, &tx, &permit, person.id, INVITATION_LIFE).await?;
    audit::record(services, call, &permit, &tx, entry("people.invite", person.id, format!("{email} as {role}")))
        .await?;
    store::events::append(&tx, &permit, EventKind::Person, person.id, "invited", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok((person, link))
}

/// A new one-time link for a person who lost the old one or their password.
pub async fn link(services: &Services, call: &Call, person: PersonId) -> Result<OneTimeLink> {
    let permit = call.permit(Action::PeopleManage)?;
    if matches!(call.via, Via::Token(_)) && person == call.actor.person {
        // A sign-in outlives the token that is revoked.
        let why = "a token makes no link for its own owner; do it in a browser, or have the operator make one";
        return Err(Error::Conflict(why.to_owned()));
    }
    let tx = services.store().begin().await?;
    let found = store::people::get_in(&tx, &permit, person).await?.ok_or_else(|| no_person(person))?;
    if found.locked {
        return Err(Error::Conflict(format!("{} is locked; unlock them first", found.email)));
    }
    let link = new_link(services, &tx, &permit, person, LINK_LIFE).await?;
    audit::record(services, call, &permit, &tx, entry("people.link", person, found.email)).await?;
    tx.commit().await?;
    Ok(link)
}

/// Decides by the domain's rule, with all other changes of admins held back.
async fn decide(tx: &Tx, permit: &Permit, person: &Person, changes: &[Change]) -> Result<()> {
    store::people::lock_admins(tx, permit).await?;
    let others = store::people::other_admins(tx, permit, person.id).await?;
    for change in changes {
        may_change(person, *change, permit.person(), others).map_err(|refused| Error::Conflict(refused.to_string()))?;
    }
    Ok(())
}

/// Changes name, role or lock. A lock ends every sign-in and voids every link; tokens stop working until it is undone.
pub async fn change(services: &Services, call: &Call, person: PersonId, ask: &ChangeAsk) -> Result<Person> {
    let permit = call.permit(Action::PeopleManage)?;
    let name = ask.name.as_deref().map(fit_name).transpose()?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    // Before the read: what is read afterwards is not changed by another until the commit.
    store::people::lock_admins(&tx, &permit).await?;
    let mut found = store::people::get_in(&tx, &permit, person).await?.ok_or_else(|| no_person(person))?;
    let mut changes = Vec::new();
    let mut said = Vec::new();
    if let Some(role) = ask.role.filter(|role| *role != found.role) {
        changes.push(Change::Role(role));
        said.push(format!("role {} → {role}", found.role));
    }
    if let Some(locked) = ask.locked.filter(|locked| *locked != found.locked) {
        changes.push(if locked { Change::Lock } else { Change::Unlock });
        said.push(if locked { "locked".to_owned() } else { "unlocked".to_owned() });
    }
    decide(&tx, &permit, &found, &changes).await?;
    if let Some(name) = name.filter(|name| *name != found.name) {
        said.push(format!("name {} → {name}", found.name));
        found.name = name;
    }
    if said.is_empty() {
        return Ok(found);
    }
    let mut word = "changed";
    for change in &changes {
        match change {
            Change::Role(role) => found.role = *role,
            Change::Lock => {
                found.locked = true;
                word = "locked";
                store::sign_ins::end_all(&tx, person, None).await?;
                store::one_time_links::delete_all(&tx, person).await?;
            }
            Change::Unlock => {
                found.locked = false;
                word = "unlocked";
            }
            Change::Remove => {}
        }
    }
    store::people::update(&tx, &permit, &found).await?;
    let detail = format!("{}: {}", found.email, said.join(", "));
    audit::record(services, call, &permit, &tx, entry("people.change", person, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Person, person, word, now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(found)
}

/// Removes a person: for good if nothing in the history names them, otherwise name and address go and the history stays.
/// Refused while they hold or have booked machines.
pub async fn remove(services: &Services, call: &Call, person: PersonId) -> Result<Removal> {
    let permit = call.permit(Action::PeopleManage)?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    store::people::lock_admins(&tx, &permit).await?;
    let found = store::people::get_in(&tx, &permit, person).await?.ok_or_else(|| no_person(person))?;
    decide(&tx, &permit, &found, &[Change::Remove]).await?;
    if store::people::holds_machines(&tx, person).await? {
        let why = format!("{} holds or has booked machines; end or cancel those bookings first", found.name);
        return Err(Error::Conflict(why));
    }
    let removal = store::people::remove(&tx, &permit, person, now).await?;
    audit::record(services, call, &permit, &tx, entry("people.remove", person, found.email)).await?;
    store::events::append(&tx, &permit, EventKind::Person, person, "removed", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(removal)
}

/// What the operator does at the server's own command line, on its database: nobody is signed in there.
pub mod operator {
    use super::*;
    use crate::tokens;

    const OPERATOR: &str = "operator";

    async fn tenant(services: &Services, tx: &Tx, now: Timestamp) -> Result<Permit> {
        let tenants = store::tenants::list_in(tx).await?;
        let tenant = match tenants.first() {
            Some((tenant, _)) => *tenant,
            None => store::tenants::create(tx, &services.settings().tenant_name, now).await?,
        };
        Ok(Permit::system(tenant))
    }

    async fn admin(services: &Services, tx: &Tx, permit: &Permit, email: &str, name: Option<&str>) -> Result<Person> {
        let email = fit_email(email)?;
        let name = name.map_or_else(|| Ok(name_from(&email)), fit_name)?;
        let now = services.clock().now();
        let new = NewPerson { email: email.clone(), name, role: Role::Admin };
        if let Some(person) = store::people::create(tx, permit, new, now).await? {
            return Ok(person);
        }
        let found = store::people::by_email_in(tx, permit, &email).await?.ok_or_else(|| {
            Error::Conflict(format!("{email} was made or removed by somebody else just now; try again"))
        })?;
        if found.role < Role::Admin || found.locked {
            let why = format!("{email} is there already and is no admin or is locked; change that in the portal");
            return Err(Error::Conflict(why));
        }
        Ok(found)
    }

    async fn record(services: &Services, tx: &Tx, permit: &Permit, entry: Entry) -> Result<()> {
        Ok(store::audit::append(tx, permit, OPERATOR, entry, None, services.clock().now()).await?)
    }

    /// Makes the admin, with a password where one is given; the first call makes the tenant. An admin who is there
    /// already gets the new password, and their sign-ins end.
    pub async fn create_admin(
        services: &Services,
        email: &str,
        name: Option<&str>,
        password: Option<String>,
    ) -> Result<Person> {
        let now = services.clock().now();
        let hash = match password {
            None => None,
            Some(password) => {
                let email = fit_email(email)?;
                domain::people::check_password(&password, &email, name.unwrap_or(&email))
                    .map_err(|unfit| Error::invalid("password", unfit.to_string()))?;
                Some(services.passwords().hash(password).await?)
            }
        };
        let tx = services.store().begin().await?;
        let permit = tenant(services, &tx, now).await?;
        let person = admin(services, &tx, &permit, email, name).await?;
        if let Some(hash) = hash {
            store::people::set_password(&tx, &permit, person.id, hash).await?;
            store::sign_ins::end_all(&tx, person.id, None).await?;
            store::one_time_links::delete_all(&tx, person.id).await?;
        }
        record(services, &tx, &permit, entry("people.create-admin", person.id, person.email.clone())).await?;
        store::events::append(&tx, &permit, EventKind::Person, person.id, "changed", now).await?;
        tx.commit().await?;
        services.live().nudge();
        Ok(person)
    }

    /// Makes the admin if they are not there, and a token of theirs that may do all that they may: for scripts. The
    /// token itself is returned.
    pub async fn create_admin_token(services: &Services, email: &str, name: Option<&str>) -> Result<String> {
        let person = create_admin(services, email, name, None).await?;
        let now = services.clock().now();
        let permit = Permit::system(person.tenant);
        let tx = services.store().begin().await?;
        let days = domain::tokens::DEFAULT_DAYS;
        let wanted =
            tokens::Wanted { name: "made at the server", scope: domain::tokens::Scope::All, days, parent: None };
        let (token, secret) = tokens::make(services, &tx, &permit, person.id, wanted).await?;
        let entry = Entry {
            action: "tokens.create",
            subject_kind: "token",
            subject_id: token.id.to_string(),
            detail: format!("for {}, all, {days} days", person.email),
        };
        record(services, &tx, &permit, entry).await?;
        store::events::append(&tx, &permit, EventKind::Token, token.id, "created", now).await?;
        tx.commit().await?;
        services.live().nudge();
        Ok(secret)
    }

    /// A one-time link for a person, whatever their role.
    pub async fn link(services: &Services, email: &str) -> Result<OneTimeLink> {
        let email = fit_email(email)?;
        let found = store::people::by_email(services.store(), &email)
            .await?
            .ok_or_else(|| Error::not_found("person", &email))?
            .person;
        if found.locked {
            return Err(Error::Conflict(format!("{email} is locked; unlock them in the portal first")));
        }
        let permit = Permit::system(found.tenant);
        let tx = services.store().begin().await?;
        let link = new_link(services, &tx, &permit, found.id, LINK_LIFE).await?;
        record(services, &tx, &permit, entry("people.link", found.id, email)).await?;
        tx.commit().await?;
        Ok(link)
    }
}
