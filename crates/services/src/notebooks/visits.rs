//! How a browser gets into a notebook, which lives on an origin of its own (D8): with a ticket that the portal gave, once;
//! then with a cookie of that origin alone.

use domain::{
    access::Action,
    ids::{HostId, NotebookId, RunId, TenantId},
    notebooks::{Notebook, NotebookAct, NotebookState, TICKET_LIFETIME, VISIT_LIFETIME},
};
use jiff::SignedDuration;
use store::{audit::Entry, notebooks::visits::Visit};

use super::{find, refuse, token};
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
    /// JupyterLab's own, to be sent with each request.
    pub token: String,
    name: String,
    hash: String,
}

/// A ticket for the caller's browser; the one before it is void. Tokens get none: a ticket ends with a sign-in.
pub async fn ticket(services: &Services, call: &Call, which: &str) -> Result<Door> {
    let permit = call.permit(Action::NotebooksOpen)?;
    let notebook = find(services, &permit, which).await?;
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

/// Whose secret it is, and whether they may open the notebook still.
async fn known(
    services: &Services,
    name: &str,
    hash: &str,
    is_ticket: bool,
) -> Result<Option<(Visit, Call, Notebook)>> {
    let now = services.clock().now();
    let conn = services.store().read();
    let found = store::notebooks::visits::get(conn, hash, name, now).await?;
    let Some(visit) = found.filter(|visit| visit.is_ticket == is_ticket) else { return Ok(None) };
    let Some(call) = sign_in::caller_of(services, &visit.sign_in, None).await? else { return Ok(None) };
    let Ok(permit) = call.permit(Action::NotebooksOpen) else { return Ok(None) };
    if call.actor.person != visit.person || call.actor.tenant != visit.tenant {
        return Ok(None);
    }
    let Some(notebook) = store::notebooks::get(conn, &permit, visit.notebook).await? else { return Ok(None) };
    Ok(permit.check_owner(notebook.person).is_ok().then_some((visit, call, notebook)))
}

/// Takes a ticket and gives the secret of the cookie for it. `None` for a ticket that is none, used, or over.
pub async fn enter(services: &Services, name: &str, ticket: &str) -> Result<Option<Door>> {
    let found = known(services, name, &secrets::digest(ticket), true).await?;
    let Some((ticket, call, notebook)) = found else { return Ok(None) };
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
    let (visit, call, notebook) = known(services, name, &hash, false).await?.ok_or(Error::NotSignedIn)?;
    let (NotebookState::Running, Some(host), Some(run)) = (notebook.state, notebook.host, notebook.run) else {
        let Notebook { name, state, .. } = &notebook;
        return Err(Error::Conflict(format!("the notebook '{name}' is {state}")));
    };
    let token = token(services, run)?;
    Ok(Visitor { call, tenant: visit.tenant, notebook: visit.notebook, host, run, token, name: name.to_owned(), hash })
}

/// Whether a visitor may go on with an open socket. A database that does not answer now ends none.
pub async fn may_stay(services: &Services, visitor: &Visitor) -> bool {
    if live::ousted(services, &visitor.call).await.is_some() {
        return false;
    }
    match known(services, &visitor.name, &visitor.hash, false).await {
        Ok(known) => known.is_some_and(|(_, _, notebook)| notebook.run == Some(visitor.run)),
        Err(error) => {
            tracing::warn!(%error, "cannot check an open notebook's visitor; trying again");
            true
        }
    }
}
