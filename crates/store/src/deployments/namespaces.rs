//! The classes of deployments' objects.

use domain::{
    access::Permit,
    deployments::{Class, Migrated},
    ids::{DeploymentId, NamespaceId},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{StoreError, Tx, sql};

/// Those that have objects or may have, by class, and the tag of the last migration that was taken.
pub async fn get<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    deployment: DeploymentId,
) -> Result<(Vec<Class>, Option<String>), StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        class: String,
    }
    #[derive(FromQueryResult)]
    struct Taken {
        migration_tag: Option<String>,
    }
    let (tenant, deployment) = (permit.tenant().uuid(), deployment.uuid());
    let rows: Vec<Row> = sql::all(
        conn,
        "select id, class from deployment_namespaces where tenant_id = $1 and deployment_id = $2 and deleted_ms is null \
         order by class",
        [tenant.into(), deployment.into()],
    )
    .await?;
    let taken: Option<Taken> = sql::one(
        conn,
        "select migration_tag from deployments where tenant_id = $1 and id = $2",
        [tenant.into(), deployment.into()],
    )
    .await?;
    let classes = rows.into_iter().map(|row| Class { name: row.class, namespace: NamespaceId::from_uuid(row.id) });
    Ok((classes.collect(), taken.and_then(|taken| taken.migration_tag)))
}

/// Writes what migrations came to, over `before`.
pub async fn set(
    tx: &Tx,
    permit: &Permit,
    deployment: DeploymentId,
    before: &[Class],
    migrated: &Migrated,
    now: Timestamp,
) -> Result<(), StoreError> {
    let tenant = permit.tenant().uuid();
    for class in &migrated.deleted {
        sql::execute(
            tx.conn(),
            "update deployment_namespaces set deleted_ms = $1 where tenant_id = $2 and id = $3",
            [now.as_millisecond().into(), tenant.into(), class.namespace.uuid().into()],
        )
        .await?;
    }
    // Two classes may change names with each other: none has its new name before all have given up their old ones.
    let renamed = migrated
        .classes
        .iter()
        .filter(|class| before.iter().any(|was| was.namespace == class.namespace && was.name != class.name));
    let renamed: Vec<&Class> = renamed.collect();
    let rename = "update deployment_namespaces set class = $1 where tenant_id = $2 and id = $3";
    for class in &renamed {
        let id = class.namespace.uuid();
        sql::execute(tx.conn(), rename, [format!(" {id}").into(), tenant.into(), id.into()]).await?;
    }
    for class in renamed {
        let id = class.namespace.uuid();
        sql::execute(tx.conn(), rename, [class.name.as_str().into(), tenant.into(), id.into()]).await?;
    }
    for class in migrated.classes.iter().filter(|class| before.iter().all(|was| was.namespace != class.namespace)) {
        sql::execute(
            tx.conn(),
            "insert into deployment_namespaces (id, tenant_id, deployment_id, class) values ($1, $2, $3, $4)",
            [class.namespace.uuid().into(), tenant.into(), deployment.uuid().into(), class.name.as_str().into()],
        )
        .await?;
    }
    sql::execute(
        tx.conn(),
        "update deployments set migration_tag = $1 where tenant_id = $2 and id = $3",
        [migrated.tag.as_deref().into(), tenant.into(), deployment.uuid().into()],
    )
    .await?;
    Ok(())
}

/// The objects of all classes of the deployment are to be deleted.
pub async fn delete_all(tx: &Tx, permit: &Permit, deployment: DeploymentId, now: Timestamp) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "update deployment_namespaces set deleted_ms = $1 where tenant_id = $2 and deployment_id = $3 \
         and deleted_ms is null",
        [now.as_millisecond().into(), permit.tenant().uuid().into(), deployment.uuid().into()],
    )
    .await?;
    Ok(())
}
