//! Sharing a notebook with named colleagues, to read or in full. Only its owner does.

use domain::{
    access::{Action, Denied, Permit},
    events::EventKind,
    ids::{NotebookId, PersonId},
    notebooks::{Access, MAX_SHARES, Notebook, Share},
    people::Person,
};

use super::{entry, find};
use crate::{
    Call, Error, Result, Services, audit,
    page::{Page, PageAsk},
};

/// How far the notebook is shared with whoever the permit is for.
pub(super) async fn of(services: &Services, permit: &Permit, notebook: &Notebook) -> Result<Option<Access>> {
    match permit.person() {
        Some(person) if person != notebook.person => {
            let conn = services.store().read();
            Ok(store::notebooks::shares::access(conn, permit, notebook.id, person).await?)
        }
        Some(_) | None => Ok(None),
    }
}

/// The notebook, for its owner alone.
async fn own(services: &Services, call: &Call, action: Action, which: &str) -> Result<(Permit, Notebook)> {
    let permit = call.permit(action)?;
    let notebook = find(services, &permit, which).await?;
    if notebook.person == call.actor.person { Ok((permit, notebook)) } else { Err(Denied::NotOwn { action }.into()) }
}

/// With whom it is shared, by name.
pub async fn shares(services: &Services, call: &Call, which: &str) -> Result<Vec<Share>> {
    let (permit, notebook) = own(services, call, Action::NotebooksRead, which).await?;
    Ok(store::notebooks::shares::list(services.store().read(), &permit, notebook.id, MAX_SHARES).await?)
}

/// What others share with the caller, newest first.
pub async fn shared(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<Notebook>> {
    let permit = call.permit(Action::NotebooksRead)?;
    let limit = ask.limit()?;
    let (conn, before) = (services.store().read(), ask.after::<NotebookId>()?);
    let rows = store::notebooks::shares::with_person(conn, &permit, call.actor.person, before, limit + 1).await?;
    Ok(Page::cut(rows, limit, |notebook| notebook.id))
}

/// By id or address, of the tenant.
async fn colleague(tx: &store::Tx, permit: &Permit, who: &str) -> Result<Person> {
    let who = who.trim();
    let found = match who.parse::<PersonId>() {
        Ok(id) => store::people::get_in(tx, permit, id).await?,
        Err(_) => store::people::by_email_in(tx, permit, &who.to_lowercase()).await?,
    };
    found.ok_or_else(|| Error::not_found("person", who))
}

/// Shares it with a colleague, by id or address; whoever had it another way has it this way from now on, and what they have open
/// is opened anew.
pub async fn share(services: &Services, call: &Call, which: &str, who: &str, access: Access) -> Result<Share> {
    let (permit, notebook) = own(services, call, Action::NotebooksManage, which).await?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let person = colleague(&tx, &permit, who).await?;
    if person.id == notebook.person {
        return Err(Error::invalid("person", "it is yours; choose somebody else"));
    }
    if person.locked {
        return Err(Error::invalid("person", "is locked"));
    }
    let before = store::notebooks::shares::access(tx.conn(), &permit, notebook.id, person.id).await?;
    if before.is_none() && store::notebooks::shares::count(&tx, notebook.id).await? >= MAX_SHARES {
        let why = format!("a notebook is shared with {MAX_SHARES} people at most; take it back from somebody first");
        return Err(Error::Conflict(why));
    }
    store::notebooks::shares::put(&tx, &permit, notebook.id, person.id, access, call.actor.person, now).await?;
    let detail = format!("'{}' with {}: {access}", notebook.name, person.email);
    audit::record(services, call, &permit, &tx, entry("notebook.share", notebook.id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, notebook.id, "shared", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(Share { person: person.id, person_name: person.name, person_email: person.email, access, created_at: now })
}

/// Takes it back: the person's cookies are void, and what they have open is cut within a second.
pub async fn unshare(services: &Services, call: &Call, which: &str, who: &str) -> Result<()> {
    let (permit, notebook) = own(services, call, Action::NotebooksManage, which).await?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let person = colleague(&tx, &permit, who).await?;
    if !store::notebooks::shares::remove(&tx, &permit, notebook.id, person.id).await? {
        return Err(Error::not_found("share with", person.email));
    }
    let detail = format!("'{}' with {}", notebook.name, person.email);
    audit::record(services, call, &permit, &tx, entry("notebook.unshare", notebook.id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, notebook.id, "unshared", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}
