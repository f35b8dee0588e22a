//! The agent's half of the three-step exchange (DESIGN D3): claim what is offered, journal it, do it, tell of it until
//! the server has acknowledged the result.
//!
//! The link asks [`Transactions::next_message`] for what to send: nothing is queued for a link that is slow or down.
//! What a transaction reported is kept until it is acknowledged, and told again from its beginning on the next link; the
//! server drops what it has seen by its number.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{
    ids::{RunId, TransactionId},
    instructions::{MAX_OUTPUT_BYTES, Work},
};
use protocol::{MAX_PROGRESS_BYTES, Outcome, ProgressEvent, Secrets, ToServer};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock, command,
    journal::{Entry, Journal, JournalError, Known},
    notebooks::{Notebooks, Person},
    sessions::Sessions,
};

/// Transactions that the agent holds at a time, from claim to acknowledgement; with more it takes no offers.
pub const MAX_HELD: usize = 64;
/// Commands that run at a time; further ones that were claimed wait their turn.
pub const MAX_COMMANDS: usize = 16;
/// A claim without an answer for this long is forgotten.
const CLAIM_LIMIT: Duration = Duration::from_secs(60);
/// Events of one transaction that are kept; set-up steps and output in pieces.
const MAX_EVENTS: usize = 16 * 1024;
/// The first event number of each further attempt: above what an earlier one can have used.
const ATTEMPT_STRIDE: u32 = 1 << 20;
const LEFT_OUT: &[u8] = b"\n[berth: the rest of the output is left out]\n";

/// What is known of a transaction until it is acknowledged.
struct Held {
    /// Number of the first of `events`.
    base: u32,
    events: Vec<ProgressEvent>,
    output_bytes: usize,
    truncated: bool,
    outcome: Option<Outcome>,
    /// How many of `events` this link was told.
    told: usize,
    /// The most that any link was told: those may no longer change.
    ever_told: usize,
    result_told: bool,
    /// Whether it prepares, reverts or verifies: what a restart takes up again.
    session_work: bool,
    cancel: CancellationToken,
}

impl Held {
    fn new(work: &Work, attempt: u32) -> Self {
        Self {
            base: attempt.saturating_sub(1).saturating_mul(ATTEMPT_STRIDE),
            events: Vec::new(),
            output_bytes: 0,
            truncated: false,
            outcome: None,
            told: 0,
            ever_told: 0,
            result_told: false,
            session_work: work.is_idempotent(),
            cancel: CancellationToken::new(),
        }
    }

    fn note(&mut self, event: ProgressEvent) {
        match event {
            ProgressEvent::Started | ProgressEvent::Step(_) => {
                if self.events.len() < MAX_EVENTS {
                    self.events.push(event);
                }
            }
            ProgressEvent::Stdout(piece) => self.note_output(piece, ProgressEvent::Stdout),
            ProgressEvent::Stderr(piece) => self.note_output(piece, ProgressEvent::Stderr),
        }
    }

    fn note_output(&mut self, mut piece: Vec<u8>, kind: fn(Vec<u8>) -> ProgressEvent) {
        if self.truncated || piece.is_empty() {
            return;
        }
        let room = MAX_OUTPUT_BYTES.saturating_sub(LEFT_OUT.len()).saturating_sub(self.output_bytes);
        let over = piece.len() > room || self.events.len() >= MAX_EVENTS;
        piece.truncate(room);
        self.output_bytes += piece.len();
        for part in piece.chunks(MAX_PROGRESS_BYTES) {
            self.append(part, kind);
        }
        if over {
            self.truncated = true;
            self.events.push(ProgressEvent::Stderr(LEFT_OUT.to_vec()));
        }
    }

    /// Adds to the last event if it is of the same kind and no link has seen it yet.
    fn append(&mut self, part: &[u8], kind: fn(Vec<u8>) -> ProgressEvent) {
        if self.events.len() > self.ever_told {
            match (self.events.last_mut(), kind(Vec::new())) {
                (Some(ProgressEvent::Stdout(last)), ProgressEvent::Stdout(_))
                | (Some(ProgressEvent::Stderr(last)), ProgressEvent::Stderr(_))
                    if last.len() + part.len() <= MAX_PROGRESS_BYTES =>
                {
                    last.extend_from_slice(part);
                    return;
                }
                (Some(_) | None, _) => {}
            }
        }
        self.events.push(kind(part.to_vec()));
    }
}

#[derive(Default)]
struct State {
    held: BTreeMap<TransactionId, Held>,
    /// Claimed on this link, instructions not here yet.
    claims: HashMap<TransactionId, Instant>,
    /// Who is asked next for something to send, so that all take turns.
    turn: VecDeque<TransactionId>,
    stopping: bool,
}

/// A message of the server that does not fit what the agent asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Unexpected(pub &'static str);

pub struct Transactions {
    state: Mutex<State>,
    changed: Notify,
    /// Told at each end, for who waits for the last one.
    ended: Notify,
    journal: Journal,
    sessions: Arc<Sessions>,
    notebooks: Arc<Notebooks>,
    commands: Semaphore,
    /// Ends the commands that still run when the agent is stopped.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Transactions {
    pub fn new(journal: Journal, sessions: Arc<Sessions>, notebooks: Arc<Notebooks>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            ended: Notify::new(),
            journal,
            sessions,
            notebooks,
            commands: Semaphore::new(MAX_COMMANDS),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a restart: results that were not acknowledged are told again; what can be taken up again is; a command
    /// that ran is `Unknown`, for nobody can say how far it came.
    pub async fn recover(self: &Arc<Self>) -> Result<(), JournalError> {
        for Entry { id, work, attempt, ended } in self.journal.open_entries().await? {
            match ended {
                Some((outcome, events)) => {
                    let mut held = Held::new(&work, attempt);
                    held.events = events;
                    held.outcome = Some(outcome);
                    self.hold(id, held);
                }
                None if work.is_idempotent() => {
                    tracing::info!(transaction = %id, work = %work.title(), "taking up again");
                    self.journal.begin_again(id).await?;
                    self.hold(id, Held::new(&work, attempt.saturating_add(1)));
                    self.start(id, work, None);
                }
                None => {
                    tracing::warn!(transaction = %id, "was running when the agent stopped: its outcome is unknown");
                    self.hold(id, Held::new(&work, attempt.saturating_add(1)));
                    let transactions = self.clone();
                    // On a task: what does not end at once must hold up neither the link nor the other transactions.
                    self.tasks.spawn(async move {
                        let run = match &work {
                            Work::StartNotebook { spec } => Some(spec.run),
                            Work::WarmNotebook { spec } => Some(spec.run),
                            Work::Run { .. }
                            | Work::Prepare { .. }
                            | Work::Revert { .. }
                            | Work::Verify { .. }
                            | Work::GiveNotebook { .. }
                            | Work::StopNotebook { .. }
                            | Work::RemoveVolume { .. } => None,
                        };
                        if let Some(run) = run {
                            return transactions.conclude(id, transactions.interrupted(run)).await;
                        }
                        let left = match command::end_orphans(id).await {
                            Ok(0) => "nothing of it ran any more".to_owned(),
                            Ok(count) => format!("{count} of its processes still ran and were ended"),
                            Err(error) => format!("what is left of it could not be ended: {error}"),
                        };
                        let cause = format!(
                            "the agent was restarted while the command ran, so what came of it is not known; {left}"
                        );
                        transactions.conclude(id, Outcome::Unknown { cause }).await;
                    });
                }
            }
        }
        Ok(())
    }

    /// What came of a notebook's start that the end of an earlier agent interrupted.
    fn interrupted(&self, run: RunId) -> Outcome {
        if self.notebooks.is_up(run) {
            return Outcome::Done { exit_code: None };
        }
        let cause = "the host's agent was restarted while the notebook started; what there was of it is ended";
        Outcome::Unknown { cause: cause.to_owned() }
    }

    fn hold(&self, id: TransactionId, held: Held) {
        let mut state = self.state();
        state.held.insert(id, held);
        state.turn.push_back(id);
    }

    /// Transactions whose result the server has not acknowledged, for Hello; a new link is told everything again.
    pub fn connected(&self) -> Vec<TransactionId> {
        let mut state = self.state();
        state.claims.clear();
        for held in state.held.values_mut() {
            held.told = 0;
            held.result_told = false;
        }
        state.held.keys().copied().collect()
    }

    /// Whether an offer would be claimed now.
    pub fn available(&self) -> bool {
        let state = self.state();
        !state.stopping && state.held.len() + state.claims.len() < MAX_HELD
    }

    /// True while a claim is on its way: a bad moment to reconnect.
    pub fn claiming(&self) -> bool {
        let mut state = self.state();
        state.claims.retain(|_, since| since.elapsed() < CLAIM_LIMIT);
        !state.claims.is_empty()
    }

    /// Something to tell may have come up.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What to answer to an offer.
    pub async fn offered(&self, id: TransactionId) -> Result<Option<ToServer>, JournalError> {
        if !self.available() {
            return Ok(None);
        }
        match self.journal.known(id).await? {
            Known::No => {
                let mut state = self.state();
                state.claims.retain(|_, since| since.elapsed() < CLAIM_LIMIT);
                // Offered once more while the claim is on its way: a second claim would be refused, and the refusal
                // might overtake the instructions.
                if state.claims.contains_key(&id) {
                    return Ok(None);
                }
                state.claims.insert(id, Instant::now());
                Ok(Some(ToServer::Claim { transaction: id }))
            }
            Known::Open | Known::Ended => {
                // The server has not seen the result: tell it again.
                if let Some(held) = self.state().held.get_mut(&id) {
                    held.told = 0;
                    held.result_told = false;
                }
                self.changed.notify_one();
                Ok(None)
            }
            Known::Acknowledged => {
                tracing::warn!(transaction = %id, "offered again after its end; not run a second time");
                Ok(None)
            }
        }
    }

    /// The instructions of a claim. Journals the id, then starts.
    pub async fn instructed(
        self: &Arc<Self>,
        id: TransactionId,
        work: Work,
        secrets: Option<Secrets>,
    ) -> Result<(), Unexpected> {
        if self.state().claims.remove(&id).is_none() {
            return Err(Unexpected("instructions that were not claimed"));
        }
        match self.journal.accept(id, &work, clock::now()).await {
            Ok(Known::No) => {
                self.hold(id, Held::new(&work, 1));
                self.start(id, work, secrets);
                Ok(())
            }
            Ok(Known::Open | Known::Ended | Known::Acknowledged) => {
                Err(Unexpected("instructions of a transaction that this host has had before"))
            }
            Err(error) => {
                tracing::error!(transaction = %id, %error, "not started");
                let mut held = Held::new(&work, 1);
                held.outcome = Some(Outcome::Failed {
                    exit_code: None,
                    cause: format!("nothing was started, because the agent could not write it down first: {error}"),
                });
                self.hold(id, held);
                self.changed.notify_one();
                Ok(())
            }
        }
    }

    /// The claim did not match.
    pub fn refused(&self, id: TransactionId) {
        self.state().claims.remove(&id);
    }

    pub async fn acknowledged(&self, id: TransactionId) -> Result<(), Unexpected> {
        {
            let mut state = self.state();
            match state.held.get(&id) {
                // Perhaps told on an earlier link: the server may answer to Hello's list.
                Some(held) if held.outcome.is_some() => {}
                // A repeat for one that is gone already.
                None => return Ok(()),
                Some(_) => return Err(Unexpected("an acknowledgement of a transaction that has no result")),
            }
            state.held.remove(&id);
            state.turn.retain(|other| *other != id);
        }
        if let Err(error) = self.journal.acknowledge(id).await {
            // It is told and acknowledged once more after the next restart.
            tracing::warn!(transaction = %id, %error, "the acknowledgement was not recorded");
        }
        self.changed.notify_one();
        Ok(())
    }

    pub fn cancel(&self, id: TransactionId) {
        let state = self.state();
        match state.held.get(&id) {
            Some(held) => held.cancel.cancel(),
            None => tracing::debug!(transaction = %id, "cancelled before it came"),
        }
    }

    /// The next thing that the server should know, if there is any.
    pub fn next_message(&self) -> Option<ToServer> {
        let mut state = self.state();
        let state = &mut *state;
        for _ in 0..state.turn.len() {
            let id = state.turn.pop_front()?;
            let Some(held) = state.held.get_mut(&id) else { continue };
            state.turn.push_back(id);
            if let Some(event) = held.events.get(held.told) {
                let seq = held.base.saturating_add(u32::try_from(held.told).unwrap_or(u32::MAX));
                held.told += 1;
                held.ever_told = held.ever_told.max(held.told);
                return Some(ToServer::Progress { transaction: id, seq, event: event.clone() });
            }
            if let (Some(outcome), false) = (&held.outcome, held.result_told) {
                held.result_told = true;
                return Some(ToServer::Result { transaction: id, outcome: outcome.clone() });
            }
        }
        None
    }

    fn note(&self, id: TransactionId, event: ProgressEvent) {
        if let Some(held) = self.state().held.get_mut(&id) {
            held.note(event);
        }
        self.changed.notify_one();
    }

    fn start(self: &Arc<Self>, id: TransactionId, work: Work, secrets: Option<Secrets>) {
        let Some(cancel) = self.state().held.get(&id).map(|held| held.cancel.clone()) else { return };
        let transactions = self.clone();
        self.tasks.spawn(async move {
            let outcome = Box::pin(transactions.perform(id, work, secrets, &cancel)).await;
            tracing::info!(transaction = %id, ?outcome, "ended");
            transactions.conclude(id, outcome).await;
        });
    }

    /// Journals the outcome, then lets the link see it. A full disk does not hold it back.
    async fn conclude(&self, id: TransactionId, outcome: Outcome) {
        let events = self.state().held.get(&id).map(|held| held.events.clone()).unwrap_or_default();
        if let Err(error) = self.journal.finish(id, &outcome, &events).await {
            tracing::error!(transaction = %id, %error, "the outcome was not written down; it is told all the same");
        }
        if let Some(held) = self.state().held.get_mut(&id) {
            held.outcome = Some(outcome);
        }
        self.changed.notify_one();
        self.ended.notify_waiters();
    }

    async fn perform(
        &self,
        id: TransactionId,
        work: Work,
        secrets: Option<Secrets>,
        cancel: &CancellationToken,
    ) -> Outcome {
        let progress = |event| self.note(id, event);
        match work {
            Work::Run { argv, timeout_s } => {
                let permit = tokio::select! {
                    () = cancel.cancelled() => return Outcome::Cancelled,
                    () = self.stop.cancelled() => return stopped("before its turn came; nothing was started"),
                    permit = self.commands.acquire() => permit,
                };
                let Ok(_permit) = permit else { return stopped("before its turn came; nothing was started") };
                tracing::info!(transaction = %id, program = argv.first().map_or("", String::as_str), "running a command");
                let end = cancel.child_token();
                let run = command::run(&argv, id, Duration::from_secs(timeout_s.into()), &progress, &end);
                self.or_stopped(run, &end, cancel, "while the command ran, and ended it").await
            }
            Work::Prepare { session, machine: _, machine_name, environment } => {
                progress(ProgressEvent::Started);
                self.sessions.prepare(session, &machine_name, environment, secrets, &progress, cancel).await
            }
            Work::Revert { session, machine: _, machine_name } => {
                progress(ProgressEvent::Started);
                self.sessions.revert(session, &machine_name, &progress).await
            }
            Work::Verify { machine: _, machine_name } => {
                progress(ProgressEvent::Started);
                self.sessions.verify(&machine_name, &progress).await
            }
            Work::StartNotebook { spec } => {
                progress(ProgressEvent::Started);
                let end = cancel.child_token();
                let start = Box::pin(self.notebooks.start(&spec, secrets, &progress, &end));
                self.or_stopped(start, &end, cancel, "while the notebook started, and ended it").await
            }
            Work::WarmNotebook { spec } => {
                progress(ProgressEvent::Started);
                let end = cancel.child_token();
                let warm = Box::pin(self.notebooks.warm(&spec, secrets, &progress, &end));
                self.or_stopped(warm, &end, cancel, "while the notebook started, and ended it").await
            }
            Work::GiveNotebook { run, notebook, name: _, volume, volume_bytes } => {
                progress(ProgressEvent::Started);
                self.notebooks.give(run, Person { notebook, volume, volume_bytes }, &progress).await
            }
            Work::RemoveVolume { volume, name: _ } => {
                progress(ProgressEvent::Started);
                self.notebooks.remove_volume(volume, &progress).await
            }
            Work::StopNotebook { notebook, run, name: _ } => {
                progress(ProgressEvent::Started);
                self.notebooks.stop(notebook, run, &progress).await
            }
        }
    }

    /// Ends the work by its token when the agent is stopped.
    async fn or_stopped(
        &self,
        work: impl Future<Output = Outcome>,
        end: &CancellationToken,
        cancel: &CancellationToken,
        when: &str,
    ) -> Outcome {
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => outcome,
            () = self.stop.cancelled() => {
                end.cancel();
                match work.await {
                    Outcome::Cancelled if !cancel.is_cancelled() => stopped(when),
                    outcome @ (Outcome::Cancelled
                    | Outcome::Done { .. }
                    | Outcome::Failed { .. }
                    | Outcome::Unknown { .. }) => outcome,
                }
            }
        }
    }

    /// Takes no more offers.
    pub fn stop_claiming(&self) {
        self.state().stopping = true;
    }

    /// Ends the commands that still run. Session work is left: the next start takes it up again.
    pub fn stop_commands(&self) {
        self.stop.cancel();
    }

    /// Waits until no command runs and the outcome of each is in the journal.
    pub async fn commands_ended(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state().held.values().all(|held| held.session_work || held.outcome.is_some()) {
                return;
            }
            ended.await;
        }
    }

    /// True if no command runs and every result was acknowledged. Session work may be under way.
    pub fn settled(&self) -> bool {
        self.state().held.values().all(|held| held.session_work && held.outcome.is_none())
    }
}

fn stopped(when: &str) -> Outcome {
    Outcome::Failed { exit_code: None, cause: format!("the agent was stopped {when}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        Held::new(&Work::Run { argv: vec!["true".to_owned()], timeout_s: 1 }, 1)
    }

    fn output(held: &Held) -> usize {
        held.events
            .iter()
            .map(|event| match event {
                ProgressEvent::Stdout(bytes) | ProgressEvent::Stderr(bytes) => bytes.len(),
                ProgressEvent::Started | ProgressEvent::Step(_) => 0,
            })
            .sum()
    }

    #[test]
    fn output_is_bounded_and_says_so_once() {
        let mut held = held();
        for _ in 0..100 {
            held.note(ProgressEvent::Stdout(vec![b'x'; 10_000]));
        }
        assert!(output(&held) <= MAX_OUTPUT_BYTES);
        assert!(output(&held) > MAX_OUTPUT_BYTES - 100);
        let notes = held.events.iter().filter(|event| **event == ProgressEvent::Stderr(LEFT_OUT.to_vec())).count();
        assert_eq!(notes, 1);
    }

    #[test]
    fn what_was_told_does_not_change() {
        let mut held = held();
        held.note(ProgressEvent::Stdout(b"a".to_vec()));
        held.note(ProgressEvent::Stdout(b"b".to_vec()));
        assert_eq!(held.events, [ProgressEvent::Stdout(b"ab".to_vec())]);
        (held.told, held.ever_told) = (1, 1);
        held.note(ProgressEvent::Stdout(b"c".to_vec()));
        held.told = 0;
        held.note(ProgressEvent::Stdout(b"d".to_vec()));
        assert_eq!(held.events, [ProgressEvent::Stdout(b"ab".to_vec()), ProgressEvent::Stdout(b"cd".to_vec())]);
    }
}
