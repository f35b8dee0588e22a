//! What the two halves say to each other: frames of [`ToEngine`] one way, of [`FromEngine`] the other.
//!
//! A frame is its length (`u32`, little endian) and the message in postcard. Many frames may leave in one write.
//! Neither side trusts the other's sizes: [`Frames`] refuses a longer frame than [`FRAME_BYTES`], the host the rest of
//! [`Limits`].

mod frames;
mod gated;
mod held;
mod http;
mod limits;
mod problem;

pub use frames::{FRAME_BYTES, FrameError, Frames, write_frame};
pub use gated::Gated;
pub use http::{Body, Headers, HttpRequest, HttpResponse, Redirect};
pub use limits::Limits;
pub use problem::Problem;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);
    )*};
}

ids! {
    /// One life of one object in one process. Given by the host; never used twice in a process.
    Activation(u32);
    /// Something that the host delivers and that ends with [`FromEngine::Finished`]. Given by the host.
    EventId(u64);
    /// A question of the engine's, answered by [`ToEngine::Reply`]. Given by the engine.
    CallId(u64);
    /// A body in flight. Whoever sends the body gives the id, so each direction has its own.
    StreamId(u64);
    /// A WebSocket that reaches beyond its object. The engine counts up from [`Load::first_socket`], so an id is unique
    /// over all processes of a host; the sockets that the host dials itself have ids from 2^52 on. JavaScript sees ids as
    /// numbers: all of them, whoever gives them, are below 2^53.
    SocketId(u64);
    /// Something that one object gave another to call: a function, a target of RPC, a stream. Whoever gives it gives the id;
    /// engines count up from [`Load::first_socket`], and what comes from other hosts has ids from 2^52 on.
    StubId(u64);
    /// Position of a commit in the life of an object's database: 1 is its first.
    Seq(u64);
    /// Index into [`Load::namespaces`].
    NamespaceIndex(u16);
}

impl Activation {
    /// The stateless entry worker, there from [`ToEngine::Load`] on.
    pub const ENTRY: Self = Self(0);
}

/// 32 bytes: 16 that name the object within its namespace, 16 that show the namespace made them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(pub [u8; 32]);

impl std::fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A value in the structured clone format of [`crate::engine::clone`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cloned(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Arguments or a result of RPC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Passed {
    pub value: Cloned,
    /// What of it can be called. Each was given once, to whoever gets this.
    pub stubs: Vec<StubId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModuleKind {
    Esm,
    Text,
    Json,
    Data,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// As other modules import it, relative to the root: `index.js`, `lib/a.js`.
    pub name: String,
    pub kind: ModuleKind,
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// A binding in `env` through which objects of one class are reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    pub binding: String,
    /// The class's exported name.
    pub class: String,
    /// Ids of the namespace are authenticated with it. Two bindings of one namespace have the same.
    pub key: [u8; 32],
    /// Whether the class is of this deployment (`false`: its objects run in some other engine).
    pub here: bool,
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key makes ids that pass for the namespace's: it stays out of logs.
        f.debug_struct("Namespace").field("binding", &self.binding).field("class", &self.class).finish_non_exhaustive()
    }
}

/// A binding in `env` to an entry point that the main module exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub binding: String,
    /// `default`, or the name of a class that extends `WorkerEntrypoint`.
    pub entrypoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    pub modules: Vec<Module>,
    /// Name of the module whose exports are the deployment's.
    pub main: String,
    /// Name and JSON text of each plain value in `env`.
    pub vars: Vec<(String, String)>,
    pub namespaces: Vec<Namespace>,
    pub services: Vec<Service>,
    pub limits: Limits,
    /// First id for a socket of this process, and for a stub.
    pub first_socket: SocketId,
    /// Unix milliseconds at which the engine's clock stands until the first [`ToEngine::Tick`].
    pub now_ms: i64,
}

/// A socket that an earlier life of the object accepted with `ctx.acceptWebSocket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSocket {
    pub socket: SocketId,
    pub tags: Vec<String>,
    pub attachment: Option<Cloned>,
    /// Unix milliseconds of the last automatic answer.
    pub auto_response_ms: Option<i64>,
    /// The peer has closed and the object has not answered yet.
    pub closing: bool,
}

/// The longest request of an automatic answer, and the longest response.
pub const AUTO_RESPONSE_BYTES: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoResponse {
    pub request: String,
    pub response: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub activation: Activation,
    pub namespace: NamespaceIndex,
    pub id: ObjectId,
    pub name: Option<String>,
    pub epoch: u64,
    /// Of the last commit that is in the database.
    pub seq: Seq,
    /// Size of the database; 0 where there is none yet.
    pub pages: u32,
    pub sockets: Vec<HeldSocket>,
    pub auto_response: Option<AutoResponse>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketData {
    Text(String),
    Binary(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// A method call or a property's value: `stub.a.b(…)` has the path `[a, b]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpc {
    pub path: Vec<String>,
    /// `None` reads the property.
    pub args: Option<Passed>,
}

/// The longest answer to an [`Inspect`]; what has no room in it is left out.
pub const INSPECTED_BYTES: usize = 4 << 20;

/// A look into an object's storage, answered in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inspect {
    /// Keys from `start` on, in order: `{"items": [{"key", "bytes", "value", "text"}], "next_start"}`, the first that is left out.
    Kv { start: String, limit: u32 },
    /// One statement, refused unless it only reads: `{"columns", "rows", "more"}`. `more`: there are rows that are left out.
    Sql { query: String, limit: u32 },
    /// Names of tables and indexes, size, alarm: `{"tables", "more", "bytes", "alarm"}`.
    Summary,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    Fetch(HttpRequest),
    Rpc(Rpc),
    /// A call of something that the activation gave.
    Stub {
        stub: StubId,
        rpc: Rpc,
    },
    /// The host's index says that an alarm is due; the database has the last word.
    Alarm {
        scheduled_ms: i64,
        retry: u32,
    },
    SocketMessage {
        socket: SocketId,
        data: SocketData,
    },
    SocketClosed {
        socket: SocketId,
        code: u16,
        reason: String,
        clean: bool,
    },
    SocketFailed {
        socket: SocketId,
        why: String,
    },
    /// Answered by [`FromEngine::Inspected`]; no user code runs.
    Inspect(Inspect),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Http(HttpResponse),
    Value(Passed),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseReason {
    /// Sockets stay with the host, the next event starts it again.
    Hibernate,
    /// As hibernation, but what is in memory was not idle by its own choice; sockets that cannot hibernate are closed.
    Evict,
    /// Callers in flight get the problem.
    Abort(Problem),
}

/// From the host to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToEngine {
    /// Once, first.
    Load(Load),
    /// The clock; before every batch. Timers that are due fire.
    Tick {
        now_ms: i64,
    },
    Open(Open),
    Event {
        activation: Activation,
        event: EventId,
        kind: EventKind,
    },
    /// Whoever waited for the event has gone: `request.signal` says so. The event still ends with `Finished`.
    CancelEvent {
        activation: Activation,
        event: EventId,
    },
    Reply {
        call: CallId,
        result: Result<Answer, Problem>,
    },
    /// More of a body that the host sends.
    Chunk {
        stream: StreamId,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
        end: bool,
    },
    StreamFailed {
        stream: StreamId,
        why: Problem,
    },
    /// The reader of a body that the engine sends has taken this many bytes more.
    Credit {
        stream: StreamId,
        bytes: u32,
    },
    /// The reader of a body that the engine sends has gone.
    StreamCancelled {
        stream: StreamId,
    },
    /// Whoever was given it wants no more of it.
    StubDropped {
        activation: Activation,
        stub: StubId,
    },
    /// The whole pages that [`FromEngine::ReadPages`] asked for, in order; nothing else may come before it but what was
    /// already on its way.
    Pages {
        activation: Activation,
        first: u32,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    },
    /// Every commit up to `seq` is on disk.
    Durable {
        activation: Activation,
        seq: Seq,
    },
    /// Nothing from `seq` on will be: the object resets.
    CommitFailed {
        activation: Activation,
        seq: Seq,
        why: Problem,
    },
    /// Answered by [`FromEngine::Closed`], after which neither side names the activation.
    Close {
        activation: Activation,
        why: CloseReason,
    },
}

/// Bytes that a commit changes in one page. Pages count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    pub page: u32,
    pub offset: u16,
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmChange {
    Unchanged,
    Cleared,
    Set { at_ms: i64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub activation: Activation,
    pub seq: Seq,
    /// Size of the database afterwards; a page beyond it is gone. A page that was never written is zeroes.
    pub pages: u32,
    pub deltas: Vec<Delta>,
    pub alarm: AlarmChange,
    /// `false`: more frames with the same `seq` follow, and the commit is all of them or none.
    pub complete: bool,
}

/// How long a page of a database is.
pub const PAGE_BYTES: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// The network, by the deployment's policy.
    Internet(HttpRequest),
    /// An object, wherever it runs.
    Object { namespace: NamespaceIndex, id: ObjectId, name: Option<String>, what: ObjectCall },
    /// What the activation was given.
    Stub { stub: StubId, rpc: Rpc },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectCall {
    Fetch(HttpRequest),
    Rpc(Rpc),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmOutcome {
    /// The handler returned, or there is none.
    Done,
    /// No alarm is due in the database; this is when its next one is.
    NotDue { at_ms: Option<i64> },
    /// The handler threw: it is tried again.
    Failed { problem: Problem },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    Debug,
    Info,
    Log,
    Warn,
    Error,
    /// Thrown and not caught: the engine's own words.
    Uncaught,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassInfo {
    pub name: String,
    /// Whether it extends `DurableObject`, and so can be reached by RPC.
    pub rpc: bool,
}

/// From the engine to the host. Whatever has `after` must not be seen by anybody before that commit is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromEngine {
    Loaded {
        classes: Vec<ClassInfo>,
        /// Names of the default export's handlers.
        handlers: Vec<String>,
    },
    LoadFailed {
        problem: Problem,
    },
    /// The engine does nothing until [`ToEngine::Pages`] is there.
    ReadPages {
        activation: Activation,
        first: u32,
        count: u32,
    },
    Commit(Commit),
    Response {
        activation: Activation,
        event: EventId,
        after: Seq,
        response: HttpResponse,
    },
    Returned {
        activation: Activation,
        event: EventId,
        after: Seq,
        value: Passed,
    },
    Failed {
        activation: Activation,
        event: EventId,
        after: Seq,
        problem: Problem,
    },
    AlarmRan {
        activation: Activation,
        event: EventId,
        after: Seq,
        outcome: AlarmOutcome,
    },
    /// JSON text of [`INSPECTED_BYTES`] at most, or what is wrong with the question.
    Inspected {
        activation: Activation,
        event: EventId,
        after: Seq,
        found: Result<String, String>,
    },
    /// The event and what it left running are over.
    Finished {
        activation: Activation,
        event: EventId,
        cpu_us: u64,
    },
    Call {
        activation: Activation,
        call: CallId,
        after: Seq,
        destination: Destination,
    },
    CancelCall {
        call: CallId,
    },
    /// The object took this end of the pair whose other end left in a response. `hibernates`: by `ctx.acceptWebSocket`.
    SocketAccept {
        activation: Activation,
        socket: SocketId,
        tags: Vec<String>,
        hibernates: bool,
    },
    SocketSend {
        activation: Activation,
        socket: SocketId,
        after: Seq,
        data: SocketData,
    },
    SocketClose {
        activation: Activation,
        socket: SocketId,
        after: Seq,
        code: Option<u16>,
        reason: String,
    },
    /// It came with an answer that nobody waits for any more.
    SocketUntaken {
        socket: SocketId,
    },
    SocketAttachment {
        activation: Activation,
        socket: SocketId,
        value: Option<Cloned>,
    },
    AutoResponse {
        activation: Activation,
        pair: Option<AutoResponse>,
    },
    Chunk {
        activation: Activation,
        stream: StreamId,
        after: Seq,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
        end: bool,
    },
    StreamFailed {
        activation: Activation,
        stream: StreamId,
        after: Seq,
        why: Problem,
    },
    /// The object has taken this many bytes more of a body that the host sends.
    Credit {
        stream: StreamId,
        bytes: u32,
    },
    /// The object reads no more of a body that the host sends.
    StreamCancelled {
        stream: StreamId,
    },
    /// The object wants no more of what it was given.
    StubDropped {
        activation: Activation,
        stub: StubId,
        after: Seq,
    },
    /// What the activation gave cannot be called any more.
    StubWithdrawn {
        stub: StubId,
    },
    /// It gave them to another one of the process, in an answer that the host does not see.
    StubsPassed {
        activation: Activation,
        stubs: Vec<StubId>,
    },
    Console {
        activation: Activation,
        level: Level,
        text: String,
        at_ms: i64,
    },
    /// Nothing runs, waits or is armed in the object, from now until its next event. `hibernates`: no socket of it would be
    /// lost.
    Quiet {
        activation: Activation,
        hibernates: bool,
    },
    /// Events that one object of the process gave another, of which the host knows nothing else: how many of this one's run
    /// now, and what those that ended since the last word took.
    Inside {
        activation: Activation,
        running: u32,
        ended: u32,
        cpu_us: u64,
    },
    /// Instead of [`Self::Closed`]: it is at such an event, and goes on.
    Stays {
        activation: Activation,
    },
    /// The object is gone with its memory, and uncommitted writes. Its unanswered events have failed with the problem;
    /// the engine names the activation no more. The host closes its sockets and opens it anew on its next event.
    Reset {
        activation: Activation,
        problem: Problem,
    },
    Closed {
        activation: Activation,
    },
    /// The engine wants a [`ToEngine::Tick`] at this time; the last one counts.
    Wake {
        at_ms: Option<i64>,
    },
}
