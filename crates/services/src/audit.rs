//! The audit log: who did what.

use domain::access::{Action, Permit};
use store::{
    Tx,
    audit::{Entry, Line},
};

use crate::{
    Call, Result, Services,
    page::{Page, PageAsk},
};

/// Writes a line in the transaction that does what it tells of.
pub(crate) async fn record(services: &Services, call: &Call, permit: &Permit, tx: &Tx, entry: Entry) -> Result<()> {
    let now = services.clock().now();
    Ok(store::audit::append(tx, permit, &call.person_name, entry, call.request_id.as_deref(), now).await?)
}

/// Newest first.
pub async fn list(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<Line>> {
    let permit = call.permit(Action::AuditRead)?;
    let limit = ask.limit()?;
    let lines = store::audit::list(services.store(), &permit, ask.after::<i64>()?, limit + 1).await?;
    Ok(Page::cut(lines, limit, |line| line.id))
}
