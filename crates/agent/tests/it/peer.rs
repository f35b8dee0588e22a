//! A server's side of the protocol over real TLS, driven step by step by a test, and the agent as a real process that
//! can be killed at any step.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent::{config::AgentConfig, environments::Environments, identity::make_key};
use base64::Engine as _;
use domain::{
    ids::{HostId, TenantId, TransactionId, ZeroCertificateId},
    instructions::Work,
};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    Outcome, ProgressEvent, ToAgent, ToServer, VERSION,
    enroll::{EnrollRequest, EnrollResponse, ZeroCertificateFile},
    tunnel::Frame,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, IsCa, Issuer, KeyPair,
    PublicKeyData,
};
use rustls::{RootCertStore, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

/// Long enough for a machine under load; a test that waits this long has failed.
pub const LIMIT: Duration = Duration::from_secs(30);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// How enrolment answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Give,
    /// The certificate is made and counted, and the connection breaks before the answer.
    Lose,
    Refuse,
}

pub struct Authority {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// Keys that got a certificate, with it.
    enrolled: Mutex<Vec<(Vec<u8>, String)>>,
    pub answer: Mutex<Answer>,
    /// Validity of certificates of hosts, seconds before and after now.
    pub life_s: Mutex<(i64, i64)>,
    pub host: HostId,
}

impl Authority {
    fn sign(&self, public_key: &impl PublicKeyData) -> String {
        let (before, after) = *self.life_s.lock().expect("a lock");
        let now = agent::clock::now().as_second();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = time(now - before);
        params.not_after = time(now + after);
        params.signed_by(public_key, &self.issuer).expect("signs").pem()
    }

    pub fn renew(&self, csr_der: &[u8]) -> String {
        let csr = CertificateSigningRequestParams::from_der(&csr_der.into()).expect("a CSR");
        self.sign(&csr.public_key)
    }

    pub fn ca_pem(&self) -> String {
        self.ca_pem.clone()
    }

    pub fn enrolled(&self) -> usize {
        self.enrolled.lock().expect("a lock").len()
    }

    fn enroll(&self, request: &EnrollRequest) -> EnrollResponse {
        let der = base64::engine::general_purpose::STANDARD.decode(&request.csr).expect("base64");
        let csr = CertificateSigningRequestParams::from_der(&der.as_slice().into()).expect("a CSR");
        let key = csr.public_key.der_bytes().to_vec();
        let mut enrolled = self.enrolled.lock().expect("a lock");
        let certificate_pem = match enrolled.iter().find(|(other, _)| *other == key) {
            Some((_, pem)) => pem.clone(),
            None => {
                let pem = self.sign(&csr.public_key);
                enrolled.push((key, pem.clone()));
                pem
            }
        };
        EnrollResponse {
            host: self.host,
            name: request.name.clone(),
            certificate_pem,
            ca_pem: self.ca_pem.clone(),
            pending_approval: false,
        }
    }
}

fn time(second: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(second).expect("a time")
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
        });
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
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
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
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
        "/agent/link" => drop(links.send(Link { socket, serial }).await),
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
    stream: TlsStream<TcpStream>,
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

pub struct Link {
    socket: WebSocketStream<Replay>,
    /// Of the client's certificate.
    pub serial: String,
}

/// How a transaction ended, as the server saw it.
#[derive(Debug, PartialEq)]
pub struct Ended {
    pub outcome: Outcome,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub started: bool,
    pub steps: Vec<domain::sessions::Step>,
}

impl Link {
    pub async fn send(&mut self, message: ToAgent) {
        let frame = protocol::encode(&message).expect("encodes");
        self.send_raw(Message::Binary(frame.into())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("the agent is there");
    }

    /// The agent may go in the middle of it.
    pub async fn try_send_raw(&mut self, message: Message) {
        if let Err(error) = self.socket.send(message).await {
            println!("not sent to the end: {error}");
        }
    }

    pub async fn welcome(&mut self, host: HostId) {
        let server_time_ms = agent::clock::now().as_millisecond();
        self.send(ToAgent::Welcome { version: VERSION, host, host_name: "h".to_owned(), server_time_ms }).await;
    }

    /// The next message, or the close code.
    pub async fn try_next(&mut self) -> Result<ToServer, Option<u16>> {
        loop {
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Binary(frame))) => return Ok(protocol::decode(&frame).expect("a message")),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("unexpected {other:?}"),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    pub async fn next(&mut self) -> ToServer {
        self.try_next().await.unwrap_or_else(|code| panic!("the agent closed the link: {code:?}"))
    }

    /// The next message that is no heartbeat and no machine's report.
    pub async fn next_answer(&mut self) -> ToServer {
        loop {
            match self.next().await {
                ToServer::Heartbeat { .. } | ToServer::Machine(_) => {}
                other => return other,
            }
        }
    }

    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.try_next().await {
                return code;
            }
        }
    }

    pub async fn offer(&mut self, transaction: TransactionId) {
        self.send(ToAgent::Offer { transaction }).await;
    }

    /// Offers, waits for the claim, instructs.
    pub async fn instruct(&mut self, transaction: TransactionId, work: Work) {
        self.offer(transaction).await;
        loop {
            match self.next_answer().await {
                ToServer::Claim { transaction: claimed } => {
                    assert_eq!(claimed, transaction);
                    break;
                }
                // Of earlier ones that are not acknowledged.
                ToServer::Progress { .. } | ToServer::Result { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        self.send(ToAgent::Instructions { transaction, work, secrets: None }).await;
    }

    /// Waits for the result; progress must come in order.
    pub async fn ended(&mut self, transaction: TransactionId) -> Ended {
        let mut ended =
            Ended { outcome: Outcome::Cancelled, stdout: vec![], stderr: vec![], started: false, steps: vec![] };
        let mut last = None;
        loop {
            match self.next_answer().await {
                ToServer::Progress { transaction: of, seq, event } => {
                    assert_eq!(of, transaction);
                    assert!(last.is_none_or(|last| last < seq), "{seq} after {last:?}");
                    last = Some(seq);
                    match event {
                        ProgressEvent::Started => ended.started = true,
                        ProgressEvent::Step(step) => ended.steps.push(step),
                        ProgressEvent::Stdout(bytes) => ended.stdout.extend(bytes),
                        ProgressEvent::Stderr(bytes) => ended.stderr.extend(bytes),
                    }
                }
                ToServer::Result { transaction: of, outcome } => {
                    assert_eq!(of, transaction);
                    ended.outcome = outcome;
                    return ended;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub async fn acknowledge(&mut self, transaction: TransactionId) {
        self.send(ToAgent::Acknowledge { transaction }).await;
    }

    /// Waits until the agent has said that the transaction started.
    pub async fn started(&mut self, transaction: TransactionId) {
        loop {
            if let ToServer::Progress { transaction: of, event: ProgressEvent::Started, .. } = self.next_answer().await
            {
                assert_eq!(of, transaction);
                return;
            }
        }
    }
}

pub struct Tunnel {
    socket: WebSocketStream<Replay>,
}

impl Tunnel {
    /// Breaks the connection under it.
    pub fn cut(&self) {
        let tcp = self.socket.get_ref().stream.get_ref().0;
        rustix::net::shutdown(tcp, rustix::net::Shutdown::Both).expect("was connected");
    }

    pub async fn send(&mut self, frame: Frame) {
        let bytes = frame.encode().expect("encodes");
        self.socket.send(Message::Binary(bytes)).await.expect("the agent is there");
    }

    pub async fn next(&mut self) -> Frame {
        loop {
            match within("a frame", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Frame::decode(bytes).expect("a frame"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("the tunnel is lost: {other:?}"),
            }
        }
    }
}

/// A host: a directory with its state, and the agent's process.
pub struct Host {
    directory: tempfile::TempDir,
    child: Option<Child>,
    /// What a shell does before the agent, in a mount namespace that both have for themselves.
    before: Option<String>,
}

impl Host {
    pub fn new(machines: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("berth-it-").tempdir_in("/var/tmp").expect("a directory");
        let host = Self { directory, child: None, before: None };
        std::fs::write(host.config(), format!("state_dir = \"{}\"\n{machines}", host.state().display()))
            .expect("writes");
        host
    }

    /// Enrolled and running.
    pub async fn started(peer: &Peer, machines: &str) -> Self {
        let mut host = Self::new(machines);
        let (status, output) = host.enroll(peer, &[]).await;
        assert!(status.success(), "{output}");
        host.start();
        host
    }

    /// The same in a mount namespace of its own, in which a shell does something first.
    pub async fn started_in(peer: &Peer, machines: &str, before: &str) -> Self {
        let mut host = Self::new(machines);
        let (status, output) = host.enroll(peer, &[]).await;
        assert!(status.success(), "{output}");
        host.before = Some(before.to_owned());
        host.start();
        host
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }
    fn config(&self) -> PathBuf {
        self.path().join("agent.toml")
    }

    pub fn command(&self, word: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
        command.arg(word).stdin(Stdio::null());
        command
    }

    /// `berth-agent enroll`: how it ended, and all that it said.
    pub async fn enroll(&self, peer: &Peer, more: &[&str]) -> (ExitStatus, String) {
        let file = self.path().join("zero.toml");
        std::fs::write(&file, toml::to_string(&peer.zero()).expect("TOML")).expect("writes");
        let mut command = self.command("enroll");
        command.arg(&file).arg("--config").arg(self.config()).args(["--name", "h"]).args(more);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    }

    pub fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path().join("log")).expect("a log");
        let mut command = match &self.before {
            None => self.command("run"),
            Some(before) => {
                let mut command = Command::new("unshare");
                let script = format!("{before} && exec \"$@\"");
                command.args(["-m", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_berth-agent"), "run"]);
                command.stdin(Stdio::null());
                command
            }
        };
        self.child = Some(command.arg("--config").arg(self.config()).stderr(log).spawn().expect("starts"));
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("runs");
        child.kill().expect("kills");
        child.wait().expect("is gone");
    }

    pub fn terminate(&self) {
        let id = self.child.as_ref().expect("runs").id();
        let id = nix::unistd::Pid::from_raw(i32::try_from(id).expect("an id"));
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).expect("signals");
    }

    pub async fn exited(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("runs");
        let waited = tokio::task::spawn_blocking(move || child.wait());
        within("the agent's end", waited).await.expect("waits").expect("waits")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// A shell command that notes its run in `runs`, then does more.
    pub fn noted(&self, more: &str) -> Work {
        let runs = self.path().join("runs");
        shell(&format!("echo $$ >> {}; {more}", runs.display()))
    }

    /// The process ids of all runs of [`Host::noted`].
    pub fn runs(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.path().join("runs")).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a process id")).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        // A sandbox outlives its agent, and a test that failed has not reverted its own.
        let config = self.config();
        let reverted = std::thread::spawn(move || revert_all(&config)).join();
        assert!(reverted.is_ok() || std::thread::panicking(), "a sandbox is left");
    }
}

fn revert_all(config: &Path) {
    let config = AgentConfig::load(config).expect("a configuration");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let helper = PathBuf::from(env!("CARGO_BIN_EXE_berth-agent"));
        let environments = Environments::with_helper(&config, helper).expect("environments");
        for found in environments.list().await.expect("a list") {
            let report = environments.of(found.kind).revert(found.session).await;
            assert!(report.is_clean(), "{report:?}");
        }
    });
}

pub fn shell(script: &str) -> Work {
    Work::Run { argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), timeout_s: 60 }
}

/// Waits for a condition that no message tells of.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !condition() {
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        look.tick().await;
    }
}
