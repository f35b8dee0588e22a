//! Keeps the links in step with the database: what was revoked is cut, what waits is offered, what was heard is stored,
//! and hosts whose replica died are offline.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use domain::{
    access::Permit,
    events::{Event, EventKind},
    hosts::HostLink,
    ids::{HostId, InstructionId, TenantId},
};
use jiff::{SignedDuration, Timestamp};
use protocol::{CloseReason, HEARTBEAT_PERIOD_MS};
use store::{StoreError, Tx, events::Told, hosts::Owned};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::conversation::{OFFER_AGAIN_AFTER, host_told};
use crate::{
    Result, Services,
    certificates::Holder,
    ledger::{Urgency, Write},
};

const PERIOD: Duration = Duration::from_secs(1);
/// Every so many periods heartbeats are stored and silent hosts looked for.
const HEARTBEAT_PERIODS: u32 = 5;
/// Revocations are looked for this far back each time, for replicas' clocks differ.
const REVOCATION_WINDOW: SignedDuration = SignedDuration::from_secs(30);
const MAX_HOSTS: u64 = 1_000;

/// How long after the last stored heartbeat a host is taken for offline: three heartbeats, and the time between stores.
fn silence() -> SignedDuration {
    let heartbeat = SignedDuration::from_millis(i64::try_from(HEARTBEAT_PERIOD_MS).unwrap_or(5_000));
    heartbeat * 3 + SignedDuration::from_secs(2 * i64::from(HEARTBEAT_PERIODS))
}

/// Watches until `stop`.
pub async fn run(services: Services, stop: CancellationToken) {
    let mut events = services.live().subscribe_all();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round: u32 = 0;
    let mut changed: HashSet<TenantId> = HashSet::new();
    loop {
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) => {
                    if tells_peers(&event) {
                        changed.insert(event.tenant);
                    }
                    on_event(&services, &event).await
                }
                // The next tick looks at everything.
                Err(RecvError::Lagged(_)) => {
                    changed.extend(services.links().all().iter().map(|link| link.peer.tenant));
                    Ok(())
                }
                Err(RecvError::Closed) => return,
            },
            _ = ticks.tick() => {
                round = round.wrapping_add(1);
                // Of many hosts that come or go at once they are told together.
                for tenant in changed.drain() {
                    services.links().plan_changed(tenant);
                }
                tick(&services, round).await
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "cannot bring the links in step with the database; trying again");
        }
    }
}

/// Whether a host came, or may go no more, that others ask for objects.
fn tells_peers(event: &Event) -> bool {
    event.kind == EventKind::Host && event.word != HostLink::Offline.word()
}

async fn on_event(services: &Services, event: &Event) -> Result<()> {
    match event.kind {
        EventKind::Host if event.word == HostLink::Offline.word() => {
            services.links().forget(HostId::from_uuid(event.subject));
            Ok(())
        }
        EventKind::Host => check_host(services, HostId::from_uuid(event.subject)).await,
        EventKind::Instruction if event.word == "waiting" || event.word == crate::instructions::CANCELLING => {
            wake_all_of(services, event).await
        }
        EventKind::Deployment => {
            services.links().plan_changed(event.tenant);
            Ok(())
        }
        EventKind::Instruction
        | EventKind::Machine
        | EventKind::HostMetrics
        | EventKind::Reservation
        | EventKind::Session
        | EventKind::Notebook
        | EventKind::ZeroCertificate
        | EventKind::Person
        | EventKind::Token => Ok(()),
    }
}

/// Something was said of a host: whether what it has open here may stay.
async fn check_host(services: &Services, host: HostId) -> Result<()> {
    let links = services.links();
    let serials: HashSet<String> = [
        links.get(host).map(|link| link.peer.serial.clone()),
        links.tunnel(host).map(|tunnel| tunnel.peer.serial.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    for serial in serials {
        let holder = store::certificates::holder(services.store(), &serial).await?;
        let stays = match holder {
            Some(Holder::Host { revoked, intent, .. }) => !revoked && intent.may_link(),
            Some(Holder::Zero { .. }) | None => false,
        };
        if !stays {
            links.cut(host, CloseReason::Revoked, |used| used == serial);
        }
    }
    if let Some(link) = links.get(host) {
        let owned = store::hosts::owner(services.store(), &link.peer.permit(), host).await?;
        let elsewhere =
            owned.is_some_and(|owned| owned.owner.is_some_and(|owner| owner != services.settings().replica));
        if elsewhere {
            link.closing.close(CloseReason::Replaced);
        }
    }
    Ok(())
}

/// An instruction waits or is to be cancelled: its hosts that are linked here look.
async fn wake_all_of(services: &Services, event: &Event) -> Result<()> {
    let permit = Permit::system(event.tenant);
    let id = InstructionId::from_uuid(event.subject);
    for host in store::instructions::open_hosts(services.store(), &permit, id).await? {
        services.links().wake(host);
    }
    Ok(())
}

async fn tick(services: &Services, round: u32) -> Result<()> {
    let now = services.clock().now();
    let replica = services.settings().replica;
    let since = now.saturating_sub(REVOCATION_WINDOW).unwrap_or(now);
    for (host, serial) in store::certificates::revoked_since(services.store(), since).await? {
        services.links().cut(host, CloseReason::Revoked, |used| used == serial);
    }
    let offered_before = now.saturating_sub(OFFER_AGAIN_AFTER).unwrap_or(now);
    for host in store::instructions::hosts_with_work(services.store(), replica, offered_before, MAX_HOSTS).await? {
        services.links().wake(host);
    }
    if round.is_multiple_of(HEARTBEAT_PERIODS) {
        store_heartbeats(services, now).await?;
        let before = now.saturating_sub(silence()).unwrap_or(now);
        for silent in store::hosts::stale(services.store(), before, MAX_HOSTS).await? {
            services.links().forget(silent.host);
            services.ledger().write(Silent { host: silent, before }).await?;
        }
    }
    Ok(())
}

async fn store_heartbeats(services: &Services, now: Timestamp) -> Result<()> {
    let since = now.as_millisecond() - i64::try_from(HEARTBEAT_PERIOD_MS).unwrap_or(5_000) * 2;
    let heard: Vec<HostId> = services
        .links()
        .all()
        .into_iter()
        .filter(|link| link.heard_ms.load(Ordering::Relaxed) >= since)
        .map(|link| link.peer.host)
        .collect();
    for chunk in heard.chunks(store::hosts::HEARTBEAT_CHUNK) {
        let chunk = chunk.to_vec();
        services.ledger().write(Heartbeats { hosts: chunk, owner: services.settings().replica }).await?;
    }
    Ok(())
}

struct Heartbeats {
    hosts: Vec<HostId>,
    owner: uuid::Uuid,
}

#[async_trait]
impl Write for Heartbeats {
    type Out = ();
    fn urgency(&self) -> Urgency {
        Urgency::Report
    }
    async fn apply(&self, tx: &Tx, _: &mut Vec<Told>, now: Timestamp) -> std::result::Result<(), StoreError> {
        store::hosts::heartbeats(tx, &self.hosts, self.owner, now).await
    }
}

/// A host of which nothing was heard since `before`: the replica that held its link is gone.
struct Silent {
    host: Owned,
    before: Timestamp,
}

#[async_trait]
impl Write for Silent {
    type Out = ();
    async fn apply(&self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> std::result::Result<(), StoreError> {
        let Owned { host, tenant, owner, tunnel_owner: _ } = self.host;
        let permit = Permit::system(tenant);
        let Some(owner) = owner else { return Ok(()) };
        let is_silent = store::hosts::get_in(tx, &permit, host)
            .await?
            .is_some_and(|host| host.last_heartbeat_at.is_none_or(|at| at < self.before));
        if is_silent && store::hosts::link_down(tx, &permit, host, owner, now).await? {
            store::instructions::withdraw_offers(tx, &permit, host).await?;
            told.push(host_told(&permit, host, HostLink::Offline.word()));
        }
        Ok(())
    }
}
