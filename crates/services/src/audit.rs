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

/// A line as the API shows it; the store's own type is not known to `api`.
pub fn line(line: Line) -> api::audit::AuditLine {
    api::audit::AuditLine {
        id: line.id,
        at: line.at,
        person_id: line.person.map(domain::ids::PersonId::uuid),
        person: line.person_name,
        action: line.action,
        subject_kind: line.subject_kind,
        subject_id: line.subject_id,
        detail: line.detail,
        request_id: line.request_id,
    }
}
