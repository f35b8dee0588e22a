//! Links of agents (D3): which hosts are connected to this replica, what is sent to them, their newest readings, and
//! the byte streams through their tunnels.
//!
//! A link is owned by the one replica that the agent dialled. Another replica's wish reaches it by what that replica
//! stored and by its event: [`watch`] looks.

mod conversation;
mod reports;
pub mod tunnel;
mod watch;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

pub use conversation::{Attached, Heard, Trouble, attach, detach, heard, look};
use domain::{
    access::Permit,
    hosts::HostMetrics,
    ids::{HostId, InstructionId, SessionId, TenantId, TransactionId},
};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use protocol::{CloseReason, ToAgent, tunnel::Open};
use tokio::sync::{Notify, mpsc};
pub use tunnel::{ByteStream, Chunk, StreamClosed, StreamReader, StreamWriter, Tunnel};
pub use watch::run;

use crate::{Error, Result, Services};

/// Messages that wait for a slow agent before its link is closed.
const OUTBOX: usize = 256;
/// Readings that are kept of a host: ten minutes, one each five seconds.
const READINGS: usize = 120;
/// The longest that opening a tunnel may take.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);
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
    pub is_revert: bool,
}

/// A live link.
pub struct Link {
    pub peer: Peer,
    pub closing: Closing,
    outbox: mpsc::Sender<ToAgent>,
    wake: Notify,
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

/// The links that this replica holds.
#[derive(Default)]
pub struct Links {
    links: RwLock<HashMap<HostId, Arc<Link>>>,
    tunnels: RwLock<HashMap<HostId, Arc<Tunnel>>>,
    readings: RwLock<HashMap<HostId, Mutex<VecDeque<HostMetrics>>>>,
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

    fn read(&self, host: HostId, reading: HostMetrics) {
        let keep = |ring: &mut VecDeque<HostMetrics>| {
            if ring.len() == READINGS {
                ring.pop_front();
            }
            ring.push_back(reading);
        };
        if let Some(ring) = self.readings.read().get(&host) {
            return keep(&mut ring.lock());
        }
        keep(self.readings.write().entry(host).or_default().get_mut());
    }
    fn forget(&self, host: HostId) {
        self.readings.write().remove(&host);
    }
    /// The last ten minutes, oldest first; empty for a host that is linked to another replica.
    pub fn readings(&self, host: HostId) -> Vec<HostMetrics> {
        self.readings.read().get(&host).map(|ring| ring.lock().iter().copied().collect()).unwrap_or_default()
    }
    /// The newest reading of a host that is linked here.
    pub fn newest_reading(&self, host: HostId) -> Option<HostMetrics> {
        if !self.is_online(host) {
            return None;
        }
        self.readings.read().get(&host).and_then(|ring| ring.lock().back().copied())
    }

    /// A tunnel came up; the newer one of a host stays.
    pub fn put_tunnel(&self, tunnel: Arc<Tunnel>) {
        let old = self.tunnels.write().insert(tunnel.peer.host, tunnel);
        if let Some(old) = old {
            old.closing.close(CloseReason::Replaced);
        }
        self.tunnel_up.notify_waiters();
    }
    /// A tunnel is gone, and its streams with it.
    pub fn remove_tunnel(&self, tunnel: &Arc<Tunnel>) {
        let mut tunnels = self.tunnels.write();
        if tunnels.get(&tunnel.peer.host).is_some_and(|current| Arc::ptr_eq(current, tunnel)) {
            tunnels.remove(&tunnel.peer.host);
        }
        drop(tunnels);
        tunnel.end();
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

/// Opens a byte stream to something on the host. Its first chunk says whether it was opened or refused.
pub async fn open_stream(services: &Services, host: HostId, open: Open) -> Result<ByteStream> {
    let links = services.links();
    let tunnel = tokio::time::timeout(TUNNEL_TIMEOUT, async {
        let mut asked = false;
        loop {
            let up = links.tunnel_up.notified();
            if let Some(tunnel) = links.tunnel(host) {
                return Ok::<_, Error>(tunnel);
            }
            if !asked {
                let link = links.get(host).ok_or_else(|| {
                    Error::Unavailable("the host is offline, or linked to another replica of the server".to_owned())
                })?;
                link.send(ToAgent::OpenTunnel);
                asked = true;
            }
            up.await;
        }
    })
    .await
    .map_err(|_| Error::Unavailable("the host did not open its tunnel in time; try again".to_owned()))??;
    tunnel.open(open).map_err(|error| Error::Unavailable(error.to_string()))
}
