//! The ways in: clients at the object port and through the tunnel, other hosts at the peer port.

use std::{net::IpAddr, sync::Arc, time::Duration};

use domain::proxies::TrustedProxies;
use hyper::{
    Request,
    body::Incoming,
    header::{self, HeaderMap, HeaderValue},
};
use objects::host::http::{self, Client, Routed};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::apply::Applier;

/// Of clients at the object port.
const CONNECTIONS: usize = 16_384;
/// Of other hosts.
const PEER_CONNECTIONS: usize = 4_096;
/// Of strangers, until it is known who they are; those beyond are cut.
const HANDSHAKES: usize = 256;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Which deployment a request is for.
fn route(applier: &Applier, request: &Request<Incoming>) -> Routed {
    if let Some(why) = applier.barred() {
        return Routed::Unavailable(why);
    }
    let said = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().host().or(said);
    host.and_then(|host| applier.host.deployment(&applier.places.deployment_of(host)?)).into()
}

/// Who is at the other end of a client's connection: `peer`, or whoever asks through it if it is a proxy that is trusted.
fn client(proxies: &TrustedProxies, peer: IpAddr, headers: &HeaderMap) -> Client {
    if !proxies.contains(peer) {
        return Client::Direct(peer);
    }
    let lines = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
    Client::Behind(proxies.client(peer, lines))
}

/// The object port, until `stop` and the answers to what was asked before.
pub async fn serve_clients(
    listener: TcpListener,
    applier: Arc<Applier>,
    proxies: Arc<TrustedProxies>,
    stop: CancellationToken,
) {
    let client = move |peer, headers: &HeaderMap| client(&proxies, peer, headers);
    let route = move |request: &Request<Incoming>| route(&applier, request);
    http::serve_until(listener, CONNECTIONS, client, route, stop).await;
}

/// A stream of the tunnel that carries requests to deployments; as [`serve_clients`] after `stop`.
pub async fn serve_stream<S>(stream: S, applier: Arc<Applier>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let route = move |request: &Request<Incoming>| route(&applier, request);
    http::serve_connection(stream, Client::Proxy, route, stop).await;
}

/// The port for other hosts, until `stop`; then their connections, until this is dropped.
pub async fn serve_peers(listener: TcpListener, applier: Arc<Applier>, stop: CancellationToken) {
    let (strangers, known) = (Arc::new(Semaphore::new(HANDSHAKES)), Arc::new(Semaphore::new(PEER_CONNECTIONS)));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_ended) = tasks.join_next(), if !tasks.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, from)) => match strangers.clone().try_acquire_owned() {
                Ok(handshake) => {
                    tasks.spawn(serve_peer(tcp, applier.clone(), handshake, known.clone()));
                }
                Err(_full) => tracing::warn!(%from, "too many handshakes at once: a connection was cut"),
            },
            Err(error) => {
                tracing::warn!(%error, "a host's connection could not be accepted");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn serve_peer(tcp: TcpStream, applier: Arc<Applier>, handshake: OwnedSemaphorePermit, known: Arc<Semaphore>) {
    let from = tcp.peer_addr();
    match applier.peers.accept(tcp).await {
        Ok((host, stream)) => {
            drop(handshake);
            let Ok(_place) = known.try_acquire_owned() else {
                return tracing::warn!(%host, "too many connections of other hosts: one was cut");
            };
            tracing::info!(%host, "another host is connected");
            applier.host.serve_peer(stream).await;
            tracing::info!(%host, "another host has gone");
        }
        Err(error) => match from {
            Ok(from) => tracing::warn!(%from, %error, "not let in at the port for other hosts"),
            Err(_gone) => tracing::debug!(%error, "whoever it was has gone"),
        },
    }
}
