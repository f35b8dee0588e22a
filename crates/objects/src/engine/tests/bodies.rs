//! Bodies that nobody reads: whoever sends them hears of it.

use super::host::{Host, START_MS, request};
use crate::wire::{
    Activation, Answer, Body, EventId, EventKind, HttpRequest, HttpResponse, Limits, SocketId, StreamId, ToEngine,
};

const READER: &str = r#"
import { DurableObject } from "cloudflare:workers";
const told = async (read) => { try { return await read(); } catch (error) { return `${error.name}: ${error.message}`; } };
const abort = new AbortController();
let kept = null;
const status = async () => String((await fetch("http://outside/")).status);
export class Test extends DurableObject {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case "/ignore": kept = request; return new Response("ignored");
      case "/throw": kept = request; throw new Error("thrown");
      case "/echo": return new Response(request.body);
      case "/length": return new Response(String((await request.bytes()).length));
      case "/later": return new Response(await told(async () => (await kept.bytes()).length));
      case "/status": return new Response(await status());
      case "/keep": kept = await fetch("http://outside/"); return new Response("kept");
      case "/loop": this.loop(); return new Response("reads");
      case "/read": return new Response(String(this.bytes ?? 0));
      case "/abort": setTimeout(() => abort.abort(), 10); return new Response(await told(() => fetch("http://outside/", { signal: abort.signal })));
      case "/block": await this.ctx.blockConcurrencyWhile(() => fetch("http://outside/")); return new Response("blocked");
    }
  }
  async loop() { for await (const part of (await fetch("http://outside/")).body) this.bytes = (this.bytes ?? 0) + part.length; }
}
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/status") return new Response(await status());
    if (pathname === "/keep") { kept = await fetch("http://outside/"); return new Response("kept"); }
    return new Response(await told(async () => (await kept.bytes()).length));
  },
};
"#;

fn reader() -> Host {
    let host = Host::new(READER, &["Test"]);
    assert!(matches!(host.loaded, Some(Ok(_))), "{:?}", host.loaded);
    host
}

fn posted(path: &str, stream: u64) -> EventKind {
    let body = Body::Stream { stream: StreamId(stream), length: None };
    EventKind::Fetch(HttpRequest { method: "POST".into(), body, ..request(path) })
}

fn answer(stream: u64, socket: Option<u64>) -> Answer {
    Answer::Http(HttpResponse {
        status: 200,
        status_text: String::new(),
        headers: crate::wire::Headers::default(),
        body: Body::Stream { stream: StreamId(stream), length: None },
        socket: socket.map(SocketId),
        url: String::new(),
        redirected: false,
    })
}

/// The answer to the first request that went out.
fn reply(host: &mut Host, stream: u64) {
    let (call, _) = host.internet.pop_front().expect("a request went out");
    host.send(ToEngine::Reply { call, result: Ok(answer(stream, None)) });
}

fn chunk(host: &mut Host, stream: u64, bytes: usize, end: bool) {
    host.send(ToEngine::Chunk { stream: StreamId(stream), data: vec![7; bytes], end });
}

#[track_caller]
fn cancelled(host: &mut Host, expected: &[&str]) {
    let left = std::mem::take(&mut host.left);
    let left: Vec<&str> = left.iter().map(String::as_str).filter(|frame| !frame.starts_with("GET")).collect();
    assert_eq!(left, expected);
}

#[test]
fn a_request_is_read_until_it_is_answered() {
    let mut host = reader();
    for (path, answered, later) in [
        ("/ignore", "ignored", "TypeError: Can't read from request stream after response has been sent."),
        (
            "/throw",
            "failed: Error: thrown",
            "TypeError: Can't read from request stream after responding with an exception.",
        ),
    ] {
        let event = host.deliver("x", posted(path, 5));
        assert_eq!(host.text(event).as_deref(), Some(answered));
        assert_eq!(host.finished.last(), Some(&event));
        cancelled(&mut host, &["cancel 5"]);
        chunk(&mut host, 5, 100, false);
        assert_eq!(host.get("x", "/later"), later);
    }
    // What has come is no exception, nor is what nobody had to wait for.
    let event = host.deliver("x", posted("/length", 6));
    chunk(&mut host, 6, 100, false);
    chunk(&mut host, 6, 20, true);
    assert_eq!(host.text(event).as_deref(), Some("120"));
    cancelled(&mut host, &[]);
}

#[test]
fn a_request_that_is_its_answer_is_read_to_its_end() {
    let mut host = reader();
    let event = host.deliver("x", posted("/echo", 5));
    assert!(host.text(event).is_some_and(|text| text.starts_with("stream")));
    chunk(&mut host, 5, 100, false);
    chunk(&mut host, 5, 20, true);
    assert_eq!(host.left.len(), 3, "{:?}", host.left);
    assert!(host.left.iter().all(|frame| frame.starts_with("chunk")), "{:?}", host.left);
    assert_eq!(host.finished, [event]);
}

#[test]
fn what_the_entry_worker_did_not_read_ends_with_its_event() {
    let mut host = reader();
    let event = host.enter("/status");
    reply(&mut host, 5);
    assert_eq!(host.text(event).as_deref(), Some("200"));
    cancelled(&mut host, &["cancel 5"]);
    let event = host.enter("/keep");
    reply(&mut host, 6);
    assert_eq!(host.text(event).as_deref(), Some("kept"));
    cancelled(&mut host, &["cancel 6"]);
    let event = host.enter("/later");
    assert!(host.text(event).is_some_and(|text| text.contains("an event that is over")), "{:?}", host.text(event));
}

#[test]
fn what_an_object_can_read_no_more_ends_when_it_rests() {
    let mut host = reader();
    let event = host.fetch("x", "/status");
    reply(&mut host, 5);
    assert_eq!(host.text(event).as_deref(), Some("200"));
    host.pass(2_000);
    cancelled(&mut host, &["cancel 5"]);
    // What it has kept it reads in a later event, as far as it came.
    let event = host.fetch("x", "/keep");
    reply(&mut host, 6);
    assert_eq!(host.text(event).as_deref(), Some("kept"));
    host.pass(2_000);
    chunk(&mut host, 6, 100, false);
    let event = host.fetch("x", "/later");
    chunk(&mut host, 6, 20, true);
    assert_eq!(host.text(event).as_deref(), Some("120"));
    cancelled(&mut host, &[]);
    assert_eq!(host.wake_ms.filter(|wake_ms| *wake_ms <= host.now_ms), None);
}

#[test]
fn what_somebody_waits_for_is_not_given_up() {
    let mut host = reader();
    let event = host.fetch("x", "/loop");
    reply(&mut host, 5);
    assert_eq!(host.text(event).as_deref(), Some("reads"));
    for bytes in [100, 200, 300] {
        host.pass(2_000);
        chunk(&mut host, 5, 100, false);
        assert_eq!(host.get("x", "/read"), bytes.to_string());
    }
    cancelled(&mut host, &[]);
}

#[test]
fn an_answer_to_a_call_that_was_cancelled_is_given_back() {
    let mut host = reader();
    let event = host.fetch("x", "/abort");
    let (call, _) = host.internet.pop_front().unwrap();
    host.pass(10);
    assert!(host.text(event).is_some_and(|text| text.starts_with("AbortError")), "{:?}", host.text(event));
    host.send(ToEngine::Reply { call, result: Ok(answer(5, Some(9))) });
    cancelled(&mut host, &["cancel 5", "untaken 9"]);
    // One that waits at the gate.
    let event = host.fetch("y", "/abort");
    let (call, _) = host.internet.pop_front().unwrap();
    let blocking = host.fetch("y", "/block");
    host.send(ToEngine::Reply { call, result: Ok(answer(6, Some(9))) });
    cancelled(&mut host, &[]);
    host.hibernate("y");
    cancelled(&mut host, &["cancel 6", "untaken 9"]);
    assert!(host.text(event).is_some() && host.text(blocking).is_some());
}

#[test]
fn a_request_that_nobody_takes_is_not_read() {
    let mut host = reader();
    let activation = Activation(99);
    host.send(ToEngine::Event { activation, event: EventId(1 << 30), kind: posted("/ignore", 5) });
    cancelled(&mut host, &["cancel 5"]);
    let mut host = Host::with(READER, &["Test"], Limits { queue_length: 0, ..Limits::default() }, 7);
    let event = host.deliver("x", posted("/ignore", 6));
    assert!(host.failure(event).overloaded);
    cancelled(&mut host, &["cancel 6"]);
    assert_eq!(host.now_ms, START_MS);
}
