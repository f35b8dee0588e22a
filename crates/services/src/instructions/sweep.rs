//! What time does to transactions: nobody came for them, or nobody answered for them.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    access::Permit,
    ids::TransactionId,
    instructions::{Transaction, TransactionState, Work},
    notebooks::START_LIMIT,
};
use jiff::{SignedDuration, Timestamp};
use store::{StoreError, Tx, events::Told, instructions::Ending};
use tokio_util::sync::CancellationToken;

use super::exchange::told;
use crate::{Result, Services, ledger::Write};

const PERIOD: Duration = Duration::from_secs(1);
const PAGE: u64 = 500;
/// Past the work's own limit, for the host to stop it and to tell.
const GRACE: SignedDuration = SignedDuration::from_mins(10);
const SETUP_LIMIT_S: u32 = 600;

/// How long a claimed transaction may stay without an answer.
fn allowance(work: &Work) -> SignedDuration {
    let limit_s = match work {
        Work::Run { timeout_s, .. } => *timeout_s,
        Work::Prepare { environment, .. } => environment.setup_timeout_s.unwrap_or(SETUP_LIMIT_S),
        Work::Revert { .. }
        | Work::Verify { .. }
        | Work::GiveNotebook { .. }
        | Work::StopNotebook { .. }
        | Work::RemoveVolume { .. } => SETUP_LIMIT_S,
        Work::StartNotebook { .. } | Work::WarmNotebook { .. } => {
            u32::try_from(START_LIMIT.as_secs()).unwrap_or(SETUP_LIMIT_S)
        }
    };
    GRACE.saturating_add(SignedDuration::from_secs(limit_s.into()))
}

/// How the transaction ends by time alone, if it does.
pub(super) fn overdue(transaction: &Transaction, now: Timestamp) -> Option<Ending> {
    let ending = |state, cause: &str| Some(Ending { state, exit_code: None, cause: Some(cause.to_owned()) });
    match transaction.state {
        TransactionState::Waiting if transaction.expires_at <= now => {
            ending(TransactionState::NeverDelivered, "the host was not there to be offered it in time")
        }
        TransactionState::Offered if transaction.expires_at <= now => {
            ending(TransactionState::Expired, "the host was offered it and did not come for it in time")
        }
        TransactionState::Claimed | TransactionState::Running => {
            let claimed = transaction.claimed_at.unwrap_or(transaction.created_at);
            let deadline = claimed.saturating_add(allowance(&transaction.work)).unwrap_or(Timestamp::MAX);
            if deadline > now {
                return None;
            }
            ending(TransactionState::Unknown, "the host claimed it and did not answer for it in time")
        }
        TransactionState::Waiting | TransactionState::Offered => None,
        TransactionState::Done
        | TransactionState::Failed
        | TransactionState::Cancelled
        | TransactionState::Expired
        | TransactionState::NeverDelivered
        | TransactionState::Unknown => None,
    }
}

struct End {
    transaction: Transaction,
    ending: Ending,
}

#[async_trait]
impl Write for End {
    type Out = ();
    async fn apply(&self, tx: &Tx, out: &mut Vec<Told>, now: Timestamp) -> std::result::Result<(), StoreError> {
        let Self { transaction, ending } = self;
        let permit = Permit::system(transaction.tenant);
        if store::instructions::end(tx, &permit, transaction.id, transaction.state, ending, now).await? {
            out.push(told(&permit, transaction.instruction, ending.state.word()));
        }
        Ok(())
    }
}

/// Ends what is overdue, once a second until `stop`.
pub async fn run(services: Services, stop: CancellationToken) {
    loop {
        if let Err(error) = sweep(&services).await {
            tracing::warn!(%error, "cannot look for overdue instructions; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// One look at all that is past its claim window.
pub(crate) async fn sweep(services: &Services) -> Result<()> {
    let now = services.clock().now();
    let mut after: Option<TransactionId> = None;
    loop {
        let page = store::instructions::past_window(services.store(), now, after, PAGE).await?;
        let count = page.len();
        after = page.last().map(|stored| stored.transaction.id).or(after);
        let mut pending = Vec::new();
        for stored in page {
            if let Some(ending) = overdue(&stored.transaction, now) {
                pending.push(services.ledger().submit(End { transaction: stored.transaction, ending }).await?);
            }
        }
        for write in pending {
            write.committed().await?;
        }
        if u64::try_from(count).unwrap_or(0) < PAGE {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::{HostId, InstructionId, TenantId};

    use super::*;

    fn check(state: TransactionState, after_s: i64, expected: Option<TransactionState>) {
        let at = |s: i64| Timestamp::from_second(1_000_000 + s).unwrap();
        let transaction = Transaction {
            id: TransactionId::new(),
            instruction: InstructionId::new(),
            tenant: TenantId::new(),
            host: HostId::new(),
            session: None,
            work: Work::Run { argv: vec!["true".to_owned()], timeout_s: 60 },
            state,
            created_at: at(0),
            offered_at: Some(at(1)),
            claimed_at: Some(at(2)),
            started_at: None,
            ended_at: None,
            expires_at: at(120),
            exit_code: None,
            cause: None,
        };
        assert_eq!(
            overdue(&transaction, at(after_s)).map(|ending| ending.state),
            expected,
            "{state} after {after_s} s"
        );
    }

    #[test]
    fn each_state_has_its_own_end() {
        check(TransactionState::Waiting, 119, None);
        check(TransactionState::Waiting, 120, Some(TransactionState::NeverDelivered));
        check(TransactionState::Offered, 120, Some(TransactionState::Expired));
        check(TransactionState::Claimed, 120, None);
        check(TransactionState::Running, 661, None);
        check(TransactionState::Running, 662, Some(TransactionState::Unknown));
        check(TransactionState::Done, 10_000, None);
        check(TransactionState::Unknown, 10_000, None);
    }
}
