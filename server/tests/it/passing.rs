//! Requests that the portal passes on to deployments, whose host is this test.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use domain::{deployments::ObjectOffer, ids::StreamId};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use protocol::{
    ToServer,
    tunnel::{Control, Frame, MAX_DATA_BYTES, MAX_DEPLOYMENT_STREAMS},
};
use reqwest::{StatusCode, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    hosts::{Host, heartbeat, hello, zero},
    site::{LIMIT, Site, client, until},
};

const PIPE_BYTES: usize = 64 * 1024;

/// A server with deployments, and a host that answers `/hang` never and all else with what it was sent.
struct Front {
    site: Site,
    token: String,
    hung: Arc<AtomicUsize>,
    _host: JoinSet<()>,
}

impl Front {
    async fn open(deployments: &[&str]) -> Self {
        let site = Site::start(None, Vec::new()).await;
        let token = site.admin_token().await;
        let host = Host::join(&zero(&site.url, &token, 1).await, "rack").await;
        let mut hello = hello(vec![]);
        if let ToServer::Hello { objects, .. } = &mut hello {
            *objects = Some(ObjectOffer { address: "rack:7443".to_owned() });
        }
        let (mut link, _) = host.try_link(hello).await.expect("links");
        let tunnel = host.dialer.websocket("/agent/tunnel", 16_384).await.expect("upgrades");
        let hung = Arc::<AtomicUsize>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                link.send(&heartbeat(0.5)).await.expect("sends");
                // What the server says is of no concern here.
                while let Ok(said) = tokio::time::timeout(Duration::from_secs(4), link.receive()).await {
                    said.expect("the link stays");
                }
            }
        });
        tasks.spawn(carry(tunnel, hung.clone()));
        for name in deployments {
            let ask = json!({
                "name": name, "main": "index.js",
                "modules": [{"name": "index.js", "kind": "esm", "text": "export default { fetch() {} };"}],
            });
            site.json(&token, "POST", "/deployments", Some(ask)).await;
        }
        let front = Self { site, token, hung, _host: tasks };
        for name in deployments {
            let look = || async { (front.get(name, "/").await.status() == StatusCode::OK).then_some(()) };
            until("requests come to the host", look).await;
        }
        front
    }

    fn request(&self, deployment: &str, path: &str) -> reqwest::RequestBuilder {
        client().get(format!("{}{path}", self.site.url)).header(header::HOST, format!("{deployment}.localhost"))
    }

    async fn get(&self, deployment: &str, path: &str) -> reqwest::Response {
        self.request(deployment, path).send().await.expect("an answer")
    }
}

/// The host's end of its tunnel.
async fn carry(socket: agent::dial::Socket, hung: Arc<AtomicUsize>) {
    let (mut sink, mut source) = socket.split();
    let (out, mut coming) = mpsc::channel::<Frame>(64);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(frame) = coming.recv().await {
            sink.send(Message::Binary(frame.encode().expect("encodes"))).await.expect("sends");
        }
    });
    let mut inputs: HashMap<StreamId, WriteHalf<DuplexStream>> = HashMap::new();
    while let Some(Ok(message)) = source.next().await {
        let Message::Binary(frame) = message else { continue };
        match Frame::decode(frame).expect("a frame") {
            Frame::Open(id, _) => {
                let (near, far) = tokio::io::duplex(PIPE_BYTES);
                let (output, input) = tokio::io::split(near);
                inputs.insert(id, input);
                let opened = Frame::Control(id, Control::Opened { terminal: None, standing: None });
                out.send(opened).await.expect("is open");
                tasks.spawn(pump(id, output, out.clone()));
                tasks.spawn(serve(far, hung.clone()));
            }
            Frame::Data(id, data) => {
                let Some(input) = inputs.get_mut(&id) else { continue };
                // Who is served reads no more once it has answered.
                input.write_all(&data).await.ok();
                let taken = u32::try_from(data.len()).expect("small");
                out.send(Frame::Credit(id, taken)).await.expect("is open");
            }
            Frame::Control(id, _) => {
                if let Some(mut input) = inputs.remove(&id) {
                    input.shutdown().await.ok();
                }
            }
            Frame::ErrorData(..) | Frame::Credit(..) => {}
        }
    }
}

async fn pump(id: StreamId, mut output: ReadHalf<DuplexStream>, out: mpsc::Sender<Frame>) {
    let mut piece = vec![0; MAX_DATA_BYTES];
    while let Ok(length @ 1..) = output.read(&mut piece).await {
        out.send(Frame::Data(id, Bytes::copy_from_slice(&piece[..length]))).await.expect("is open");
    }
    out.send(Frame::Control(id, Control::Exited { code: None, signal: None })).await.expect("is open");
}

async fn serve(stream: DuplexStream, hung: Arc<AtomicUsize>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let hung = hung.clone();
        async move {
            if request.uri().path() == "/hang" {
                hung.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            let head = format!("{} {:?}", request.uri(), request.headers());
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(head))))
        }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        println!("a connection ended early: {error}");
    }
}

/// Idle WebSockets of anybody would do the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_a_deployment_leaves_room_for_the_rest() {
    let front = Front::open(&["crowded", "quiet"]).await;
    let mut crowd = JoinSet::new();
    for _ in 0..MAX_DEPLOYMENT_STREAMS {
        crowd.spawn(front.request("crowded", "/hang").send());
    }
    let all = || async { (front.hung.load(Ordering::Relaxed) == MAX_DEPLOYMENT_STREAMS).then_some(()) };
    until("the crowd is there", all).await;
    let refused = front.get("crowded", "/").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "2");
    assert_eq!(front.get("quiet", "/").await.status(), StatusCode::OK);
    crowd.shutdown().await;
    let again = || async { (front.get("crowded", "/").await.status() == StatusCode::OK).then_some(()) };
    until("there is room again", again).await;
    front.site.stop().await;
}

/// What the server answers to these bytes.
async fn raw(front: &Front, request: &str) -> String {
    let address = front.site.url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("is there");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("in time").expect("reads");
    String::from_utf8(answer).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_sees_the_host_by_which_it_was_found() {
    let front = Front::open(&["chat"]).await;
    let check = async |target: &str, hosts: &[&str], status: &str, says: &str| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let answer = raw(&front, &format!("GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(says),
            "{target} {hosts}: {answer}"
        );
        assert!(!answer.contains("evil"), "{target} {hosts}: {answer}");
    };
    check("http://chat.localhost/", &["evil.example"], "200", r#""host": "chat.localhost""#).await;
    check("/", &["chat.localhost", "evil.example"], "200", r#""host": "chat.localhost""#).await;
    // The portal has something at this path.
    check("/healthz", &["chat.localhost."], "200", r#""host": "chat.localhost.""#).await;
    check("/healthz", &["x.chat.localhost"], "404", "There is nothing at this address").await;
    check("http://x.chat.localhost/healthz", &["localhost"], "404", "There is nothing at this address").await;
    front.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_has_so_many_consoles_open_and_no_more() {
    const MOST: usize = 16;
    let front = Front::open(&["chat"]).await;
    let console = || front.site.api(&front.token, "GET", "/deployments/chat/console").send();
    let mut open = Vec::new();
    for _ in 0..MOST {
        let answer = console().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        open.push(answer);
    }
    let refused = console().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let why = refused.text().await.expect("a problem");
    assert!(why.contains("16 consoles"), "{why}");
    open.pop();
    let again = || async { (console().await.expect("an answer").status() == StatusCode::OK).then_some(()) };
    until("a place is free again", again).await;
    drop(open);
    front.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_ends_with_its_deployment() {
    let front = Front::open(&["chat"]).await;
    let console = front.site.api(&front.token, "GET", "/deployments/chat/console").send().await.expect("an answer");
    front.site.json(&front.token, "DELETE", "/deployments/chat", None).await;
    let told = tokio::time::timeout(LIMIT, console.text()).await.expect("it ends").expect("is read");
    assert!(told.ends_with("event: end\ndata: {\"reason\":\"the deployment was deleted\"}\n\n"), "{told}");
    front.site.stop().await;
}
