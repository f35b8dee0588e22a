//! People's files on hosts: what there is, and its end.

use domain::{
    access::{Action, Permit},
    events::EventKind,
    ids::VolumeId,
    instructions::{TransactionState, Work as Order},
    notebooks::{Volume, Work},
};
use jiff::Timestamp;
use store::audit::Entry;

use crate::{
    Call, Error, Result, Services, audit, instructions,
    page::{Page, PageAsk},
    reservations::Whose,
};

const KIND: &str = "notebook volume";
/// Removals looked at in one pass.
const BATCH: u64 = 500;

/// The caller's own, or for an admin everybody's.
pub async fn list(services: &Services, call: &Call, whose: Whose, ask: &PageAsk) -> Result<Page<Volume>> {
    let permit = call.permit(Action::NotebooksManage)?;
    let limit = ask.limit()?;
    let person = match (store::notebooks::reach(&permit), whose.person(call)) {
        (Some(own), None) => Some(own),
        (None | Some(_), person) => person,
    };
    if let Some(person) = person {
        permit.check_owner(person)?;
    }
    let after = ask.after::<VolumeId>()?;
    let rows = store::notebooks::volumes::list(services.store().read(), &permit, person, after, limit + 1).await?;
    Ok(Page::cut(rows, limit, |volume| volume.id))
}

/// Deletes files for good, by whose they are, or an admin. They are gone when their host has answered; until then they are listed.
pub async fn remove(services: &Services, call: &Call, which: VolumeId) -> Result<()> {
    let permit = call.permit(Action::NotebooksManage)?;
    let found = store::notebooks::volumes::get(services.store().read(), &permit, which).await?;
    let volume = found.filter(|volume| permit.check_owner(volume.person).is_ok());
    let volume = volume.ok_or_else(|| Error::not_found(KIND, which.to_string()))?;
    if volume.removal.is_some() {
        return Ok(());
    }
    let Volume { person_name, host_name, .. } = &volume;
    let detail = format!("the files of {person_name} on {host_name}");
    let entry = Entry {
        action: "notebook-volume.delete",
        subject_kind: "notebook-volume",
        subject_id: which.to_string(),
        detail,
    };
    if !order(services, &permit, &volume, Some((call, entry)), services.clock().now()).await? {
        let why = format!("a notebook with these files is on {host_name}; stop it first");
        return Err(Error::Conflict(why));
    }
    Ok(())
}

/// Has the host delete them. False if a notebook has them.
async fn order(
    services: &Services,
    permit: &Permit,
    volume: &Volume,
    by: Option<(&Call, Entry)>,
    now: Timestamp,
) -> Result<bool> {
    let tx = services.store().begin().await?;
    let order = Order::RemoveVolume { volume: volume.id, name: volume.person_name.clone() };
    let transaction = instructions::dispatch(&tx, permit, volume.host, None, order, now).await?;
    if !store::notebooks::volumes::begin_removal(&tx, permit, volume, transaction).await? {
        tx.rollback().await?;
        return Ok(false);
    }
    if let Some((call, entry)) = by {
        audit::record(services, call, permit, &tx, entry).await?;
    }
    store::events::append(&tx, permit, EventKind::Notebook, volume.id, "volume", now).await?;
    tx.commit().await?;
    services.live().nudge();
    instructions::wake(services, volume.host);
    Ok(true)
}

/// Forgets what is deleted, and asks again where the host did not come for it.
pub(super) async fn pass(services: &Services, now: Timestamp) -> Result<()> {
    for (volume, work) in store::notebooks::volumes::due(services.store().read(), BATCH).await? {
        if let Err(error) = act(services, &volume, work.as_ref(), now).await {
            tracing::warn!(%error, volume = %volume.id, "cannot bring the deletion of files further");
        }
    }
    Ok(())
}

async fn act(services: &Services, volume: &Volume, work: Option<&Work>, now: Timestamp) -> Result<()> {
    use TransactionState as T;
    let permit = Permit::system(volume.tenant);
    match work.map(|work| work.state) {
        Some(T::Waiting | T::Offered | T::Claimed | T::Running) => Ok(()),
        Some(T::Done) => settle(services, &permit, volume, None, now).await,
        Some(T::Failed | T::Cancelled) => {
            let cause = work.and_then(|work| work.cause.as_deref()).unwrap_or("the host did not delete them");
            settle(services, &permit, volume, Some(cause), now).await
        }
        None | Some(T::Expired | T::NeverDelivered | T::Unknown) => {
            order(services, &permit, volume, None, now).await.map(drop)
        }
    }
}

/// They are gone, or there as they were and `cause` says why.
async fn settle(
    services: &Services,
    permit: &Permit,
    volume: &Volume,
    cause: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let tx = services.store().begin().await?;
    match cause {
        None => store::notebooks::volumes::forget(&tx, permit, volume).await?,
        Some(cause) => store::notebooks::volumes::keep(&tx, permit, volume, cause).await?,
    }
    store::events::append(&tx, permit, EventKind::Notebook, volume.id, "volume", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}
