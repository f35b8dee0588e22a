//! What an admin sets for the tenant's notebooks.

use domain::{
    access::Action,
    events::EventKind,
    notebooks::{BadPolicy, NotebookPolicy},
};
use store::{audit::Entry, sessions::Written};

use crate::{Call, Error, Result, Services, audit};

/// The policy and its generation, by which [`set`] knows that nobody has changed it meanwhile.
pub async fn get(services: &Services, call: &Call) -> Result<(NotebookPolicy, i64)> {
    let permit = call.permit(Action::NotebooksRead)?;
    Ok(store::notebooks::policy::get(services.store().read(), &permit).await?)
}

/// Sets it whole; by an admin. What runs goes on as it is, but that idle times hold at once.
///
/// # Errors
/// [`Error::Conflict`] if it is not of the generation `read` any more.
pub async fn set(services: &Services, call: &Call, read: Option<i64>, policy: &NotebookPolicy) -> Result<i64> {
    let permit = call.permit(Action::NotebooksSet)?;
    policy.check().map_err(|BadPolicy { field, why }| Error::invalid(field, why))?;
    let (_, there) = store::notebooks::policy::get(services.store().read(), &permit).await?;
    let read = read.unwrap_or(there);
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    if store::notebooks::policy::set(&tx, &permit, read, policy).await? == Written::Stale {
        return Err(Error::Conflict("somebody else has changed this meanwhile; look at it again".to_owned()));
    }
    let sizes: Vec<&str> = policy.sizes.iter().map(|size| size.name.as_str()).collect();
    let idle = policy.idle_after_min.map_or_else(|| "never".to_owned(), |minutes| format!("after {minutes} min"));
    let detail =
        format!("sizes {}; {} of a person run at most; idle ones stop {idle}", sizes.join(", "), policy.max_running);
    let subject_id = permit.tenant().to_string();
    let entry = Entry { action: "notebook-policy.set", subject_kind: "notebook-policy", subject_id, detail };
    audit::record(services, call, &permit, &tx, entry).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, permit.tenant(), "policy", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(read + 1)
}
