//! The port itself: accepts, makes TLS with a time limit in a task of its own for each connection, so that one who stalls
//! holds up nobody, and serves HTTP/1.1 on what comes out.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Extension, Router};
use domain::events::EventKind;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::{Mutex, RwLock};
use rustls::{
    RootCertStore, ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use services::{
    Services,
    certificates::{self, PortIdentity},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, broadcast::error::RecvError, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{PeerSerial, Port, router};

/// Handshakes at a time; whoever comes beyond that waits to be accepted.
const MAX_HANDSHAKES: usize = 4_096;
/// Handshakes at a time from one address (in IPv6 a /64 is one); more are cut, so that one who stalls cannot take all.
const MAX_HANDSHAKES_OF_ONE: usize = 512;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// How often the tenants' authorities are compared with those that the port knows.
const REFRESH_PERIOD: Duration = Duration::from_secs(5);
/// The smallest that hyper allows.
const HTTP_BUFFER_BYTES: usize = 8 * 1024;

/// The agents' port, taken but not served yet.
pub struct Listener {
    pub address: SocketAddr,
    listener: TcpListener,
    names: Vec<String>,
    /// Each host has two connections at most, and one more while it replaces one.
    max_connections: usize,
}

impl Listener {
    pub async fn bind(listen: SocketAddr, names: Vec<String>, max_links: usize) -> Result<Self> {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen for agents on {listen}"))?;
        Ok(Self { address: listener.local_addr()?, listener, names, max_connections: max_links.saturating_mul(3) })
    }

    /// Serves until `stop`; the connections then end by themselves.
    pub async fn run(self, services: Services, tracker: TaskTracker, stop: CancellationToken) {
        // From before the port's first look, so that nothing is made unnoticed in between.
        let changes = certificates::changes(&services);
        let tls = loop {
            match Tls::make(&services, &self.names).await {
                Ok(tls) => break Arc::new(tls),
                Err(error) => tracing::error!(error = format!("{error:#}"), "the agents' port cannot be opened"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(REFRESH_PERIOD) => {}
            }
        };
        tracker.spawn(refresh(tls.clone(), services.clone(), self.names.clone(), changes, stop.clone()));
        let router = router(Port { services, stop: stop.clone() });
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        let connections = Arc::new(Semaphore::new(self.max_connections));
        let shares = Shares::default();
        loop {
            let (Ok(shaking), Ok(connected)) =
                (handshakes.clone().acquire_owned().await, connections.clone().acquire_owned().await)
            else {
                return;
            };
            let (stream, share) = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => match shares.take(from.ip()) {
                        Some(share) => (stream, share),
                        None => {
                            metrics::counter!("berth_agent_handshakes_failed").increment(1);
                            continue;
                        }
                    },
                    Err(error) => {
                        // Out of file descriptors, most likely: give it a moment instead of spinning.
                        tracing::warn!(%error, "cannot accept an agent's connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
            tracker.spawn(async move {
                let acceptor = TlsAcceptor::from(tls.config());
                let handshake = Box::pin(shake(acceptor, stream)).await;
                drop((shaking, share));
                if let Some((stream, serial)) = handshake {
                    tokio::select! {
                        () = Box::pin(serve(stream, serial, router)) => {}
                        () = stop.cancelled() => {}
                    }
                }
                drop(connected);
            });
        }
    }
}

/// How many handshakes each address has under way.
#[derive(Clone, Default)]
struct Shares(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Given back when dropped.
struct Share {
    shares: Shares,
    of: IpAddr,
}

impl Shares {
    fn take(&self, from: IpAddr) -> Option<Share> {
        let of = match from.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
        };
        let mut taken = self.0.lock();
        let count = taken.entry(of).or_default();
        if *count >= MAX_HANDSHAKES_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Share { shares: self.clone(), of })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.0.lock();
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

type Stream = tokio_rustls::server::TlsStream<TcpStream>;

async fn shake(acceptor: TlsAcceptor, stream: TcpStream) -> Option<(Stream, PeerSerial)> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "an agent's connection without TCP_NODELAY");
    }
    let stream = match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "an agent's TLS handshake failed");
            metrics::counter!("berth_agent_handshakes_failed").increment(1);
            return None;
        }
        Err(_) => {
            metrics::counter!("berth_agent_handshakes_failed").increment(1);
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first)?;
    let serial = certificates::serial_of(certificate)?;
    Some((stream, PeerSerial(serial.into())))
}

async fn serve(stream: Stream, serial: PeerSerial, router: Router) {
    let service = TowerToHyperService::new(router.layer(Extension(serial)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HTTP_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an agent's connection ended");
    }
}

/// What the port shows and accepts now; made anew when a tenant is added or its own certificate ages.
struct Tls {
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    authorities: Vec<String>,
    renew_at: jiff::Timestamp,
}

impl Tls {
    async fn make(services: &Services, names: &[String]) -> Result<Self> {
        Ok(Self { current: RwLock::new(current(services, names).await?) })
    }
    fn config(&self) -> Arc<ServerConfig> {
        self.current.read().config.clone()
    }
}

async fn current(services: &Services, names: &[String]) -> Result<Current> {
    let identity = certificates::port_identity(services, names).await?;
    let config = server_config(&identity)?;
    Ok(Current { config: Arc::new(config), authorities: identity.client_authorities_pem, renew_at: identity.renew_at })
}

fn server_config(identity: &PortIdentity) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    // The servers' own authority signs the certificates with which they call each other.
    let own = std::iter::once(&identity.server_authority_pem);
    for pem in identity.client_authorities_pem.iter().chain(own) {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).context("an authority's certificate")?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())?];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key_der.clone()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would skip the look at the certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Keeps `tls` up to date until `stop`.
async fn refresh(
    tls: Arc<Tls>,
    services: Services,
    names: Vec<String>,
    mut changes: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let mut events = services.live().subscribe_all();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            // A tenant's authority is made with its first zero certificate, perhaps by another server.
            event = events.recv() => match event {
                Ok(event) if event.kind != EventKind::ZeroCertificate => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep(REFRESH_PERIOD) => {}
        }
        let change = *changes.borrow();
        match refresh_once(&tls, &services, &names).await {
            Ok(()) => certificates::note_known(&services, change),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot bring the agents' port up to date; trying again");
            }
        }
    }
}

async fn refresh_once(tls: &Tls, services: &Services, names: &[String]) -> Result<()> {
    let known = certificates::client_authorities(services).await?;
    let is_current = {
        let current = tls.current.read();
        current.authorities == known && services.clock().now() < current.renew_at
    };
    if !is_current {
        let fresh = current(services, names).await?;
        *tls.current.write() = fresh;
    }
    Ok(())
}
