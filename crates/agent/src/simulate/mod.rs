//! `berth-agent simulate`: many hosts in one process, each enrolled for real and linked over TLS with its own
//! certificate. Their machines are made up; what is said of them is not: every message is one that the real agent
//! sends, in the same order.

mod host;
mod load;
mod store;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::ids::TransactionId;
use protocol::enroll::ZeroCertificateFile;
use rand::Rng;
use rustix::{
    process::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{
    host::Simulated,
    store::{Cached, Store, StoreError},
};
use crate::{
    dial::{DialError, Trust},
    enroll::{self, EnrollError},
    identity::{Identity, IdentityError, make_key},
    link::{Backoff, Retry},
};

/// The most hosts of one process.
pub const MAX_HOSTS: u32 = 50_000;
/// The most machines of one simulated host.
pub const MAX_MACHINES: u32 = 256;
/// Enrolments at a time.
const ENROLLING: usize = 32;
/// Handshakes at a time: with more on a small computer, each takes so long that the server gives up.
const CONNECTING: usize = 128;
/// Files besides the links.
const OTHER_FILES: u64 = 256;

/// Holds a private key, in `zero`: no `Debug`.
#[derive(Clone)]
pub struct Options {
    pub hosts: u32,
    /// On each host.
    pub machines: u32,
    /// Where hosts that are not in the state directory yet get their certificates.
    pub zero: Option<ZeroCertificateFile>,
    /// Keys and certificates are kept here.
    pub state: PathBuf,
    /// The hosts are called `PREFIX-0001` and so on.
    pub prefix: String,
    /// Time that preparing and reverting take, all steps together.
    pub prepare: Duration,
    /// Time that a command takes.
    pub command: Duration,
    /// How often counters go to standard output as a line of JSON.
    pub report: Option<Duration>,
    /// Where a line of JSON is written for each instruction that starts.
    pub stamps: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("--hosts must be 1 to {MAX_HOSTS}, --machines 0 to {MAX_MACHINES}")]
    Range,
    #[error("{0} simulated hosts are not enrolled yet: give --zero FILE, a zero certificate with as many uses left")]
    NoZero(u32),
    #[error("{needed} files have to be open at once and the limit is {limit}: raise it (ulimit -n)")]
    Files { needed: u64, limit: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("simulated host {number}: {source}")]
    Enroll { number: u32, source: EnrollError },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("a simulated host's task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What happened so far, over all hosts.
#[derive(Debug, Default)]
struct Counters {
    links: AtomicU64,
    enrolled: AtomicU64,
    connects: AtomicU64,
    losses: AtomicU64,
    offers: AtomicU64,
    claims: AtomicU64,
    starts: AtomicU64,
    results: AtomicU64,
    acknowledged: AtomicU64,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Line {
    hosts: u32,
    /// Links that are up now.
    links: u64,
    enrolled: u64,
    connects: u64,
    losses: u64,
    offers: u64,
    claims: u64,
    starts: u64,
    results: u64,
    acknowledged: u64,
}

impl Counters {
    fn line(&self, hosts: u32) -> Line {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Line {
            hosts,
            links: read(&self.links),
            enrolled: read(&self.enrolled),
            connects: read(&self.connects),
            losses: read(&self.losses),
            offers: read(&self.offers),
            claims: read(&self.claims),
            starts: read(&self.starts),
            results: read(&self.results),
            acknowledged: read(&self.acknowledged),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// When an instruction came, on the clock that all processes of a computer share.
#[derive(Debug, Serialize)]
struct Stamp {
    transaction: TransactionId,
    offered_ns: u64,
    /// When the instructions were there: the start on the host.
    started_ns: u64,
}

/// `CLOCK_MONOTONIC`, nanoseconds.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or_default()
}

struct Shared {
    options: Options,
    counters: Counters,
    stamps: Option<Mutex<BufWriter<File>>>,
    store: Store,
    enrolling: Semaphore,
    connecting: Semaphore,
    stop: CancellationToken,
}

impl Shared {
    fn stamp(&self, stamp: &Stamp) {
        let Some(stamps) = &self.stamps else { return };
        let mut file = stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let written =
            serde_json::to_writer(&mut *file, stamp).map_err(io::Error::from).and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written {
            tracing::warn!(%error, "a stamp was not written");
        }
    }

    fn flush(&self) {
        let Some(stamps) = &self.stamps else { return };
        if let Err(error) = stamps.lock().unwrap_or_else(PoisonError::into_inner).flush() {
            tracing::warn!(%error, "stamps were not written");
        }
    }
}

/// Runs until `stop`.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), SimulateError> {
    if !(1..=MAX_HOSTS).contains(&options.hosts) || options.machines > MAX_MACHINES {
        return Err(SimulateError::Range);
    }
    allow_files(u64::from(options.hosts) + OTHER_FILES)?;
    let store = Store::open(&options.state)?;
    let cached = store.all(options.hosts)?;
    let missing =
        options.hosts - u32::try_from(cached.values().filter(|host| host.identity.is_some()).count()).unwrap_or(0);
    if missing > 0 && options.zero.is_none() {
        return Err(SimulateError::NoZero(missing));
    }
    let stamps = match &options.stamps {
        Some(path) => {
            let file = File::create(path).map_err(|source| SimulateError::File { path: path.clone(), source })?;
            Some(Mutex::new(BufWriter::new(file)))
        }
        None => None,
    };
    let shared = Arc::new(Shared {
        counters: Counters::default(),
        stamps,
        store,
        enrolling: Semaphore::new(ENROLLING),
        connecting: Semaphore::new(CONNECTING),
        stop: stop.child_token(),
        options,
    });
    let done = Box::pin(simulate(&shared, cached)).await;
    shared.stop.cancel();
    shared.flush();
    done
}

async fn simulate(
    shared: &Arc<Shared>,
    mut cached: std::collections::HashMap<u32, Cached>,
) -> Result<(), SimulateError> {
    // One trust for all: hosts of one state directory belong to one server.
    let ca = shared.options.zero.as_ref().map(|zero| zero.ca_pem.clone());
    let ca =
        ca.or_else(|| cached.values().find_map(|host| host.identity.as_ref().map(|identity| identity.ca_pem.clone())));
    let trust = Trust::new(&ca.unwrap_or_default())?;
    let mut tasks = JoinSet::new();
    for number in 1..=shared.options.hosts {
        let (shared, trust, cached) = (shared.clone(), trust.clone(), cached.remove(&number));
        tasks.spawn(async move {
            let identity = match Box::pin(enrolled(&shared, &trust, number, cached)).await? {
                Some(identity) => identity,
                None => return Ok(()),
            };
            Simulated::new(number, identity, &trust, shared)?.keep().await;
            Ok::<(), SimulateError>(())
        });
    }
    let mut report = tokio::time::interval(shared.options.report.unwrap_or(Duration::from_secs(1)));
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(ended) => ended??,
                None => return Ok(()),
            },
            _ = report.tick() => {
                shared.flush();
                if shared.options.report.is_some() {
                    let line = shared.counters.line(shared.options.hosts);
                    match serde_json::to_string(&line) {
                        Ok(line) => println!("{line}"),
                        Err(error) => tracing::warn!(%error, "no report"),
                    }
                }
            }
        }
    }
}

/// The host's identity: from the state directory, or by enrolment. `None` if the process is stopped meanwhile.
async fn enrolled(
    shared: &Shared,
    trust: &Trust,
    number: u32,
    cached: Option<Cached>,
) -> Result<Option<Identity>, SimulateError> {
    let cached = cached.unwrap_or_default();
    if let Some(identity) = cached.identity {
        return Ok(Some(identity));
    }
    let zero = shared.options.zero.as_ref().ok_or(SimulateError::NoZero(1))?;
    let Ok(_turn) = shared.enrolling.acquire().await else { return Ok(None) };
    let key_pem = match cached.key_pem {
        Some(key_pem) => key_pem,
        None => {
            let key_pem = make_key()?;
            shared.store.put_key(number, &key_pem)?;
            key_pem
        }
    };
    let name = format!("{}-{number:04}", shared.options.prefix);
    let mut backoff = Backoff::default();
    let answer = loop {
        match enroll::ask(zero, trust, &name, &key_pem).await {
            Ok(answer) => break answer,
            // The server may be starting, or have more handshakes to do than it has time for.
            Err(error @ (EnrollError::Broken(_) | EnrollError::Dial(_))) => {
                let pause = backoff.next(Retry::Soon);
                tracing::warn!(host = name, "not enrolled yet: {error}");
                tokio::select! {
                    () = shared.stop.cancelled() => return Ok(None),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(
                source @ (EnrollError::File { .. }
                | EnrollError::BadFile { .. }
                | EnrollError::OtherServer { .. }
                | EnrollError::Identity(_)
                | EnrollError::Refused { .. }
                | EnrollError::BadAnswer(_)),
            ) => return Err(SimulateError::Enroll { number, source }),
        }
    };
    let identity = Identity {
        server: zero.server.clone(),
        host: answer.host,
        name: answer.name,
        ca_pem: answer.ca_pem,
        certificate_pem: answer.certificate_pem,
        key_pem,
    };
    shared.store.put_identity(number, &identity)?;
    count(&shared.counters.enrolled);
    Ok(Some(identity))
}

fn allow_files(needed: u64) -> Result<(), SimulateError> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        return Err(SimulateError::Files { needed, limit: most });
    }
    let current = limit.current.unwrap_or_default();
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).map_err(|_| SimulateError::Files { needed, limit: current })
}

/// A part of a period, so that ten thousand hosts do not speak in the same instant.
fn part_of(period: Duration) -> Duration {
    period.mul_f64(rand::rng().random_range(0.0..1.0))
}
