//! What passes between JupyterLab's pages and a notebook, as far as it tells whether somebody or something is at work:
//! messages to and from kernels in both of jupyter_server's subprotocols, and what terminals send.
//!
//! Work is what a person asks of a kernel and what the kernel says of that: the same rule as jupyter_server's for a kernel's
//! `last_activity` (`untracked_message_types` in 2.21), but that its list names what does not count, and this one what does:
//! extensions poll kernels with messages of their own. What JupyterLab says by itself (`kernel_info_request`,
//! `comm_info_request`, `history_request`, `debug_request`) never counts, nor does what a kernel says to that.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    frames::{Kind, Reader},
    scan::{Scan, Word},
};

/// The subprotocol in which messages are binary with a table of offsets; without it they are JSON.
pub(super) const V1: &str = "v1.kernel.websocket.jupyter.org";
/// What is read of a message at most to know its type: an id, a user, a date, twice.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Parts of a message in [`V1`]: channel, header, parent header, metadata, content, buffers.
const MAX_PARTS: u64 = 4_096;

/// What a person does, or lets a program do.
const WORK: [&str; 8] = [
    "execute_request",
    "input_reply",
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "comm_open",
    "comm_msg",
    "comm_close",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Browser,
    Notebook,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Kernel,
    Terminal,
    /// JupyterLab's own events, and what extensions open: never work by itself.
    Other,
}

impl Channel {
    pub(super) fn of(path: &str) -> Self {
        let is_kernel = path
            .strip_prefix("/api/kernels/")
            .and_then(|rest| rest.strip_suffix("/channels"))
            .is_some_and(|id| !id.is_empty() && !id.contains('/'));
        let is_terminal =
            path.strip_prefix("/terminals/websocket/").is_some_and(|name| !name.is_empty() && !name.contains('/'));
        match (is_kernel, is_terminal) {
            (true, _) => Self::Kernel,
            (_, true) => Self::Terminal,
            (false, false) => Self::Other,
        }
    }
}

/// Whether a kernel's message is work, by its type and that of the one to which it belongs.
fn is_work(from: From, own: &str, parent: &str) -> bool {
    let counts = |word: &str| WORK.contains(&word);
    match from {
        From::Browser => counts(own),
        // A widget that changes by itself, and a question, may name no parent.
        From::Notebook => counts(parent) || matches!(own, "comm_open" | "comm_msg" | "comm_close" | "input_request"),
    }
}

/// Reads one direction of a socket, and notes whether it saw work.
pub(super) struct Listener {
    from: From,
    channel: Channel,
    is_v1: bool,
    reading: Reading,
    head: Vec<u8>,
    saw_work: bool,
}

enum Reading {
    V1,
    Json(Scan),
    /// JSON behind a table of offsets, whose end is not reached yet.
    Table,
    Terminal,
}

impl Listener {
    pub(super) fn new(from: From, channel: Channel, is_v1: bool) -> Self {
        Self { from, channel, is_v1, reading: Reading::Terminal, head: Vec::new(), saw_work: false }
    }

    /// Whether there was work since this was last asked.
    pub(super) fn take_work(&mut self) -> bool {
        std::mem::take(&mut self.saw_work)
    }

    fn note(&mut self, is_work: bool) -> bool {
        self.saw_work |= is_work;
        // Its type is known: the rest does not matter.
        false
    }

    /// Adds what fits to the message's head.
    fn keep(&mut self, piece: &[u8]) -> bool {
        let room = MAX_HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        piece.len() <= room
    }

    fn v1(&mut self, piece: &[u8]) -> bool {
        let fits = self.keep(piece);
        match v1_types(&self.head) {
            Types::Known { own, parent } => {
                let is_work = is_work(self.from, &own, &parent);
                self.note(is_work)
            }
            Types::NotYet if fits => true,
            // A head that long has nobody seen; better one notebook that runs on than one that is stopped at work.
            Types::NotYet => self.note(true),
            Types::Malformed => self.note(false),
        }
    }

    fn json(&mut self, piece: &[u8]) -> bool {
        let Reading::Json(scan) = &mut self.reading else { return false };
        for byte in piece {
            scan.push(*byte);
        }
        match (scan.own(), scan.parent()) {
            (Word::Is(own), Word::Is(parent)) => {
                let is_work = is_work(self.from, own, parent);
                self.note(is_work)
            }
            // What the browser sends counts by its own type.
            (Word::Is(own), _) if self.from == From::Browser => {
                let is_work = is_work(self.from, own, "");
                self.note(is_work)
            }
            (_, _) if scan.is_over() => self.note(false),
            (_, _) => true,
        }
    }

    /// JSON with buffers: how many parts, and where each begins, 32 bits each, big end first.
    fn table(&mut self, piece: &[u8]) -> bool {
        if !self.keep(piece) {
            return self.note(true);
        }
        let Some(first) = self.head.get(4..8) else { return true };
        let start = u32::from_be_bytes([first[0], first[1], first[2], first[3]]) as usize;
        if start > MAX_HEAD_BYTES {
            return self.note(true);
        }
        if self.head.len() <= start {
            return true;
        }
        self.reading = Reading::Json(Scan::default());
        let json = std::mem::take(&mut self.head);
        let more = self.json(&json[start..]);
        self.head = json;
        more
    }

    fn terminal(&mut self, piece: &[u8]) -> bool {
        const LONGEST: usize = 16;
        let room = LONGEST.saturating_sub(self.head.len());
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        let word: Vec<u8> = self.head.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let is_work = match self.from {
            From::Browser => word.starts_with(b"[\"stdin\""),
            From::Notebook => word.starts_with(b"[\"stdout\""),
        };
        if is_work || self.head.len() >= LONGEST { self.note(is_work) } else { true }
    }
}

impl Reader for Listener {
    fn begin(&mut self, kind: Kind) -> bool {
        self.head.clear();
        self.reading = match (self.channel, kind) {
            (Channel::Other, _) => return false,
            (Channel::Terminal, _) => Reading::Terminal,
            (Channel::Kernel, Kind::Binary) if self.is_v1 => Reading::V1,
            (Channel::Kernel, Kind::Binary) => Reading::Table,
            (Channel::Kernel, Kind::Text) => Reading::Json(Scan::default()),
        };
        true
    }
    fn content(&mut self, piece: &[u8]) -> bool {
        match self.reading {
            Reading::V1 => self.v1(piece),
            Reading::Json(_) => self.json(piece),
            Reading::Table => self.table(piece),
            Reading::Terminal => self.terminal(piece),
        }
    }
    fn end(&mut self) {}
    fn control(&mut self, _: u8, _: &[u8]) {}
}

#[derive(Debug, PartialEq, Eq)]
enum Types<'a> {
    Known { own: Cow<'a, str>, parent: Cow<'a, str> },
    NotYet,
    Malformed,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow, default)]
    msg_type: Cow<'a, str>,
}

/// Where part `at` of a message in [`V1`] begins; `None` if it is not there (yet).
pub(super) fn v1_offset(message: &[u8], at: usize) -> Option<u64> {
    let bytes = message.get(8 * (at + 1)..8 * (at + 2))?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// How many offsets a message in [`V1`] says that it has.
pub(super) fn v1_count(message: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(message.get(..8)?.try_into().ok()?))
}

fn v1_types(head: &[u8]) -> Types<'_> {
    let Some(count) = v1_count(head) else { return Types::NotYet };
    // The end of the content is the last.
    if !(5..=MAX_PARTS).contains(&count) {
        return Types::Malformed;
    }
    let (Some(header), Some(parent), Some(metadata)) = (v1_offset(head, 1), v1_offset(head, 2), v1_offset(head, 3))
    else {
        return Types::NotYet;
    };
    if header > parent || parent > metadata {
        return Types::Malformed;
    }
    let (Ok(header), Ok(parent), Ok(metadata)) =
        (usize::try_from(header), usize::try_from(parent), usize::try_from(metadata))
    else {
        return Types::Malformed;
    };
    let (Some(header), Some(parent)) = (head.get(header..parent), head.get(parent..metadata)) else {
        return Types::NotYet;
    };
    let word = |json| serde_json::from_slice::<Header<'_>>(json).map(|header| header.msg_type);
    match (word(header), word(parent)) {
        (Ok(own), Ok(parent)) => Types::Known { own, parent },
        (_, _) => Types::Malformed,
    }
}

/// A message in [`V1`] of these parts: channel, header, parent header, metadata, content.
pub(super) fn v1(parts: [&[u8]; 5]) -> Vec<u8> {
    let count = parts.len() + 1;
    let mut offset = 8 * (count + 1);
    let mut message = (count as u64).to_le_bytes().to_vec();
    for part in parts {
        message.extend((offset as u64).to_le_bytes());
        offset += part.len();
    }
    message.extend((offset as u64).to_le_bytes());
    for part in parts {
        message.extend(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notebooks::frames::{Frames, frame, opcode};

    /// Whether messages, fed byte by byte and at once, are work.
    fn check(expected: bool, from: From, channel: Channel, kind: Kind, message: &[u8]) {
        let framed = frame(opcode(kind), message, (from == From::Browser).then_some([1, 2, 3, 4]));
        for size in [1, 7, framed.len()] {
            let (mut frames, mut listener) = (Frames::default(), Listener::new(from, channel, kind == Kind::Binary));
            for piece in framed.chunks(size) {
                frames.feed(piece, &mut listener).unwrap();
            }
            let said = String::from_utf8_lossy(message);
            assert_eq!(listener.take_work(), expected, "{from:?} {said}");
            assert!(!listener.take_work());
            // The next message is read afresh.
            frames.feed(&framed, &mut listener).unwrap();
            assert_eq!(listener.take_work(), expected);
        }
    }

    fn header(word: &str) -> String {
        if word.is_empty() {
            return "{}".to_owned();
        }
        format!(r#"{{"msg_id":"1","session":"msg_type","date":"2026","msg_type":"{word}","version":"5.3"}}"#)
    }

    fn kernel(expected: bool, from: From, own: &str, parent: &str) {
        let long = format!(r#"{{"code":"\"msg_type\": \"execute_request\"","data":"{}"}}"#, "x".repeat(20_000));
        let (own, parent) = (header(own), header(parent));
        let binary = v1([b"shell", own.as_bytes(), parent.as_bytes(), b"{}", long.as_bytes()]);
        check(expected, from, Channel::Kernel, Kind::Binary, &binary);
        // As jupyter_server writes it, and with the content before.
        let after = format!(r#"{{"header": {own}, "parent_header":{parent}, "content":{long}, "channel":"shell"}}"#);
        let before = format!(r#"{{"channel":"shell","content":{long},"parent_header" : {parent},"header":{own}}}"#);
        for text in [&after, &before] {
            check(expected, from, Channel::Kernel, Kind::Text, text.as_bytes());
        }
        let framed = frame(2, &[&[0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 0, 20], after.as_bytes(), b"buffer"].concat(), None);
        let (mut frames, mut listener) = (Frames::default(), Listener::new(from, Channel::Kernel, false));
        for piece in framed.chunks(5) {
            frames.feed(piece, &mut listener).unwrap();
        }
        assert_eq!(listener.take_work(), expected, "with buffers");
    }

    #[test]
    fn what_people_and_kernels_do_is_work() {
        for word in WORK {
            kernel(true, From::Browser, word, "");
        }
        for word in ["status", "stream", "display_data", "execute_reply", "error", "input_request"] {
            kernel(true, From::Notebook, word, "execute_request");
        }
        kernel(true, From::Notebook, "comm_msg", "");
        kernel(true, From::Notebook, "status", "complete_request");
    }

    #[test]
    fn what_jupyterlab_says_by_itself_is_not() {
        for word in ["kernel_info_request", "comm_info_request", "history_request", "debug_request", "usage_request"] {
            kernel(false, From::Browser, word, "");
            kernel(false, From::Notebook, "status", word);
            kernel(false, From::Notebook, &word.replace("request", "reply"), word);
        }
        kernel(false, From::Notebook, "status", "");
        // A parent counts for what the kernel says, not for what the browser does.
        kernel(false, From::Browser, "kernel_info_request", "execute_request");
    }

    #[test]
    fn terminals_are_work_when_bytes_pass() {
        let text =
            |expected, from, message: &str| check(expected, from, Channel::Terminal, Kind::Text, message.as_bytes());
        text(true, From::Browser, r#"["stdin", "ls\r"]"#);
        text(true, From::Browser, r#" [ "stdin","a"]"#);
        text(false, From::Browser, r#"["set_size", 24, 80, 600, 800]"#);
        text(false, From::Browser, r#"["stdout", "x"]"#);
        text(true, From::Notebook, r#"["stdout", "$ "]"#);
        text(false, From::Notebook, r#"["setup", {}]"#);
        text(false, From::Notebook, r#"["disconnect", 1]"#);
        check(false, From::Browser, Channel::Other, Kind::Text, br#"["stdin", "ls"]"#);
    }

    #[test]
    fn what_cannot_be_read_is_no_work_but_a_head_without_end_is() {
        let binary = |expected, message: &[u8]| check(expected, From::Browser, Channel::Kernel, Kind::Binary, message);
        binary(false, b"");
        binary(false, b"\x01\0\0\0\0\0\0\0");
        binary(false, &[0xff; 100]);
        binary(false, &v1([b"shell", b"[", b"{}", b"{}", b"{}"]));
        let endless = header(&"x".repeat(2 * MAX_HEAD_BYTES));
        binary(true, &v1([b"shell", endless.as_bytes(), b"{}", b"{}", b"{}"]));
        let text = |message: &[u8]| check(false, From::Notebook, Channel::Kernel, Kind::Text, message);
        text(b"");
        text(br#"{"header":{"msg_type":"execute_request"}}"#);
        text(br#"["header",{"msg_type":"execute_request"}]"#);
        text(br#"{"a":{"header":{"msg_type":"comm_msg"},"parent_header":{"msg_type":"execute_request"}}}"#);
        text(b"}}]]{{\"\"\\");
    }

    #[test]
    fn sockets_are_known_by_their_path() {
        let check = |path, expected| assert_eq!(Channel::of(path), expected, "{path}");
        check("/api/kernels/1-2/channels", Channel::Kernel);
        check("/terminals/websocket/1", Channel::Terminal);
        check("/api/kernels//channels", Channel::Other);
        check("/api/kernels/a/b/channels", Channel::Other);
        check("/terminals/websocket/", Channel::Other);
        check("/api/events/subscribe", Channel::Other);
    }
}
