//! WebSockets that code opens to the outside.

use futures_util::{SinkExt, StreamExt};
use objects::{host::outgoing::Policy, wire::Limits};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    Test,
    hosted::{Hosted, LIMIT, Setting, eventually, write_project},
};

pub const TESTS: &[Test] = &[
    ("dialled::code_talks_to_a_websocket_outside", talks),
    ("dialled::private_addresses_are_not_reached", private),
    ("dialled::a_message_beyond_the_limit_ends_the_socket", too_long),
    ("dialled::a_deployment_has_so_many_and_no_more", too_many),
    ("dialled::what_is_passed_on_is_joined_with_the_client", joined),
    ("dialled::sockets_end_with_the_code_that_has_them", ended),
];

/// What is outside: echoes, and says how many are connected.
const OUTSIDE: &str = r#"
let open = 0;
export default { fetch(request) {
  const url = new URL(request.url);
  if (url.pathname === "/open") return new Response(String(open));
  if (request.headers.get("upgrade") !== "websocket") return new Response("no socket", { status: 404 });
  const [client, server] = Object.values(new WebSocketPair());
  open++;
  server.binaryType = "arraybuffer";
  server.accept();
  server.addEventListener("message", ({ data }) => {
    if (data === "close") server.close(4001, "as asked");
    else if (data === "big") server.send("x".repeat(5000));
    else server.send(typeof data === "string" ? `echo ${data}` : data);
  });
  server.addEventListener("close", () => { open--; });
  const asked = request.headers.get("sec-websocket-protocol");
  return new Response(null, { status: 101, webSocket: client, headers: asked === null ? {} : { "sec-websocket-protocol": asked.split(",")[0] } });
} };
"#;

const INSIDE: &str = r#"
import { DurableObject } from "cloudflare:workers";
const heard = (socket, over) => new Promise((resolve) => {
  const all = [];
  for (const type of ["open", "message", "close", "error"]) socket.addEventListener(type, (event) => {
    all.push([type, ...(type === "message" ? [event.data] : type === "close" ? [event.code, event.reason, event.wasClean] : type === "error" ? [event.message] : [])]);
    over(type, event, all, resolve);
  });
});
const byFetch = async (outside) => {
  const response = await fetch(`http://${outside}/socket`, { headers: { Upgrade: "websocket" } }), socket = response.webSocket;
  socket.accept();
  socket.send("one"); socket.send(new Uint8Array([1, 2])); socket.send("close");
  socket.binaryType = "arraybuffer";
  const all = await heard(socket, (type, event, all, resolve) => { if (type === "close") resolve(all); });
  return [response.status, all.map((one) => one.map((part) => (part instanceof ArrayBuffer ? [...new Uint8Array(part)] : part)))];
};
const byName = async (outside) => {
  const socket = new WebSocket(`ws://${outside}/socket`, ["one", "two"]), before = [socket.readyState, socket.url];
  const all = await heard(socket, (type, event, all, resolve) => {
    if (type === "open") socket.send("two");
    if (type === "message") socket.close(3001, "enough");
    if (type === "close") resolve(all);
  });
  return [before[0], before[1] === `ws://${outside}/socket`, socket.protocol, all];
};
const failing = async (url) => heard(new WebSocket(url), (type, event, all, resolve) => { if (type === "close") resolve(all); });
export class Obj extends DurableObject {
  talk(outside) { return Promise.all([byFetch(outside), byName(outside)]); }
  async write(outside) {
    const socket = (await fetch(`http://${outside}/socket`, { headers: { Upgrade: "websocket" } })).webSocket;
    socket.accept();
    const said = new Promise((resolve) => socket.addEventListener("message", ({ data }) => resolve(data)));
    await this.ctx.storage.put("k", 1);
    socket.send("written");
    const heard = await said;
    socket.close(1000);
    return [heard, await this.ctx.storage.get("k")];
  }
  async hold(outside) { this.socket = (await fetch(`http://${outside}/socket`, { headers: { Upgrade: "websocket" } })).webSocket; this.socket.accept(); return "held"; }
  abort() { this.ctx.abort("enough"); }
}
export default { async fetch(request, env) {
  const url = new URL(request.url), outside = url.searchParams.get("at"), o = env.Obj.getByName("o");
  try {
    switch (url.pathname) {
      case "/talk": return Response.json([await byFetch(outside), await byName(outside), ...await o.talk(outside)]);
      case "/join": return await fetch(`http://${outside}/socket`, request);
      case "/big": { const socket = new WebSocket(`ws://${outside}/`); return Response.json(await heard(socket, (type, event, all, resolve) => { if (type === "open") socket.send("big"); if (type === "error") resolve(all); })); }
      case "/fails": return Response.json([await failing(`ws://${outside}/none?`), await failing("ws://127.0.0.1:1/")]);
      case "/plain": { const response = await fetch(`http://${outside}/open`, { headers: { Upgrade: "websocket" } }); return Response.json([response.status, response.webSocket]); }
      case "/many": {
        const all = [];
        for (let n = 0; ; n++) {
          const { webSocket } = await fetch(`http://${n % 2 ? outside : url.searchParams.get("or")}/`, { headers: { Upgrade: "websocket" } });
          webSocket.accept();
          all.push(webSocket);
        }
      }
      default: return Response.json(await o[url.pathname.slice(1)](outside));
    }
  } catch (error) { return new Response(`${error.name}: ${error.message}`, { status: 500 }); }
} };
"#;

fn of_module(classes: &[&str], module: &str, setting: Setting) -> (tempfile::TempDir, Hosted) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), classes, module);
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    (directory, hosted)
}

fn allowed() -> Setting {
    Setting { policy: Policy { allowed: ["127.0.0.1".to_owned()].into() }, ..Setting::default() }
}

struct Both {
    _kept: [tempfile::TempDir; 2],
    outside: Hosted,
    inside: Hosted,
}

fn start(setting: Setting) -> Both {
    let (first, outside) = of_module(&[], OUTSIDE, Setting::default());
    let (second, inside) = of_module(&["Obj"], INSIDE, setting);
    Both { _kept: [first, second], outside, inside }
}

impl Both {
    fn get(&self, path: &str) -> (u16, String) {
        self.inside.get(&format!("{path}?at={}", self.outside.address))
    }

    fn nobody_is_left(&self) {
        eventually("all have left", || self.outside.get("/open") == (200, "0".to_owned()));
    }
}

fn talks() {
    let both = start(allowed());
    let fetched = r#"[101,[["message","echo one"],["message",[1,2]],["close",4001,"as asked",true]]]"#;
    let named = r#"[0,true,"one",[["open"],["message","echo two"],["close",3001,"enough",true]]]"#;
    assert_eq!(both.get("/talk"), (200, format!("[{fetched},{named},{fetched},{named}]")));
    assert_eq!(both.get("/write"), (200, r#"["echo written",1]"#.to_owned()));
    assert_eq!(both.get("/plain"), (200, "[200,null]".to_owned()));
    both.nobody_is_left();
}

fn private() {
    let both = start(Setting::default());
    let (status, text) = both.get("/hold");
    assert!(status == 500 && text.contains("private address"), "{status} {text}");
    let (status, text) = both.get("/fails");
    assert!(status == 200 && text.contains("private address") && text.contains("1006"), "{status} {text}");
    assert_eq!(both.outside.get("/open"), (200, "0".to_owned()));
}

fn too_long() {
    let limits = Limits { socket_message_bytes: 1_000, ..Limits::default() };
    let both = start(Setting { limits, ..allowed() });
    let (status, text) = both.get("/big");
    assert!(status == 200 && text.contains(r#"["error","#), "{status} {text}");
    both.nobody_is_left();
}

fn too_many() {
    let both = start(allowed());
    // Another one outside, for that has its own limit.
    let (_kept, other) = of_module(&[], OUTSIDE, Setting::default());
    let (status, text) = both.inside.get(&format!("/many?at={}&or={}", both.outside.address, other.address));
    assert!(status == 500 && text.contains("as many WebSockets open as it may"), "{status} {text}");
}

fn joined() {
    let both = start(allowed());
    let url = format!("ws://{}/join?at={}", both.inside.address, both.outside.address);
    both.inside.run(async {
        let (mut client, _) = tokio_tungstenite::connect_async(url).await.expect("is let in");
        for number in 0..10 {
            client.send(Message::text(number.to_string())).await.expect("is sent");
        }
        for number in 0..10 {
            let message =
                tokio::time::timeout(LIMIT, client.next()).await.expect("in time").expect("open").expect("fine");
            assert_eq!(message, Message::text(format!("echo {number}")));
        }
        client.send(Message::text("close")).await.expect("is sent");
        let message = tokio::time::timeout(LIMIT, client.next()).await.expect("in time").expect("open").expect("fine");
        let Message::Close(Some(frame)) = message else { panic!("{message:?}") };
        assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::from(4001), "as asked"));
    });
    both.nobody_is_left();
}

fn ended() {
    let both = start(allowed());
    let open = |count: &str| both.outside.get("/open") == (200, count.to_owned());
    assert_eq!(both.get("/hold"), (200, "\"held\"".to_owned()));
    assert!(open("1"));
    assert_eq!(both.get("/abort").0, 500);
    eventually("the other end hears of the reset", || open("0"));
    assert_eq!(both.get("/hold"), (200, "\"held\"".to_owned()));
    assert!(open("1"));
    for pid in both.inside.deployment.engines() {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    }
    eventually("the other end hears of the engine's end", || open("0"));
}
