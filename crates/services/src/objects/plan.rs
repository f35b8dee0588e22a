//! What hosts that run objects are told.

use std::collections::HashMap;

use domain::{
    access::Permit,
    deployments::{Digest, GROUPS, MAX_DEPLOYMENTS},
    ids::{HostId, NamespaceId, TenantId},
};
use jiff::SignedDuration;
use protocol::objects::{Holder, Peer, Plan, Planned, PlannedClass};
use store::deployments::{
    plan::{self as rows, ObjectHost, Running},
    versions,
};

use super::MAX_HOSTS;
use crate::{Error, Result, Services, certificates};

/// Hosts hear for so long that a class was deleted; one that was away for longer keeps what nobody can reach.
const DELETED_FOR: SignedDuration = SignedDuration::from_hours(24 * 90);
const MAX_DELETED: u64 = 10_000;

/// The tenant's plan, for a host of its that says it runs objects.
pub async fn plan(services: &Services, tenant: TenantId, host: HostId) -> Result<Plan> {
    let permit = Permit::system(tenant);
    // Before all else, so that the plan is never older than it says.
    let revision = store::events::newest(services.store()).await?;
    let conn = services.store().read();
    let hosts = rows::hosts(conn, &permit, MAX_HOSTS).await?;
    if !hosts.iter().any(|known| known.host == host) {
        return Err(Error::Conflict("this host does not say that it runs objects".to_owned()));
    }
    let running = rows::running(conn, &permit, u64::from(MAX_DEPLOYMENTS)).await?;
    let since = services.clock().now().saturating_sub(DELETED_FOR).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let deleted = rows::deleted(conn, &permit, since, MAX_DELETED).await?;
    let authority = certificates::tenant_authority(services, &permit).await?;
    Ok(Plan {
        tenant,
        revision,
        deployments: running.into_iter().map(|running| planned(services, running)).collect::<Result<_>>()?,
        hosts: hosts.into_iter().map(peer).collect(),
        peers_ca_pem: authority.certificate_pem.clone(),
        deleted,
    })
}

fn peer(ObjectHost { host, name, offer, .. }: ObjectHost) -> Peer {
    Peer { host, name, address: offer.address }
}

fn planned(services: &Services, running: Running) -> Result<Planned> {
    let held: HashMap<u16, Holder> = running
        .groups
        .iter()
        .map(|held| (held.group.number(), Holder { host: held.host, epoch: held.epoch }))
        .collect();
    let classes = running.classes.into_iter().map(|class| {
        let key = key(services, class.namespace)?;
        Ok(PlannedClass { class: class.name, namespace: class.namespace, key })
    });
    Ok(Planned {
        id: running.id,
        name: running.name,
        version: running.version,
        digest: running.bundle.0,
        main: running.code.main,
        vars: running.code.vars,
        bindings: running.code.bindings,
        services: running.code.services,
        limits: running.code.limits,
        classes: classes.collect::<Result<_>>()?,
        groups: (0..GROUPS).map(|group| held.get(&group).copied()).collect(),
    })
}

/// The key of a class's ids: never stored, as whoever has the server's key can make it anew.
fn key(services: &Services, namespace: NamespaceId) -> Result<[u8; 32]> {
    let key = services.settings().server_key.as_ref();
    let key = key.ok_or_else(|| Error::Unavailable("this server has no server key (server_key_file)".to_owned()))?;
    let mut bytes = [0; 32];
    let derived = hex::decode_to_slice(key.derive(&format!("objects {namespace}")), &mut bytes);
    derived.map_err(|error| Error::Internal(format!("a derived key: {error}")))?;
    Ok(bytes)
}

/// All modules of a version, by the SHA-256 of what is answered.
pub async fn bundle(services: &Services, tenant: TenantId, digest: Digest) -> Result<Vec<u8>> {
    let found = versions::bundle(services.store().read(), &Permit::system(tenant), digest).await?;
    found.ok_or_else(|| Error::not_found("bundle", hex::encode(digest.0)))
}
