//! WebSockets, hibernation, and streamed bodies.

use super::host::{Host, Outcome, request};
use crate::wire::{Body, EventKind, SocketData, SocketId, StreamId, ToEngine};

const CHAT: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Chat extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.life = (ctx.storage.kv.get("lives") ?? 0) + 1; ctx.storage.kv.put("lives", this.life); }
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/stream") {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      (async () => { for (let i = 0; i < 3; i++) await writer.write(new Uint8Array(100000)); await writer.close(); })();
      return new Response(readable);
    }
    if (pathname === "/length") return new Response(String((await request.arrayBuffer()).byteLength));
    const { 0: client, 1: server } = new WebSocketPair();
    if (pathname === "/plain") {
      server.accept();
      server.addEventListener("message", ({ data }) => server.send(`plain ${data}`));
      server.addEventListener("close", ({ code }) => server.close(code, "bye"));
      server.send("welcome");
    } else {
      this.ctx.acceptWebSocket(server, [searchParams.get("tag"), "all"]);
      server.serializeAttachment({ who: searchParams.get("tag") });
    }
    return new Response(null, { status: 101, webSocket: client });
  }
  async webSocketMessage(socket, message) {
    const { who } = socket.deserializeAttachment();
    for (const other of this.ctx.getWebSockets("all")) other.send(`${this.life} ${who} ${this.ctx.getTags(socket)[0]}: ${message}`);
  }
  async webSocketClose(socket, code, reason, clean) { socket.close(code, "seen"); console.log(code, reason, clean, this.ctx.getWebSockets().length); }
}
export default {};
"#;

fn open(host: &mut Host, path: &str) -> SocketId {
    let event = host.fetch("room", path);
    let Some(Outcome::Response(response)) = host.outcomes.get(&event) else {
        panic!("{:?} {:?}", host.text(event), host.console)
    };
    assert_eq!(response.status, 101);
    response.socket.expect("a socket")
}

fn say(host: &mut Host, socket: SocketId, text: &str) {
    host.deliver("room", EventKind::SocketMessage { socket, data: SocketData::Text(text.into()) });
}

#[test]
fn sockets_outlive_hibernation() {
    let mut host = Host::new(CHAT, &["Chat"]);
    let a = open(&mut host, "/?tag=a");
    let b = open(&mut host, "/?tag=b");
    say(&mut host, a, "hi");
    let (x, y) = (a.0, b.0);
    assert_eq!(
        host.left,
        [format!("accept {x}"), format!("accept {y}"), format!("{x} <- 1 a a: hi"), format!("{y} <- 1 a a: hi")]
    );
    host.left.clear();
    host.hibernate("room");
    say(&mut host, b, "back");
    assert_eq!(host.left, [format!("{x} <- 2 b b: back"), format!("{y} <- 2 b b: back")]);
    host.left.clear();
    host.deliver("room", EventKind::SocketClosed { socket: a, code: 1000, reason: "done".into(), clean: true });
    assert_eq!(host.left, [format!("close {x} Some(1000) done")]);
    assert_eq!(host.console, ["Log 1000 done true 1"]);
}

#[test]
fn a_plain_socket_keeps_its_object() {
    let mut host = Host::new(CHAT, &["Chat"]);
    let socket = open(&mut host, "/plain");
    say(&mut host, socket, "one");
    let n = socket.0;
    host.deliver("room", EventKind::SocketClosed { socket, code: 4000, reason: String::new(), clean: true });
    assert_eq!(
        host.left,
        [
            format!("accept {n}"),
            format!("{n} <- welcome"),
            format!("{n} <- plain one"),
            format!("close {n} Some(4000) ")
        ]
    );
}

#[test]
fn bodies_stream_both_ways() {
    let mut host = Host::new(CHAT, &["Chat"]);
    let event = host.fetch("room", "/stream");
    assert_eq!(host.text(event).as_deref(), Some("stream 1"), "{:?}", host.console);
    let sent: usize = host.left.iter().filter_map(|line| line.split(' ').nth(2)?.parse::<usize>().ok()).sum();
    assert_eq!(sent, 300_000);
    assert!(host.left.last().unwrap().ends_with("true"));
    assert!(host.finished.contains(&event));

    let stream = StreamId(9);
    let mut with_body = request("/length");
    with_body.method = "POST".into();
    with_body.body = Body::Stream { stream, length: None };
    let event = host.deliver("room", EventKind::Fetch(with_body));
    for end in [false, false, true] {
        host.send(ToEngine::Chunk { stream, data: vec![7; 1000], end });
    }
    assert_eq!(host.text(event).as_deref(), Some("3000"), "{:?}", host.console);
}
