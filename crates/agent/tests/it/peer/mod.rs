//! A server's side of the protocol over real TLS, driven step by step by a test, and the agent as a real process that
//! can be killed at any step.

mod authority;
mod host;
mod link;
mod network;
mod plans;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::identity::make_key;
pub use authority::{Answer, Authority};
use domain::ids::{HostId, TenantId, TransactionId, ZeroCertificateId};
pub use host::{Host, shell};
pub use link::{Ended, Link, Tunnel};
pub use network::Network;
use protocol::{
    ToServer,
    enroll::{EnrollRequest, ZeroCertificateFile},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

pub use crate::support::until;

/// Long enough for a machine under load; a test that waits this long has failed.
pub const LIMIT: Duration = Duration::from_secs(120);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// The server. Links and tunnels are handed to the test in the order in which they come.
pub struct Peer {
    pub address: String,
    pub authority: Arc<Authority>,
    links: mpsc::Receiver<Link>,
    tunnels: mpsc::Receiver<Tunnel>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub async fn start() -> Self {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST)).await
    }

    /// At this address of this computer.
    pub async fn start_at(ip: IpAddr) -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).expect("a CA").pem();
        let authority = Arc::new(Authority {
            ca_pem: ca_pem.clone(),
            issuer: Issuer::new(ca, ca_key),
            enrolled: Mutex::default(),
            answer: Mutex::new(Answer::Give),
            life_s: Mutex::new((3600, 30 * 24 * 3600)),
            host: HostId::new(),
            plan: Mutex::default(),
            bundles: Mutex::default(),
        });
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([ip.to_string()]).expect("a name");
        let certificate = params.signed_by(&key, &authority.issuer).expect("signs");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().expect("a verifier");
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key"),
            )
            .expect("a configuration");
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let address = format!("https://{}", listener.local_addr().expect("an address"));
        let (link_sender, links) = mpsc::channel(256);
        let (tunnel_sender, tunnels) = mpsc::channel(256);
        let task = tokio::spawn(accept(listener, Arc::new(tls).into(), authority.clone(), link_sender, tunnel_sender));
        Self { address, authority, links, tunnels, task }
    }

    pub fn zero(&self) -> ZeroCertificateFile {
        let key_pem = make_key().expect("a key");
        let key = KeyPair::from_pem(&key_pem).expect("a key");
        ZeroCertificateFile {
            zero_certificate: ZeroCertificateId::new(),
            tenant: TenantId::new(),
            server: self.address.clone(),
            ca_pem: self.authority.ca_pem.clone(),
            certificate_pem: self.authority.sign(&key),
            key_pem,
        }
    }

    /// The next link, before anything was said.
    pub async fn raw_link(&mut self) -> Link {
        within("a link", self.links.recv()).await.expect("the server runs")
    }

    /// The next link after its Hello, welcomed; with what Hello said to be open.
    pub async fn link(&mut self) -> (Link, Vec<TransactionId>) {
        let mut link = self.raw_link().await;
        let ToServer::Hello { open, .. } = link.next().await else { panic!("no Hello") };
        link.welcome(self.authority.host).await;
        (link, open)
    }

    /// Those that came so far, as of an agent that asked again and has ended since.
    pub fn forget_links(&mut self) {
        while self.links.try_recv().is_ok() {}
    }

    /// Those that came so far.
    pub fn forget_tunnels(&mut self) {
        while self.tunnels.try_recv().is_ok() {}
    }

    /// Bytes that were sent to the agent and that it has not read yet.
    pub fn unread(&self) -> u64 {
        let port = self.address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
        let (mine, rest) =
            (format!("0100007F:{port:04X}"), std::fs::read_to_string("/proc/net/tcp").expect("is there"));
        rest.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields.get(1) == Some(&&*mine) || fields.get(2) == Some(&&*mine))
            .filter_map(|fields| {
                fields
                    .get(4)?
                    .split_once(':')
                    .map(|(sent, received)| (fields[1] == mine, sent.to_owned(), received.to_owned()))
            })
            .map(|(is_mine, sent, received)| {
                u64::from_str_radix(if is_mine { &sent } else { &received }, 16).expect("a length")
            })
            .sum()
    }

    pub async fn tunnel(&mut self) -> Tunnel {
        within("a tunnel", self.tunnels.recv()).await.expect("the server runs")
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    authority: Arc<Authority>,
    links: mpsc::Sender<Link>,
    tunnels: mpsc::Sender<Tunnel>,
) {
    loop {
        let (tcp, _) = listener.accept().await.expect("accepts");
        let (tls, authority, links, tunnels) = (tls.clone(), authority.clone(), links.clone(), tunnels.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let serial = serial(&stream);
            serve(stream, serial, &authority, links, tunnels).await;
        });
    }
}

fn serial(stream: &TlsStream<TcpStream>) -> String {
    let certificates = stream.get_ref().1.peer_certificates().expect("a client's certificate");
    x509_parser::parse_x509_certificate(&certificates[0]).expect("a certificate").1.raw_serial_as_string()
}

/// Tells the two apart by the first line: POST is enrolment, GET an upgrade.
async fn serve(
    mut stream: TlsStream<TcpStream>,
    serial: String,
    authority: &Authority,
    links: mpsc::Sender<Link>,
    tunnels: mpsc::Sender<Tunnel>,
) {
    let mut head = Vec::new();
    while head.len() < 4 {
        match stream.read_buf(&mut head).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
    if head.starts_with(b"POST") {
        return enroll(stream, head, authority).await;
    }
    while !head.contains(&b'\n') {
        match stream.read_buf(&mut head).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
    if head.starts_with(b"GET /agent/objects") {
        return plans::serve(stream, head, authority).await;
    }
    let mut path = String::new();
    #[allow(clippy::result_large_err, reason = "the library's signature")]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let stream = Replay { head, at: 0, stream };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, note).await else { return };
    // Nobody takes it once the test is over.
    match path.as_str() {
        "/agent/link" => drop(links.send(Link { socket, serial, reports: Vec::new() }).await),
        "/agent/tunnel" => drop(tunnels.send(Tunnel { socket }).await),
        other => panic!("an upgrade to {other}"),
    }
}

async fn enroll(mut stream: TlsStream<TcpStream>, mut head: Vec<u8>, authority: &Authority) {
    let body = loop {
        let text = String::from_utf8_lossy(&head).into_owned();
        if let Some((headers, body)) = text.split_once("\r\n\r\n") {
            let length: usize = headers
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(|n| n.trim().to_owned()))
                .and_then(|n| n.parse().ok())
                .expect("a length");
            if body.len() >= length {
                break body.to_owned();
            }
        }
        assert_ne!(stream.read_buf(&mut head).await.expect("a request"), 0);
    };
    let answer = *authority.answer.lock().expect("a lock");
    let (status, body) = match answer {
        Answer::Refuse => {
            ("403 Forbidden", r#"{"title":"Forbidden","detail":"the zero certificate is used up"}"#.into())
        }
        Answer::Give | Answer::Lose => {
            let request: EnrollRequest = serde_json::from_str(&body).expect("a request");
            ("200 OK", serde_json::to_string(&authority.enroll(&request)).expect("JSON"))
        }
    };
    if answer == Answer::Lose {
        return;
    }
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.expect("the agent listens");
    stream.flush().await.expect("the agent listens");
}

/// A stream whose first bytes were read already.
pub struct Replay {
    head: Vec<u8>,
    at: usize,
    pub(self) stream: TlsStream<TcpStream>,
}

impl tokio::io::AsyncRead for Replay {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let this = &mut *self;
        if this.at < this.head.len() {
            let length = buffer.remaining().min(this.head.len() - this.at);
            buffer.put_slice(&this.head[this.at..this.at + length]);
            this.at += length;
            return std::task::Poll::Ready(Ok(()));
        }
        std::pin::Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Replay {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
