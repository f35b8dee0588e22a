//! Sessions: see them, keep them alive, end them; and what agents report of them.

use domain::{
    access::{Action, Permit, Reach},
    events::EventKind,
    ids::{HostId, PersonId, ReservationId, SessionId, TenantId},
    interval::Interval,
    machines::Machine,
    reservations::ReservationState,
    sessions::{EndCause, Keep, LogLine, Session, SessionAction, SessionState, Step},
};
use jiff::Timestamp;
use store::{
    Tx,
    audit::Entry,
    sessions::{After, Claim, Filter, Turn, Written},
};

use crate::{
    Call, Error, Result, Services, audit, instructions,
    page::{Page, PageAsk},
    reservations::Whose,
};

const KIND: &str = "session";
/// Tries of a write that was overtaken.
const TRIES: usize = 8;

/// Which sessions are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct ListAsk {
    pub whose: Whose,
    /// Id or name.
    pub machine: Option<String>,
    pub state: Option<SessionState>,
    pub page: PageAsk,
}

/// What runs and what comes next, in the order of its start; then what is over, the newest start first.
pub async fn list(services: &Services, call: &Call, ask: &ListAsk) -> Result<Page<Session>> {
    let permit = call.permit(Action::SessionsRead)?;
    let limit = ask.page.limit()?;
    let person = match (permit.reach(), ask.whose.person(call)) {
        (Reach::Tenant, person) => person,
        (Reach::Own, Some(person)) => {
            permit.check_owner(person)?;
            Some(person)
        }
        // Everybody's, as far as the caller may see: their own.
        (Reach::Own, None) => Some(call.actor.person),
    };
    let machine = crate::machines::named(services, &permit, ask.machine.as_deref()).await?;
    let filter = Filter { person, machine, state: ask.state, after: ask.page.after::<After>()? };
    let rows = store::sessions::list(services.store().read(), &permit, &filter, limit + 1).await?;
    Ok(Page::cut(rows, limit, |s| After {
        over: s.state.is_final(),
        start_ms: s.interval.start().as_millisecond(),
        id: s.id,
    }))
}

async fn read(services: &Services, permit: &Permit, id: SessionId) -> Result<Session> {
    let found = store::sessions::get(services.store().read(), permit, id).await?;
    let session = found.ok_or_else(|| Error::not_found(KIND, id))?;
    permit.check_owner(session.person)?;
    Ok(session)
}

pub async fn get(services: &Services, call: &Call, id: SessionId) -> Result<Session> {
    read(services, &call.permit(Action::SessionsRead)?, id).await
}

/// What the set-up script and the checks said, in order, after line `after`; kept after the session's end.
pub async fn logs(services: &Services, call: &Call, id: SessionId, ask: &PageAsk) -> Result<Page<LogLine>> {
    let permit = call.permit(Action::SessionsRead)?;
    let limit = ask.limit()?;
    read(services, &permit, id).await?;
    let after = ask.after::<i64>()?;
    let lines = store::sessions::logs(services.store().read(), &permit, id, after, limit + 1).await?;
    Ok(Page::cut(lines, limit, |line| line.seq))
}

fn not_possible(wrong: domain::sessions::WrongState) -> Error {
    Error::Conflict(wrong.to_string())
}

/// The client's sign that the session is in use.
pub async fn keepalive(services: &Services, call: &Call, id: SessionId) -> Result<Session> {
    sign_of_use(services, call, id, SessionAction::KeepAlive, Some(services.clock().now())).await
}

/// Whoever opens a terminal, runs a command or copies a file: checks that they may and that the session is active, and
/// notes that it is taken up.
pub async fn touch(services: &Services, call: &Call, id: SessionId) -> Result<Session> {
    sign_of_use(services, call, id, SessionAction::Use, None).await
}

async fn sign_of_use(
    services: &Services,
    call: &Call,
    id: SessionId,
    action: SessionAction,
    keepalive_at: Option<Timestamp>,
) -> Result<Session> {
    let permit = call.permit(action.permission())?;
    let session = read(services, &permit, id).await?;
    action.check(&session).map_err(not_possible)?;
    let tx = services.store().begin().await?;
    let written = store::sessions::touch(&tx, &permit, id, keepalive_at).await?;
    tx.commit().await?;
    match written {
        Written::Done => {
            Ok(Session { taken_up: true, last_keepalive_at: keepalive_at.or(session.last_keepalive_at), ..session })
        }
        Written::Stale => Err(Error::Conflict("the session is over".to_owned())),
    }
}

/// Notice of completion by its owner or their client, or an admin's end. The machine is reverted; the rest of its time is
/// free for others at once.
pub async fn end(services: &Services, call: &Call, id: SessionId) -> Result<Session> {
    let permit = call.permit(SessionAction::End.permission())?;
    for _ in 0..TRIES {
        let now = services.clock().now();
        let session = read(services, &permit, id).await?;
        SessionAction::End.check(&session).map_err(not_possible)?;
        let cause = if session.person == call.actor.person { EndCause::Completed } else { EndCause::EndedByAdmin };
        let tx = services.store().begin().await?;
        if !leave(&tx, &permit, &session, cause, None, now).await? {
            tx.rollback().await?;
            continue;
        }
        finish_reservation(&tx, &permit, &session, cause, now).await?;
        let detail = format!("{} ({cause})", session.machine_name);
        let entry = Entry { action: "session.end", subject_kind: KIND, subject_id: id.to_string(), detail };
        audit::record(services, call, &permit, &tx, entry).await?;
        tx.commit().await?;
        services.live().nudge();
        instructions::wake(services, session.host);
        return read(services, &permit, id).await;
    }
    Err(Error::Conflict("the session keeps changing; look again".to_owned()))
}

/// The reservation is over once none of its sessions claims a machine any more.
pub(crate) async fn finish_reservation(
    tx: &Tx,
    permit: &Permit,
    session: &Session,
    cause: EndCause,
    now: Timestamp,
) -> Result<()> {
    let state = match cause {
        EndCause::Cancelled => ReservationState::Cancelled,
        EndCause::NoShow => ReservationState::NoShow,
        EndCause::Completed
        | EndCause::TimeUp
        | EndCause::Lapsed
        | EndCause::EndedByAdmin
        | EndCause::HostRevoked
        | EndCause::HostLost
        | EndCause::EnvironmentLost
        | EndCause::PrepareFailed
        | EndCause::RevertFailed => ReservationState::Ended,
    };
    let finished = store::reservations::finish_if_over(tx, permit, session.reservation, state).await?;
    match finished {
        store::reservations::Changed::Done => {
            let word = state.word();
            store::events::append(tx, permit, EventKind::Reservation, session.reservation, word, now).await?;
        }
        store::reservations::Changed::Stale | store::reservations::Changed::Taken(_) => {}
    }
    Ok(())
}

/// Begins the end of a session in the caller's transaction: one that has not begun ends at once, one that has is to be
/// reverted, which the reconciler sees to. True if the session was still what the caller read, or is ending already.
pub(crate) async fn leave(
    tx: &Tx,
    permit: &Permit,
    session: &Session,
    cause: EndCause,
    detail: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let state = match session.state {
        SessionState::Scheduled => SessionState::Ended,
        SessionState::Preparing | SessionState::Active => SessionState::Reverting,
        SessionState::Reverting | SessionState::Ended | SessionState::Failed => return Ok(true),
    };
    let turn = Turn {
        state,
        since: now,
        cause: Some(cause),
        cause_detail: detail,
        transaction: None,
        warned: session.warned,
        claim: Claim::LetsGo(now),
    };
    if store::sessions::turn(tx, permit, session, &turn).await? == Written::Stale {
        return Ok(false);
    }
    if let (SessionState::Preparing, Some(transaction)) = (session.state, session.transaction) {
        instructions::cancel_in(tx, permit, transaction, now).await?;
    }
    store::events::append(tx, permit, EventKind::Session, session.id, state.word(), now).await?;
    Ok(true)
}

/// A session as it was just booked.
pub(crate) fn new_session(
    id: SessionId,
    reservation: ReservationId,
    call: &Call,
    machine: &Machine,
    interval: Interval,
    keep: Keep,
    now: Timestamp,
) -> Session {
    let person: PersonId = call.actor.person;
    Session {
        id,
        tenant: call.actor.tenant,
        reservation,
        person,
        person_name: call.person_name.clone(),
        machine: machine.id,
        machine_name: machine.name.clone(),
        host: machine.host,
        interval,
        state: SessionState::Scheduled,
        since: now,
        cause: None,
        cause_detail: None,
        keep,
        last_keepalive_at: None,
        taken_up: false,
        warned: None,
        steps: vec![],
        transaction: None,
        generation: 1,
    }
}

/// A host says that it has `present` on a machine, or nothing. If another session should be active there, its environment is
/// gone: it ends, and what may be left of it is reverted and verified.
pub async fn on_present(
    services: &Services,
    tenant: TenantId,
    host: HostId,
    local_name: &str,
    present: Option<SessionId>,
    why: &str,
) -> Result<()> {
    let permit = Permit::system(tenant);
    let conn = services.store().read();
    let Some(machine) = store::machines::by_local_name(conn, &permit, host, local_name).await? else { return Ok(()) };
    let active = Filter { machine: Some(machine.id), state: Some(SessionState::Active), ..Filter::default() };
    for _ in 0..TRIES {
        let found = store::sessions::list(conn, &permit, &active, 1).await?.pop();
        let Some(session) = found.filter(|session| present != Some(session.id)) else { return Ok(()) };
        let now = services.clock().now();
        let tx = services.store().begin().await?;
        if !leave(&tx, &permit, &session, EndCause::EnvironmentLost, Some(why), now).await? {
            tx.rollback().await?;
            continue;
        }
        finish_reservation(&tx, &permit, &session, EndCause::EnvironmentLost, now).await?;
        tx.commit().await?;
        services.live().nudge();
        instructions::wake(services, host);
        return Ok(());
    }
    Err(Error::Conflict("the session keeps changing".to_owned()))
}

/// An agent reports a step of preparing or reverting.
pub async fn on_step(services: &Services, tenant: TenantId, session: SessionId, step: Step) -> Result<()> {
    let permit = Permit::system(tenant);
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    match store::sessions::set_step(&tx, &permit, session, step).await? {
        Written::Done => {
            store::events::append(&tx, &permit, EventKind::Session, session, "step", now).await?;
            tx.commit().await?;
            services.live().nudge();
        }
        Written::Stale => tx.rollback().await?,
    }
    Ok(())
}

/// An agent sends output of the set-up script or of a check; `source` is `prepare` or `revert`. What is over the limit is
/// dropped.
pub async fn on_output(
    services: &Services,
    tenant: TenantId,
    session: SessionId,
    source: &str,
    content: &[u8],
) -> Result<()> {
    let permit = Permit::system(tenant);
    let now = services.clock().now();
    // A zero byte is no text in PostgreSQL.
    let content = String::from_utf8_lossy(content).replace('\0', "\u{fffd}");
    let tx = services.store().begin().await?;
    match store::sessions::append_log(&tx, &permit, session, source, &content, now).await? {
        Written::Done => {
            store::events::append(&tx, &permit, EventKind::Session, session, "log", now).await?;
            tx.commit().await?;
            services.live().nudge();
        }
        Written::Stale => tx.rollback().await?,
    }
    Ok(())
}
