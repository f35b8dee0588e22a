//! Sessions on this host's machines: prepare, revert, verify, and what is found after a restart.
//!
//! An environment outlives the agent. What ought to be on a machine is in the journal, what is there the environments
//! tell; [`Sessions::recover`] brings both together.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    environments::EnvironmentSpec,
    ids::SessionId,
    sessions::{Step, StepState},
};
use protocol::{ActualMachine, MachineReport, OfferedMachine, Outcome, ProgressEvent, Secrets};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock,
    config::{AgentConfig, MachineConfig},
    environments::{
        Check, Environment, Environments, PrepareSpec, PrepareStep, RevertReport, Running, StepSink, Variables,
    },
    journal::{Journal, MachineEntry},
    progress::{Progress, advance, change, pending, tail},
};

struct Current {
    session: Option<SessionId>,
    actual: ActualMachine,
    /// The environment, while it can be used.
    running: Option<Running>,
    /// Ends the preparation that is under way.
    preparing: Option<CancellationToken>,
    /// Whether the link was told.
    told: bool,
}

struct Slot {
    machine: Arc<MachineConfig>,
    /// One preparation, revert or check at a time.
    work: tokio::sync::Mutex<()>,
    current: Mutex<Current>,
}

impl Slot {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn report(&self) -> MachineReport {
        let current = self.current();
        MachineReport { name: self.machine.name.clone(), session: current.session, actual: current.actual.clone() }
    }
}

pub struct Sessions {
    slots: BTreeMap<String, Arc<Slot>>,
    environments: Arc<Environments>,
    journal: Journal,
    changed: Notify,
    tasks: TaskTracker,
}

/// Why nothing can be started in a session.
#[derive(Debug, thiserror::Error)]
#[error("session {0} does not run on this host")]
pub struct NotRunning(pub SessionId);

impl Sessions {
    pub fn new(config: &AgentConfig, environments: Arc<Environments>, journal: Journal) -> Arc<Self> {
        let slots = config
            .machines
            .iter()
            .map(|machine| {
                let current = Current {
                    session: None,
                    actual: ActualMachine::Clean,
                    running: None,
                    preparing: None,
                    told: false,
                };
                let slot = Slot {
                    machine: Arc::new(machine.clone()),
                    work: tokio::sync::Mutex::new(()),
                    current: Mutex::new(current),
                };
                (machine.name.clone(), Arc::new(slot))
            })
            .collect();
        Arc::new(Self { slots, environments, journal, changed: Notify::new(), tasks: TaskTracker::new() })
    }

    pub fn offered(&self) -> Vec<OfferedMachine> {
        self.slots.values().map(|slot| slot.machine.offered()).collect()
    }

    /// All machines, for Hello.
    pub fn connected(&self) -> Vec<MachineReport> {
        self.slots
            .values()
            .map(|slot| {
                slot.current().told = true;
                slot.report()
            })
            .collect()
    }

    /// A machine of which the link was not told yet.
    pub fn next_report(&self) -> Option<MachineReport> {
        self.slots.values().find_map(|slot| {
            let told = std::mem::replace(&mut slot.current().told, true);
            (!told).then(|| slot.report())
        })
    }

    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The environment of a session that is active.
    pub fn running(&self, session: SessionId) -> Result<(Arc<dyn Environment>, Running), NotRunning> {
        self.slots
            .values()
            .find_map(|slot| {
                let current = slot.current();
                let running = current.running.clone().filter(|_| current.session == Some(session))?;
                Some((self.environments.of(slot.machine.kind), running))
            })
            .ok_or(NotRunning(session))
    }

    async fn set(&self, slot: &Slot, session: Option<SessionId>, actual: ActualMachine, running: Option<Running>) {
        let dirty = match &actual {
            ActualMachine::Dirty { reason } => Some(reason.clone()),
            ActualMachine::Clean | ActualMachine::Preparing | ActualMachine::Running | ActualMachine::Reverting => None,
        };
        let entry = MachineEntry { name: slot.machine.name.clone(), session, dirty };
        if let Err(error) = self.journal.set_machine(entry).await {
            // What is found on the host after a restart counts for more than this entry.
            tracing::error!(machine = slot.machine.name, %error, "the machine's state was not written down");
        }
        {
            let mut current = slot.current();
            (current.session, current.actual, current.running, current.told) = (session, actual, running, false);
        }
        self.changed.notify_one();
    }

    /// The machine is in use; tells when its environment ends by itself.
    async fn set_running(self: &Arc<Self>, slot: &Arc<Slot>, session: SessionId, running: Running) {
        self.set(slot, Some(session), ActualMachine::Running, Some(running.clone())).await;
        let (sessions, slot) = (self.clone(), slot.clone());
        self.tasks.spawn(async move {
            let environment = sessions.environments.of(slot.machine.kind);
            environment.gone(&running).await;
            // Under the machine's lock, so that a revert which destroys the environment is not taken for its own end.
            let _work = slot.work.lock().await;
            let ended = {
                let current = slot.current();
                current.session == Some(session) && current.actual == ActualMachine::Running
            };
            if ended {
                tracing::warn!(%session, machine = slot.machine.name, "the environment ended by itself");
                let reason = "its environment ended by itself".to_owned();
                sessions.set(&slot, Some(session), ActualMachine::Dirty { reason }, None).await;
            }
        });
    }

    /// After a restart: adopts what runs, and reverts what is left over and belongs to no transaction that will be
    /// taken up again (`resumed`). Call before the link is opened.
    pub async fn recover(self: &Arc<Self>, resumed: &[SessionId]) -> io::Result<()> {
        let known = self.journal.machines().await.map_err(io::Error::other)?;
        for entry in &known {
            if let (Some(slot), Some(reason)) = (self.slots.get(&entry.name), &entry.dirty) {
                self.set(slot, entry.session, ActualMachine::Dirty { reason: reason.clone() }, None).await;
            }
        }
        for found in self.environments.list().await? {
            if resumed.contains(&found.session) {
                // The transaction that is taken up again looks after it; until then the machine is not free.
                if let Some(slot) = found.machine.as_deref().and_then(|name| self.slots.get(name)) {
                    self.adopt_or(slot, found.session, found.adoptable, ActualMachine::Preparing).await;
                }
                continue;
            }
            let Some(slot) = found.machine.as_deref().and_then(|name| self.slots.get(name)).cloned() else {
                tracing::warn!(session = %found.session, machine = ?found.machine, "belongs to no machine of the configuration: reverting");
                let environment = self.environments.of(found.kind);
                self.tasks.spawn(async move {
                    let report = environment.revert(found.session).await;
                    tracing::info!(session = %found.session, reason = report.reason(), "reverted");
                });
                continue;
            };
            self.adopt_or(&slot, found.session, found.adoptable, ActualMachine::Reverting).await;
            if slot.report().actual == ActualMachine::Reverting {
                tracing::warn!(session = %found.session, machine = slot.machine.name, "cannot be taken up again: reverting");
                let sessions = self.clone();
                self.tasks.spawn(async move {
                    sessions.revert(found.session, &slot.machine.name, &|_| {}).await;
                });
            }
        }
        Ok(())
    }

    async fn adopt_or(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        session: SessionId,
        adoptable: bool,
        otherwise: ActualMachine,
    ) {
        if matches!(slot.report().actual, ActualMachine::Dirty { .. }) {
            return;
        }
        if adoptable {
            match self.environments.of(slot.machine.kind).adopt(session).await {
                Ok(running) => {
                    tracing::info!(%session, machine = slot.machine.name, "adopted");
                    self.set_running(slot, session, running).await;
                    return;
                }
                Err(error) => tracing::warn!(%session, %error, "not adopted"),
            }
        }
        self.set(slot, Some(session), otherwise, None).await;
    }

    pub async fn prepare(
        self: &Arc<Self>,
        session: SessionId,
        machine: &str,
        asked: EnvironmentSpec,
        secrets: Option<Secrets>,
        progress: Progress<'_>,
        cancel: &CancellationToken,
    ) -> Outcome {
        let Some(slot) = self.slots.get(machine) else { return unknown_machine(machine) };
        let _work = tokio::select! {
            () = cancel.cancelled() => return Outcome::Cancelled,
            work = slot.work.lock() => work,
        };
        let before = slot.report();
        match (before.session, before.actual) {
            (Some(there), ActualMachine::Running) if there == session => return Outcome::Done { exit_code: None },
            (Some(there), _) if there != session => {
                return failed(format!("machine '{machine}' still holds session {there}"));
            }
            (_, ActualMachine::Dirty { reason }) => {
                return failed(format!("machine '{machine}' is not clean: {reason}"));
            }
            (Some(_), ActualMachine::Preparing | ActualMachine::Reverting) => {
                // The agent was stopped in the middle: begin anew from a clean machine.
                let report = self.environments.of(slot.machine.kind).revert(session).await;
                if let Some(reason) = report.reason() {
                    self.set(slot, Some(session), ActualMachine::Dirty { reason: reason.clone() }, None).await;
                    return failed(reason);
                }
            }
            (Some(_) | None, ActualMachine::Clean | ActualMachine::Running)
            | (None, ActualMachine::Preparing | ActualMachine::Reverting) => {}
        }
        let end = cancel.child_token();
        self.set(slot, Some(session), ActualMachine::Preparing, None).await;
        slot.current().preparing = Some(end.clone());
        let spec = PrepareSpec {
            session,
            machine: slot.machine.clone(),
            asked,
            variables: Variables(secrets.map(|secrets| secrets.0).unwrap_or_default()),
        };
        let environment = self.environments.of(slot.machine.kind);
        let prepared = prepare_with_steps(&*environment, spec, progress, &end).await;
        slot.current().preparing = None;
        match prepared {
            Ok(running) => {
                self.set_running(slot, session, running).await;
                Outcome::Done { exit_code: None }
            }
            Err(error) => {
                self.set(slot, Some(session), ActualMachine::Reverting, None).await;
                let report = environment.revert(session).await;
                match report.reason() {
                    None => self.set(slot, None, ActualMachine::Clean, None).await,
                    Some(reason) => self.set(slot, Some(session), ActualMachine::Dirty { reason }, None).await,
                }
                if error.cancelled { Outcome::Cancelled } else { failed(error.to_string()) }
            }
        }
    }

    pub async fn revert(self: &Arc<Self>, session: SessionId, machine: &str, progress: Progress<'_>) -> Outcome {
        let Some(slot) = self.slots.get(machine) else { return unknown_machine(machine) };
        {
            let current = slot.current();
            if let (true, Some(preparing)) = (current.session == Some(session), &current.preparing) {
                preparing.cancel();
            }
        }
        let _work = slot.work.lock().await;
        // What is left of an earlier session is destroyed without a word about the one that has the machine now.
        let holds = slot.report().session.is_none_or(|there| there == session);
        if holds {
            self.set(slot, Some(session), ActualMachine::Reverting, None).await;
        }
        let report = revert_with_steps(&*self.environments.of(slot.machine.kind), session, progress).await;
        self.conclude(slot, session, holds, report).await
    }

    /// Checks a machine that is not clean once more, after destroying what may be left.
    pub async fn verify(self: &Arc<Self>, machine: &str, progress: Progress<'_>) -> Outcome {
        let Some(slot) = self.slots.get(machine) else { return unknown_machine(machine) };
        let _work = slot.work.lock().await;
        let before = slot.report();
        match (before.actual, before.session) {
            (ActualMachine::Running | ActualMachine::Preparing, Some(session)) => {
                failed(format!("machine '{machine}' is in use by session {session}"))
            }
            (ActualMachine::Dirty { .. } | ActualMachine::Reverting, Some(session)) => {
                let report = revert_with_steps(&*self.environments.of(slot.machine.kind), session, progress).await;
                self.conclude(slot, session, true, report).await
            }
            (_, None) | (ActualMachine::Clean, Some(_)) => {
                self.set(slot, None, ActualMachine::Clean, None).await;
                Outcome::Done { exit_code: None }
            }
        }
    }

    async fn conclude(&self, slot: &Slot, session: SessionId, holds: bool, report: RevertReport) -> Outcome {
        let reason = report.reason();
        if holds {
            match &reason {
                None => self.set(slot, None, ActualMachine::Clean, None).await,
                Some(reason) => {
                    let actual = ActualMachine::Dirty { reason: reason.clone() };
                    self.set(slot, Some(session), actual, None).await;
                }
            }
        }
        match reason {
            None => Outcome::Done { exit_code: None },
            Some(reason) => failed(reason),
        }
    }
}

fn failed(cause: String) -> Outcome {
    Outcome::Failed { exit_code: None, cause }
}

fn unknown_machine(name: &str) -> Outcome {
    failed(format!("this host's configuration offers no machine '{name}'"))
}

async fn prepare_with_steps(
    environment: &dyn Environment,
    spec: PrepareSpec,
    progress: Progress<'_>,
    cancel: &CancellationToken,
) -> Result<Running, crate::environments::PrepareError> {
    let (sink, mut events) = StepSink::new();
    let mut steps: BTreeMap<PrepareStep, Step> =
        PrepareStep::ALL.into_iter().map(|step| (step, pending(step.name()))).collect();
    for step in steps.values() {
        progress(ProgressEvent::Step(step.clone()));
    }
    let prepare = async {
        let prepared = environment.prepare(spec, &sink, cancel).await;
        drop(sink);
        prepared
    };
    let listen = async {
        while let Some(event) = events.recv().await {
            if let Some((name, state, detail)) = change(event, progress) {
                let step = steps.entry(name).or_insert_with(|| pending(name.name()));
                advance(step, state, detail, progress);
            }
        }
    };
    let (prepared, ()) = tokio::join!(prepare, listen);
    prepared
}

/// Destroys and verifies; each check becomes a step.
pub(crate) async fn revert_with_steps(
    environment: &dyn Environment,
    session: SessionId,
    progress: Progress<'_>,
) -> RevertReport {
    let mut whole = Step { state: StepState::Running, started_at: Some(clock::now()), ..pending("revert") };
    progress(ProgressEvent::Step(whole.clone()));
    let told = |check: &Check, since| {
        progress(ProgressEvent::Step(Step {
            name: check.name.clone(),
            state: if check.ok { StepState::Done } else { StepState::Failed },
            started_at: Some(since),
            ended_at: Some(clock::now()),
            detail: Some(tail(check.detail.clone())).filter(|detail| !detail.is_empty()),
        }));
    };
    let report = environment.revert_told(session, &told).await;
    whole.state = if report.is_clean() { StepState::Done } else { StepState::Failed };
    whole.ended_at = Some(clock::now());
    whole.detail = Some(format!("{} checks in {} ms", report.checks.len(), report.took_ms));
    progress(ProgressEvent::Step(whole));
    report
}
