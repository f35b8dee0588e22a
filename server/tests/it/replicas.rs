//! Two servers on one PostgreSQL: whichever is asked, a host's streams and readings are there.

use std::{sync::Arc, time::Duration};

use api::streams::ServerFrame;
use bytes::Bytes;
use domain::ids::{SessionId, StreamId};
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::{
    Outcome, ToAgent, ToServer,
    tunnel::{Control, Frame, Open},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    agent::{self, Heard},
    hosts::{Host, Talk, heartbeat, zero},
    process::{Agent, give_back, session},
    site::{LIMIT, Site, until},
};

struct Two {
    first: Site,
    second: Site,
    token: String,
}

impl Two {
    async fn start() -> Self {
        let database = testkit::postgres::database().await;
        let first = Site::start(Some(database.clone()), Vec::new()).await;
        let second = first.replica(database).await;
        let token = first.admin_token().await;
        Self { first, second, token }
    }
    async fn stop(self) {
        self.first.stop().await;
        self.second.stop().await;
    }
}

/// The program's end.
async fn exit(socket: &mut agent::Socket) -> i32 {
    loop {
        match agent::frame(socket).await {
            Heard::Frame(ServerFrame::Exit { code, .. }) => return code,
            Heard::Frame(ServerFrame::Credit { .. }) | Heard::Bytes(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_and_terminals_run_through_the_server_that_does_not_hold_the_link() {
    let two = Two::start().await;
    // The agent dials the first; the second is asked for everything.
    let _agent = Agent::start(&two.first.url, &two.token).await;
    let url = &two.second.url;
    let active = session(url, &two.token, "lab/a").await;

    let mut program = agent::exec(url, &two.token, &active, &["sh", "-c", "read line; echo got $line; exit 7"]).await;
    agent::input(&mut program, b"this\n").await;
    assert_eq!(agent::output(&mut program, 9).await, b"got this\n");
    assert_eq!(exit(&mut program).await, 7);

    // Much more than any credit, both ways at once.
    let program = agent::exec(url, &two.token, &active, &["cat"]).await;
    let (mut sink, mut source) = program.split();
    let pieces = 200;
    let piece: Vec<u8> = (0..16_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let granted = Arc::new(tokio::sync::Semaphore::new(api::streams::INPUT_CREDIT_BYTES as usize));
    let writing = {
        let (granted, piece) = (granted.clone(), piece.clone());
        tokio::spawn(async move {
            for _ in 0..pieces {
                granted.acquire_many(16_000).await.unwrap().forget();
                let mut message = vec![api::streams::STDIN];
                message.extend_from_slice(&piece);
                sink.send(Message::Binary(message.into())).await.unwrap();
            }
            sink.send(Message::text(r#"{"type":"eof"}"#)).await.unwrap();
            sink
        })
    };
    let mut echoed = Vec::new();
    loop {
        match tokio::time::timeout(LIMIT, source.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => echoed.extend_from_slice(&bytes[1..]),
            Message::Text(text) => match serde_json::from_str(&text).unwrap() {
                ServerFrame::Credit { bytes } => granted.add_permits(bytes as usize),
                ServerFrame::Exit { code, .. } => {
                    assert_eq!(code, 0);
                    break;
                }
                other => panic!("{other:?}"),
            },
            _ => {}
        }
    }
    drop(writing.await.unwrap());
    assert!(echoed == piece.repeat(pieces), "what came back is not what was sent ({} bytes)", echoed.len());

    // A program that does not read: a signal passes what waits.
    let mut program = agent::exec(url, &two.token, &active, &["sleep", "1000"]).await;
    agent::input(&mut program, &vec![b'x'; 60_000]).await;
    program.send(Message::text(r#"{"type":"signal","number":15}"#)).await.unwrap();
    assert_eq!(exit(&mut program).await, 143);

    let mut terminal = agent::connect(url, &two.token, &format!("/sessions/{active}/terminal?cols=100&rows=30")).await;
    assert!(matches!(agent::frame(&mut terminal).await, Heard::Frame(ServerFrame::Attached { .. })));
    terminal.send(Message::Binary(Bytes::from_static(b"stty size; exit 0\n"))).await.unwrap();
    let mut seen = String::new();
    loop {
        match agent::frame(&mut terminal).await {
            Heard::Bytes(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            Heard::Frame(ServerFrame::Exit { code, .. }) => break assert_eq!(code, 0),
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.contains("30 100"), "{seen}");

    // A client that goes away leaves nothing running.
    let mut program =
        agent::exec(url, &two.token, &active, &["sh", "-c", "echo $$ > pid; echo up; exec sleep 1000"]).await;
    assert_eq!(agent::output(&mut program, 3).await, b"up\n");
    program.close(None).await.unwrap();
    let gone = || async {
        let check = ["sh", "-c", "kill -0 $(cat pid) 2>/dev/null && echo there || echo gone"];
        let mut program = agent::exec(url, &two.token, &active, &check).await;
        (agent::output(&mut program, 5).await == b"gone\n").then_some(())
    };
    until("the program is hung up", gone).await;
    give_back(url, &two.token).await;
    two.stop().await;
}

/// The host's side of preparing and reverting: it says that all is done.
async fn obey(mut talk: Talk) {
    loop {
        match talk.next().await {
            Ok(ToAgent::Offer { transaction }) => talk.say(ToServer::Claim { transaction }).await,
            Ok(ToAgent::Instructions { transaction, .. }) => {
                talk.say(ToServer::Result { transaction, outcome: Outcome::Done { exit_code: None } }).await;
            }
            Ok(
                ToAgent::Welcome { .. }
                | ToAgent::NotYours { .. }
                | ToAgent::Acknowledge { .. }
                | ToAgent::Cancel { .. }
                | ToAgent::Renewed { .. }
                | ToAgent::OpenTunnel
                | ToAgent::PlanChanged,
            ) => {}
            Err(_) => return,
        }
    }
}

/// The host's end of its tunnel, which answers each program with its first argument and an exit of 5.
async fn answer_all(mut socket: ::agent::dial::Socket) {
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(frame) = message else { continue };
        let (id, argv): (StreamId, Vec<String>) = match Frame::decode(frame).expect("a frame") {
            Frame::Open(id, Open::Exec { argv, .. }) => (id, argv),
            Frame::Open(..) | Frame::Control(..) | Frame::Data(..) | Frame::ErrorData(..) | Frame::Credit(..) => {
                continue;
            }
        };
        for frame in [
            Frame::Control(id, Control::Opened { terminal: None, standing: None }),
            Frame::Data(id, Bytes::from(argv[0].clone())),
            Frame::Control(id, Control::Exited { code: Some(5), signal: None }),
        ] {
            socket.send(Message::Binary(frame.encode().expect("encodes"))).await.expect("sends");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_came_in_elsewhere_is_found() {
    let two = Two::start().await;
    let host = Host::join(&zero(&two.first.url, &two.token, 1).await, "rack").await;
    let obeying = tokio::spawn(obey(host.link(vec![]).await));
    let active = session(&two.first.url, &two.token, "rack/0").await;
    let _: SessionId = active.parse().unwrap();
    let run = async |site: &Site| {
        let mut program = agent::exec(&site.url, &two.token, &active, &["hello"]).await;
        assert_eq!(agent::output(&mut program, 5).await, b"hello");
        assert_eq!(exit(&mut program).await, 5);
    };
    // As behind a balancer: the link is at the first, the tunnel at the second.
    let elsewhere = host.at(format!("https://127.0.0.1:{}", two.second.agents.port()));
    // The second server learns of the tenant's authority by the first one's event.
    let tunnel = || async { elsewhere.dialer.websocket("/agent/tunnel", 16_384).await.ok() };
    let tunnel = until("the second server lets the host in", tunnel).await;
    let answering = tokio::spawn(answer_all(tunnel));
    run(&two.second).await;
    run(&two.first).await;
    // The tunnel moves to where the link is.
    let tunnel = host.dialer.websocket("/agent/tunnel", 16_384).await.expect("upgrades");
    answering.abort();
    let answering = tokio::spawn(answer_all(tunnel));
    run(&two.first).await;
    run(&two.second).await;
    // The host is gone: a clear word instead of a wait.
    answering.abort();
    obeying.abort();
    let refused = || async {
        let path = format!("/sessions/{active}/terminal");
        let mut terminal = agent::connect(&two.second.url, &two.token, &path).await;
        let Some(Ok(Message::Close(Some(close)))) = terminal.next().await else { return None };
        (close.code == CloseCode::Again && close.reason.contains("offline")).then_some(())
    };
    until("the host is offline at both", refused).await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_seen_from_everywhere_and_told_live() {
    let two = Two::start().await;
    let host = Host::join(&zero(&two.first.url, &two.token, 1).await, "rack").await;
    let mut talk = host.link(vec![]).await;
    let path = format!("/hosts/{}", host.id);
    let mut quiet = two.second.api(&two.token, "GET", "/events").send().await.unwrap();
    let mut events = two.second.api(&two.token, "GET", "/events?metrics=each").send().await.unwrap();
    for site in [&two.first, &two.second] {
        let seen = || async {
            let shown = site.json(&two.token, "GET", &path, None).await;
            (shown["metrics"]["cpu_used"] == 0.5).then_some(())
        };
        until("the reading is shown", seen).await;
        let readings = site.json(&two.token, "GET", &format!("{path}/metrics"), None).await;
        assert_eq!(readings["items"].as_array().unwrap().last().unwrap()["cpu_used"], 0.5);
    }
    talk.say(heartbeat(0.25)).await;
    let mut text = String::new();
    let told = async {
        while !text.contains("\"cpu_used\":0.25") {
            let chunk = events.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("the reading is told live");
    let event = text.split("\n\n").find(|event| event.contains("0.25")).unwrap();
    assert!(event.contains("event: change") && !event.contains("\nid:"), "{event}");
    let data: Value = serde_json::from_str(event.split("data: ").nth(1).unwrap().trim()).unwrap();
    assert_eq!((&data["kind"], &data["subject"]), (&json!("host-metrics"), &json!(host.id)));
    // A page asks only to be told that there are new ones.
    let mut page = two.second.api(&two.token, "GET", "/events?metrics=any").send().await.unwrap();
    talk.say(heartbeat(0.125)).await;
    let mut text = String::new();
    let told = async {
        while !text.contains("host-metrics") {
            let chunk = page.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("the page is told");
    assert!(!text.contains("cpu_used"), "{text}");
    let refused = two.second.api(&two.token, "GET", "/events?metrics=all").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    // Who does not ask for them gets none.
    let mut heard = String::new();
    let listening = async {
        while let Ok(Some(chunk)) = quiet.chunk().await {
            heard.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(Duration::from_millis(500), listening).await.ok();
    assert!(!heard.contains("host-metrics"), "{heard}");
    // The host goes: what was heard of it goes as well.
    drop(talk);
    for site in [&two.first, &two.second] {
        let gone = || async {
            let shown = site.json(&two.token, "GET", &path, None).await;
            (shown["metrics"].is_null() && shown["link"] == "offline").then_some(())
        };
        until("the reading is gone", gone).await;
    }
    two.stop().await;
}
