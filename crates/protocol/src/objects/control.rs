//! What the server asks a host about its objects: HTTP/1.1 and JSON on a stream of the tunnel
//! ([`crate::tunnel::Door::Control`]). Whoever asks was authorised by the server.
//!
//! | | | |
//! |---|---|---|
//! | `POST` | `/briefs`, an [`AskBriefs`] | [`Briefs`] |
//! | `GET` | `/deployments/{deployment}` | [`DeploymentStatus`] |
//! | `GET` | `/deployments/{deployment}/objects?namespace=&after=&limit=&prefix=&name=&live=` | [`Objects`] |
//! | `GET` | `/deployments/{deployment}/objects/{namespace}/{object}` | [`ObjectStatus`] |
//! | `DELETE` | the same | ends it and deletes what it holds: 204 |
//! | `POST` | `…/look`, a [`Look`] | what is found, as JSON |
//! | `GET` | `/deployments/{deployment}/console?after=&namespace=&object=&wait_ms=` | [`Console`] |
//!
//! Of objects `after` is `NAMESPACE/ID` of the last one seen, `prefix` what the id begins with, `name` the whole name, and `live=true`
//! leaves out what is not in memory.
//!
//! `{deployment}` and `{namespace}` are ids, `{object}` is an object's id: 64 hexadecimal digits. What is unknown is 404, a question
//! that is wrong 400, what the state of an object does not allow 409; another failure is 5xx. Each has a [`Failed`].

use domain::ids::{DeploymentId, NamespaceId};
use serde::{Deserialize, Serialize};

/// The most objects in one answer.
pub const MAX_OBJECTS: u32 = 500;
/// The most deployments of one [`AskBriefs`].
pub const MAX_BRIEFS: usize = 500;
/// So many of the last buckets tell how a deployment does now.
pub const BRIEF_BUCKETS: usize = 7;
/// The most lines in one answer.
pub const MAX_LINES: u32 = 500;
/// The longest that an answer may wait for the next line.
pub const MAX_WAIT_MS: u64 = 20_000;
/// The largest answer, bytes.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// The length of one [`Bucket`], and how many are kept.
pub const BUCKET_MS: i64 = 10_000;
pub const BUCKETS: usize = 90;
/// Upper bounds of [`Bucket::latencies`], microseconds; one more counts what is above the last.
pub const LATENCY_BOUNDS_US: [u64; 19] = [
    100, 200, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000,
];

/// How a deployment does on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// The version that runs.
    pub version: Option<u32>,
    /// Why the version of the plan does not run.
    pub problem: Option<String>,
    /// The version of the plan was tried here and does not load: so it stays until another one is to run. What ran before
    /// goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Objects that are in memory.
    pub live: u32,
    /// Processes, and what they have in memory together.
    pub engines: u32,
    pub memory_bytes: u64,
    /// The last [`BUCKETS`], oldest first; those in which nothing happened are left out.
    pub buckets: Vec<Bucket>,
}

/// A version that does not load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub version: u32,
    /// The error as JavaScript says it: `SyntaxError: …`.
    pub message: String,
    /// Where in its modules, if that is known.
    pub place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// A module's name.
    pub file: String,
    /// Both count from 1.
    pub line: u32,
    pub column: u32,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "version {} does not load: ", self.version)?;
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// What happened in [`BUCKET_MS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// When it began, Unix milliseconds: a multiple of [`BUCKET_MS`].
    pub at_ms: i64,
    /// Requests to the deployment that were answered here.
    pub requests: u64,
    /// Those of them that failed in its code or for want of it.
    pub errors: u64,
    /// Of all events, of objects' too.
    pub cpu_us: u64,
    /// Requests by the time to the answer's first byte: see [`LATENCY_BOUNDS_US`].
    pub latencies: Vec<u32>,
}

/// How these deployments do, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskBriefs {
    /// At most [`MAX_BRIEFS`].
    pub deployments: Vec<DeploymentId>,
}

/// Of those that have come to the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Briefs {
    pub briefs: Vec<Brief>,
}

/// What [`DeploymentStatus`] says, as far as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    pub deployment: DeploymentId,
    pub version: Option<u32>,
    pub problem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    pub live: u32,
    /// Of the last [`BRIEF_BUCKETS`] at most, oldest first: when each began (Unix milliseconds), and its requests.
    pub requests: Vec<(i64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects {
    /// In the order of namespace and id.
    pub objects: Vec<ObjectStatus>,
    /// There are more after the last.
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStatus {
    pub namespace: NamespaceId,
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: Option<String>,
    /// It is in memory.
    pub is_live: bool,
    /// Of its storage.
    pub bytes: u64,
    /// Unix milliseconds.
    pub last_used_ms: Option<i64>,
    pub alarm_at_ms: Option<i64>,
    pub sockets: u32,
    /// Events that it is at.
    pub running: u32,
    /// It ended its process too often and is given up.
    pub is_quarantined: bool,
}

/// A look into an object's storage; its code does not run. What an answer has no room for is left out, and that it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Tables, size and alarm.
    Summary,
    /// Keys from `start` on, in order.
    Kv { start: String, limit: u32 },
    /// One statement that only reads.
    Sql { query: String, limit: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    pub lines: Vec<Line>,
    /// What to ask for next.
    pub after: u64,
    /// So many lines after what was asked for are kept no more.
    pub lost: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Counts up from the start of its host's agent; who asks for what comes after a higher number gets all.
    pub seq: u64,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// `debug`, `log`, `info`, `warn` or `error`.
    pub level: String,
    /// None: the entry worker's.
    pub object: Option<LineOf>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineOf {
    pub namespace: NamespaceId,
    pub id: String,
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// In words for the person.
    pub why: String,
}
