//! An agent that is asked to stop finishes what is under way, and takes nothing more.

use std::net::SocketAddr;

use domain::deployments::GROUPS;
use futures_util::StreamExt;
use protocol::{
    objects::Holder,
    tunnel::{Door, Open},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

use super::fleet::{Fleet, Member, ask};
use crate::peer::{Network, Peer, until, within};

/// A `POST` keeps what the test's gate says, as soon as it says it.
const SLOW: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async fetch(request) {
    if (request.headers.get("upgrade") === "websocket") {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    if (request.method === "POST") {
      const said = await fetch(new URL(request.url).searchParams.get("gate"));
      this.ctx.storage.put("said", await said.text());
    }
    return new Response((await this.ctx.storage.get("said")) ?? "nothing");
  }
  webSocketClose(socket, code) { this.ctx.storage.put("said", `closed with ${code}`); }
}
export default {
  fetch: (request, env) => env.COUNTERS.getByName(new URL(request.url).pathname.slice(1)).fetch(request),
};
"#;

/// Holds requests until the test opens it.
struct Gate {
    listener: TcpListener,
    held: Vec<TcpStream>,
}

impl Gate {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a port"), held: Vec::new() }
    }

    fn path(&self, object: &str) -> String {
        format!("/{object}?gate=http://{}/", self.listener.local_addr().expect("an address"))
    }

    /// The next request is there, and so is the one that made it under way.
    async fn hold(&mut self) {
        let (mut stream, _) = within("a request at the gate", self.listener.accept()).await.expect("accepts");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.expect("is read") > 0, "a whole request");
        }
        self.held.push(stream);
    }

    async fn open(self) {
        for mut stream in self.held {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwaits";
            stream.write_all(answer).await.expect("is sent");
        }
    }
}

async fn slow(count: usize, more: &str) -> Fleet {
    let more = format!("allow_private = [\"127.0.0.1\"]\n{more}");
    let mut fleet = Fleet::with(Peer::start().await, count, &more).await;
    fleet.plan_counters("counters", SLOW);
    // All objects are with the last one.
    let host = fleet.members[count - 1].id;
    fleet.plan.deployments[0].groups = vec![Some(Holder { host, epoch: 1 }); usize::from(GROUPS)];
    fleet.tell().await;
    for member in &fleet.members {
        fleet.answers(member, "GET", |status, _| status == 200).await;
    }
    fleet
}

/// The whole answer to a request on a connection that would stay open.
async fn whole_answer(at: SocketAddr, path: String) -> String {
    let mut stream = TcpStream::connect(at).await.expect("is there");
    let request = format!("POST {path} HTTP/1.1\r\nhost: counters.test\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("is answered to its end");
    String::from_utf8(answer).expect("text")
}

async fn takes_no_more(member: &Member) {
    let requests = member.requests;
    until("nobody is let in", || std::net::TcpStream::connect(requests).is_err()).await;
}

#[tokio::test]
async fn what_is_under_way_is_answered_and_nothing_new_is_taken() {
    let mut fleet = slow(2, "drain_s = 60").await;
    let mut gate = Gate::new().await;
    let (first, second) = (fleet.members[0].requests, fleet.members[1].requests);
    let direct = tokio::spawn(whole_answer(second, gate.path("direct")));
    gate.hold().await;
    let forwarded = tokio::spawn(whole_answer(first, gate.path("forwarded")));
    gate.hold().await;
    let stream = TcpStream::connect(second).await.expect("is there");
    let upgraded = tokio_tungstenite::client_async("ws://counters.test/talk", stream);
    let (mut socket, _) = within("an upgrade", upgraded).await.expect("upgrades");

    fleet.members[1].host.terminate();
    takes_no_more(&fleet.members[1]).await;
    // It was closed as that of a service that begins anew.
    let closed = within("a close frame", socket.next()).await.expect("is open").expect("is read");
    let Message::Close(Some(frame)) = closed else { panic!("unexpected {closed:?}") };
    assert_eq!(u16::from(frame.code), 1012, "{frame}");
    // The answer to it, and the end.
    while let Some(Ok(_)) = within("the end", socket.next()).await {}
    // The other host learns that there is nobody to ask.
    let (status, _) = fleet.members[0].ask("GET", "counters", "/new").await;
    assert_eq!(status, 500);

    gate.open().await;
    let direct = within("the answer", direct).await.expect("is answered");
    assert!(direct.starts_with("HTTP/1.1 200 OK") && direct.ends_with("waits"), "{direct}");
    assert!(direct.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{direct}");
    let asked = async {
        // Its host stays, and so does the connection.
        let stream = TcpStream::connect(first).await.expect("is there");
        ask(stream, "GET", "counters", "/forwarded", "", b"").await
    };
    within("an end", asked).await;
    assert!(fleet.members[1].host.exited().await.success());
    fleet.members[0].host.terminate();
    let forwarded = within("the answer", forwarded).await.expect("is answered");
    assert!(forwarded.starts_with("HTTP/1.1 200 OK") && forwarded.ends_with("waits"), "{forwarded}");
    assert!(fleet.members[0].host.exited().await.success());

    // What was written last is there, the word of the socket's end included.
    let Fleet { mut peer, mut members, .. } = fleet;
    members[1].start(&mut peer).await;
    for (object, said) in [("direct", "waits"), ("forwarded", "waits"), ("talk", "closed with 1012")] {
        assert_eq!(members[1].ask("GET", "counters", &format!("/{object}")).await, (200, said.to_owned()), "{object}");
    }
}

#[tokio::test]
async fn what_came_through_the_tunnel_is_answered_through_it() {
    let mut fleet = slow(1, "drain_s = 60").await;
    let network = Network::over(fleet.peer.tunnel().await);
    let mut gate = Gate::new().await;
    let stream = network.open(Open::Objects { door: Door::Requests, deployment: None }).await.expect("is opened");
    let path = gate.path("tunnelled");
    let asked = tokio::spawn(async move { ask(stream, "POST", "counters", &path, "", b"").await });
    gate.hold().await;
    fleet.members[0].host.terminate();
    takes_no_more(&fleet.members[0]).await;
    let refused = network.open(Open::Objects { door: Door::Requests, deployment: None }).await.expect_err("is refused");
    assert_eq!(refused, "this host is being stopped");
    gate.open().await;
    let answer = within("the answer", asked).await.expect("is answered");
    assert_eq!(answer, Some((200, "waits".to_owned())));
    assert!(fleet.members[0].host.exited().await.success());
}

#[tokio::test]
async fn what_takes_too_long_is_cut() {
    let mut fleet = slow(1, "drain_s = 1").await;
    let mut gate = Gate::new().await;
    let (requests, path) = (fleet.members[0].requests, gate.path("for-ever"));
    let stream = TcpStream::connect(requests).await.expect("is there");
    let asked = tokio::spawn(async move { ask(stream, "POST", "counters", &path, "", b"").await });
    gate.hold().await;
    fleet.members[0].host.terminate();
    assert!(fleet.members[0].host.exited().await.success());
    let answer = within("an end", asked).await.expect("ends");
    assert!(answer.is_none_or(|(status, _)| status >= 500), "nobody has answered it");
    assert!(fleet.members[0].host.log().contains("takes too long to wait for"), "{}", fleet.members[0].host.log());
}
