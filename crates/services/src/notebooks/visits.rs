//! How a browser gets into a notebook, which lives on an origin of its own (D8): with a ticket that the portal gave, once;
//! then with a cookie of that origin alone.

use domain::{
    access::Action,
    ids::{HostId, NotebookId, RunId, TenantId},
    notebooks::{Access, Notebook, NotebookAct, NotebookState, TICKET_LIFETIME, VISIT_LIFETIME},
};
use jiff::SignedDuration;
use store::{audit::Entry, notebooks::visits::Visit};

use super::{KIND, find, refuse, shares, token};
use crate::{Call, Error, Result, Services, Via, audit, live, secrets, sign_in};

const SECRET_BYTES: usize = 32;

/// What lets one browser in.
pub struct Door {
    /// The notebook's name, the first label of its address.
    pub name: String,
    pub secret: String,
    pub lifetime: SignedDuration,
}

/// A browser that may talk to a notebook now.
pub struct Visitor {
    pub call: Call,
    pub tenant: TenantId,
    pub notebook: NotebookId,
    pub host: HostId,
    pub run: RunId,
    /// How far they get in.
    pub access: Access,
    /// JupyterLab's own, to be sent with each request.
    pub token: String,
    name: String,
    hash: String,
}

/// A ticket for the caller's browser; the one before it is void. Tokens get none: a ticket ends with a sign-in.
pub async fn ticket(services: &Services, call: &Call, which: &str) -> Result<Door> {
    let permit = call.permit(Action::NotebooksOpen)?;
    let notebook = find(services, &permit, which).await?;
    if notebook.access(&call.actor).is_none() {
        return Err(Error::not_found(KIND, which));
    }
    if !notebook.acts(&call.actor).contains(&NotebookAct::Open) {
        return Err(refuse(&notebook, NotebookAct::Open));
    }
    let Via::SignIn(sign_in) = &call.via else {
        return Err(Error::Conflict("a notebook opens in a browser that is signed in".to_owned()));
    };
    let door = Door { name: notebook.name.clone(), secret: secrets::random(SECRET_BYTES)?, lifetime: TICKET_LIFETIME };
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    store::notebooks::visits::prune(&tx, now).await?;
    store::notebooks::visits::void_tickets(&tx, notebook.id, call.actor.person).await?;
    store::notebooks::visits::insert(&tx, &visit(&notebook, call, sign_in, &door, true, now)?).await?;
    let entry = Entry {
        action: "notebook.open",
        subject_kind: "notebook",
        subject_id: notebook.id.to_string(),
        detail: format!("'{}'", notebook.name),
    };
    audit::record(services, call, &permit, &tx, entry).await?;
    tx.commit().await?;
    Ok(door)
}

fn visit(
    notebook: &Notebook,
    call: &Call,
    sign_in: &str,
    door: &Door,
    is_ticket: bool,
    now: jiff::Timestamp,
) -> Result<Visit> {
    Ok(Visit {
        hash: secrets::digest(&door.secret),
        tenant: notebook.tenant,
        notebook: notebook.id,
        person: call.actor.person,
        sign_in: sign_in.to_owned(),
        is_ticket,
        expires_at: now.checked_add(door.lifetime).map_err(|error| Error::Internal(error.to_string()))?,
    })
}

/// Whose secret it is, and how far they get into the notebook now.
pub(super) struct Known {
    visit: Visit,
    pub(super) call: Call,
    pub(super) notebook: Notebook,
    pub(super) access: Access,
}

/// `None` for a secret that is none or over, and for whom the notebook is not open to any more.
async fn known(services: &Services, name: &str, hash: &str, is_ticket: bool) -> Result<Option<Known>> {
    let now = services.clock().now();
    let conn = services.store().read();
    let found = store::notebooks::visits::get(conn, hash, name, now).await?;
    let Some(visit) = found.filter(|visit| visit.is_ticket == is_ticket) else { return Ok(None) };
    let Some(call) = sign_in::caller_of(services, &visit.sign_in, None).await? else { return Ok(None) };
    let Ok(permit) = call.permit(Action::NotebooksOpen) else { return Ok(None) };
    if call.actor.person != visit.person || call.actor.tenant != visit.tenant {
        return Ok(None);
    }
    let Some(mut notebook) = store::notebooks::get(conn, &permit, visit.notebook).await? else { return Ok(None) };
    notebook.share = shares::of(services, &permit, &notebook).await?;
    Ok(notebook.access(&call.actor).map(|access| Known { visit, call, notebook, access }))
}

/// Takes a ticket and gives the secret of the cookie for it. `None` for a ticket that is none, used, or over.
pub async fn enter(services: &Services, name: &str, ticket: &str) -> Result<Option<Door>> {
    let found = known(services, name, &secrets::digest(ticket), true).await?;
    let Some(Known { visit: ticket, call, notebook, .. }) = found else { return Ok(None) };
    let door = Door { name: name.to_owned(), secret: secrets::random(SECRET_BYTES)?, lifetime: VISIT_LIFETIME };
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    if !store::notebooks::visits::use_up(&tx, &ticket).await? {
        return Ok(None);
    }
    store::notebooks::visits::insert(&tx, &visit(&notebook, &call, &ticket.sign_in, &door, false, now)?).await?;
    tx.commit().await?;
    Ok(Some(door))
}

/// Who comes with this cookie to the notebook of this name.
///
/// # Errors
/// [`Error::NotSignedIn`] if the cookie is none or over; [`Error::Conflict`] if the notebook does not run.
pub async fn visitor(services: &Services, name: &str, cookie: &str) -> Result<Visitor> {
    let hash = secrets::digest(cookie);
    let Known { visit, call, notebook, access } =
        known(services, name, &hash, false).await?.ok_or(Error::NotSignedIn)?;
    let (NotebookState::Running, Some(host), Some(run)) = (notebook.state, notebook.host, notebook.run) else {
        let Notebook { name, state, .. } = &notebook;
        return Err(Error::Conflict(format!("the notebook '{name}' is {state}")));
    };
    let token = token(services, run)?;
    let (tenant, notebook, name) = (visit.tenant, visit.notebook, name.to_owned());
    Ok(Visitor { call, tenant, notebook, host, run, access, token, name, hash })
}

/// Who has this cookie of the notebook's origin, whether it runs or not.
pub(super) async fn come(services: &Services, name: &str, cookie: &str) -> Result<Known> {
    known(services, name, &secrets::digest(cookie), false).await?.ok_or(Error::NotSignedIn)
}

/// How a notebook stands for a browser that has its page open.
pub struct Presence {
    pub notebook: Notebook,
    pub access: Access,
    pub is_owner: bool,
}

/// How it stands for who has this cookie. Asking is no use of it.
///
/// # Errors
/// [`Error::NotSignedIn`] if the cookie is none or over.
pub async fn presence(services: &Services, name: &str, cookie: &str) -> Result<Presence> {
    let Known { call, notebook, access, .. } = come(services, name, cookie).await?;
    Ok(Presence { is_owner: notebook.person == call.actor.person, notebook, access })
}

/// Whether a visitor may go on with what they have open, as far as they had it. A database that does not answer now ends nothing.
pub async fn may_stay(services: &Services, visitor: &Visitor) -> bool {
    if live::ousted(services, &visitor.call).await.is_some() {
        return false;
    }
    match known(services, &visitor.name, &visitor.hash, false).await {
        Ok(known) => {
            known.is_some_and(|known| known.notebook.run == Some(visitor.run) && known.access == visitor.access)
        }
        Err(error) => {
            tracing::warn!(%error, "cannot check an open notebook's visitor; trying again");
            true
        }
    }
}
