//! The reconciler (D2): compares what is intended with what is, and acts.
//!
//! A pass takes no input, reads everything from the database, and is safe to repeat: run twice, the second finds nothing
//! to do. It runs on a nudge (any event that concerns it, of this replica or another), at the next time that something
//! is due, and once a second. Each act is one transaction that names the generation it read, so that several replicas do
//! no harm, and holds the instruction that it sends, so that a server killed at any line goes on where it was.

use std::time::Duration;

use domain::{
    access::Permit,
    events::EventKind,
    hosts::{HostIntent, HostLink},
    instructions::{TransactionState, Work},
    machines::{MAX_VERIFICATIONS, MachineCondition, verification_backoff},
    sessions::{self as rules, EndCause, Facts, Next, PREPARE_AHEAD, Rules, Session, SessionState, Waits},
};
use jiff::Timestamp;
use store::{
    Tx,
    machines::{CheckState, NewCondition, Turned, Verification},
    sessions::{Claim, Due, Turn, Written},
};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::{Result, Services, instructions, machines, sessions};

/// Runs at least this often.
const PERIOD: Duration = Duration::from_secs(1);
/// And at most this often, however much happens: a pass looks at everything, so that what comes meanwhile loses nothing.
const SPACING: Duration = Duration::from_millis(10);
/// Sessions read in one go.
const BATCH: u64 = 500;
/// Machines in quarantine looked at in one pass.
const MAX_CHECKS: u64 = 200;

/// Runs until `stop`.
pub async fn run(services: Services, stop: CancellationToken) {
    let mut events = services.live().subscribe_all();
    loop {
        let began = tokio::time::Instant::now();
        let next = match pass(&services).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "the reconciler cannot look; trying again");
                None
            }
        };
        let now = services.clock().now();
        let until_next = next.map_or(PERIOD, |at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
        let timer = tokio::time::sleep(until_next.min(PERIOD));
        tokio::pin!(timer);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut timer => break,
                event = events.recv() => match event {
                    Ok(event) if concerns(&event) => break,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                },
            }
        }
        tokio::time::sleep_until(began + SPACING).await;
        // What else came meanwhile is seen by the same pass.
        while let Ok(_) | Err(TryRecvError::Lagged(_)) = events.try_recv() {}
    }
}

fn concerns(event: &domain::events::Event) -> bool {
    match event.kind {
        EventKind::Session => event.word != "step" && event.word != "log",
        // On its way to its end an instruction changes no session.
        EventKind::Instruction => event.word.parse().is_ok_and(TransactionState::is_final),
        EventKind::Notebook => event.word != "step",
        EventKind::Machine | EventKind::Host | EventKind::Reservation | EventKind::Deployment => true,
        EventKind::HostMetrics | EventKind::ZeroCertificate | EventKind::Person | EventKind::Token => false,
    }
}

/// Looks at everything once and acts. Returns when the next thing is due by the clock alone.
pub async fn pass(services: &Services) -> Result<Option<Timestamp>> {
    let now = services.clock().now();
    let conn = services.store().read();
    let mut next_due: Vec<Timestamp> = Vec::new();
    let mut after = None;
    loop {
        let due = store::sessions::due(conn, now, PREPARE_AHEAD, after, BATCH).await?;
        let count = u64::try_from(due.len()).unwrap_or(u64::MAX);
        after = due.last().map(|due| due.session.id);
        for due in &due {
            match act(services, due, now).await {
                Ok(at) => next_due.extend(at),
                // One session's trouble does not hold up the others; the next pass tries again.
                Err(error) => tracing::warn!(%error, session = %due.session.id, "cannot bring a session further"),
            }
        }
        if count < BATCH {
            break;
        }
    }
    for verification in store::machines::verifications(conn, now, MAX_CHECKS).await? {
        if let Err(error) = check(services, &verification, now).await {
            tracing::warn!(%error, machine = %verification.machine.id, "cannot bring a check further");
        }
    }
    crate::notebooks::pass(services, now).await?;
    crate::objects::pass(services, now).await?;
    let ahead = now.saturating_add(PREPARE_AHEAD).unwrap_or(now);
    let next_start = store::sessions::next_start(conn, ahead).await?;
    next_due.extend(next_start.and_then(|start| start.checked_sub(PREPARE_AHEAD).ok()));
    next_due.extend(store::machines::next_verification(conn, now).await?);
    Ok(next_due.into_iter().min())
}

/// Keeps what the session has, in another state.
fn turn<'a>(session: &'a Session, state: SessionState, now: Timestamp) -> Turn<'a> {
    Turn {
        state,
        since: if state == session.state { session.since } else { now },
        cause: session.cause,
        cause_detail: session.cause_detail.as_deref(),
        transaction: session.transaction,
        warned: session.warned,
        claim: Claim::Keeps,
    }
}

/// Commits if the session was still what was read, else leaves no trace: somebody else has acted.
async fn commit(services: &Services, tx: Tx, written: Written) -> Result<()> {
    match written {
        Written::Done => {
            tx.commit().await?;
            services.live().nudge();
        }
        Written::Stale => tx.rollback().await?,
    }
    Ok(())
}

async fn act(services: &Services, due: &Due, now: Timestamp) -> Result<Option<Timestamp>> {
    let session = &due.session;
    let permit = Permit::system(session.tenant);
    let rules = Rules { no_show_after: services.settings().no_show_after };
    let facts = Facts {
        session,
        reservation: due.reservation,
        machine: &due.machine,
        occupant: due.occupant,
        before: due.before,
        work: due.work.as_ref(),
        rules,
        listening_since: services.since(),
        now,
    };
    match rules::next(facts) {
        Next::Wait { until, why } => {
            if let Some(why) = why {
                explain(services, &permit, session, why, now).await?;
            }
            return Ok(until);
        }
        Next::Prepare => prepare(services, &permit, due, now).await?,
        Next::Activate => {
            let new = Turn { cause_detail: None, ..turn(session, SessionState::Active, now) };
            write(services, &permit, session, &new, SessionState::Active.word(), now).await?;
        }
        Next::Warn { warning, detail } => {
            let new =
                Turn { warned: Some(warning), cause_detail: detail.as_deref(), ..turn(session, session.state, now) };
            write(services, &permit, session, &new, warning.word(), now).await?;
        }
        Next::Revert { cause, detail } | Next::End { cause, detail } => {
            let tx = services.store().begin().await?;
            let left = sessions::leave(&tx, &permit, session, cause, detail.as_deref(), now).await?;
            sessions::finish_reservation(&tx, &permit, session, cause, now).await?;
            commit(services, tx, if left { Written::Done } else { Written::Stale }).await?;
            instructions::wake(services, session.host);
        }
        Next::SendRevert => send_revert(services, &permit, due, now).await?,
        Next::Ended => {
            let new = turn(session, SessionState::Ended, now);
            write(services, &permit, session, &new, SessionState::Ended.word(), now).await?;
        }
        Next::Fail { cause, detail } => fail(services, &permit, session, cause, detail.as_deref(), None, now).await?,
        Next::Quarantine { cause, reason } => {
            fail(services, &permit, session, cause, Some(&reason), Some(&reason), now).await?;
        }
    }
    Ok(None)
}

async fn write(
    services: &Services,
    permit: &Permit,
    session: &Session,
    new: &Turn<'_>,
    word: &str,
    now: Timestamp,
) -> Result<()> {
    let tx = services.store().begin().await?;
    let written = store::sessions::turn(&tx, permit, session, new).await?;
    store::events::append(&tx, permit, EventKind::Session, session.id, word, now).await?;
    commit(services, tx, written).await
}

/// A session whose time has come and that cannot begin says why.
async fn explain(services: &Services, permit: &Permit, session: &Session, why: Waits, now: Timestamp) -> Result<()> {
    if session.state != SessionState::Scheduled || session.cause_detail.as_deref() == Some(why.word()) {
        return Ok(());
    }
    let new = Turn { cause_detail: Some(why.word()), ..turn(session, session.state, now) };
    write(services, permit, session, &new, "waiting", now).await
}

async fn prepare(services: &Services, permit: &Permit, due: &Due, now: Timestamp) -> Result<()> {
    let Due { session, machine, .. } = due;
    let found = store::reservations::get(services.store().read(), permit, session.reservation).await?;
    let Some(reservation) = found else { return Ok(()) };
    let work = Work::Prepare {
        session: session.id,
        machine: machine.id,
        machine_name: machine.local_name.clone(),
        environment: reservation.environment,
    };
    let tx = services.store().begin().await?;
    let transaction = instructions::dispatch(&tx, permit, session.host, Some(session.id), work, now).await?;
    let new =
        Turn { transaction: Some(transaction), cause_detail: None, ..turn(session, SessionState::Preparing, now) };
    let written = match store::sessions::turn(&tx, permit, session, &new).await {
        Ok(written) => written,
        // Another session came onto the machine since the pass read it: this one waits.
        Err(error) if error.is_occupied() => Written::Stale,
        Err(error) => return Err(error.into()),
    };
    if written == Written::Done {
        let word = SessionState::Preparing.word();
        store::events::append(&tx, permit, EventKind::Session, session.id, word, now).await?;
    }
    commit(services, tx, written).await?;
    instructions::wake(services, session.host);
    Ok(())
}

async fn send_revert(services: &Services, permit: &Permit, due: &Due, now: Timestamp) -> Result<()> {
    let Due { session, machine, .. } = due;
    let work = Work::Revert { session: session.id, machine: machine.id, machine_name: machine.local_name.clone() };
    let tx = services.store().begin().await?;
    let transaction = instructions::dispatch(&tx, permit, session.host, Some(session.id), work, now).await?;
    let new = Turn { transaction: Some(transaction), ..turn(session, SessionState::Reverting, now) };
    let written = store::sessions::turn(&tx, permit, session, &new).await?;
    commit(services, tx, written).await?;
    instructions::wake(services, session.host);
    Ok(())
}

/// The session failed; with `quarantine`, its machine goes out of use for that reason.
async fn fail(
    services: &Services,
    permit: &Permit,
    session: &Session,
    cause: EndCause,
    detail: Option<&str>,
    quarantine: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let tx = services.store().begin().await?;
    let new = Turn {
        cause: Some(cause),
        cause_detail: detail,
        claim: Claim::LetsGo(now),
        ..turn(session, SessionState::Failed, now)
    };
    let written = store::sessions::turn(&tx, permit, session, &new).await?;
    if written == Written::Done {
        if let Some(reason) = quarantine {
            let verify_at = now.saturating_add(verification_backoff(0)).ok();
            machines::quarantine_in(&tx, permit, session.machine, reason, verify_at, now).await?;
        }
        sessions::finish_reservation(&tx, permit, session, cause, now).await?;
        let word = SessionState::Failed.word();
        store::events::append(&tx, permit, EventKind::Session, session.id, word, now).await?;
    }
    commit(services, tx, written).await
}

/// Brings the check of a quarantined machine further: sends it, takes its result, and after a few that failed leaves the
/// machine to a person.
async fn check(services: &Services, verification: &Verification, now: Timestamp) -> Result<()> {
    let Verification { machine, transaction, work, .. } = verification;
    let permit = Permit::system(machine.tenant);
    let done = machine.verifications;
    let Some(work) = work else {
        let reachable = machine.host_link == HostLink::Online && machine.host_intent != HostIntent::Revoked;
        if !reachable {
            return Ok(());
        }
        let order = Work::Verify { machine: machine.id, machine_name: machine.local_name.clone() };
        let tx = services.store().begin().await?;
        let sent = instructions::dispatch(&tx, &permit, machine.host, None, order, now).await?;
        let state = CheckState {
            transaction: Some(sent),
            verifications: done + 1,
            verify_at: verification.verify_at,
            reason: None,
        };
        let turned = store::machines::set_check(&tx, &permit, machine.id, *transaction, state).await?;
        store::events::append(&tx, &permit, EventKind::Machine, machine.id, "verifying", now).await?;
        commit(services, tx, written(turned)).await?;
        instructions::wake(services, machine.host);
        return Ok(());
    };
    let again_at = now.saturating_add(verification_backoff(done)).ok();
    let (verify_at, reason) = match work.state {
        TransactionState::Waiting
        | TransactionState::Offered
        | TransactionState::Claimed
        | TransactionState::Running => return Ok(()),
        TransactionState::Done => {
            let tx = services.store().begin().await?;
            let ready = NewCondition { condition: MachineCondition::Ready, reason: None, verify_at: None };
            let from = MachineCondition::Quarantined;
            let turned = store::machines::turn(&tx, &permit, machine.id, from, ready, now).await?;
            let word = MachineCondition::Ready.word();
            store::events::append(&tx, &permit, EventKind::Machine, machine.id, word, now).await?;
            return commit(services, tx, written(turned)).await;
        }
        TransactionState::Expired | TransactionState::NeverDelivered => (again_at, None),
        TransactionState::Failed | TransactionState::Cancelled | TransactionState::Unknown => {
            let cause = work.cause.clone().unwrap_or_else(|| format!("its check ended as {}", work.state));
            if done >= MAX_VERIFICATIONS {
                (None, Some(format!("{cause} ({done} checks failed; an admin has to decide)")))
            } else {
                (again_at, Some(cause))
            }
        }
    };
    let tx = services.store().begin().await?;
    let state = CheckState { transaction: None, verifications: done, verify_at, reason: reason.as_deref() };
    let turned = store::machines::set_check(&tx, &permit, machine.id, *transaction, state).await?;
    store::events::append(&tx, &permit, EventKind::Machine, machine.id, "check-failed", now).await?;
    commit(services, tx, written(turned)).await
}

fn written(turned: Turned) -> Written {
    match turned {
        Turned::Done => Written::Done,
        Turned::Stale => Written::Stale,
    }
}
