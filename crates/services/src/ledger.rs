//! Group commit for what comes in great numbers: bookings; and what many hosts do at once: claims, progress, results, links
//! going up and down. One task collects the writes that came while the last transaction was committed and commits them
//! together, so that a thousand bookings or instructions a second need no thousand commits. Each write is answered
//! after the commit, never before.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use store::{StoreError, Tx, events::Told};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Error, Result, Services};

/// Writes that wait before senders have to.
const QUEUE: usize = 4_096;
/// The most writes in one transaction: bounds how long it holds the writer's lock.
const BATCH: usize = 256;
/// The most reports among them: what somebody waits for does not wait for a flood of those.
const REPORTS: usize = 64;
/// How long a group whose connection was lost is tried again: a database that was restarted leaves a server many dead ones.
const LOST_LIMIT: Duration = Duration::from_secs(5);
const LOST_PAUSE: Duration = Duration::from_millis(20);
const CHECKPOINT_PERIOD: Duration = Duration::from_secs(1);

/// Which queue a write stands in. Each keeps its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A person, or a host that is about to start something, waits for it.
    Awaited,
    /// What hosts tell of what they do already.
    Report,
}

/// One change. `apply` may be called again after a transaction that failed.
#[async_trait]
pub(crate) trait Write: Send + Sync + 'static {
    type Out: Send + 'static;
    /// Writes of one group with a place are made in the order of their places, after those without. What waits for the
    /// locks of other servers' groups has one, so that two groups cannot wait for each other.
    fn place(&self) -> Option<Uuid> {
        None
    }
    fn urgency(&self) -> Urgency {
        Urgency::Awaited
    }
    /// Makes the change and adds what is to be told of it. A refusal is an outcome and leaves nothing of itself in the
    /// transaction, which goes on with the others' writes.
    async fn apply(&self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> std::result::Result<Self::Out, StoreError>;
}

struct Job<W: Write> {
    write: W,
    out: Option<W::Out>,
    reply: oneshot::Sender<Result<W::Out>>,
}

#[async_trait]
trait Erased: Send {
    fn place(&self) -> Option<Uuid>;
    async fn apply(&mut self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> std::result::Result<(), StoreError>;
    fn succeed(self: Box<Self>);
    fn fail(self: Box<Self>, error: StoreError);
}

#[async_trait]
impl<W: Write> Erased for Job<W> {
    fn place(&self) -> Option<Uuid> {
        self.write.place()
    }
    async fn apply(&mut self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> std::result::Result<(), StoreError> {
        self.out = Some(self.write.apply(tx, told, now).await?);
        Ok(())
    }
    fn succeed(self: Box<Self>) {
        let Self { out, reply, .. } = *self;
        let answer = out.ok_or_else(|| Error::Internal("a committed write without an outcome".to_owned()));
        if reply.send(answer).is_err() {
            tracing::debug!("nobody waits for a committed write any more");
        }
    }
    fn fail(self: Box<Self>, error: StoreError) {
        if self.reply.send(Err(error.into())).is_err() {
            tracing::debug!("nobody waits for a failed write any more");
        }
    }
}

type Jobs = mpsc::Receiver<Box<dyn Erased>>;

/// The queues to the task that commits.
pub(crate) struct Ledger {
    awaited: mpsc::Sender<Box<dyn Erased>>,
    reports: mpsc::Sender<Box<dyn Erased>>,
    receivers: Mutex<Option<(Jobs, Jobs)>>,
}

impl Default for Ledger {
    fn default() -> Self {
        let (awaited, awaited_jobs) = mpsc::channel(QUEUE);
        let (reports, report_jobs) = mpsc::channel(QUEUE);
        Self { awaited, reports, receivers: Mutex::new(Some((awaited_jobs, report_jobs))) }
    }
}

/// A write that stands in the queue.
pub(crate) struct Pending<T>(oneshot::Receiver<Result<T>>);

impl<T> Pending<T> {
    /// Waits until it is committed or failed.
    pub(crate) async fn committed(self) -> Result<T> {
        self.0.await.unwrap_or_else(|_| Err(stopping()))
    }
}

fn stopping() -> Error {
    Error::Unavailable("the server is stopping; try again in a moment".to_owned())
}

impl Ledger {
    /// Puts the write into its queue, behind those that came before; waits while the queue is full.
    pub(crate) async fn submit<W: Write>(&self, write: W) -> Result<Pending<W::Out>> {
        let queue = match write.urgency() {
            Urgency::Awaited => &self.awaited,
            Urgency::Report => &self.reports,
        };
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Erased> = Box::new(Job { write, out: None, reply });
        queue.send(job).await.map_err(|_| stopping())?;
        Ok(Pending(answer))
    }

    /// Submits and waits.
    pub(crate) async fn write<W: Write>(&self, write: W) -> Result<W::Out> {
        self.submit(write).await?.committed().await
    }
}

/// Commits what is submitted until `stop`; what was submitted before is committed still.
pub async fn run(services: Services, stop: CancellationToken) {
    let Some((mut awaited, mut reports)) = services.ledger().receivers.lock().take() else {
        tracing::error!("the ledger runs already");
        return;
    };
    loop {
        let first = tokio::select! {
            biased;
            job = awaited.recv() => job,
            job = reports.recv() => job,
            () = stop.cancelled() => break,
        };
        let mut jobs: Vec<_> = first.into_iter().collect();
        while jobs.len() < BATCH - REPORTS
            && let Ok(job) = awaited.try_recv()
        {
            jobs.push(job);
        }
        jobs.extend(std::iter::from_fn(|| reports.try_recv().ok()).take(REPORTS));
        if jobs.is_empty() {
            return;
        }
        commit(&services, jobs).await;
    }
    for mut queue in [awaited, reports] {
        queue.close();
        continue_after_stop(&services, &mut queue).await;
    }
}

/// Keeps SQLite's log short, so that no write has to; until `stop`.
pub async fn keep_short(services: Services, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CHECKPOINT_PERIOD) => {}
        }
        if let Err(error) = services.store().checkpoint().await {
            tracing::warn!(%error, "cannot move the database's log; trying again");
        }
    }
}

async fn continue_after_stop(services: &Services, queue: &mut Jobs) {
    let mut jobs = Vec::new();
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        commit(services, std::mem::take(&mut jobs)).await;
    }
}

async fn commit(services: &Services, mut jobs: Vec<Box<dyn Erased>>) {
    // Stable: what has the same place, or none, stays in the order in which it came.
    jobs.sort_by_key(|job| job.place());
    metrics::histogram!("berth_ledger_batch").record(f64::from(u32::try_from(jobs.len()).unwrap_or(u32::MAX)));
    let began = Instant::now();
    let outcome = loop {
        match attempt(services, &mut jobs).await {
            // None of them is at fault, and nothing of them is there.
            Err(error) if error.is_lost() && began.elapsed() < LOST_LIMIT => {
                tracing::warn!(%error, count = jobs.len(), "a group of writes lost the database; trying again");
                tokio::time::sleep(LOST_PAUSE).await;
            }
            outcome => break outcome,
        }
    };
    match outcome {
        Ok(()) => {
            services.live().nudge();
            jobs.into_iter().for_each(Erased::succeed);
        }
        // Tried again, what was done after all would be done twice, or refused for being there.
        Err(error @ StoreError::OutcomeUnknown(_)) => {
            services.live().nudge();
            jobs.into_iter().for_each(|job| job.fail(error.copy()));
        }
        // One of them may be at fault: each by itself, so that the others are not refused with it.
        Err(error) if jobs.len() > 1 && !error.is_lost() => {
            tracing::warn!(%error, count = jobs.len(), "a group of writes failed; trying each by itself");
            for job in jobs {
                let mut alone = vec![job];
                let outcome = attempt(services, &mut alone).await;
                for job in alone.drain(..) {
                    match &outcome {
                        Ok(()) => job.succeed(),
                        Err(error) => job.fail(error.copy()),
                    }
                }
            }
            services.live().nudge();
        }
        Err(error) => jobs.into_iter().for_each(|job| job.fail(error.copy())),
    }
}

async fn attempt(services: &Services, jobs: &mut [Box<dyn Erased>]) -> std::result::Result<(), StoreError> {
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let mut told = Vec::new();
    for job in jobs.iter_mut() {
        job.apply(&tx, &mut told, now).await?;
    }
    // Pieces of one output in one group are one piece of news.
    told.dedup_by(|a, b| a.subject == b.subject && a.kind == b.kind && a.word == b.word);
    store::events::append_all(&tx, &told, now);
    tx.commit().await
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
