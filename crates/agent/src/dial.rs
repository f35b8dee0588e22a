//! Dialling the server's port for agents: TCP, TLS with the host's certificate, and the WebSocket upgrade.
//!
//! Only the CA of the zero certificate file is trusted: the host's own list of authorities has no say in it.

use std::{fmt, io, sync::Arc, time::Duration};

use protocol::MAX_FRAME_BYTES;
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};

use crate::identity::{IdentityError, read_pem};

/// The longest that a connection may take to come up, TLS and upgrade included.
pub const DIAL_LIMIT: Duration = Duration::from_secs(15);

pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("'{0}' is no address of a server (https://HOST:PORT)")]
    BadAddress(String),
    #[error("the CA certificate cannot be used: {0}")]
    BadCa(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("key and certificate cannot be used: {0}")]
    Credentials(#[source] rustls::Error),
    #[error("cannot reach {address}: {source}")]
    Unreachable { address: String, source: io::Error },
    #[error("no secure connection to {address}: {source} ({})", tls_advice(source))]
    Tls { address: String, source: io::Error },
    #[error("{address} did not answer within {} s", DIAL_LIMIT.as_secs())]
    TimedOut { address: String },
    #[error("{address} refused the connection with HTTP {status}: {body}")]
    Refused { address: String, status: u16, body: String },
    #[error("{address} speaks no WebSocket: {source}")]
    Upgrade { address: String, source: Box<tungstenite::Error> },
}

fn tls_advice(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName)) => {
            "the server's certificate is for another name: use the address that it was made for"
        }
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::Expired
            | rustls::CertificateError::ExpiredContext { .. }
            | rustls::CertificateError::NotValidYet
            | rustls::CertificateError::NotValidYetContext { .. },
        )) => "compare this host's clock with the server's",
        Some(rustls::Error::InvalidCertificate(_)) => {
            "the server is not the one that this host enrolled with, or its CA was replaced: enrol again"
        }
        Some(rustls::Error::AlertReceived(_)) => {
            "the server does not accept this host's certificate: it was revoked, has expired, or is of another server"
        }
        _ => "is it the port for agents?",
    }
}

/// What connections to one server have in common; cheap to share among ten thousand simulated hosts.
#[derive(Clone)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Trust {
    pub fn new(ca_pem: &str) -> Result<Self, DialError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| DialError::BadCa(format!("{error:?}")))?;
            roots.add(certificate).map_err(|error| DialError::BadCa(error.to_string()))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| DialError::BadCa(error.to_string()))?;
        Ok(Self { provider, verifier })
    }

    /// Client settings with this certificate and key, which are checked to belong together.
    pub fn client(&self, certificate_pem: &str, key_pem: &str) -> Result<Arc<ClientConfig>, DialError> {
        let (chain, key) = read_pem(certificate_pem, key_pem)?;
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(DialError::Credentials)?
            .with_webpki_verifier(self.verifier.clone())
            .with_client_auth_cert(chain, key)
            .map_err(DialError::Credentials)?;
        // A resumed session would skip the look at the certificate, and its cache costs memory for each host.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// The server's address, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// `HOST:PORT`, an IPv6 address in brackets.
    pub authority: String,
    name: ServerName<'static>,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

impl ServerAddress {
    /// From `https://HOST:PORT`; 443 if no port is given.
    pub fn parse(url: &str) -> Result<Self, DialError> {
        let bad = || DialError::BadAddress(url.chars().take(200).collect());
        let uri: http::Uri = url.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("https") || uri.path() != "/" || uri.query().is_some() {
            return Err(bad());
        }
        let host = uri.host().ok_or_else(bad)?;
        let port = uri.port_u16().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { authority: format!("{host}:{port}"), name: ServerName::try_from(bare).map_err(|_| bad())? })
    }
}

/// Dials one server as one host.
#[derive(Clone)]
pub struct Dialer {
    address: ServerAddress,
    tls: Arc<ClientConfig>,
}

impl Dialer {
    pub fn new(server: &str, tls: Arc<ClientConfig>) -> Result<Self, DialError> {
        Ok(Self { address: ServerAddress::parse(server)?, tls })
    }

    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// A TLS connection on which nothing was said yet.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let dial = async {
            let tcp = TcpStream::connect(&self.address.authority)
                .await
                .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
                .map_err(|source| DialError::Unreachable { address: self.address.to_string(), source })?;
            Box::pin(TlsConnector::from(self.tls.clone()).connect(self.address.name.clone(), tcp))
                .await
                .map_err(|source| DialError::Tls { address: self.address.to_string(), source })
        };
        match tokio::time::timeout(DIAL_LIMIT, dial).await {
            Ok(connected) => connected,
            Err(_) => Err(DialError::TimedOut { address: self.address.to_string() }),
        }
    }

    /// A WebSocket to `path`; its read buffer is `buffer_bytes`.
    pub async fn websocket(&self, path: &str, buffer_bytes: usize) -> Result<Socket, DialError> {
        let stream = self.connect().await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(buffer_bytes)
            .write_buffer_size(buffer_bytes)
            .max_write_buffer_size(buffer_bytes + 2 * MAX_FRAME_BYTES)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let address = || self.address.to_string();
        let url = format!("wss://{}{path}", self.address.authority);
        let upgrade = Box::pin(client_async_with_config(url, stream, Some(config)));
        match tokio::time::timeout(DIAL_LIMIT, upgrade).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(response))) => Err(DialError::Refused {
                address: address(),
                status: response.status().as_u16(),
                body: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default())
                    .chars()
                    .take(300)
                    .collect(),
            }),
            // In TLS 1.3 the server looks at the client's certificate after the client's handshake is done.
            Ok(Err(tungstenite::Error::Io(source))) => Err(DialError::Tls { address: address(), source }),
            Ok(Err(error)) => Err(DialError::Upgrade { address: address(), source: Box::new(error) }),
            Err(_) => Err(DialError::TimedOut { address: address() }),
        }
    }
}
