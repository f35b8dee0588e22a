//! Calling another server: TLS with this server's certificate, to the name that its port's certificate has for it.

use std::{io, sync::Arc, time::Duration};

use axum::http;
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject};
use services::{
    Services,
    certificates::{self, ReplicaIdentity, replica_name},
    replicas::Replica,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};

/// TCP, TLS and the upgrade together; finding the way at the other end is in it.
const CALL_LIMIT: Duration = Duration::from_secs(15);
const BUFFER_BYTES: usize = 32 * 1024;

pub(super) type Socket = WebSocketStream<TlsStream<TcpStream>>;

#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("this server's own certificate cannot be used: {0}")]
    Identity(String),
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("it did not answer within {} s", CALL_LIMIT.as_secs())]
    TimedOut,
    #[error("it refused with HTTP {0}")]
    Refused(http::StatusCode),
    #[error("it speaks no WebSocket: {0}")]
    Upgrade(Box<tungstenite::Error>),
}

fn settings(identity: &ReplicaIdentity) -> Result<ClientConfig, CallError> {
    let bad = |error: &dyn std::fmt::Display| CallError::Identity(error.to_string());
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| bad(&format!("{error:?}")));
    let mut roots = RootCertStore::empty();
    roots.add(der(&identity.server_authority_pem)?).map_err(|error| bad(&error))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key_der.clone()));
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![der(&identity.certificate_pem)?], key)
        .map_err(|error| bad(&error))?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A WebSocket to `target` (path and query) of the other server; `max_message_bytes` limits what it may send.
pub(super) async fn websocket(
    services: &Services,
    replica: &Replica,
    target: &str,
    max_message_bytes: usize,
) -> Result<Socket, CallError> {
    match timeout(CALL_LIMIT, connect(services, replica, target, max_message_bytes)).await {
        Ok(connected) => connected,
        Err(_) => Err(CallError::TimedOut),
    }
}

async fn connect(
    services: &Services,
    replica: &Replica,
    target: &str,
    max_message_bytes: usize,
) -> Result<Socket, CallError> {
    let identity =
        certificates::replica_identity(services).await.map_err(|error| CallError::Identity(error.to_string()))?;
    let config = settings(&identity)?;
    let name = replica_name(replica.id);
    let server = ServerName::try_from(name.clone()).map_err(|error| CallError::Identity(error.to_string()))?;
    let tcp = TcpStream::connect(&replica.address).await?;
    tcp.set_nodelay(true)?;
    let stream = Box::pin(TlsConnector::from(Arc::new(config)).connect(server, tcp)).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * max_message_bytes.max(BUFFER_BYTES))
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes));
    match Box::pin(client_async_with_config(format!("wss://{name}{target}"), stream, Some(config))).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(CallError::Refused(answer.status())),
        Err(error) => Err(CallError::Upgrade(Box::new(error))),
    }
}
