//! Links of agents (D3): which hosts are connected to this replica, what is sent to them, their newest readings, and
//! the byte streams through their tunnels.
//!
//! A link is owned by the one replica that the agent dialled. Another replica's wish reaches it by what that replica
//! stored and by its event: [`watch`] looks. Its streams go through the replica that holds the host's tunnel: [`streams`].

mod conversation;
mod reports;
mod streams;
pub mod tunnel;
mod watch;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

pub use conversation::{Attached, Heard, Trouble, attach, detach, heard, look};
use domain::{
    access::Permit,
    hosts::HostMetrics,
    ids::{HostId, InstructionId, RunId, SessionId, TenantId, TransactionId},
};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use protocol::{CloseReason, HEARTBEAT_PERIOD_MS, ToAgent};
pub(crate) use streams::RelaySlot;
pub use streams::{Relay, Relayed, connect, open_stream};
use tokio::sync::{Notify, mpsc};
pub use tunnel::{ByteStream, Chunk, StreamClosed, StreamReader, StreamWriter, Tunnel};
pub use watch::run;

use crate::{
    Error, Result, Services, live,
    replicas::{self, Replica},
};

/// Messages that wait for a slow agent before its link is closed.
const OUTBOX: usize = 256;
/// Readings that are kept of a host: ten minutes, one each five seconds.
const READINGS: usize = 120;
/// A reading is the newest for this long: three heartbeats, as a link without one is dead then.
const READING_LIFE: Duration = Duration::from_millis(3 * HEARTBEAT_PERIOD_MS);
/// The longest that opening a tunnel may take.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the database is asked whether a tunnel that is awaited came in elsewhere.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(100);
/// Transactions of which a link remembers whose they are.
const MAX_KNOWN: usize = 4_096;

/// The host at the other end, as its certificate says.
#[derive(Debug, Clone)]
pub struct Peer {
    pub tenant: TenantId,
    pub host: HostId,
    pub name: String,
    /// Of the certificate with which the connection was made; lower-case hex.
    pub serial: String,
    pub expires_at: Timestamp,
}

impl Peer {
    pub(crate) fn permit(&self) -> Permit {
        Permit::system(self.tenant)
    }
}

/// What a connection has to end for, told from elsewhere in the server.
#[derive(Default)]
pub struct Closing {
    reason: Mutex<Option<CloseReason>>,
    told: Notify,
}

impl Closing {
    /// The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.reason.lock().get_or_insert(reason);
        self.told.notify_waiters();
    }
    pub fn reason(&self) -> Option<CloseReason> {
        *self.reason.lock()
    }
    /// Waits for it.
    pub async fn closed(&self) -> CloseReason {
        loop {
            let told = self.told.notified();
            if let Some(reason) = self.reason() {
                return reason;
            }
            told.await;
        }
    }
}

/// Whose a claimed transaction is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub instruction: InstructionId,
    pub session: Option<SessionId>,
    /// The notebook's run that it starts or stops.
    pub run: Option<RunId>,
    pub is_revert: bool,
}

/// A live link.
pub struct Link {
    pub peer: Peer,
    pub closing: Closing,
    outbox: mpsc::Sender<ToAgent>,
    wake: Notify,
    /// It runs objects.
    runs_objects: bool,
    available: AtomicBool,
    heard_ms: AtomicI64,
    known: Mutex<HashMap<TransactionId, Known>>,
}

impl Link {
    /// Queues a message; a link whose queue is full is closed, for its agent does not read.
    pub fn send(&self, message: ToAgent) -> bool {
        match self.outbox.try_send(message) {
            Ok(()) => true,
            Err(_) => {
                self.closing.close(CloseReason::Overloaded);
                false
            }
        }
    }
    /// Done when there is something to look for: see [`look`].
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
    fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }
    fn know(&self, id: TransactionId, known: Known) {
        let mut all = self.known.lock();
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(id, known);
    }
}

/// What is known of a host's load.
#[derive(Default)]
struct Readings {
    ring: VecDeque<HostMetrics>,
    /// By this server's clock: the hosts' own may be off.
    heard: Option<(TenantId, Instant)>,
}

/// The links that this replica holds, and what it knows of the hosts that are linked to others.
#[derive(Default)]
pub struct Links {
    links: RwLock<HashMap<HostId, Arc<Link>>>,
    tunnels: RwLock<HashMap<HostId, Arc<Tunnel>>>,
    readings: RwLock<HashMap<HostId, Mutex<Readings>>>,
    tunnel_up: Notify,
}

impl Links {
    pub(crate) fn get(&self, host: HostId) -> Option<Arc<Link>> {
        self.links.read().get(&host).cloned()
    }
    fn all(&self) -> Vec<Arc<Link>> {
        self.links.read().values().cloned().collect()
    }
    /// How many links this replica holds.
    pub fn count(&self) -> usize {
        self.links.read().len()
    }
    /// Whether the host is linked here.
    pub fn is_online(&self, host: HostId) -> bool {
        self.links.read().contains_key(&host)
    }
    /// Whether the host is linked here and takes offers.
    pub(crate) fn is_available(&self, host: HostId) -> bool {
        self.links.read().get(&host).is_some_and(|link| link.is_available())
    }
    /// Sends a message if the host is linked here; false if not.
    pub fn send(&self, host: HostId, message: ToAgent) -> bool {
        self.get(host).is_some_and(|link| link.send(message))
    }
    pub(crate) fn offer(&self, host: HostId, transaction: TransactionId) {
        if let Some(link) = self.get(host) {
            link.send(ToAgent::Offer { transaction });
        }
    }
    /// The tenant's hosts that run objects and are linked here are to fetch their plan anew.
    fn plan_changed(&self, tenant: TenantId) {
        for link in self.links.read().values().filter(|link| link.runs_objects && link.peer.tenant == tenant) {
            link.send(ToAgent::PlanChanged);
        }
    }
    pub(crate) fn wake(&self, host: HostId) {
        if let Some(link) = self.get(host) {
            link.wake.notify_one();
        }
    }
    /// The newer link of a host stays.
    fn put(&self, link: Arc<Link>) {
        let old = self.links.write().insert(link.peer.host, link);
        if let Some(old) = old {
            old.closing.close(CloseReason::Replaced);
        }
        self.gauge();
    }
    /// False if a newer link has taken its place.
    fn remove(&self, link: &Arc<Link>) -> bool {
        let mut links = self.links.write();
        let is_current = links.get(&link.peer.host).is_some_and(|current| Arc::ptr_eq(current, link));
        if is_current {
            links.remove(&link.peer.host);
        }
        drop(links);
        self.gauge();
        is_current
    }
    fn gauge(&self) {
        metrics::gauge!("berth_links").set(f64::from(u32::try_from(self.count()).unwrap_or(u32::MAX)));
    }

    fn keep(&self, tenant: TenantId, host: HostId, reading: HostMetrics) {
        let keep = |readings: &mut Readings| {
            if readings.ring.len() == READINGS {
                readings.ring.pop_front();
            }
            readings.ring.push_back(reading);
            readings.heard = Some((tenant, Instant::now()));
        };
        if let Some(readings) = self.readings.read().get(&host) {
            return keep(&mut readings.lock());
        }
        keep(self.readings.write().entry(host).or_default().get_mut());
    }
    fn forget(&self, host: HostId) {
        self.readings.write().remove(&host);
    }
    /// The last ten minutes, oldest first; of a host that is linked to another replica what was heard from there.
    pub fn readings(&self, host: HostId) -> Vec<HostMetrics> {
        let readings = self.readings.read();
        readings.get(&host).map(|readings| readings.lock().ring.iter().copied().collect()).unwrap_or_default()
    }
    /// The newest reading of a host that was heard of lately.
    pub fn newest_reading(&self, host: HostId) -> Option<HostMetrics> {
        let readings = self.readings.read();
        let readings = readings.get(&host)?.lock();
        let is_fresh = readings.heard.is_some_and(|(_, at)| at.elapsed() < READING_LIFE);
        readings.ring.back().copied().filter(|_| is_fresh)
    }
    /// The newest readings of the hosts that are linked here: what another replica gets first.
    pub fn own_readings(&self) -> Vec<live::Reading> {
        let links = self.links.read();
        let readings = self.readings.read();
        links
            .values()
            .filter_map(|link| {
                let metrics = *readings.get(&link.peer.host)?.lock().ring.back()?;
                Some(live::Reading { tenant: link.peer.tenant, host: link.peer.host, metrics, is_own: true })
            })
            .collect()
    }

    /// A tunnel came up; the newer one of a host stays.
    pub fn put_tunnel(&self, tunnel: Arc<Tunnel>) {
        let old = self.tunnels.write().insert(tunnel.peer.host, tunnel);
        if let Some(old) = old {
            old.closing.close(CloseReason::Replaced);
        }
        self.tunnel_up.notify_waiters();
    }
    /// A tunnel is gone, and its streams with it. False if a newer one has taken its place.
    fn remove_tunnel(&self, tunnel: &Arc<Tunnel>) -> bool {
        let mut tunnels = self.tunnels.write();
        let is_current = tunnels.get(&tunnel.peer.host).is_some_and(|current| Arc::ptr_eq(current, tunnel));
        if is_current {
            tunnels.remove(&tunnel.peer.host);
        }
        drop(tunnels);
        tunnel.end();
        is_current
    }
    fn tunnel(&self, host: HostId) -> Option<Arc<Tunnel>> {
        self.tunnels.read().get(&host).filter(|tunnel| tunnel.closing.reason().is_none()).cloned()
    }
    /// Ends whatever the host has open with a certificate for which `is_worthless` holds.
    fn cut(&self, host: HostId, reason: CloseReason, is_worthless: impl Fn(&str) -> bool) {
        if let Some(link) = self.get(host).filter(|link| is_worthless(&link.peer.serial)) {
            link.closing.close(reason);
        }
        if let Some(tunnel) = self.tunnel(host).filter(|tunnel| is_worthless(&tunnel.peer.serial)) {
            tunnel.closing.close(reason);
            tunnel.end();
        }
    }
}

/// A host that is linked here said how it is.
fn read(services: &Services, peer: &Peer, metrics: HostMetrics) {
    services.links().keep(peer.tenant, peer.host, metrics);
    services.live().read(live::Reading { tenant: peer.tenant, host: peer.host, metrics, is_own: true });
}

/// Another replica says how a host is that is linked there.
pub fn read_elsewhere(services: &Services, tenant: TenantId, host: HostId, metrics: HostMetrics) {
    if services.links().is_online(host) {
        return;
    }
    services.links().keep(tenant, host, metrics);
    services.live().read(live::Reading { tenant, host, metrics, is_own: false });
}

/// The host's tunnel came in here, though perhaps not its link: the others learn where it is.
pub async fn tunnel_up(services: &Services, tunnel: &Arc<Tunnel>) {
    services.links().put_tunnel(tunnel.clone());
    note_tunnel(services, tunnel, TunnelAt::Here).await;
}

/// It is gone, and its streams with it.
pub async fn tunnel_down(services: &Services, tunnel: &Arc<Tunnel>) {
    if services.links().remove_tunnel(tunnel) {
        note_tunnel(services, tunnel, TunnelAt::Nowhere).await;
    }
}

#[derive(Clone, Copy)]
enum TunnelAt {
    Here,
    Nowhere,
}

async fn note_tunnel(services: &Services, tunnel: &Arc<Tunnel>, at: TunnelAt) {
    let (permit, host, owner) = (tunnel.peer.permit(), tunnel.peer.host, services.settings().replica);
    let noted = async {
        let tx = services.store().begin().await?;
        match at {
            TunnelAt::Here => store::hosts::tunnel_up(&tx, &permit, host, owner).await?,
            TunnelAt::Nowhere => store::hosts::tunnel_down(&tx, &permit, host, owner).await?,
        }
        tx.commit().await
    };
    if let Err(error) = noted.await {
        // Streams from this replica work all the same; the others' are refused until it is noted.
        tracing::warn!(host = %tunnel.peer.name, %error, "cannot store where a host's tunnel is");
    }
}

/// Where streams to a host can be opened.
pub enum Way {
    Here(Arc<Tunnel>),
    /// Through this other replica.
    Through(Replica),
}

fn away() -> Error {
    Error::Unavailable("the host is offline now; try again when it is back".to_owned())
}

/// Finds the host's tunnel, and asks the host to open it where its link is held here and there is none.
pub async fn way(services: &Services, tenant: TenantId, host: HostId) -> Result<Way> {
    let found = tokio::time::timeout(TUNNEL_TIMEOUT, find_way(services, &Permit::system(tenant), host)).await;
    found.map_err(|_| Error::Unavailable("the host did not open its tunnel in time; try again".to_owned()))?
}

async fn find_way(services: &Services, permit: &Permit, host: HostId) -> Result<Way> {
    let links = services.links();
    let own = services.settings().replica;
    let mut asked = false;
    loop {
        let up = links.tunnel_up.notified();
        if let Some(tunnel) = links.tunnel(host) {
            return Ok(Way::Here(tunnel));
        }
        let owned = store::hosts::owner(services.store(), permit, host).await?.ok_or_else(away)?;
        let others = replicas::others(services).await?;
        let other = |id: Option<uuid::Uuid>| others.iter().find(|other| Some(other.id) == id);
        if let Some(holder) = other(owned.tunnel_owner) {
            return Ok(Way::Through(holder.clone()));
        }
        match links.get(host) {
            Some(link) => {
                if !asked {
                    link.send(ToAgent::OpenTunnel);
                    asked = true;
                }
                // Behind a balancer it may come in at another replica, of which only the database tells.
                tokio::select! {
                    () = up => {}
                    () = tokio::time::sleep(LOOK_ELSEWHERE) => {}
                }
            }
            None if owned.owner == Some(own) => return Err(away()),
            None => return other(owned.owner).cloned().map(Way::Through).ok_or_else(away),
        }
    }
}
