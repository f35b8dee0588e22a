//! The steps of the exchange as writes of the ledger (D3). Each is a compare-and-set: a repeat, a forgery or a late
//! message changes nothing.

use async_trait::async_trait;
use domain::{
    access::Permit,
    events::EventKind,
    ids::{HostId, InstructionId, TransactionId},
    instructions::{DEFAULT_CLAIM_WINDOW, TransactionState},
};
use jiff::Timestamp;
use store::{
    StoreError, Tx,
    events::Told,
    instructions::{Claimed, Ending, Piece, Stored},
};

use crate::ledger::{Urgency, Write};

type Result<T> = std::result::Result<T, StoreError>;

/// The event of a transaction's change; its subject is the instruction.
pub(super) fn told(permit: &Permit, instruction: InstructionId, word: &'static str) -> Told {
    Told { tenant: permit.tenant(), kind: EventKind::Instruction, subject: instruction.uuid(), word }
}

/// Waiting → offered; answers with those for which it was true.
pub(crate) struct Offer {
    pub permit: Permit,
    pub transactions: Vec<(InstructionId, TransactionId)>,
}

#[async_trait]
impl Write for Offer {
    type Out = Vec<TransactionId>;
    async fn apply(&self, tx: &Tx, out: &mut Vec<Told>, now: Timestamp) -> Result<Vec<TransactionId>> {
        let mut offered = Vec::with_capacity(self.transactions.len());
        for (instruction, id) in &self.transactions {
            if store::instructions::offer(tx, &self.permit, *id, now).await? {
                offered.push(*id);
                out.push(told(&self.permit, *instruction, TransactionState::Offered.word()));
            }
        }
        Ok(offered)
    }
}

/// Offered → claimed, once only; answers with the work.
pub(crate) struct Claim {
    pub permit: Permit,
    pub transaction: TransactionId,
    pub host: HostId,
    pub serial: String,
}

#[async_trait]
impl Write for Claim {
    type Out = Option<Claimed>;
    async fn apply(&self, tx: &Tx, out: &mut Vec<Told>, now: Timestamp) -> Result<Option<Claimed>> {
        let Self { permit, transaction, host, serial } = self;
        let claimed = store::instructions::claim(tx, permit, *transaction, *host, serial, now).await?;
        if let Some(claimed) = &claimed {
            out.push(told(permit, claimed.instruction, TransactionState::Claimed.word()));
        }
        Ok(claimed)
    }
}

/// Claimed → running.
pub(crate) struct Begin {
    pub permit: Permit,
    pub instruction: InstructionId,
    pub transaction: TransactionId,
    pub host: HostId,
}

#[async_trait]
impl Write for Begin {
    type Out = ();
    fn urgency(&self) -> Urgency {
        Urgency::Report
    }
    async fn apply(&self, tx: &Tx, out: &mut Vec<Told>, now: Timestamp) -> Result<()> {
        let Self { permit, transaction, host, .. } = self;
        if store::instructions::start(tx, permit, *transaction, *host, now).await? {
            out.push(told(permit, self.instruction, TransactionState::Running.word()));
        }
        Ok(())
    }
}

/// Keeps a piece of output.
pub(crate) struct Keep {
    pub permit: Permit,
    pub instruction: InstructionId,
    pub transaction: TransactionId,
    pub host: HostId,
    pub piece: Piece,
}

#[async_trait]
impl Write for Keep {
    type Out = ();
    fn urgency(&self) -> Urgency {
        Urgency::Report
    }
    async fn apply(&self, tx: &Tx, out: &mut Vec<Told>, _: Timestamp) -> Result<()> {
        let Self { permit, transaction, host, piece, .. } = self;
        if store::instructions::keep_output(tx, permit, *transaction, *host, piece).await? {
            out.push(told(permit, self.instruction, "output"));
        }
        Ok(())
    }
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finished {
    Stored,
    /// It was in a final state already, or never claimed: the host may forget it.
    Already,
    /// No such transaction (any more): the host may forget it.
    Nothing,
    /// It is another host's.
    NotYours,
}

/// Claimed, running or unknown → the ending, by the host's own word.
pub(crate) struct Finish {
    pub permit: Permit,
    pub transaction: TransactionId,
    pub host: HostId,
    pub ending: Ending,
}

#[async_trait]
impl Write for Finish {
    type Out = Finished;
    fn urgency(&self) -> Urgency {
        Urgency::Report
    }
    async fn apply(&self, tx: &Tx, out: &mut Vec<Told>, now: Timestamp) -> Result<Finished> {
        let Self { permit, transaction, host, ending } = self;
        let Some(Stored { transaction: stored, .. }) =
            store::instructions::transaction_in(tx, permit, *transaction).await?
        else {
            return Ok(Finished::Nothing);
        };
        if stored.host != *host {
            return Ok(Finished::NotYours);
        }
        let was_claimed = match stored.state {
            TransactionState::Claimed | TransactionState::Running | TransactionState::Unknown => true,
            // A state that no claim led to: nothing was handed out, so nothing can be reported.
            TransactionState::Waiting | TransactionState::Offered => false,
            TransactionState::Done
            | TransactionState::Failed
            | TransactionState::Cancelled
            | TransactionState::Expired
            | TransactionState::NeverDelivered => false,
        };
        if was_claimed && store::instructions::end(tx, permit, stored.id, stored.state, ending, now).await? {
            out.push(told(permit, stored.instruction, ending.state.word()));
            return Ok(Finished::Stored);
        }
        Ok(Finished::Already)
    }
}

/// After a lost link: what the host was offered or had claimed and has no longer.
pub(crate) struct Settle {
    pub permit: Permit,
    /// Offered again where that is allowed, else ended as unknown.
    pub lost: Vec<Stored>,
}

#[async_trait]
impl Write for Settle {
    type Out = ();
    async fn apply(&self, tx: &Tx, out: &mut Vec<Told>, now: Timestamp) -> Result<()> {
        let permit = &self.permit;
        for Stored { transaction, cancel_requested } in &self.lost {
            let expires = now.saturating_add(DEFAULT_CLAIM_WINDOW).unwrap_or(Timestamp::MAX);
            if !cancel_requested
                && transaction.work.is_idempotent()
                && store::instructions::offer_again(tx, permit, transaction.id, expires).await?
            {
                out.push(told(permit, transaction.instruction, TransactionState::Waiting.word()));
                continue;
            }
            let ending = Ending {
                state: TransactionState::Unknown,
                exit_code: None,
                cause: Some("the host claimed it, lost its link, and came back without it".to_owned()),
            };
            if store::instructions::end(tx, permit, transaction.id, transaction.state, &ending, now).await? {
                out.push(told(permit, transaction.instruction, ending.state.word()));
            }
        }
        Ok(())
    }
}
