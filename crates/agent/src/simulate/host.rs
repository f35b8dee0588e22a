//! One simulated host: a small task with one socket.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{
    ids::{RunId, SessionId, TransactionId},
    instructions::Work,
    sessions::{Step, StepState},
};
use protocol::{
    ActualMachine, CloseReason, MachineReport, OLDEST_VERSION, Outcome, ProgressEvent, ToAgent, ToServer, VERSION,
};
use tokio::time::Instant;

use super::{Shared, SimulateError, Stamp, count, load, monotonic_ns, part_of};
use crate::{
    clock,
    dial::{DialError, Dialer, Trust},
    environments::PrepareStep,
    identity::{Identity, Validity, make_csr, make_key},
    link::{Backoff, HEARTBEAT_PERIOD, Link, LinkError},
    notebooks::{FILES_STEP, START_STEPS},
    tunnel,
};

const BUFFER_BYTES: usize = 4 * 1024;
/// Transactions that a simulated host holds at a time.
const MAX_HELD: usize = 64;
const CHECKS: [&str; 5] = ["destroy", "processes", "mounts", "files", "ports"];

/// A machine that is not there.
struct Machine {
    /// Whether anything was done on it since the process started: of what was before, it knows nothing to report.
    knows: bool,
    session: Option<SessionId>,
    actual: ActualMachine,
}

/// What is still to come of a transaction: each happens at its time.
enum Act {
    Tell(ProgressEvent),
    Become {
        machine: String,
        session: Option<SessionId>,
        actual: ActualMachine,
    },
    /// A notebook's run is up, or is not any more.
    Run {
        run: RunId,
        is_up: bool,
    },
    End(Outcome),
}

struct Held {
    seq: u32,
    outcome: Option<Outcome>,
}

pub struct Simulated {
    number: u32,
    identity: Identity,
    trust: Trust,
    dialer: Dialer,
    renew_at: jiff::Timestamp,
    machines: BTreeMap<String, Machine>,
    /// Notebooks' runs that are up.
    runs: BTreeSet<RunId>,
    held: HashMap<TransactionId, Held>,
    claims: HashMap<TransactionId, u64>,
    plan: VecDeque<(Instant, TransactionId, Act)>,
    shared: Arc<Shared>,
}

fn dialer(identity: &Identity, trust: &Trust) -> Result<Dialer, DialError> {
    Dialer::new(&identity.server, trust.client(&identity.certificate_pem, &identity.key_pem)?)
}

impl Simulated {
    pub fn new(number: u32, identity: Identity, trust: &Trust, shared: Arc<Shared>) -> Result<Self, SimulateError> {
        let machines = load::machines(number, shared.options.machines)
            .into_iter()
            .map(|machine| (machine.name, Machine { knows: false, session: None, actual: ActualMachine::Clean }))
            .collect();
        Ok(Self {
            number,
            dialer: dialer(&identity, trust)?,
            renew_at: Validity::of(&identity.certificate_pem)?.renew_at(),
            trust: trust.clone(),
            identity,
            machines,
            runs: BTreeSet::new(),
            held: HashMap::new(),
            claims: HashMap::new(),
            plan: VecDeque::new(),
            shared,
        })
    }

    /// Connects, and again after each loss, until the process stops.
    pub async fn keep(mut self) {
        let shared = self.shared.clone();
        let mut backoff = Backoff::default();
        let mut pause = part_of(Duration::from_secs_f64(f64::from(shared.options.hosts) / 1_000.0));
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let error = match Box::pin(self.open()).await {
                Ok(link) => {
                    count(&shared.counters.connects);
                    shared.counters.links.fetch_add(1, Ordering::Relaxed);
                    backoff.reset();
                    let left = Box::pin(self.serve(link)).await;
                    shared.counters.links.fetch_sub(1, Ordering::Relaxed);
                    left.err()
                }
                Err(error) => Some(error),
            };
            pause = match error {
                Some(error) => {
                    count(&shared.counters.losses);
                    tracing::debug!(host = self.identity.name, "no link: {error}");
                    backoff.next(error.retry())
                }
                None => Duration::ZERO,
            };
        }
    }

    async fn open(&mut self) -> Result<Link, LinkError> {
        let shared = self.shared.clone();
        let Ok(_turn) = shared.connecting.acquire().await else {
            return Err(LinkError::Stalled("the simulation stops"));
        };
        self.claims.clear();
        let hello = ToServer::Hello {
            oldest_version: OLDEST_VERSION,
            newest_version: VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: load::host_labels(self.number),
            machines: load::machines(self.number, shared.options.machines),
            reports: self
                .machines
                .iter()
                .filter(|(_, machine)| machine.knows)
                .map(|(name, machine)| machine.report(name))
                .collect(),
            notebooks: None,
            objects: None,
            runs: self.runs.iter().copied().collect(),
            open: self.held.keys().copied().collect(),
        };
        let (link, _) = Link::open(&self.dialer, &hello, BUFFER_BYTES).await?;
        Ok(link)
    }

    /// Ends well when the process stops, and when a renewed certificate asks for a new connection.
    async fn serve(&mut self, mut link: Link) -> Result<(), LinkError> {
        let shared = self.shared.clone();
        let mut tunnel = tokio_util::task::TaskTracker::new();
        let end = shared.stop.child_token();
        let _ending = end.clone().drop_guard();
        let mut renewal: Option<String> = None;
        for (id, held) in &self.held {
            if let Some(outcome) = &held.outcome {
                link.send(&ToServer::Result { transaction: *id, outcome: outcome.clone() }).await?;
            }
        }
        self.heartbeat(&mut link).await?;
        let mut heartbeat = tokio::time::interval_at(Instant::now() + part_of(HEARTBEAT_PERIOD), HEARTBEAT_PERIOD);
        loop {
            let due = self.plan.front().map(|(at, ..)| *at);
            tokio::select! {
                () = shared.stop.cancelled() => {
                    link.close(CloseReason::ShuttingDown).await;
                    return Ok(());
                }
                message = link.receive() => match message? {
                    ToAgent::OpenTunnel => {
                        if tunnel.is_empty() {
                            tunnel = tokio_util::task::TaskTracker::new();
                            let (dialer, end) = (self.dialer.clone(), end.clone());
                            tunnel.spawn(async move {
                                tokio::select! {
                                    () = end.cancelled() => {}
                                    loss = Box::pin(tunnel::refuse_all(&dialer)) => tracing::debug!("no tunnel: {loss}"),
                                }
                            });
                        }
                    }
                    ToAgent::Renewed { certificate_pem, ca_pem } => {
                        let key_pem = renewal.take().ok_or(LinkError::Unexpected("a certificate that was not asked for"))?;
                        match self.renewed(certificate_pem, ca_pem, key_pem) {
                            Ok(()) => {
                                link.close(CloseReason::ShuttingDown).await;
                                return Ok(());
                            }
                            Err(error) => tracing::warn!(host = self.identity.name, %error, "not renewed"),
                        }
                    }
                    message @ (ToAgent::Welcome { .. }
                    | ToAgent::Offer { .. }
                    | ToAgent::Instructions { .. }
                    | ToAgent::NotYours { .. }
                    | ToAgent::Acknowledge { .. }
                    | ToAgent::Cancel { .. }
                    | ToAgent::PlanChanged) => self.take(&mut link, message).await?,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.act(&mut link).await?;
                }
                _ = heartbeat.tick() => {
                    self.heartbeat(&mut link).await?;
                    link.ping().await?;
                    if renewal.is_none() && clock::now() >= self.renew_at {
                        renewal = self.renew(&mut link).await?;
                    }
                }
            }
        }
    }

    async fn heartbeat(&self, link: &mut Link) -> Result<(), LinkError> {
        let busy = self.machines.values().filter(|machine| machine.session.is_some()).count();
        link.send(&ToServer::Heartbeat {
            available: self.held.len() < MAX_HELD,
            metrics: load::metrics(self.number, busy, clock::now().as_millisecond()),
        })
        .await
    }

    async fn renew(&self, link: &mut Link) -> Result<Option<String>, LinkError> {
        match make_key().and_then(|key| make_csr(&key).map(|csr| (key, csr))) {
            Ok((key, csr_der)) => {
                link.send(&ToServer::Renew { csr_der }).await?;
                Ok(Some(key))
            }
            Err(error) => {
                tracing::warn!(host = self.identity.name, %error, "cannot ask for a new certificate");
                Ok(None)
            }
        }
    }

    fn renewed(&mut self, certificate_pem: String, ca_pem: String, key_pem: String) -> Result<(), SimulateError> {
        let next = Identity { certificate_pem, ca_pem, key_pem, ..self.identity.clone() };
        let dialer = dialer(&next, &self.trust)?;
        let renew_at = Validity::of(&next.certificate_pem)?.renew_at();
        self.shared.store.put_identity(self.number, &next)?;
        (self.identity, self.dialer, self.renew_at) = (next, dialer, renew_at);
        Ok(())
    }

    async fn take(&mut self, link: &mut Link, message: ToAgent) -> Result<(), LinkError> {
        let counters = &self.shared.counters;
        match message {
            ToAgent::Welcome { .. } | ToAgent::Renewed { .. } | ToAgent::OpenTunnel | ToAgent::PlanChanged => {
                return Err(LinkError::Unexpected("a second Welcome"));
            }
            ToAgent::Offer { transaction } => {
                count(&counters.offers);
                let known = self.held.contains_key(&transaction) || self.claims.contains_key(&transaction);
                if self.held.len() + self.claims.len() < MAX_HELD && !known {
                    count(&counters.claims);
                    self.claims.insert(transaction, monotonic_ns());
                    link.send(&ToServer::Claim { transaction }).await?;
                }
            }
            ToAgent::Instructions { transaction, work, secrets: _ } => {
                let started_ns = monotonic_ns();
                let offered_ns = self
                    .claims
                    .remove(&transaction)
                    .ok_or(LinkError::Unexpected("instructions that were not claimed"))?;
                count(&counters.starts);
                self.shared.stamp(&Stamp { transaction, offered_ns, started_ns });
                self.held.insert(transaction, Held { seq: 0, outcome: None });
                self.tell(link, transaction, ProgressEvent::Started).await?;
                self.schedule(transaction, work);
                self.act(link).await?;
            }
            ToAgent::NotYours { transaction } => {
                self.claims.remove(&transaction);
            }
            ToAgent::Acknowledge { transaction } => {
                count(&counters.acknowledged);
                self.held.remove(&transaction);
            }
            ToAgent::Cancel { transaction } => {
                if self.held.get(&transaction).is_some_and(|held| held.outcome.is_none()) {
                    self.plan.retain(|(_, id, act)| *id != transaction || matches!(act, Act::Become { .. }));
                    self.end(link, transaction, Outcome::Cancelled).await?;
                }
            }
        }
        Ok(())
    }

    async fn tell(&mut self, link: &mut Link, id: TransactionId, event: ProgressEvent) -> Result<(), LinkError> {
        let Some(held) = self.held.get_mut(&id) else { return Ok(()) };
        let seq = held.seq;
        held.seq += 1;
        link.send(&ToServer::Progress { transaction: id, seq, event }).await
    }

    async fn end(&mut self, link: &mut Link, id: TransactionId, outcome: Outcome) -> Result<(), LinkError> {
        let Some(held) = self.held.get_mut(&id) else { return Ok(()) };
        held.outcome = Some(outcome.clone());
        count(&self.shared.counters.results);
        link.send(&ToServer::Result { transaction: id, outcome }).await
    }

    /// Does what is due.
    async fn act(&mut self, link: &mut Link) -> Result<(), LinkError> {
        while self.plan.front().is_some_and(|(at, ..)| *at <= Instant::now()) {
            let Some((_, id, act)) = self.plan.pop_front() else { break };
            match act {
                Act::Tell(event) => self.tell(link, id, event).await?,
                Act::Become { machine: name, session, actual } => {
                    if let Some(machine) = self.machines.get_mut(&name) {
                        *machine = Machine { knows: true, session, actual };
                        let report = machine.report(&name);
                        link.send(&ToServer::Machine(report)).await?;
                    }
                }
                Act::Run { run, is_up: true } => drop(self.runs.insert(run)),
                Act::Run { run, is_up: false } => drop(self.runs.remove(&run)),
                Act::End(outcome) => self.end(link, id, outcome).await?,
            }
        }
        Ok(())
    }

    /// Lays out what is to come of the work, in the order in which the real agent tells it.
    fn schedule(&mut self, id: TransactionId, work: Work) {
        let now = Instant::now();
        let done = Outcome::Done { exit_code: None };
        match work {
            Work::Run { argv, timeout_s: _ } => {
                let output = format!("simulated: {}\n", argv.join(" "));
                self.later(now, id, Act::Tell(ProgressEvent::Stdout(output.into_bytes())));
                let end = now + self.shared.options.command;
                self.later(end, id, Act::End(Outcome::Done { exit_code: Some(0) }));
            }
            Work::Prepare { session, machine: _, machine_name, environment: _ } => {
                let Some(machine) = self.machines.get(&machine_name) else { return self.unknown(id, &machine_name) };
                if machine.session.is_some_and(|there| there != session) {
                    let cause = format!("machine '{machine_name}' still holds another session");
                    return self.later(now, id, Act::End(Outcome::Failed { exit_code: None, cause }));
                }
                let preparing = ActualMachine::Preparing;
                self.later(
                    now,
                    id,
                    Act::Become { machine: machine_name.clone(), session: Some(session), actual: preparing },
                );
                let end = self.steps(id, now, &PrepareStep::ALL.map(PrepareStep::name));
                let actual = ActualMachine::Running;
                self.later(end, id, Act::Become { machine: machine_name, session: Some(session), actual });
                self.later(end, id, Act::End(done));
            }
            Work::Revert { session, machine: _, machine_name } => {
                let Some(machine) = self.machines.get(&machine_name) else { return self.unknown(id, &machine_name) };
                if machine.session.is_some_and(|there| there != session) {
                    return self.later(now, id, Act::End(done));
                }
                self.clean(id, now, machine_name, Some(session));
            }
            Work::Verify { machine: _, machine_name } => {
                let Some(machine) = self.machines.get(&machine_name) else { return self.unknown(id, &machine_name) };
                let session = machine.session;
                self.clean(id, now, machine_name, session);
            }
            Work::StartNotebook { spec } => {
                let end = self.steps(id, now, &START_STEPS);
                self.later(end, id, Act::Run { run: spec.run, is_up: true });
                self.later(end, id, Act::End(done));
            }
            Work::WarmNotebook { spec } => {
                let end = self.steps(id, now, &START_STEPS);
                self.later(end, id, Act::Run { run: spec.run, is_up: true });
                self.later(end, id, Act::End(done));
            }
            Work::GiveNotebook { .. } | Work::RemoveVolume { .. } => {
                let end = self.steps(id, now, &[FILES_STEP]);
                self.later(end, id, Act::End(done));
            }
            Work::StopNotebook { notebook: _, run, name: _ } => {
                let end = self.steps(id, now, &CHECKS);
                self.later(end, id, Act::Run { run, is_up: false });
                self.later(end, id, Act::End(done));
            }
        }
    }

    fn clean(&mut self, id: TransactionId, now: Instant, machine: String, session: Option<SessionId>) {
        self.later(now, id, Act::Become { machine: machine.clone(), session, actual: ActualMachine::Reverting });
        let end = self.steps(id, now, &CHECKS);
        self.later(end, id, Act::Become { machine, session: None, actual: ActualMachine::Clean });
        self.later(end, id, Act::End(Outcome::Done { exit_code: None }));
    }

    fn unknown(&mut self, id: TransactionId, machine: &str) {
        let cause = format!("this host offers no machine '{machine}'");
        self.later(Instant::now(), id, Act::End(Outcome::Failed { exit_code: None, cause }));
    }

    /// The steps one after the other; returns when the last is done.
    fn steps(&mut self, id: TransactionId, from: Instant, names: &[&str]) -> Instant {
        let each = self.shared.options.prepare / u32::try_from(names.len()).unwrap_or(u32::MAX).max(1);
        let began = clock::now();
        let mut at = from;
        for name in names {
            let since = |at: Instant| began.saturating_add(at.duration_since(from)).ok();
            let mut step = Step {
                name: (*name).to_owned(),
                state: StepState::Running,
                started_at: since(at),
                ended_at: None,
                detail: None,
            };
            self.later(at, id, Act::Tell(ProgressEvent::Step(step.clone())));
            at += each;
            step.state = StepState::Done;
            step.ended_at = since(at);
            self.later(at, id, Act::Tell(ProgressEvent::Step(step)));
        }
        at
    }

    /// Keeps the plan in order of time, and in order of planning within one time.
    fn later(&mut self, at: Instant, id: TransactionId, act: Act) {
        let place = self.plan.partition_point(|(other, ..)| *other <= at);
        self.plan.insert(place, (at, id, act));
    }
}

impl Machine {
    fn report(&self, name: &str) -> MachineReport {
        MachineReport { name: name.to_owned(), session: self.session, actual: self.actual.clone() }
    }
}
