//! Objects of deployments and how they do, as REST v1, the command line and the pages see them.

mod rollout;
#[cfg(feature = "protocol")]
mod told;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use rollout::{DeploymentBrief, HostRollout, HostStanding, Placement, Rollout, RolloutStanding, running_on};
#[cfg(feature = "protocol")]
pub use told::{BriefByHost, BriefByHosts, ToldByHost};

/// `GET /deployments/{id}/stats`: the last 15 minutes, of all hosts together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentStats {
    /// The version that is to run.
    pub version: u32,
    pub standing: RolloutStanding,
    /// Why its objects cannot be called, whichever hosts run it.
    #[serde(default)]
    pub problem: Option<String>,
    /// By 10 seconds, oldest first; without a gap, up to the last one that is over.
    pub points: Vec<StatsPoint>,
    /// Of the last minute that is over.
    pub requests_per_s: f64,
    pub errors_per_s: f64,
    /// Processors that its code keeps busy: 1 is one of them all the time.
    pub cpu: f64,
    /// Objects in memory.
    pub live: u32,
    /// Of the processes that run it.
    pub memory_bytes: u64,
    pub hosts: Vec<HostStats>,
}

/// What happened in 10 seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatsPoint {
    /// RFC 3339; when they began.
    pub at: String,
    pub requests: u64,
    /// Those that failed in its code, or for want of it.
    pub errors: u64,
    pub cpu_us: u64,
    /// Time to the answer's first byte, microseconds; none where nothing was asked.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

/// How a deployment does on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostStats {
    #[serde(flatten)]
    pub rollout: HostRollout,
    /// The part of its objects that the host has, of 1.
    pub share: f64,
    pub live: u32,
    pub memory_bytes: u64,
}

/// A version that does not load on a host. What ran there before goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedVersion {
    pub version: u32,
    /// As JavaScript says it: `SyntaxError: …`.
    pub message: String,
    /// Where in its modules; null where that is not known.
    pub file: Option<String>,
    /// Both count from 1.
    pub line: Option<u32>,
    pub column: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectInfo {
    pub class: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Of one that is called by a name, once that has been heard.
    pub name: Option<String>,
    pub host: String,
    pub host_id: Uuid,
    /// It is in memory.
    pub is_live: bool,
    /// It ended its process again and again, and answers no more until its agent is started again.
    pub is_quarantined: bool,
    /// Of its storage.
    pub bytes: u64,
    /// RFC 3339.
    pub last_used_at: Option<String>,
    /// RFC 3339.
    pub alarm_at: Option<String>,
    pub sockets: u32,
    /// Events that it is at.
    pub running: u32,
}

/// What one can expect of an object now: the same words in the pages and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectState {
    /// In memory.
    Live,
    /// On disk alone, until it is asked.
    AtRest,
    /// It ended its process too often.
    GivenUp,
}

impl ObjectState {
    pub const fn word(self) -> &'static str {
        match self {
            ObjectState::Live => "live",
            ObjectState::AtRest => "at rest",
            ObjectState::GivenUp => "given up",
        }
    }
}

impl ObjectInfo {
    pub fn state(&self) -> ObjectState {
        match (self.is_quarantined, self.is_live) {
            (true, _) => ObjectState::GivenUp,
            (false, true) => ObjectState::Live,
            (false, false) => ObjectState::AtRest,
        }
    }
}

/// Digits of an object's id.
pub const ID_DIGITS: usize = 64;

/// A way to look for an object by what a person typed: the same in the pages and on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// The whole name.
    Name(String),
    /// What the id begins with.
    Id(String),
}

impl Sought {
    /// One after the other, until something is found: a name may look like an id.
    pub fn ways(typed: &str) -> impl Iterator<Item = Self> {
        let is_id = (1..=ID_DIGITS).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_id.then(|| Self::Id(typed.to_owned()));
        [Self::Name(typed.to_owned())].into_iter().chain(id)
    }
}

/// `GET /objects`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Objects {
    pub items: Vec<ObjectInfo>,
    /// Give it as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
    /// Hosts that did not answer: their objects are missing here.
    pub silent_hosts: Vec<String>,
}

/// `GET /objects/{deployment}/{class}/{id}/kv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KvEntries {
    pub items: Vec<KvEntry>,
    /// Give it as `start` for those that follow; null at the end.
    pub next_start: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KvEntry {
    pub key: String,
    /// As it is kept.
    pub bytes: u64,
    /// About as JavaScript would write it, the beginning of one that is long; none of what is no plain data.
    #[serde(default)]
    pub text: Option<String>,
    /// The beginning of what is kept, hexadecimal.
    pub value: String,
}

/// `POST /objects/{deployment}/{class}/{id}/sql`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SqlQuery {
    /// One statement that only reads.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 100_000))]
    pub query: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SqlResult {
    pub columns: Vec<String>,
    /// Null, numbers, texts, and `{"hex": …}` for bytes.
    pub rows: Vec<Vec<serde_json::Value>>,
    /// There are rows that are left out.
    #[serde(default)]
    pub more: bool,
}

/// A console's `line`, as server-sent events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConsoleLine {
    /// Counts up on each host, from its agent's start on: who comes back knows what was read.
    pub seq: u64,
    /// RFC 3339.
    pub at: String,
    /// `debug`, `log`, `info`, `warn` or `error`.
    pub level: String,
    pub host: String,
    /// None: the entry worker's.
    pub class: Option<String>,
    pub id: Option<String>,
    pub name: Option<String>,
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_id_may_be_a_name() {
        let check = |typed: &str, ways: &[Sought]| assert!(Sought::ways(typed).eq(ways.iter().cloned()), "{typed}");
        let name = |text: &str| Sought::Name(text.to_owned());
        check("lobby", &[name("lobby")]);
        check("CAFE", &[name("CAFE"), Sought::Id("CAFE".to_owned())]);
        check("", &[name("")]);
        let longer = "0".repeat(ID_DIGITS + 1);
        check(&longer, &[name(&longer)]);
    }
}
