//! What passes through the proxy, seen from inside by an extension of Jupyter's server that the person installs in their home.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::{Body, StatusCode, header};
use serde_json::json;
use testkit::lab::{From, Lab};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use super::Person;
use crate::{process::Deployment, site::until};

const UPLOAD_BYTES: usize = 200 << 20;
/// In pieces of this size JupyterLab uploads.
const PIECE_BYTES: usize = 1 << 20;
/// How long an instruction may take while an upload goes on: an upload takes longer than that.
const INSTRUCTION_LIMIT: Duration = Duration::from_secs(4);

const EXTENSION: &str = r#"
import asyncio, hashlib, sys, types
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

class Headers(JupyterHandler):
    @web.authenticated
    def get(self):
        self.finish({'headers': list(self.request.headers.get_all())})

class Pieces(JupyterHandler):
    go = None
    @web.authenticated
    async def get(self):
        Pieces.go = asyncio.Event()
        self.write('first')
        await self.flush()
        await Pieces.go.wait()
        self.finish('last')
    @web.authenticated
    def post(self):
        Pieces.go.set()
        self.finish({})

@web.stream_request_body
class Sink(JupyterHandler):
    came = 0
    async def prepare(self):
        await super().prepare()
        Sink.came, self.hash = 0, hashlib.sha256()
    def data_received(self, data):
        Sink.came += len(data)
        self.hash.update(data)
    @web.authenticated
    def put(self):
        self.finish({'came': Sink.came, 'sha256': self.hash.hexdigest()})

class Came(JupyterHandler):
    @web.authenticated
    def get(self):
        self.finish({'came': Sink.came})

def load(app):
    app.web_app.add_handlers('.*$', [('/test/headers', Headers), ('/test/pieces', Pieces), ('/test/sink', Sink), ('/test/came', Came)])

module = types.ModuleType('berth_test')
module._jupyter_server_extension_points = lambda: [{'module': 'berth_test'}]
module._load_jupyter_server_extension = load
sys.modules['berth_test'] = module
c.ServerApp.jpserver_extensions = {'berth_test': True}
"#;

/// Installs it for the next start.
pub async fn extend(lab: &Lab) {
    let id = lab.new_kernel().await;
    let mut kernel = lab.socket(From::Own, &id, "extend").await.expect("a socket");
    let text = serde_json::to_string(EXTENSION).expect("JSON");
    let code = format!(
        "import os\nos.makedirs(os.path.expanduser('~/.jupyter'), exist_ok=True)\n\
         _ = open(os.path.expanduser('~/.jupyter/jupyter_server_config.py'), 'w').write({text})"
    );
    kernel.run(&code).await.expect("a cell");
}

/// What JupyterLab is told of the browser, and the browser of JupyterLab.
pub async fn headers(lab: &Lab, bob: &Person) {
    let cookies = format!("{}; {}; mine=1", lab.cookie, bob.browser.cookie());
    let request = lab
        .with(cookies)
        .request("GET", "/test/headers")
        .header(header::AUTHORIZATION, "token of-the-browser")
        .header("x-forwarded-for", "10.9.8.7")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "for=10.9.8.7");
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "the browser's Authorization does not count");
    assert_eq!(answer.headers()["cross-origin-resource-policy"], "same-origin");
    for cookie in answer.headers().get_all(header::SET_COOKIE) {
        assert!(cookie.as_bytes().starts_with(b"_xsrf="), "{cookie:?}");
    }
    let seen = answer.text().await.expect("a body");
    assert!(!seen.contains("of-the-browser") && !seen.contains("10.9.8.7"), "{seen}");
    let secret = lab.cookie.split_once('=').expect("a value").1;
    assert!(!seen.contains(secret), "the cookie of the door is passed on: {seen}");
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    let all = |wanted: &str| -> Vec<String> {
        let pairs = seen["headers"].as_array().into_iter().flatten();
        pairs
            .filter(|pair| pair[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
            .map(|pair| pair[1].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("authorization").len(), 1);
    // No browser sends the portal's cookie to another host; one that is sent is not passed on.
    assert_eq!(all("cookie"), ["mine=1"]);
}

/// What JupyterLab has said comes at once, before it goes on.
pub async fn an_answer_in_pieces(lab: &Lab) {
    let mut answer = lab.request("GET", "/test/pieces").send().await.expect("an answer");
    assert_eq!(answer.chunk().await.expect("is read").as_deref(), Some(b"first".as_slice()));
    lab.json("POST", "/test/pieces", Some(json!({}))).await;
    assert_eq!(answer.text().await.expect("is read"), "last");
}

/// A request whose end is not there yet arrives as far as it goes.
pub async fn a_request_in_pieces(lab: &Lab) {
    let (pieces, body) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let request = lab.request("PUT", "/test/sink").body(Body::wrap_stream(ReceiverStream::new(body)));
    let answer = tokio::spawn(request.send());
    pieces.send(Ok(Bytes::from_static(b"first"))).await.expect("is sent");
    let came = || async { (lab.json("GET", "/test/came", None).await["came"] == 5).then_some(()) };
    until("the first piece has arrived", came).await;
    assert!(!answer.is_finished());
    pieces.send(Ok(Bytes::from_static(b"last"))).await.expect("is sent");
    drop(pieces);
    let answer = answer.await.expect("runs").expect("an answer").json::<serde_json::Value>().await.expect("JSON");
    assert_eq!(answer["came"], 9);
}

/// The upload's nth piece: none is like another.
fn piece(at: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ u64::try_from(at).expect("few");
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(PIECE_BYTES / 8).flatten().collect()
}

/// 200 MB as JupyterLab's file browser sends them, and in one request; what both came to is compared inside. Instructions to
/// the host go on meanwhile.
pub async fn uploads(deployment: &Deployment, lab: &Lab) {
    let link_since = link_since(deployment).await;
    let bare = instruction(deployment).await;
    let pieces = UPLOAD_BYTES / PIECE_BYTES;

    let began = Instant::now();
    let upload = async {
        for at in 0..pieces {
            let body = json!({
                "type": "file", "format": "base64", "name": "large.bin", "path": "large.bin",
                "chunk": if at + 1 == pieces { -1 } else { i64::try_from(at + 1).expect("few") },
                "content": STANDARD.encode(piece(at)),
            });
            lab.json("PUT", "/api/contents/large.bin", Some(body)).await;
        }
    };
    let slowest = beside(deployment, upload).await;
    println!("200 MB in pieces took {:?}; an instruction {bare:?}, beside it at most {slowest:?}", began.elapsed());

    let began = Instant::now();
    let stream = tokio_stream::iter(0..pieces).map(|at| Ok::<_, std::io::Error>(piece(at)));
    let request = lab.request("PUT", "/test/sink").body(Body::wrap_stream(stream));
    let mut sent = serde_json::Value::Null;
    let slowest = beside(deployment, async {
        sent = request.send().await.expect("an answer").json().await.expect("JSON");
    })
    .await;
    println!("200 MB in one request took {:?}; an instruction beside it at most {slowest:?}", began.elapsed());
    assert_eq!(sent["came"], UPLOAD_BYTES);

    let id = lab.new_kernel().await;
    let mut kernel = lab.socket(From::Own, &id, "uploads").await.expect("a socket");
    let code = "import hashlib, os; data = open(os.path.expanduser('~/large.bin'), 'rb').read(); \
        print(len(data), hashlib.sha256(data).hexdigest())";
    let stored = kernel.run(code).await.expect("a cell");
    assert_eq!(stored, format!("{UPLOAD_BYTES} {}", sent["sha256"].as_str().expect("a hash")));
    assert_eq!(self::link_since(deployment).await, link_since, "the link held");
}

async fn link_since(deployment: &Deployment) -> String {
    let hosts = deployment.json("GET", "/hosts", None).await;
    assert_eq!(hosts["items"][0]["link"], "online");
    hosts["items"][0]["link_since"].as_str().expect("a time").to_owned()
}

/// Sends instructions, one after the other, for as long as the work takes; the longest that one took.
async fn beside(deployment: &Deployment, work: impl Future<Output = ()>) -> Duration {
    let mut slowest = Duration::ZERO;
    tokio::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => return slowest,
            took = instruction(deployment) => slowest = slowest.max(took),
        }
        assert!(slowest < INSTRUCTION_LIMIT, "an instruction took {slowest:?}");
    }
}

/// How long one takes from the request to its end on the host.
async fn instruction(deployment: &Deployment) -> Duration {
    let began = Instant::now();
    let run = json!({"hosts": ["lab"], "argv": ["true"]});
    let run = deployment.json("POST", "/instructions", Some(run)).await;
    let path = format!("/instructions/{}", run["id"].as_str().expect("an id"));
    let done = || async {
        let shown = deployment.json("GET", &path, None).await;
        (shown["transactions"][0]["state"] == "done").then_some(())
    };
    until("the instruction is done", done).await;
    began.elapsed()
}
