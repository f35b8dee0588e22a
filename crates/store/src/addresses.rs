//! The first labels of addresses (`NAME.apps.example.org`), of all tenants and kinds.

use domain::access::Permit;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{StoreError, Tx, sessions::Written, sql};

/// What has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Notebook,
    Deployment,
}

/// A row that has an address, as its caller read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub kind: Named,
    pub id: Uuid,
    pub generation: i64,
    pub name: &'a str,
}

/// False if something has the name already.
pub(crate) async fn take(tx: &Tx, name: &str) -> Result<bool, StoreError> {
    let insert = "insert into address_names (name) values ($1) on conflict (name) do nothing";
    Ok(sql::execute(tx.conn(), insert, [name.into()]).await? == 1)
}

/// Whether something of any tenant has the name.
pub async fn is_taken<C: ConnectionTrait>(conn: &C, name: &str) -> Result<bool, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {}
    let row: Option<Row> = sql::one(conn, "select name from address_names where name = $1", [name.into()]).await?;
    Ok(row.is_some())
}

/// Deletes what has the name, if it is still what the caller read, and gives the name up.
pub(crate) async fn delete(tx: &Tx, permit: &Permit, holder: Holder<'_>) -> Result<Written, StoreError> {
    let delete = match holder.kind {
        Named::Notebook => "delete from notebooks where tenant_id = $1 and id = $2 and generation = $3",
        Named::Deployment => "delete from deployments where tenant_id = $1 and id = $2 and generation = $3",
    };
    let which = [permit.tenant().uuid().into(), holder.id.into(), holder.generation.into()];
    if sql::execute(tx.conn(), delete, which).await? == 0 {
        return Ok(Written::Stale);
    }
    sql::execute(tx.conn(), "delete from address_names where name = $1", [holder.name.into()]).await?;
    Ok(Written::Done)
}
