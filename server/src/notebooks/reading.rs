//! What a visitor who may only read gets to do: look at pages, documents and files, and follow what kernels do. Whatever is not
//! known to be looking is refused.

use axum::{
    Json,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use domain::ids::PersonId;
use serde_json::{Map, Value, json};

use super::{
    frames::{self, Kind, Reader},
    messages::{Channel, v1, v1_count, v1_offset},
};

/// A message that may pass is small; what is longer is none.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
const MAX_SESSION_CHARS: usize = 64;
/// Ask a kernel what it is, what widgets it has, and what was run: none of it runs anything.
const QUESTIONS: [&str; 3] = ["kernel_info_request", "comm_info_request", "history_request"];
/// JupyterLab asks these of nothing but its server.
const LOOKS: [&str; 16] = [
    "lab",
    "doc",
    "tree",
    "notebooks",
    "edit",
    "consoles",
    "static",
    "favicon.ico",
    "logo",
    "custom",
    "kernelspecs",
    "nbconvert",
    "files",
    "view",
    "schemas",
    "robots.txt",
];
const API_LOOKS: [&str; 11] = [
    "berth",
    "contents",
    "kernels",
    "kernelspecs",
    "sessions",
    "terminals",
    "status",
    "me",
    "config",
    "nbconvert",
    "spec.yaml",
];

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// Its answer says of each document that it can be written.
    PassUnwritable,
    /// What JupyterLab sends by itself and need not succeed: answered as if it had.
    Drop,
    Refuse,
}

pub(super) fn judge(method: &Method, path: &str, is_upgrade: bool) -> Verdict {
    let mut parts = path.trim_start_matches('/').splitn(3, '/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    if is_upgrade {
        let is_known = Channel::of(path) == Channel::Kernel || path == "/api/events/subscribe";
        return if is_known { Verdict::Pass } else { Verdict::Refuse };
    }
    if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        let is_layout = path.starts_with("/lab/api/workspaces/");
        let is_report = path == "/api/security/csp-report";
        return if is_layout || is_report { Verdict::Drop } else { Verdict::Refuse };
    }
    match (first, second) {
        ("", None) => Verdict::Pass,
        ("api", Some("contents")) => Verdict::PassUnwritable,
        ("api", second) if second.is_none_or(|second| API_LOOKS.contains(&second)) => Verdict::Pass,
        ("lsp", Some("status")) => Verdict::Pass,
        (first, _) if LOOKS.contains(&first) => Verdict::Pass,
        (_, _) => Verdict::Refuse,
    }
}

/// The path of a kernel's socket, with a session that nobody but this reader has. With another's, which every message names, a kernel
/// would answer the reader what the other asked, and jupyter_server would close the other's socket.
pub(super) fn own_session(uri: &Uri, reader: PersonId) -> String {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let asked = pairs.filter(|(name, _)| *name == "session_id").map(|(_, session)| session).next_back();
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let session: String = asked.unwrap_or_default().chars().filter(plain).take(MAX_SESSION_CHARS).collect();
    format!("{}?session_id=reader-{reader}-{session}", uri.path())
}

/// As jupyter_server words an error, so that JupyterLab shows it.
pub(super) fn refused() -> Response {
    let message =
        "You may read this notebook, not change it or run anything in it. Its owner can give you full access.";
    (
        StatusCode::FORBIDDEN,
        [(header::CACHE_CONTROL, "no-store")],
        Json(json!({ "message": message, "reason": "read-only" })),
    )
        .into_response()
}

/// Reads what comes from the browser, and lets through what asks and does not act.
pub(super) struct Gate {
    channel: Channel,
    is_v1: bool,
    kind: Kind,
    message: Vec<u8>,
    is_too_long: bool,
    /// Frames for the notebook.
    pub passed: Vec<u8>,
    /// Frames for the browser: the answer to whoever would run something.
    pub answered: Vec<u8>,
    now: String,
    mask: [u8; 4],
}

impl Gate {
    pub(super) fn new(channel: Channel, is_v1: bool) -> Self {
        Self {
            channel,
            is_v1,
            kind: Kind::Text,
            message: Vec::new(),
            is_too_long: false,
            passed: Vec::new(),
            answered: Vec::new(),
            now: String::new(),
            mask: [0; 4],
        }
    }

    /// The time, and what masks the next frames.
    pub(super) fn at(&mut self, now: String, mask: [u8; 4]) {
        (self.now, self.mask) = (now, mask);
    }

    fn judge(&mut self) {
        if self.channel != Channel::Kernel || self.is_too_long {
            return;
        }
        let parsed = match self.kind {
            Kind::Binary if self.is_v1 => parse_v1(&self.message),
            Kind::Text if !self.is_v1 => parse_json(&self.message),
            Kind::Binary | Kind::Text => None,
        };
        let Some(message) = parsed else { return };
        match message.word() {
            // Written anew, so that JupyterLab reads what was judged and nothing else.
            word if QUESTIONS.contains(&word) => {
                let bytes = message.bytes(self.is_v1);
                self.passed.extend(frames::frame(self.opcode(), &bytes, Some(self.mask)));
            }
            "execute_request" => {
                for answer in refusal(&message, &self.now) {
                    self.answered.extend(frames::frame(self.opcode(), &answer.bytes(self.is_v1), None));
                }
            }
            _ => {}
        }
    }

    fn opcode(&self) -> u8 {
        frames::opcode(if self.is_v1 { Kind::Binary } else { Kind::Text })
    }
}

impl Reader for Gate {
    fn begin(&mut self, kind: Kind) -> bool {
        self.kind = kind;
        self.message.clear();
        self.is_too_long = false;
        true
    }
    fn content(&mut self, piece: &[u8]) -> bool {
        if self.message.len() + piece.len() > MAX_MESSAGE_BYTES {
            self.is_too_long = true;
            return false;
        }
        self.message.extend_from_slice(piece);
        true
    }
    fn end(&mut self) {
        self.judge();
    }
    fn control(&mut self, opcode: u8, content: &[u8]) {
        self.passed.extend(frames::frame(opcode, content, Some(self.mask)));
    }
}

/// A message as the Jupyter protocol has it, without buffers.
struct Message {
    channel: String,
    header: Map<String, Value>,
    parent: Map<String, Value>,
    metadata: Map<String, Value>,
    content: Map<String, Value>,
}

impl Message {
    /// Its type, where it goes to a kernel's own questions.
    fn word(&self) -> &str {
        match self.channel.as_str() {
            "shell" | "control" => self.header.get("msg_type").and_then(Value::as_str).unwrap_or_default(),
            _ => "",
        }
    }

    fn bytes(&self, is_v1: bool) -> Vec<u8> {
        let Self { channel, header, parent, metadata, content } = self;
        if is_v1 {
            let text = |part: &Map<String, Value>| Value::Object(part.clone()).to_string().into_bytes();
            let (header, parent, metadata, content) = (text(header), text(parent), text(metadata), text(content));
            return v1([channel.as_bytes(), &header, &parent, &metadata, &content]);
        }
        let id = |field| header.get(field).cloned().unwrap_or(Value::Null);
        let message = json!({
            "header": header, "msg_id": id("msg_id"), "msg_type": id("msg_type"), "parent_header": parent,
            "metadata": metadata, "content": content, "buffers": [], "channel": channel,
        });
        message.to_string().into_bytes()
    }
}

fn parse_v1(bytes: &[u8]) -> Option<Message> {
    // Channel, four parts, and the end of the last: no buffers.
    if v1_count(bytes)? != 6 {
        return None;
    }
    let part = |at: usize| {
        let (from, to) = (v1_offset(bytes, at)?, v1_offset(bytes, at + 1)?);
        bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
    };
    let object = |at: usize| serde_json::from_slice::<Map<String, Value>>(part(at)?).ok();
    Some(Message {
        channel: std::str::from_utf8(part(0)?).ok()?.to_owned(),
        header: object(1)?,
        parent: object(2)?,
        metadata: object(3)?,
        content: object(4)?,
    })
}

fn parse_json(bytes: &[u8]) -> Option<Message> {
    let mut whole = serde_json::from_slice::<Map<String, Value>>(bytes).ok()?;
    if whole.get("buffers").is_some_and(|buffers| buffers.as_array().is_none_or(|buffers| !buffers.is_empty())) {
        return None;
    }
    let mut object = |name: &str| match whole.remove(name) {
        Some(Value::Object(part)) => Some(part),
        None => Some(Map::new()),
        Some(_) => None,
    };
    let (header, parent) = (object("header")?, object("parent_header")?);
    let (metadata, content) = (object("metadata")?, object("content")?);
    let channel = whole.get("channel").map_or(Some("shell"), Value::as_str)?.to_owned();
    Some(Message { channel, header, parent, metadata, content })
}

/// What a kernel would answer that refuses to run the request: the cell shows it as its error, and waits no longer.
fn refusal(request: &Message, now: &str) -> [Message; 3] {
    let (name, why) = ("ReadOnly", "you may read this notebook, not run anything in it");
    let session = request.header.get("session").cloned().unwrap_or(Value::Null);
    let own = request.header.get("msg_id").and_then(Value::as_str).unwrap_or_default();
    let answer = |channel: &str, word: &str, content: Value| Message {
        channel: channel.to_owned(),
        header: object(json!({
            "msg_id": format!("{own}_{word}"), "msg_type": word, "session": session, "username": "berth", "date": now,
            "version": "5.3",
        })),
        parent: request.header.clone(),
        metadata: Map::new(),
        content: object(content),
    };
    let error = json!({ "ename": name, "evalue": why, "traceback": [format!("{name}: {why}")] });
    let mut reply = object(error.clone());
    reply.insert("status".to_owned(), "error".into());
    reply.insert("execution_count".to_owned(), Value::Null);
    [
        answer("iopub", "error", error),
        answer("shell", "execute_reply", Value::Object(reply)),
        answer("iopub", "status", json!({ "execution_state": "idle" })),
    ]
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Says of documents that they cannot be written, while their description passes: of the same length, so that nothing else of
/// the answer changes. A file's own text cannot be mistaken for it, as its quotes are escaped there.
#[derive(Default)]
pub(super) struct Unwritable {
    /// The end of what has passed, as far as it may be the beginning of [`WRITABLE`].
    kept: Vec<u8>,
}

const WRITABLE: &[u8; 16] = b"\"writable\": true";
const NOT_WRITABLE: &[u8; 16] = b"\"writable\":false";

impl Unwritable {
    pub(super) fn pass(&mut self, data: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.kept);
        bytes.extend_from_slice(data);
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(WRITABLE.len()).position(|window| window == WRITABLE) {
            bytes[at + found..at + found + WRITABLE.len()].copy_from_slice(NOT_WRITABLE);
            at += found + WRITABLE.len();
        }
        let longest = (bytes.len() - at).min(WRITABLE.len() - 1);
        let begun = (1..=longest).rev().find(|length| WRITABLE.starts_with(&bytes[bytes.len() - length..]));
        self.kept = bytes.split_off(bytes.len() - begun.unwrap_or(0));
        bytes
    }
    /// What was kept, at the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notebooks::frames::{CLOSE, Frames, PING};

    #[test]
    fn only_looking_passes() {
        let check = |expected: Verdict, method: &str, path: &str| {
            assert_eq!(judge(&method.parse().unwrap(), path, false), expected, "{method} {path}");
        };
        for path in [
            "/",
            "/lab",
            "/lab/tree/a.ipynb",
            "/lab/api/settings/",
            "/static/lab/main.js",
            "/files/a.csv",
            "/api/status",
        ] {
            check(Verdict::Pass, "GET", path);
        }
        for path in [
            "/api/kernels",
            "/api/kernels/1",
            "/api/berth/outputs/1",
            "/api/sessions",
            "/api/terminals",
            "/api/me",
            "/api",
            "/lsp/status",
        ] {
            check(Verdict::Pass, "GET", path);
        }
        check(Verdict::PassUnwritable, "GET", "/api/contents");
        check(Verdict::PassUnwritable, "GET", "/api/contents/a/b.ipynb");
        for path in
            ["/proxy/8888/", "/user-redirect", "/terminals/1", "/api/shutdown", "/api/collaboration/x", "/lsp/ws/x"]
        {
            check(Verdict::Refuse, "GET", path);
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "MOVE"] {
            for path in
                ["/api/contents/a", "/api/sessions", "/api/kernels/1/interrupt", "/lab/api/settings/a", "/api/shutdown"]
            {
                check(Verdict::Refuse, method, path);
            }
            check(Verdict::Drop, method, "/lab/api/workspaces/default");
        }
        let socket = |path| judge(&Method::GET, path, true);
        assert_eq!(socket("/api/kernels/1/channels"), Verdict::Pass);
        assert_eq!(socket("/api/events/subscribe"), Verdict::Pass);
        for path in ["/terminals/websocket/1", "/api/collaboration/room/1", "/proxy/1/", "/lsp/ws/pylsp", "/lab"] {
            assert_eq!(socket(path), Verdict::Refuse, "{path}");
        }
    }

    #[test]
    fn a_reader_has_a_session_of_their_own() {
        let reader = PersonId::new();
        let check = |query: &str, expected: &str| {
            let uri: Uri = format!("/api/kernels/1/channels{query}").parse().unwrap();
            let expected = format!("/api/kernels/1/channels?session_id=reader-{reader}-{expected}");
            assert_eq!(own_session(&uri, reader), expected, "{query}");
        };
        check("?session_id=ab-1", "ab-1");
        check("?token=x&session_id=a&session_id=b%26", "b26");
        check("", "");
        check(&format!("?session_id={}", "x".repeat(500)), &"x".repeat(MAX_SESSION_CHARS));
    }

    fn gated(channel: Channel, is_v1: bool, kind: Kind, message: &[u8]) -> (Vec<Value>, Vec<Value>) {
        let mut gate = Gate::new(channel, is_v1);
        gate.at("2026-03-02T09:00:00Z".to_owned(), [9, 8, 7, 6]);
        let mut frames = Frames::default();
        for piece in frames::frame(frames::opcode(kind), message, Some([1, 2, 3, 4])).chunks(11) {
            frames.feed(piece, &mut gate).unwrap();
        }
        let read = |bytes: &[u8]| {
            let mut told = Told { is_v1, messages: Vec::new(), message: Vec::new() };
            Frames::default().feed(bytes, &mut told).unwrap();
            told.messages
        };
        (read(&gate.passed), read(&gate.answered))
    }

    /// Messages as JupyterLab and its page read them: header, parent header, content, channel.
    struct Told {
        is_v1: bool,
        messages: Vec<Value>,
        message: Vec<u8>,
    }

    impl Reader for Told {
        fn begin(&mut self, _: Kind) -> bool {
            self.message.clear();
            true
        }
        fn content(&mut self, piece: &[u8]) -> bool {
            self.message.extend(piece);
            true
        }
        fn end(&mut self) {
            let message = if self.is_v1 { parse_v1(&self.message) } else { parse_json(&self.message) };
            let Message { channel, header, parent, content, .. } = message.unwrap();
            self.messages.push(json!({ "channel": channel, "header": header, "parent": parent, "content": content }));
        }
        fn control(&mut self, _: u8, _: &[u8]) {}
    }

    fn message(channel: &str, word: &str) -> (Vec<u8>, Vec<u8>) {
        let header = json!({ "msg_id": "m1", "msg_type": word, "session": "s1" });
        let text = header.to_string();
        let binary = v1([channel.as_bytes(), text.as_bytes(), b"{}", b"{}", br#"{"code":"1"}"#]);
        let json = json!({ "channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": {"code": "1"} });
        (binary, json.to_string().into_bytes())
    }

    #[test]
    fn kernels_are_asked_and_run_nothing() {
        let check = |channel: &str, word: &str, passes: usize, answers: usize| {
            let (binary, json) = message(channel, word);
            for (is_v1, kind, bytes) in [(true, Kind::Binary, &binary), (false, Kind::Text, &json)] {
                let (passed, answered) = gated(Channel::Kernel, is_v1, kind, bytes);
                assert_eq!((passed.len(), answered.len()), (passes, answers), "{channel} {word} {kind:?}");
                assert!(passed.iter().all(|message| message["header"]["msg_type"] == word));
            }
        };
        for word in QUESTIONS {
            check("shell", word, 1, 0);
            check("stdin", word, 0, 0);
        }
        check("shell", "execute_request", 0, 3);
        for word in
            ["comm_msg", "comm_open", "input_reply", "debug_request", "shutdown_request", "complete_request", ""]
        {
            check("shell", word, 0, 0);
            check("control", word, 0, 0);
        }
    }

    #[test]
    fn whoever_runs_is_told_so() {
        let (binary, _) = message("shell", "execute_request");
        let (_, answered) = gated(Channel::Kernel, true, Kind::Binary, &binary);
        let words: Vec<&Value> = answered.iter().map(|message| &message["header"]["msg_type"]).collect();
        assert_eq!(words, ["error", "execute_reply", "status"]);
        assert!(answered.iter().all(|message| message["parent"]["msg_id"] == "m1"));
        assert_eq!(answered[1]["content"]["status"], "error");
        assert_eq!(answered[2]["content"]["execution_state"], "idle");
    }

    #[test]
    fn tricks_do_not_pass() {
        let check = |is_v1: bool, kind: Kind, bytes: &[u8]| {
            let (passed, _) = gated(Channel::Kernel, is_v1, kind, bytes);
            // Of two names the last counts, for JupyterLab as well, and it alone is sent.
            assert!(passed.iter().all(|message| message["header"]["msg_type"] == "kernel_info_request"), "{passed:?}");
        };
        let twice = r#"{"channel":"shell","header":{"msg_type":"kernel_info_request"},"header":{"msg_type":"execute_request"}}"#;
        let within = r#"{"channel":"shell","header":{"msg_type":"execute_request","msg_type":"kernel_info_request"}}"#;
        let escaped = r#"{"channel":"shell","header":{"msg_type":"kernel_info_request"},"he\u0061der":{"msg_type":"execute_request"}}"#;
        for text in [twice, within, escaped] {
            check(false, Kind::Text, text.as_bytes());
        }
        assert!(gated(Channel::Kernel, false, Kind::Text, twice.as_bytes()).0.is_empty());
        let (binary, json) = message("shell", "kernel_info_request");
        // In the other subprotocol's form, on another socket, too long, with more parts, with offsets that lead elsewhere.
        assert!(gated(Channel::Kernel, true, Kind::Text, &json).0.is_empty());
        assert!(gated(Channel::Kernel, false, Kind::Binary, &binary).0.is_empty());
        assert!(gated(Channel::Other, false, Kind::Text, &json).0.is_empty());
        let long = [json.as_slice(), &vec![b' '; MAX_MESSAGE_BYTES]].concat();
        assert!(gated(Channel::Kernel, false, Kind::Text, &long).0.is_empty());
        for (at, value) in [(0, 7), (8, 0xff), (16, 0xff), (24, 0)] {
            let mut bent = binary.clone();
            bent[at] = value;
            assert!(gated(Channel::Kernel, true, Kind::Binary, &bent).0.is_empty(), "{at}");
        }
    }

    #[test]
    fn control_frames_pass() {
        let mut gate = Gate::new(Channel::Kernel, true);
        let mut frames = Frames::default();
        for opcode in [PING, CLOSE] {
            frames.feed(&frames::frame(opcode, b"\x03\xe8", Some([1, 2, 3, 4])), &mut gate).unwrap();
        }
        let expected =
            [frames::frame(PING, b"\x03\xe8", Some([0; 4])), frames::frame(CLOSE, b"\x03\xe8", Some([0; 4]))];
        assert_eq!(gate.passed, expected.concat());
    }

    #[test]
    fn documents_are_not_writable_however_they_are_cut() {
        let text = br#"{"name": "a", "writable": true, "content": [{"writable": true}, "\"writable\": true"], "x": "\"writable\": tru"}"#;
        let expected = String::from_utf8_lossy(text)
            .replace("{\"name\": \"a\", \"writable\": true", "{\"name\": \"a\", \"writable\":false");
        let expected = expected.replace("[{\"writable\": true}", "[{\"writable\":false}");
        for size in 1..=text.len() {
            let mut filter = Unwritable::default();
            let mut passed: Vec<u8> = text.chunks(size).flat_map(|piece| filter.pass(piece)).collect();
            passed.extend(filter.rest());
            assert_eq!(String::from_utf8_lossy(&passed), expected, "{size}");
        }
    }
}
