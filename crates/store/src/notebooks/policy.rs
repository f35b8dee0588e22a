//! What an admin sets for a tenant's notebooks.

use domain::{access::Permit, notebooks::NotebookPolicy};
use sea_orm::{ConnectionTrait, FromQueryResult};

use crate::{StoreError, Tx, convert, sessions::Written, sql};

#[derive(Debug, FromQueryResult)]
struct Row {
    policy: String,
    generation: i64,
}

/// The tenant's policy and its generation: 0 for the one that comes with the server.
pub async fn get<C: ConnectionTrait>(conn: &C, permit: &Permit) -> Result<(NotebookPolicy, i64), StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        "select policy, generation from notebook_policies where tenant_id = $1",
        [permit.tenant().uuid().into()],
    )
    .await?;
    let Some(row) = row else { return Ok((NotebookPolicy::default(), 0)) };
    Ok((convert::json("notebook_policies.policy", &row.policy)?, row.generation))
}

/// Writes it if it is still of the generation that the caller read.
pub async fn set(tx: &Tx, permit: &Permit, read: i64, policy: &NotebookPolicy) -> Result<Written, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "insert into notebook_policies (tenant_id, policy, generation) values ($1, $2, $3 + 1) \
         on conflict (tenant_id) do update set policy = excluded.policy, generation = excluded.generation \
         where notebook_policies.generation = $3",
        [permit.tenant().uuid().into(), convert::to_json(policy).into(), read.into()],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}
