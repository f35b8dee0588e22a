//! WebSockets on which something is lost: both ends hear of it, and nothing comes after the gap.

use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::Signal;
use objects::{
    host::outgoing::Policy,
    project::{Project, Secret},
    wire::Limits,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{
    Test,
    hosted::{Hosted, LIMIT, Setting, eventually, write_project},
    victim,
};

pub const TESTS: &[Test] = &[
    ("broken::who_says_more_than_an_object_takes_is_let_go_of_and_the_object_told", too_much),
    ("broken::an_object_that_takes_no_more_still_hears_that_a_client_has_left", full),
    ("broken::what_a_client_said_before_it_left_is_heard_in_the_next_life", left_between_lives),
    ("broken::who_waits_for_an_engine_that_died_is_let_go_of", engine_died),
    ("broken::a_workers_own_sockets_end_with_its_engine", entry_died),
];

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
const upgraded = (accept) => {
  const [client, server] = Object.values(new WebSocketPair());
  accept(server);
  return new Response(null, { status: 101, webSocket: client });
};
export class Room extends DurableObject {
  released = new Promise((release) => { this.release = release; });
  fetch(request) {
    if (request.headers.get("upgrade") === "websocket") return upgraded((socket) => this.ctx.acceptWebSocket(socket));
    return new Response(`${this.ctx.getWebSockets().length} open`);
  }
  async webSocketMessage(socket, message) {
    console.log(`heard ${message}`);
    if (message.startsWith("wait")) await this.released;
    if (socket.readyState === WebSocket.OPEN) socket.send(`answer to ${message}`);
  }
  webSocketClose(socket, code) { console.log(`closed ${code}`); this.release(); }
  webSocketError(socket, error) { console.log(`failed: ${error.message}`); this.release(); }
}
export default {
  fetch(request, env) {
    if (new URL(request.url).pathname === "/worker") return upgraded((socket) => socket.accept());
    return env.Room.getByName("one").fetch(request);
  },
};
"#;

fn start(queue_length: u32) -> (tempfile::TempDir, Hosted) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Room"], MODULE);
    let setting = Setting { limits: Limits { queue_length, ..Limits::default() }, ..Setting::default() };
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    (directory, hosted)
}

struct Client<'h> {
    hosted: &'h Hosted,
    stream: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

impl<'h> Client<'h> {
    fn connect(hosted: &'h Hosted, path: &str) -> Self {
        let url = format!("ws://{}{path}", hosted.address);
        let (stream, _) = hosted.run(tokio_tungstenite::connect_async(url)).expect("is let in");
        Client { hosted, stream }
    }

    fn say(&mut self, text: &str) {
        self.hosted.run(self.stream.send(Message::text(text))).expect("is sent");
    }

    fn hear(&mut self) -> Message {
        let next = self.hosted.run(async { tokio::time::timeout(LIMIT, self.stream.next()).await });
        next.expect("in time").expect("open").expect("fine")
    }

    fn is_closed_with(&mut self, wanted: CloseCode) {
        let heard = self.hear();
        let Message::Close(Some(frame)) = heard else { panic!("{heard:?}") };
        assert_eq!(frame.code, wanted, "{frame}");
    }

    fn leave(mut self) {
        self.hosted.run(async {
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            self.stream.close(Some(frame)).await.expect("is sent");
            let ended = tokio::time::timeout(LIMIT, async { while let Some(Ok(_)) = self.stream.next().await {} });
            ended.await.expect("is answered");
        });
    }
}

const QUEUE: u32 = 8;

fn too_much() {
    let (_directory, hosted) = start(QUEUE);
    let mut client = Client::connect(&hosted, "/");
    for number in 0..QUEUE * 3 {
        client.say(&format!("wait {number}"));
    }
    client.is_closed_with(CloseCode::Again);
    eventually("the object is told", || hosted.console().iter().any(|line| line.starts_with("failed: ")));
    eventually("it is over", || hosted.get("/") == (200, "0 open".to_owned()));
    let heard: Vec<String> = (0..QUEUE).map(|number| format!("heard wait {number}")).collect();
    assert_eq!(hosted.console()[..QUEUE as usize], heard);
    assert_eq!(hosted.console().len(), QUEUE as usize + 1, "{:?}", hosted.console());
}

fn full() {
    let (_directory, hosted) = start(QUEUE);
    let mut client = Client::connect(&hosted, "/");
    let other = Client::connect(&hosted, "/");
    for number in 0..QUEUE {
        client.say(&format!("wait {number}"));
    }
    eventually("it has as much as it takes", || hosted.console().len() == QUEUE as usize);
    other.leave();
    for number in 0..QUEUE {
        assert_eq!(client.hear(), Message::text(format!("answer to wait {number}")));
    }
    assert_eq!(hosted.get("/"), (200, "1 open".to_owned()));
}

fn left_between_lives() {
    // The end of a socket has room where a message has none.
    let queue_length = 1;
    let (directory, hosted) = start(queue_length);
    let mut client = Client::connect(&hosted, "/");
    client.say("first");
    assert_eq!(client.hear(), Message::text("answer to first"));
    // The engine is told to end the object's life, and does not come to it.
    let engines = hosted.deployment.engines();
    engines.iter().for_each(|pid| victim::send(*pid, Signal::SIGSTOP));
    let project = Project::read(directory.path()).expect("is read");
    let version = project.into_version(2, &Secret::of([7; 32]), Limits { queue_length, ..Limits::default() });
    hosted.run(async { hosted.host.deploy("test", version, Policy::default()) }).expect("is deployed");
    client.say("second");
    client.leave();
    engines.iter().for_each(|pid| victim::send(*pid, Signal::SIGCONT));
    eventually("all is heard", || hosted.console().len() == 3);
    assert_eq!(hosted.console(), ["heard first", "heard second", "closed 1000"]);
    assert_eq!(hosted.get("/"), (200, "0 open".to_owned()));
}

fn kill_engines(hosted: &Hosted) {
    hosted.deployment.engines().into_iter().for_each(|pid| victim::send(pid, Signal::SIGKILL));
}

fn engine_died() {
    let (_directory, hosted) = start(100);
    let mut idle = Client::connect(&hosted, "/");
    let mut client = Client::connect(&hosted, "/");
    client.say("wait");
    eventually("it is at it", || hosted.console() == ["heard wait"]);
    kill_engines(&hosted);
    client.is_closed_with(CloseCode::Error);
    idle.say("hello");
    assert_eq!(idle.hear(), Message::text("answer to hello"));
    assert_eq!(hosted.get("/"), (200, "1 open".to_owned()));
}

fn entry_died() {
    let (_directory, hosted) = start(100);
    let mut client = Client::connect(&hosted, "/worker");
    kill_engines(&hosted);
    client.is_closed_with(CloseCode::Error);
}
