//! What is said on a link, and what the server does about it. The connection itself is the server's business; here are
//! Hello, the messages after it, and the end.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use domain::{
    access::Permit,
    deployments::ObjectOffer,
    events::EventKind,
    hosts::HostLink,
    ids::{HostId, InstructionId, RunId, SessionId, TransactionId},
    instructions::{OutputChannel, TransactionState, Work},
    labels::Labels,
    notebooks::{NotebookOffer, RunSpec, TOKEN, WarmSpec},
};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use protocol::{
    CloseReason, MAX_PROGRESS_BYTES, MachineReport, OLDEST_VERSION, OfferedMachine, Outcome, ProgressEvent, Secrets,
    ToAgent, ToServer, VERSION,
};
use store::{
    StoreError, Tx,
    certificates::Issued,
    events::Told,
    hosts::LinkUp,
    instructions::{Ending, Piece, Stored},
};
use tokio::sync::{Notify, mpsc};

use super::{Closing, Known, Link, OUTBOX, Peer};
use crate::{
    Error, Services, certificates,
    instructions::{Begin, Claim, Finish, Finished, Keep, Offer, Settle},
    ledger::Write,
    notebooks,
};

/// The most machines that a host may offer.
const MAX_MACHINES: usize = 1_024;
/// The most transactions that a host may say it has open.
const MAX_OPEN: usize = 10_000;
const MAX_AGENT_VERSION_CHARS: usize = 64;
const MAX_CAUSE_CHARS: usize = 2_000;
/// An offer that was not claimed in this time is sent again.
pub(super) const OFFER_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// Transactions that are looked at in one go.
const LOOK: u64 = 256;

/// Why a link has to be closed.
#[derive(Debug)]
pub enum Trouble {
    /// The host's doing.
    Close(CloseReason),
    /// The server cannot go on now; the host is to try again.
    Server(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Server(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Server(error.into())
    }
}

const UNEXPECTED: Trouble = Trouble::Close(CloseReason::Unexpected);
const MALFORMED: Trouble = Trouble::Close(CloseReason::Malformed);

/// A link after its Hello.
pub struct Attached {
    pub link: Arc<Link>,
    /// What others want sent on it; `welcome` goes first.
    pub outbox: mpsc::Receiver<ToAgent>,
    pub welcome: ToAgent,
}

/// What is to be done after a message.
pub enum Heard {
    Nothing,
    Reply(ToAgent),
    /// The answer comes with the next group commit; later messages need not wait for it.
    Later(BoxFuture<'static, Result<Option<ToAgent>, Trouble>>),
}

struct Up {
    permit: Permit,
    up: LinkUp,
}

#[async_trait]
impl Write for Up {
    type Out = bool;
    async fn apply(&self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> Result<bool, StoreError> {
        let Self { permit, up } = self;
        // The certificate that was used counts from now on, and the ones before it no longer.
        store::certificates::use_first(tx, permit, up.host, &up.serial, now).await?;
        let is_up = store::hosts::link_up(tx, permit, up, now).await?;
        if is_up {
            told.push(host_told(permit, up.host, HostLink::Online.word()));
        }
        Ok(is_up)
    }
}

struct Down {
    permit: Permit,
    host: HostId,
    owner: uuid::Uuid,
}

#[async_trait]
impl Write for Down {
    type Out = ();
    async fn apply(&self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> Result<(), StoreError> {
        if store::hosts::link_down(tx, &self.permit, self.host, self.owner, now).await? {
            store::instructions::withdraw_offers(tx, &self.permit, self.host).await?;
            told.push(host_told(&self.permit, self.host, HostLink::Offline.word()));
        }
        Ok(())
    }
}

pub(super) fn host_told(permit: &Permit, host: HostId, word: &'static str) -> Told {
    Told { tenant: permit.tenant(), kind: EventKind::Host, subject: host.uuid(), word }
}

/// What the first message says.
struct Hello {
    version: u16,
    agent_version: String,
    labels: Labels,
    machines: Vec<OfferedMachine>,
    reports: Vec<MachineReport>,
    notebooks: Option<NotebookOffer>,
    runs: Vec<RunId>,
    objects: Option<ObjectOffer>,
    open: HashSet<TransactionId>,
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        && !name.contains("..")
}

fn read_hello(message: ToServer) -> Result<Hello, Trouble> {
    match message {
        ToServer::Hello {
            oldest_version,
            newest_version,
            agent_version,
            labels,
            machines,
            reports,
            notebooks,
            runs,
            objects,
            open,
        } => {
            let version = newest_version.min(VERSION);
            if version < oldest_version.max(OLDEST_VERSION) {
                return Err(Trouble::Close(CloseReason::Version));
            }
            let mut names = HashSet::new();
            let fits = agent_version.chars().count() <= MAX_AGENT_VERSION_CHARS
                && !agent_version.chars().any(char::is_control)
                && machines.len() <= MAX_MACHINES
                && machines.iter().all(|machine| is_plain_name(&machine.name) && names.insert(machine.name.as_str()))
                && reports.len() <= MAX_MACHINES
                && runs.len() <= MAX_MACHINES
                && objects.as_ref().is_none_or(ObjectOffer::is_plain)
                && open.len() <= MAX_OPEN;
            if !fits {
                return Err(MALFORMED);
            }
            Ok(Hello {
                version,
                agent_version,
                labels,
                machines,
                reports,
                notebooks,
                runs,
                objects,
                open: open.into_iter().collect(),
            })
        }
        ToServer::Heartbeat { .. }
        | ToServer::Claim { .. }
        | ToServer::Progress { .. }
        | ToServer::Result { .. }
        | ToServer::Machine(_)
        | ToServer::RunEnded { .. }
        | ToServer::Renew { .. } => Err(UNEXPECTED),
    }
}

/// The first message of a link. After it the link is up, here and in the database.
pub async fn attach(services: &Services, peer: Peer, message: ToServer) -> Result<Attached, Trouble> {
    let hello = read_hello(message)?;
    let permit = peer.permit();
    let runs_objects = hello.objects.is_some();
    let up = LinkUp {
        host: peer.host,
        host_name: peer.name.clone(),
        owner: services.settings().replica,
        agent_version: hello.agent_version,
        labels: hello.labels,
        notebooks: hello.notebooks,
        objects: hello.objects,
        serial: peer.serial.clone(),
        certificate_expires_at: peer.expires_at,
    };
    if !services.ledger().write(Up { permit: permit.clone(), up }).await? {
        return Err(Trouble::Close(CloseReason::Revoked));
    }
    let now = services.clock().now();
    let (sender, outbox) = mpsc::channel(OUTBOX);
    let welcome = ToAgent::Welcome {
        version: hello.version,
        host: peer.host,
        host_name: peer.name.clone(),
        server_time_ms: now.as_millisecond(),
    };
    let link = Arc::new(Link {
        peer,
        closing: Closing::default(),
        outbox: sender,
        wake: Notify::new(),
        runs_objects,
        available: AtomicBool::new(false),
        heard_ms: AtomicI64::new(now.as_millisecond()),
        known: Mutex::default(),
    });
    services.links().put(link.clone());
    let settled = async {
        super::reports::offered(services, &link.peer, hello.machines).await?;
        for report in hello.reports {
            super::reports::connected(services, &link.peer, report).await?;
        }
        notebooks::on_link(services, link.peer.tenant, link.peer.host, &hello.runs).await?;
        settle(services, &link, &hello.open).await
    };
    if let Err(error) = settled.await {
        detach(services, &link).await;
        return Err(error);
    }
    Ok(Attached { link, outbox, welcome })
}

/// What the host had claimed and does not know any more is offered again, or ends as unknown.
async fn settle(services: &Services, link: &Arc<Link>, open: &HashSet<TransactionId>) -> Result<(), Trouble> {
    let permit = link.peer.permit();
    let stored = store::instructions::open_of(services.store(), &permit, link.peer.host, MAX_OPEN as u64).await?;
    let lost: Vec<Stored> = stored
        .into_iter()
        .filter(|Stored { transaction, .. }| match transaction.state {
            TransactionState::Claimed | TransactionState::Running => !open.contains(&transaction.id),
            TransactionState::Waiting | TransactionState::Offered => false,
            TransactionState::Done
            | TransactionState::Failed
            | TransactionState::Cancelled
            | TransactionState::Expired
            | TransactionState::NeverDelivered
            | TransactionState::Unknown => false,
        })
        .collect();
    if !lost.is_empty() {
        services.ledger().write(Settle { permit, lost }).await?;
    }
    Ok(())
}

/// The link is gone. If no newer one has taken its place, the host is offline.
pub async fn detach(services: &Services, link: &Arc<Link>) {
    if !services.links().remove(link) {
        return;
    }
    let down = Down { permit: link.peer.permit(), host: link.peer.host, owner: services.settings().replica };
    if let Err(error) = services.ledger().write(down).await {
        // The row says "online" until the sweep finds that nothing was heard.
        tracing::warn!(host = %link.peer.name, %error, "cannot store that the host is offline");
    }
}

/// Offers what waits for the host, and passes on what is to be cancelled. Safe to repeat.
pub async fn look(services: &Services, link: &Arc<Link>) -> Result<(), Trouble> {
    let permit = link.peer.permit();
    let now = services.clock().now();
    let offered_before = now.saturating_sub(OFFER_AGAIN_AFTER).unwrap_or(now);
    let stored = store::instructions::open_of(services.store(), &permit, link.peer.host, LOOK).await?;
    let mut waiting = Vec::new();
    for Stored { transaction, cancel_requested } in stored {
        match transaction.state {
            TransactionState::Waiting => waiting.push((transaction.instruction, transaction.id)),
            TransactionState::Offered
                if link.is_available() && transaction.offered_at.is_none_or(|at| at < offered_before) =>
            {
                link.send(ToAgent::Offer { transaction: transaction.id });
            }
            TransactionState::Claimed | TransactionState::Running if cancel_requested => {
                link.send(ToAgent::Cancel { transaction: transaction.id });
            }
            TransactionState::Offered | TransactionState::Claimed | TransactionState::Running => {}
            TransactionState::Done
            | TransactionState::Failed
            | TransactionState::Cancelled
            | TransactionState::Expired
            | TransactionState::NeverDelivered
            | TransactionState::Unknown => {}
        }
    }
    if waiting.is_empty() || !link.is_available() {
        return Ok(());
    }
    for transaction in services.ledger().write(Offer { permit, transactions: waiting }).await? {
        link.send(ToAgent::Offer { transaction });
    }
    Ok(())
}

/// A message after Hello.
pub async fn heard(services: &Services, link: &Arc<Link>, message: ToServer) -> Result<Heard, Trouble> {
    let now = services.clock().now();
    // TLS looks at the certificate only once; what was revoked or has expired since is refused here.
    if let Some(reason) = link.closing.reason() {
        return Err(Trouble::Close(reason));
    }
    if link.peer.expires_at <= now {
        return Err(Trouble::Close(CloseReason::Revoked));
    }
    link.heard_ms.store(now.as_millisecond(), Ordering::Relaxed);
    match message {
        ToServer::Hello { .. } => Err(UNEXPECTED),
        ToServer::Heartbeat { available, metrics } => {
            super::read(services, &link.peer, metrics);
            if available && !link.available.swap(true, Ordering::Relaxed) {
                link.wake.notify_one();
            } else if !available {
                link.available.store(false, Ordering::Relaxed);
            }
            Ok(Heard::Nothing)
        }
        ToServer::Claim { transaction } => claim(services, link, transaction).await,
        ToServer::Progress { transaction, seq, event } => progress(services, link, transaction, seq, event).await,
        ToServer::Result { transaction, outcome } => result(services, link, transaction, outcome).await,
        ToServer::Machine(report) => {
            super::reports::machine(services, &link.peer, report).await?;
            Ok(Heard::Nothing)
        }
        ToServer::RunEnded { run, why } => {
            let why: String = why.chars().take(MAX_CAUSE_CHARS).collect();
            notebooks::on_run_ended(services, link.peer.tenant, link.peer.host, run, &why).await?;
            Ok(Heard::Nothing)
        }
        ToServer::Renew { csr_der } => Ok(Heard::Reply(renew(services, link, &csr_der).await?)),
    }
}

async fn claim(services: &Services, link: &Arc<Link>, transaction: TransactionId) -> Result<Heard, Trouble> {
    let peer = &link.peer;
    let write = Claim { permit: peer.permit(), transaction, host: peer.host, serial: peer.serial.clone() };
    let pending = services.ledger().submit(write).await?;
    let (services, link) = (services.clone(), link.clone());
    Ok(Heard::Later(Box::pin(async move {
        Ok(Some(match pending.committed().await? {
            None => ToAgent::NotYours { transaction },
            Some(claimed) => {
                link.know(transaction, Known::of(claimed.instruction, claimed.session, &claimed.work));
                let secrets = secrets(&services, &claimed.work)?;
                ToAgent::Instructions { transaction, work: claimed.work, secrets }
            }
        }))
    })))
}

/// What the host needs to know and nobody else, made for this claim.
fn secrets(services: &Services, work: &Work) -> Result<Option<Secrets>, Trouble> {
    match work {
        Work::StartNotebook { spec: RunSpec { run, .. } } | Work::WarmNotebook { spec: WarmSpec { run, .. } } => {
            let token = notebooks::token(services, *run)?;
            Ok(Some(Secrets([(TOKEN.to_owned(), token)].into())))
        }
        Work::Run { .. }
        | Work::Prepare { .. }
        | Work::Revert { .. }
        | Work::Verify { .. }
        | Work::GiveNotebook { .. }
        | Work::StopNotebook { .. }
        | Work::RemoveVolume { .. } => Ok(None),
    }
}

impl Known {
    fn of(instruction: InstructionId, session: Option<SessionId>, work: &Work) -> Self {
        let (run, is_revert) = match work {
            Work::Revert { .. } | Work::Verify { .. } => (None, true),
            // Nobody looks at the steps of a run that is nobody's.
            Work::Run { .. } | Work::Prepare { .. } | Work::WarmNotebook { .. } | Work::RemoveVolume { .. } => {
                (None, false)
            }
            Work::StartNotebook { spec } => (Some(spec.run), false),
            Work::GiveNotebook { run, .. } | Work::StopNotebook { run, .. } => (Some(*run), false),
        };
        Self { instruction, session, run, is_revert }
    }
}

/// Whose the transaction is, if it is this host's; `None` if there is none (any more).
async fn known(services: &Services, link: &Arc<Link>, id: TransactionId) -> Result<Option<Known>, Trouble> {
    if let Some(known) = link.known.lock().get(&id) {
        return Ok(Some(*known));
    }
    let Some(Stored { transaction, .. }) =
        store::instructions::transaction(services.store(), &link.peer.permit(), id).await?
    else {
        return Ok(None);
    };
    if transaction.host != link.peer.host {
        tracing::warn!(host = %link.peer.name, %id, "a host reported on another host's transaction");
        return Err(UNEXPECTED);
    }
    let known = Known::of(transaction.instruction, transaction.session, &transaction.work);
    link.know(id, known);
    Ok(Some(known))
}

async fn progress(
    services: &Services,
    link: &Arc<Link>,
    transaction: TransactionId,
    seq: u32,
    event: ProgressEvent,
) -> Result<Heard, Trouble> {
    let Some(known) = known(services, link, transaction).await? else { return Ok(Heard::Nothing) };
    let Known { instruction, session, run, is_revert } = known;
    let (permit, host) = (link.peer.permit(), link.peer.host);
    let (channel, content) = match event {
        ProgressEvent::Started => {
            let pending = services.ledger().submit(Begin { permit, instruction, transaction, host }).await?;
            return Ok(later(pending));
        }
        ProgressEvent::Step(step) => {
            if let Some(session) = session {
                super::reports::step(services, &link.peer, session, step).await?;
            } else if let Some(run) = run {
                notebooks::on_step(services, link.peer.tenant, run, step).await?;
            }
            return Ok(Heard::Nothing);
        }
        ProgressEvent::Stdout(content) => (OutputChannel::Stdout, content),
        ProgressEvent::Stderr(content) => (OutputChannel::Stderr, content),
    };
    if content.len() > MAX_PROGRESS_BYTES {
        return Err(Trouble::Close(CloseReason::TooLarge));
    }
    if let Some(session) = session {
        super::reports::output(services, &link.peer, session, is_revert, &content).await?;
    }
    let piece = Piece { seq: i64::from(seq), channel, content };
    let pending = services.ledger().submit(Keep { permit, instruction, transaction, host, piece }).await?;
    Ok(later(pending))
}

/// Nothing is answered, but a failed write closes the link, so that the host says it again.
fn later(pending: crate::ledger::Pending<()>) -> Heard {
    Heard::Later(Box::pin(async move {
        pending.committed().await?;
        Ok(None)
    }))
}

fn ending(outcome: Outcome) -> Ending {
    let cut = |cause: String| Some(cause.chars().take(MAX_CAUSE_CHARS).collect());
    match outcome {
        Outcome::Done { exit_code } => Ending { state: TransactionState::Done, exit_code, cause: None },
        Outcome::Failed { exit_code, cause } => {
            Ending { state: TransactionState::Failed, exit_code, cause: cut(cause) }
        }
        Outcome::Cancelled => Ending { state: TransactionState::Cancelled, exit_code: None, cause: None },
        Outcome::Unknown { cause } => Ending { state: TransactionState::Unknown, exit_code: None, cause: cut(cause) },
    }
}

async fn result(
    services: &Services,
    link: &Arc<Link>,
    transaction: TransactionId,
    outcome: Outcome,
) -> Result<Heard, Trouble> {
    let (permit, host) = (link.peer.permit(), link.peer.host);
    let finish = Finish { permit, transaction, host, ending: ending(outcome) };
    let pending = services.ledger().submit(finish).await?;
    let link = link.clone();
    Ok(Heard::Later(Box::pin(async move {
        match pending.committed().await? {
            Finished::Stored | Finished::Already | Finished::Nothing => {
                link.known.lock().remove(&transaction);
                Ok(Some(ToAgent::Acknowledge { transaction }))
            }
            Finished::NotYours => {
                tracing::warn!(host = %link.peer.name, %transaction, "a host answered for another host's transaction");
                Err(UNEXPECTED)
            }
        }
    })))
}

/// A new certificate for the host's new key. It counts from its first use; until then the present one does.
async fn renew(services: &Services, link: &Arc<Link>, csr_der: &[u8]) -> Result<ToAgent, Trouble> {
    let csr = certificates::read_csr(csr_der).map_err(|error| {
        tracing::warn!(host = %link.peer.name, %error, "a host sent a signing request that cannot be used");
        MALFORMED
    })?;
    let (permit, host) = (link.peer.permit(), link.peer.host);
    let authority = certificates::tenant_authority(services, &permit).await?;
    let server_authority = certificates::server_authority(services).await?;
    let now = services.clock().now();
    let expires_at = now.saturating_add(certificates::HOST_LIFETIME).unwrap_or(Timestamp::MAX);
    let signed = certificates::sign(&authority, certificates::Subject::Host(host), &csr.key, now, expires_at)?;
    let issued = Issued { serial: signed.serial, host, public_key_hash: csr.hash, issued_at: now, expires_at };
    let tx = services.store().begin().await?;
    store::certificates::revoke_unused(&tx, &permit, host, now).await?;
    store::certificates::insert(&tx, &permit, &issued).await?;
    tx.commit().await?;
    tracing::info!(host = %link.peer.name, "renewed a host's certificate");
    Ok(ToAgent::Renewed { certificate_pem: signed.pem, ca_pem: server_authority.certificate_pem.clone() })
}
