//! Connections between this host and the others of its tenant that run objects: who may connect, to whom to connect, and
//! the end of both when a host leaves the plan.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::{Context, Poll},
    time::Duration,
};

use domain::ids::HostId;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::tls::{Tls, host_of};

/// TCP and TLS together.
pub const DIAL_LIMIT: Duration = Duration::from_secs(5);
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("this host has no certificate for other hosts yet: it has had no plan from the server")]
    NoPlan,
    #[error("host {0} is not among those that run objects")]
    Unknown(HostId),
    #[error("nothing answers at {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("no secure connection: {0}")]
    Tls(#[source] io::Error),
    #[error("{0} is what answers, and no other host")]
    Other(HostId),
    #[error("whoever it is shows no certificate of a host")]
    NoHost,
    #[error("it took too long")]
    TimedOut,
}

/// A host of the plan.
struct Peer {
    address: String,
    /// Cancelled when it leaves the plan.
    gone: CancellationToken,
}

#[derive(Default)]
struct Known {
    tls: Option<Arc<Tls>>,
    hosts: HashMap<HostId, Peer>,
}

/// Whom this host speaks to, by the plan that it has.
#[derive(Default)]
pub struct Peers(RwLock<Known>);

impl Peers {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn change(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on connections begin with these settings; those that are open stay.
    pub fn show(&self, tls: Tls) {
        self.change().tls = Some(Arc::new(tls));
    }

    /// The hosts of a new plan with their addresses. Connections to and from others are cut.
    pub fn are(&self, hosts: impl IntoIterator<Item = (HostId, String)>) {
        let mut known = self.change();
        let mut before = std::mem::take(&mut known.hosts);
        for (host, address) in hosts {
            let gone = before.remove(&host).map_or_else(CancellationToken::new, |peer| peer.gone);
            known.hosts.insert(host, Peer { address, gone });
        }
        for (host, peer) in before {
            tracing::info!(%host, "a host runs no objects any more: its connections are cut");
            peer.gone.cancel();
        }
    }

    fn peer(&self, host: HostId) -> Result<(Arc<Tls>, String, CancellationToken), PeerError> {
        let known = self.known();
        let tls = known.tls.clone().ok_or(PeerError::NoPlan)?;
        let peer = known.hosts.get(&host).ok_or(PeerError::Unknown(host))?;
        Ok((tls, peer.address.clone(), peer.gone.clone()))
    }

    /// A connection to that host and no other.
    pub async fn dial(&self, host: HostId) -> Result<Cut<tokio_rustls::client::TlsStream<TcpStream>>, PeerError> {
        let (tls, address, gone) = self.peer(host)?;
        let dial = async {
            let unreachable = |source| PeerError::Unreachable { address: address.clone(), source };
            let tcp = TcpStream::connect(&address).await.map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(unreachable)?;
            // The name is not looked at: which host it is says the certificate.
            let name = ServerName::IpAddress(tcp.peer_addr().map_err(unreachable)?.ip().into());
            Box::pin(TlsConnector::from(tls.client.clone()).connect(name, tcp)).await.map_err(PeerError::Tls)
        };
        let stream = tokio::time::timeout(DIAL_LIMIT, dial).await.map_err(|_elapsed| PeerError::TimedOut)??;
        match shown(stream.get_ref().1.peer_certificates()) {
            Some(shown) if shown == host => Ok(Cut::new(stream, gone)),
            Some(other) => Err(PeerError::Other(other)),
            None => Err(PeerError::NoHost),
        }
    }

    /// Takes a connection, if it is from a host of the plan.
    pub async fn accept(
        &self,
        tcp: TcpStream,
    ) -> Result<(HostId, Cut<tokio_rustls::server::TlsStream<TcpStream>>), PeerError> {
        let tls = self.known().tls.clone().ok_or(PeerError::NoPlan)?;
        tcp.set_nodelay(true).map_err(PeerError::Tls)?;
        let shake = Box::pin(TlsAcceptor::from(tls.server.clone()).accept(tcp));
        let stream = tokio::time::timeout(HANDSHAKE_LIMIT, shake).await.map_err(|_elapsed| PeerError::TimedOut)?;
        let stream = stream.map_err(PeerError::Tls)?;
        let host = shown(stream.get_ref().1.peer_certificates()).ok_or(PeerError::NoHost)?;
        // After the handshake: a host that left meanwhile is not let in.
        let gone = self.known().hosts.get(&host).map(|peer| peer.gone.clone()).ok_or(PeerError::Unknown(host))?;
        Ok((host, Cut::new(stream, gone)))
    }
}

fn shown(certificates: Option<&[CertificateDer<'_>]>) -> Option<HostId> {
    host_of(certificates?.first()?)
}

/// A connection that breaks when its token is cancelled.
pub struct Cut<S> {
    stream: S,
    /// One each for the two halves, which may be with two tasks: each remembers one.
    reading: Pin<Box<WaitForCancellationFutureOwned>>,
    writing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Cut<S> {
    fn new(stream: S, token: CancellationToken) -> Self {
        let (reading, writing) = (Box::pin(token.clone().cancelled_owned()), Box::pin(token.cancelled_owned()));
        Self { stream, reading, writing }
    }
}

fn check(gone: &mut Pin<Box<WaitForCancellationFutureOwned>>, context: &mut Context<'_>) -> io::Result<()> {
    match gone.as_mut().poll(context) {
        Poll::Pending => Ok(()),
        Poll::Ready(()) => {
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other host runs no objects any more"))
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        check(&mut self.reading, context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        check(&mut self.writing, context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        check(&mut self.writing, context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
