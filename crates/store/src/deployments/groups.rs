//! The directory: which host has which objects of a deployment. Changes by compare-and-set alone.

use std::collections::HashMap;

use domain::{
    access::Permit,
    deployments::{Group, Held},
    ids::{DeploymentId, HostId},
};
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, convert, sql};

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

/// Of all deployments of the tenant. Those whose host was deleted are left out: they have none.
pub async fn all<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
) -> Result<HashMap<DeploymentId, Vec<Held>>, StoreError> {
    #[derive(FromQueryResult)]
    struct Of {
        deployment_id: Uuid,
        number: i64,
        host_id: Uuid,
        epoch: i64,
    }
    let rows: Vec<Of> = sql::all(
        conn,
        "select g.deployment_id, g.number, g.host_id, g.epoch from object_groups g \
         join deployments d on d.id = g.deployment_id join hosts h on h.id = g.host_id and h.deleted_ms is null \
         where d.tenant_id = $1 order by g.deployment_id, g.number",
        [permit.tenant().uuid().into()],
    )
    .await?;
    let mut groups: HashMap<DeploymentId, Vec<Held>> = HashMap::new();
    for Of { deployment_id, number, host_id, epoch } in rows {
        let held = Held::try_from(Row { number, host_id, epoch })?;
        groups.entry(DeploymentId::from_uuid(deployment_id)).or_default().push(held);
    }
    Ok(groups)
}

/// How many deployments have objects on the host, or may have: they would be there alone.
pub async fn deployments_on<C: ConnectionTrait>(conn: &C, permit: &Permit, host: HostId) -> Result<u64, StoreError> {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let count: Option<Count> = sql::one(
        conn,
        "select count(distinct g.deployment_id) as count from object_groups g join deployments d on d.id = g.deployment_id \
         where d.tenant_id = $1 and g.host_id = $2",
        [permit.tenant().uuid().into(), host.uuid().into()],
    )
    .await?;
    Ok(count.map_or(0, |row| convert::whole(row.count)))
}

/// Takes the groups from hosts that were deleted, whose objects are gone with them; the next holder's epoch is higher.
pub async fn give_up(tx: &Tx, permit: &Permit, deployment: DeploymentId) -> Result<Vec<Held>, StoreError> {
    let rows: Vec<Row> = sql::all(
        tx.conn(),
        "delete from object_groups where deployment_id = (select id from deployments where tenant_id = $1 and id = $2) \
         and host_id in (select id from hosts where deleted_ms is not null) returning number, host_id, epoch",
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
    Held { group, host, epoch }: Held,
) -> Result<bool, StoreError> {
    let placed = sql::execute(
        tx.conn(),
        "insert into object_groups (deployment_id, number, host_id, epoch) \
         select d.id, $1, h.id, $2 from deployments d join hosts h on h.tenant_id = d.tenant_id \
         where d.tenant_id = $3 and d.id = $4 and h.id = $5 and h.deleted_ms is null \
         on conflict (deployment_id, number) do nothing",
        [
            i64::from(group.number()).into(),
            convert::signed(epoch).into(),
            permit.tenant().uuid().into(),
            deployment.uuid().into(),
            host.uuid().into(),
        ],
    )
    .await?;
    Ok(placed == 1)
}
