//! Instructions (D3): stored with transaction ids, offered, claimed once, done, answered for.

mod exchange;
mod sweep;

use domain::{
    access::{Action, Permit},
    events::EventKind,
    hosts::Host,
    ids::{HostId, InstructionId, SessionId, TransactionId},
    instructions::{DEFAULT_CLAIM_WINDOW, Instruction, Transaction, TransactionState, Work},
    labels::Labels,
};
use jiff::Timestamp;
pub use store::instructions::Piece;
use store::{
    Tx,
    audit::Entry,
    events::Told,
    instructions::{Ending, Stored},
};

pub(crate) use exchange::{Begin, Claim, Finish, Finished, Keep, Offer, Settle};
pub use sweep::run;

use crate::{
    Call, Error, Result, Services, audit, hosts, idempotency, ledger,
    page::{Page, PageAsk},
};

/// The most hosts of one instruction.
pub const MAX_TARGETS: usize = 10_000;
/// Seconds that a command may run when nobody said.
pub const DEFAULT_TIMEOUT_S: u32 = 300;
pub const MAX_TIMEOUT_S: u32 = 24 * 3600;
const MAX_ARGUMENTS: usize = 1_000;
const MAX_ARGV_BYTES: usize = 64 * 1024;
const MAX_TITLE_CHARS: usize = 200;

/// For which hosts.
#[derive(Debug, Clone)]
pub enum Targets {
    Names(Vec<String>),
    Labels(Labels),
}

/// An instruction and how many of its transactions are in which state.
#[derive(Debug, Clone)]
pub struct Summary {
    pub instruction: Instruction,
    pub states: Vec<(TransactionState, u32)>,
}

/// One host's share, as it is shown.
#[derive(Debug, Clone)]
pub struct Share {
    pub transaction: Transaction,
    pub host_name: String,
    pub cancelling: bool,
}

/// An instruction with all of its shares.
#[derive(Debug, Clone)]
pub struct Detail {
    pub summary: Summary,
    pub shares: Vec<Share>,
}

fn check_argv(argv: &[String]) -> Result<()> {
    let bytes: usize = argv.iter().map(String::len).sum();
    if argv.first().is_none_or(|program| program.trim().is_empty()) {
        Err(Error::invalid("argv", "names no program"))
    } else if argv.len() > MAX_ARGUMENTS || bytes > MAX_ARGV_BYTES {
        Err(Error::invalid("argv", format!("at most {MAX_ARGUMENTS} arguments of {MAX_ARGV_BYTES} bytes together")))
    } else if argv.iter().any(|argument| argument.contains('\0')) {
        Err(Error::invalid("argv", "an argument contains a NUL byte"))
    } else {
        Ok(())
    }
}

fn cut(title: &str) -> String {
    let clean = title.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = clean.take(MAX_TITLE_CHARS + 1).collect();
    if cut.chars().count() > MAX_TITLE_CHARS {
        cut.pop();
        cut.push('…');
    }
    cut
}

fn selector_text(on: &Targets) -> String {
    match on {
        Targets::Names(names) => names.join(", "),
        Targets::Labels(labels) if labels.is_empty() => "(any)".to_owned(),
        Targets::Labels(labels) => labels.to_string(),
    }
}

async fn targets(services: &Services, permit: &Permit, on: &Targets) -> Result<Vec<Host>> {
    let chosen = match on {
        Targets::Names(names) => {
            if names.is_empty() || names.len() > MAX_TARGETS {
                return Err(Error::invalid("hosts", format!("name 1 to {MAX_TARGETS} hosts")));
            }
            let mut names = names.clone();
            names.sort_unstable();
            names.dedup();
            let mut found = Vec::with_capacity(names.len());
            for chunk in names.chunks(500) {
                found.extend(store::hosts::by_names(services.store(), permit, chunk).await?);
            }
            if let Some(unknown) = names.iter().find(|name| !found.iter().any(|host| &host.name == *name)) {
                return Err(Error::not_found("host", unknown));
            }
            if let Some(host) = found.iter().find(|host| !host.intent.may_link()) {
                let (name, intent) = (&host.name, host.intent);
                return Err(Error::Conflict(format!("the host '{name}' is {intent} and takes no instructions")));
            }
            found
        }
        Targets::Labels(selector) => {
            let mut found = hosts::all(services, permit).await?;
            found.retain(|host| host.intent.may_link() && selector.select(&host.labels));
            found
        }
    };
    if chosen.is_empty() {
        return Err(Error::not_found("host that takes instructions with the labels", selector_text(on)));
    }
    if chosen.len() > MAX_TARGETS {
        let count = chosen.len();
        return Err(Error::invalid("labels", format!("{count} hosts have them; {MAX_TARGETS} at most")));
    }
    Ok(chosen)
}

struct Create {
    permit: Permit,
    instruction: Instruction,
    transactions: Vec<Transaction>,
    call: Call,
}

#[async_trait::async_trait]
impl ledger::Write for Create {
    /// Whether it was this request that made it.
    type Out = bool;
    async fn apply(
        &self,
        tx: &Tx,
        told: &mut Vec<Told>,
        now: Timestamp,
    ) -> std::result::Result<bool, store::StoreError> {
        let Call { person_name, request_id, .. } = &self.call;
        if !idempotency::holds(tx, &self.call).await? {
            return Ok(false);
        }
        idempotency::bind(tx, &self.call, EventKind::Instruction, self.instruction.id.uuid()).await?;
        store::instructions::create(tx, &self.permit, &self.instruction, &self.transactions).await?;
        let entry = Entry {
            action: "instruction.run",
            subject_kind: "instruction",
            subject_id: self.instruction.id.to_string(),
            detail: format!("'{}' on {} hosts", self.instruction.title, self.transactions.len()),
        };
        store::audit::append(tx, &self.permit, person_name, entry, request_id.as_deref(), now).await?;
        let is_waiting = self.transactions.iter().any(|t| t.state == TransactionState::Waiting);
        let word = if is_waiting { TransactionState::Waiting } else { TransactionState::Offered };
        told.push(exchange::told(&self.permit, self.instruction.id, word.word()));
        Ok(true)
    }
}

/// Runs a command on hosts. Those that are linked here and available are offered it at once.
pub async fn run_on(
    services: &Services,
    call: &Call,
    on: &Targets,
    argv: Vec<String>,
    timeout_s: Option<u32>,
) -> Result<Detail> {
    let permit = call.permit(Action::InstructionsRun)?;
    check_argv(&argv)?;
    let timeout_s = timeout_s.unwrap_or(DEFAULT_TIMEOUT_S);
    if !(1..=MAX_TIMEOUT_S).contains(&timeout_s) {
        return Err(Error::invalid("timeout_s", format!("{timeout_s} is not from 1 to {MAX_TIMEOUT_S}")));
    }
    let hosts = targets(services, &permit, on).await?;
    let now = services.clock().now();
    let work = Work::Run { argv, timeout_s };
    let instruction = Instruction {
        id: InstructionId::new(),
        tenant: permit.tenant(),
        created_by: permit.person(),
        created_at: now,
        title: cut(&work.title()),
    };
    let transactions: Vec<Transaction> = hosts
        .iter()
        .map(|host| {
            let mut transaction = waiting(&permit, instruction.id, host.id, None, work.clone(), now);
            if services.links().is_available(host.id) {
                transaction.state = TransactionState::Offered;
                transaction.offered_at = Some(now);
            }
            transaction
        })
        .collect();
    let create =
        Create { permit, instruction: instruction.clone(), transactions: transactions.clone(), call: call.clone() };
    if !services.ledger().write(create).await? {
        return Err(idempotency::overtaken());
    }
    for transaction in &transactions {
        if transaction.state == TransactionState::Offered {
            services.links().offer(transaction.host, transaction.id);
        } else {
            services.links().wake(transaction.host);
        }
    }
    let shares: Vec<Share> = transactions
        .into_iter()
        .zip(hosts)
        .map(|(transaction, host)| Share { transaction, host_name: host.name, cancelling: false })
        .collect();
    Ok(Detail { summary: Summary { states: count(&shares), instruction }, shares })
}

fn count(shares: &[Share]) -> Vec<(TransactionState, u32)> {
    let mut states = std::collections::BTreeMap::<TransactionState, u32>::new();
    for share in shares {
        *states.entry(share.transaction.state).or_default() += 1;
    }
    states.into_iter().collect()
}

fn waiting(
    permit: &Permit,
    instruction: InstructionId,
    host: HostId,
    session: Option<SessionId>,
    work: Work,
    now: Timestamp,
) -> Transaction {
    Transaction {
        id: TransactionId::new(),
        instruction,
        tenant: permit.tenant(),
        host,
        session,
        work,
        state: TransactionState::Waiting,
        created_at: now,
        offered_at: None,
        claimed_at: None,
        started_at: None,
        ended_at: None,
        expires_at: now.saturating_add(DEFAULT_CLAIM_WINDOW).unwrap_or(Timestamp::MAX),
        exit_code: None,
        cause: None,
    }
}

/// Stores an instruction of the server's own in the caller's transaction, with its event. After the commit: [`wake`].
pub async fn dispatch(
    tx: &Tx,
    permit: &Permit,
    host: HostId,
    session: Option<SessionId>,
    work: Work,
    now: Timestamp,
) -> Result<TransactionId> {
    let instruction = Instruction {
        id: InstructionId::new(),
        tenant: permit.tenant(),
        created_by: None,
        created_at: now,
        title: cut(&work.title()),
    };
    let transaction = waiting(permit, instruction.id, host, session, work, now);
    store::instructions::create(tx, permit, &instruction, std::slice::from_ref(&transaction)).await?;
    let word = TransactionState::Waiting.word();
    store::events::append(tx, permit, EventKind::Instruction, instruction.id, word, now).await?;
    Ok(transaction.id)
}

/// Something waits for the host, or is to be cancelled on it: its link looks, if it is held here. Other replicas see the
/// event.
pub fn wake(services: &Services, host: HostId) {
    services.links().wake(host);
}

/// Cancels a transaction in the caller's transaction: at once if it was not claimed, else by asking the host. After the
/// commit: [`wake`].
pub async fn cancel_in(tx: &Tx, permit: &Permit, id: TransactionId, now: Timestamp) -> Result<()> {
    let Some(stored) = store::instructions::transaction_in(tx, permit, id).await? else { return Ok(()) };
    if let Some(word) = cancel_one(tx, permit, &stored, now).await? {
        store::events::append(tx, permit, EventKind::Instruction, stored.transaction.instruction, word, now).await?;
    }
    Ok(())
}

/// The event's word of a transaction that a host is asked to give up.
pub(crate) const CANCELLING: &str = "cancelling";

/// What is to be told, if anything was done.
async fn cancel_one(tx: &Tx, permit: &Permit, stored: &Stored, now: Timestamp) -> Result<Option<&'static str>> {
    let Transaction { id, state, .. } = stored.transaction;
    match state {
        TransactionState::Waiting | TransactionState::Offered => {
            let ending = Ending { state: TransactionState::Cancelled, exit_code: None, cause: None };
            if store::instructions::end(tx, permit, id, state, &ending, now).await? {
                return Ok(Some(TransactionState::Cancelled.word()));
            }
            // Claimed since it was read.
            Ok(store::instructions::request_cancel(tx, permit, id).await?.then_some(CANCELLING))
        }
        TransactionState::Claimed | TransactionState::Running => {
            Ok(store::instructions::request_cancel(tx, permit, id).await?.then_some(CANCELLING))
        }
        TransactionState::Done
        | TransactionState::Failed
        | TransactionState::Cancelled
        | TransactionState::Expired
        | TransactionState::NeverDelivered
        | TransactionState::Unknown => Ok(None),
    }
}

/// Cancels what is left of an instruction.
pub async fn cancel(services: &Services, call: &Call, id: InstructionId) -> Result<Detail> {
    let permit = call.permit(Action::InstructionsRun)?;
    let instruction = find(services, &permit, id).await?;
    let open = store::instructions::transactions(services.store(), &permit, id, MAX_TARGETS as u64).await?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let mut words = Vec::new();
    for stored in &open {
        words.extend(cancel_one(&tx, &permit, stored, now).await?);
    }
    if words.is_empty() {
        return Err(Error::Conflict(format!("nothing is left to cancel of '{}'", instruction.title)));
    }
    let entry = Entry {
        action: "instruction.cancel",
        subject_kind: "instruction",
        subject_id: id.to_string(),
        detail: format!("'{}' on {} hosts", instruction.title, words.len()),
    };
    audit::record(services, call, &permit, &tx, entry).await?;
    words.sort_unstable();
    words.dedup();
    let told: Vec<Told> = words.into_iter().map(|word| exchange::told(&permit, id, word)).collect();
    store::events::append_all(&tx, &told, now);
    tx.commit().await?;
    services.live().nudge();
    for stored in open.iter().filter(|stored| !stored.transaction.state.is_final()) {
        wake(services, stored.transaction.host);
    }
    detail(services, &permit, instruction).await
}

async fn find(services: &Services, permit: &Permit, id: InstructionId) -> Result<Instruction> {
    store::instructions::get(services.store(), permit, id).await?.ok_or_else(|| Error::not_found("instruction", id))
}

async fn detail(services: &Services, permit: &Permit, instruction: Instruction) -> Result<Detail> {
    let stored =
        store::instructions::transactions(services.store(), permit, instruction.id, MAX_TARGETS as u64).await?;
    let names = hosts::names(services, permit, stored.iter().map(|stored| stored.transaction.host)).await?;
    let shares: Vec<Share> = stored
        .into_iter()
        .map(|Stored { transaction, cancel_requested }| Share {
            host_name: names.get(&transaction.host).cloned().unwrap_or_else(|| "a deleted host".to_owned()),
            cancelling: cancel_requested,
            transaction,
        })
        .collect();
    Ok(Detail { summary: Summary { states: count(&shares), instruction }, shares })
}

pub async fn get(services: &Services, call: &Call, id: InstructionId) -> Result<Detail> {
    let permit = call.permit(Action::InstructionsRead)?;
    let instruction = find(services, &permit, id).await?;
    detail(services, &permit, instruction).await
}

/// Those that people gave, newest first.
pub async fn list(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<Summary>> {
    let permit = call.permit(Action::InstructionsRead)?;
    let limit = ask.limit()?;
    let after = ask.after::<InstructionId>()?;
    let rows = store::instructions::list(services.store(), &permit, after, limit + 1).await?;
    let page = Page::cut(rows, limit, |instruction| instruction.id);
    let ids: Vec<InstructionId> = page.items.iter().map(|instruction| instruction.id).collect();
    let states = store::instructions::states(services.store(), &permit, &ids).await?;
    Ok(page.map(|instruction| Summary {
        states: states.iter().filter(|(id, ..)| *id == instruction.id).map(|(_, state, n)| (*state, *n)).collect(),
        instruction,
    }))
}

/// What a host wrote, after `after`, and whether nothing follows.
pub async fn output(
    services: &Services,
    call: &Call,
    id: InstructionId,
    transaction: TransactionId,
    after: Option<i64>,
) -> Result<(Vec<Piece>, bool)> {
    let permit = call.permit(Action::InstructionsRead)?;
    let stored = store::instructions::transaction(services.store(), &permit, transaction)
        .await?
        .filter(|stored| stored.transaction.instruction == id)
        .ok_or_else(|| Error::not_found("transaction", transaction))?;
    let pieces = store::instructions::output(services.store(), &permit, transaction, after).await?;
    Ok((pieces, stored.transaction.state.is_final()))
}
