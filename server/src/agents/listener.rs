//! The port itself: accepts, makes TLS with a time limit in a task of its own for each connection, so that one who stalls
//! holds up nobody, and serves HTTP/1.1 on what comes out.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::RwLock;
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
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{PeerSerial, Port, router};

/// Handshakes at a time; whoever comes beyond that waits to be accepted.
const MAX_HANDSHAKES: usize = 4_096;
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
        tracker.spawn(refresh(tls.clone(), services.clone(), self.names.clone(), stop.clone()));
        let router = router(Port { services, stop: stop.clone() });
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        let connections = Arc::new(Semaphore::new(self.max_connections));
        loop {
            let (Ok(shaking), Ok(connected)) =
                (handshakes.clone().acquire_owned().await, connections.clone().acquire_owned().await)
            else {
                return;
            };
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
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
                drop(shaking);
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
    // Before there is a tenant nobody can be known; its own authority signs no clients, so nobody is let in by it.
    let none = std::slice::from_ref(&identity.server_authority_pem);
    let authorities = if identity.client_authorities_pem.is_empty() { none } else { &identity.client_authorities_pem };
    for pem in authorities {
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
async fn refresh(tls: Arc<Tls>, services: Services, names: Vec<String>, stop: CancellationToken) {
    let mut changes = certificates::changes(&services);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(REFRESH_PERIOD) => {}
        }
        if let Err(error) = refresh_once(&tls, &services, &names).await {
            tracing::warn!(error = format!("{error:#}"), "cannot bring the agents' port up to date; trying again");
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
