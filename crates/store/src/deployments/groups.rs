//! The directory: which host has which objects of a deployment. Changes by compare-and-set alone.

use domain::{
    access::Permit,
    deployments::{Group, Held},
    ids::{DeploymentId, HostId},
};
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, sql};

#[derive(Debug, FromQueryResult)]
struct Row {
    number: i64,
    host_id: Uuid,
    epoch: i64,
}

impl TryFrom<Row> for Held {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        let corrupt = |column, value: i64| Corrupt { column, why: format!("{value} is out of range") };
        let group = u16::try_from(row.number).ok().and_then(Group::from_number);
        Ok(Held {
            group: group.ok_or_else(|| corrupt("object_groups.number", row.number))?,
            host: HostId::from_uuid(row.host_id),
            epoch: u64::try_from(row.epoch).map_err(|_| corrupt("object_groups.epoch", row.epoch))?,
        })
    }
}

/// In the order of groups.
pub async fn get<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    deployment: DeploymentId,
) -> Result<Vec<Held>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        "select g.number, g.host_id, g.epoch from object_groups g join deployments d on d.id = g.deployment_id \
         where d.tenant_id = $1 and g.deployment_id = $2 order by g.number",
        [permit.tenant().uuid().into(), deployment.uuid().into()],
    )
    .await?;
    Ok(rows.into_iter().map(Held::try_from).collect::<Result<_, _>>()?)
}

/// Gives a group that has no host its first. False if it has one by now.
pub async fn place(
    tx: &Tx,
    permit: &Permit,
    deployment: DeploymentId,
    group: Group,
    host: HostId,
) -> Result<bool, StoreError> {
    let placed = sql::execute(
        tx.conn(),
        "insert into object_groups (deployment_id, number, host_id, epoch) \
         select d.id, $1, h.id, 1 from deployments d join hosts h on h.tenant_id = d.tenant_id \
         where d.tenant_id = $2 and d.id = $3 and h.id = $4 on conflict (deployment_id, number) do nothing",
        [i64::from(group.number()).into(), permit.tenant().uuid().into(), deployment.uuid().into(), host.uuid().into()],
    )
    .await?;
    Ok(placed == 1)
}
