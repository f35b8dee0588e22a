//! Live state (D6): every committed event reaches every subscriber of its tenant, in order.
//!
//! One task tails the events table: woken at once by a commit of this replica ([`Hub::nudge`]), by PostgreSQL's NOTIFY
//! for the others', and otherwise once a second. Operations need not remember anything: what is committed is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use domain::{
    access::Action,
    events::{Event, EventKind},
    hosts::HostMetrics,
    ids::{HostId, TenantId},
};
use store::events::Notices;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

pub use crate::sign_in::Ousted;
use crate::{Call, Error, Result, Services, sign_in};

/// Events that a slow reader may lag behind before it has to fetch anew.
const QUEUE: usize = 4_096;
/// Events read in one go.
const BATCH: u64 = 1_000;
/// The most missed events that are sent to a reader who comes back; beyond, it fetches anew.
pub const MAX_REPLAY: u64 = 1_000;
const PERIOD: Duration = Duration::from_secs(1);

/// A host's newest reading: told as it comes, stored nowhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub tenant: TenantId,
    pub host: HostId,
    pub metrics: HostMetrics,
    /// Whether the host's link is held by this replica; the others' came from there.
    pub is_own: bool,
}

/// Fans events out within this replica.
#[derive(Clone)]
pub struct Hub {
    events: broadcast::Sender<Event>,
    readings: broadcast::Sender<Reading>,
    nudge: Arc<Notify>,
    /// The revision of the newest event that was passed on.
    seen: Arc<AtomicI64>,
}

impl Default for Hub {
    fn default() -> Self {
        let (events, readings) = (broadcast::channel(QUEUE).0, broadcast::channel(QUEUE).0);
        Self { events, readings, nudge: Arc::new(Notify::new()), seen: Arc::default() }
    }
}

impl Hub {
    /// Something was committed: look now.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }
    /// How far this replica has come in passing events on: nothing that was read before is surely true once this has moved.
    pub(crate) fn seen(&self) -> i64 {
        self.seen.load(Ordering::Acquire)
    }
    /// All tenants' readings from now on; a reader that lags misses some, and newer ones follow.
    pub fn readings(&self) -> broadcast::Receiver<Reading> {
        self.readings.subscribe()
    }
    pub(crate) fn read(&self, reading: Reading) {
        // No subscriber is no fault.
        if self.readings.receiver_count() > 0 {
            self.readings.send(reading).ok();
        }
    }
    /// All tenants' events from now on: for the server's own reconcilers.
    pub fn subscribe_all(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

/// What a reader gets first.
#[derive(Debug)]
pub struct Subscription {
    /// Events after the revision that the reader named.
    pub missed: Vec<Event>,
    /// The reader was away too long: it has to fetch its snapshot anew.
    pub gap: bool,
    /// Everything up to here is in `missed` or in the snapshot that the reader fetches.
    pub revision: i64,
    /// All tenants' events; the caller passes on those of `tenant` with a higher revision.
    pub events: broadcast::Receiver<Event>,
    pub tenant: domain::ids::TenantId,
}

/// Subscribes a browser or client, from `last` (Last-Event-ID) on, where given.
pub async fn subscribe(services: &Services, call: &Call, last: Option<i64>) -> Result<Subscription> {
    let permit = call.permit(Action::EventsRead)?;
    let events = services.live().subscribe_all();
    let newest = store::events::newest(services.store()).await?;
    let Some(last) = last else {
        return Ok(Subscription { missed: vec![], gap: false, revision: newest, events, tenant: permit.tenant() });
    };
    let oldest = store::events::oldest(services.store()).await?;
    let missed = store::events::after_for(services.store(), &permit, last, MAX_REPLAY + 1).await?;
    let too_many = u64::try_from(missed.len()).unwrap_or(u64::MAX) > MAX_REPLAY;
    let gap = too_many || last > newest || (oldest > 0 && last + 1 < oldest);
    let missed = if gap { vec![] } else { missed };
    let revision = missed.last().map_or(newest, |event| event.revision.max(newest));
    Ok(Subscription { missed, gap, revision, events, tenant: permit.tenant() })
}

/// The newest revision: what a snapshot read after this call covers at least.
pub async fn revision(services: &Services, call: &Call) -> Result<i64> {
    call.permit(Action::EventsRead)?;
    Ok(store::events::newest(services.store()).await?)
}

/// Tails the events table until `stop`.
pub async fn run(services: Services, stop: CancellationToken) {
    let mut seen: Option<i64> = None;
    let mut notices: Option<Notices> = None;
    loop {
        if notices.is_none() {
            notices = Notices::listen(services.store()).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot listen for other replicas' events; looking once a second");
                None
            });
        }
        match tail(&services, seen).await {
            Ok(newest) => seen = Some(newest),
            Err(error) => tracing::warn!(%error, "cannot read the events; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = services.live().nudge.notified() => {}
            noticed = next(&mut notices) => if let Err(error) = noticed {
                tracing::warn!(%error, "lost the connection for other replicas' events; listening anew");
                notices = None;
            },
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// The next notice; never, where there are none.
async fn next(notices: &mut Option<Notices>) -> std::result::Result<(), store::StoreError> {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

async fn tail(services: &Services, seen: Option<i64>) -> std::result::Result<i64, Error> {
    let Some(mut seen) = seen else {
        return Ok(store::events::newest(services.store()).await?);
    };
    loop {
        let events = store::events::after(services.store(), seen, BATCH).await?;
        let count = events.len();
        for event in events {
            seen = event.revision;
            services.live().seen.store(seen, Ordering::Release);
            // No subscriber is no fault: the events stay in the table.
            if services.live().events.send(event).is_err() {
                continue;
            }
        }
        if u64::try_from(count).unwrap_or(0) < BATCH {
            return Ok(seen);
        }
    }
}

/// Why a caller that opened a stream may not go on with it. A database that does not answer now ends no stream.
pub async fn ousted(services: &Services, call: &Call) -> Option<Ousted> {
    sign_in::ousted(services, call).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot check an open stream's caller; trying again");
        None
    })
}

/// Whether the event may mean that the caller is out.
pub fn concerns_caller(event: &Event, call: &Call) -> bool {
    event.tenant == call.actor.tenant && matches!(event.kind, EventKind::Person | EventKind::Token)
}
