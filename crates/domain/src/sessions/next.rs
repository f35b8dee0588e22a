//! What comes next for a session: the pure half of the reconciler (D2). It is given what the database says and returns
//! what to do; run again on the same facts it says the same.

use jiff::{SignedDuration, Timestamp};

use super::{EndCause, HOST_LOST_AFTER, KEEPALIVE_GRACE, Keep, Session, SessionState};
use crate::{
    hosts::{HostIntent, HostLink},
    instructions::TransactionState,
    machines::{Machine, MachineCondition},
    reservations::ReservationState,
};

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub no_show_after: SignedDuration,
}

/// Whether another session's environment is still on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    Nobody,
    AnotherSession,
}

/// Whether the machine is free until the session's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Free,
    /// Another claim holds it in between.
    Claimed,
}

/// The environment is prepared so long before the start, where the machine is free then, so that the session is active on
/// time. Shorter than the shortest booking: nobody can book what is left before the start once it is being prepared.
pub const PREPARE_AHEAD: SignedDuration = SignedDuration::from_secs(45);
/// The person is told so long before a booking that nobody takes up is released.
pub const RELEASE_NOTICE: SignedDuration = SignedDuration::from_mins(5);

/// How the instruction of the session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub state: TransactionState,
    pub cause: Option<String>,
}

/// All that a decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub session: &'a Session,
    pub reservation: ReservationState,
    pub machine: &'a Machine,
    pub occupant: Occupant,
    pub before: Before,
    /// Of [`Session::transaction`]; `None` if there is none.
    pub work: Option<&'a Work>,
    pub rules: Rules,
    /// From when on this server has heard keepalives: what nobody was there to hear is not held against the client.
    pub listening_since: Timestamp,
    pub now: Timestamp,
}

crate::words! {
    /// What a scheduled session waits for after its start, or a reverting one before its check.
    pub enum Waits ("reason to wait") {
        HostOffline = "the host is offline",
        HostNotInService = "the host takes no new sessions",
        MachineQuarantined = "the machine is in quarantine",
        MachineNotClean = "the machine is being cleaned after its last session",
    }
}

crate::words! {
    /// A warning before the end; the later ones go over the earlier.
    pub enum Warning ("warning") {
        /// Nobody has taken the session up: it is about to be released.
        NotTakenUp = "releases-soon",
        TenMinutes = "ends-in-10-min",
        TwoMinutes = "ends-in-2-min",
    }
}

impl Warning {
    /// How long before the session's end; `None` for what is no warning of its end.
    pub fn before_end(self) -> Option<SignedDuration> {
        match self {
            Self::NotTakenUp => None,
            Self::TenMinutes => Some(SignedDuration::from_mins(10)),
            Self::TwoMinutes => Some(SignedDuration::from_mins(2)),
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing before `until`, unless something happens.
    Wait { until: Option<Timestamp>, why: Option<Waits> },
    /// Send the instruction to prepare and become `preparing`.
    Prepare,
    /// Prepared: become `active`.
    Activate,
    /// Tell the person; `detail` is shown with the session.
    Warn { warning: Warning, detail: Option<String> },
    /// Become `reverting`, and send the instruction to revert as soon as the host can be reached.
    Revert { cause: EndCause, detail: Option<String> },
    /// The instruction to revert has to be sent (again).
    SendRevert,
    /// Nothing is on the machine for this session: become `ended`.
    End { cause: EndCause, detail: Option<String> },
    /// Verified clean: become `ended` with the cause it already has.
    Ended,
    /// Nothing is on the machine for this session, and it never became what was asked: become `failed`.
    Fail { cause: EndCause, detail: Option<String> },
    /// Become `failed`, and the machine goes into quarantine.
    Quarantine { cause: EndCause, reason: String },
}

/// Decides. Total: every state has an answer.
pub fn next(facts: Facts<'_>) -> Next {
    match facts.session.state {
        SessionState::Scheduled => scheduled(facts),
        SessionState::Preparing => preparing(facts),
        SessionState::Active => active(facts),
        SessionState::Reverting => reverting(facts),
        SessionState::Ended | SessionState::Failed => Next::Wait { until: None, why: None },
    }
}

/// When the client's last sign is too old; `None` if no client keeps the session.
fn lapses_at(Facts { session, listening_since, .. }: Facts<'_>) -> Option<Timestamp> {
    match session.keep {
        Keep::Reservation => None,
        Keep::Keepalive => {
            let start = session.interval.start();
            let sign = session.last_keepalive_at.map_or(start, |at| at.max(start));
            sign.max(listening_since).checked_add(KEEPALIVE_GRACE).ok()
        }
    }
}

/// Why a session that has begun has to end now.
fn over(facts: Facts<'_>) -> Option<(EndCause, Option<String>)> {
    let Facts { session, now, .. } = facts;
    match facts.reservation {
        ReservationState::Confirmed => {}
        ReservationState::Cancelled => return Some((EndCause::Cancelled, None)),
        ReservationState::NoShow => return Some((EndCause::NoShow, None)),
        ReservationState::Ended => return Some((EndCause::Completed, None)),
    }
    if session.interval.end() <= now {
        return Some((EndCause::TimeUp, None));
    }
    if lapses_at(facts).is_some_and(|at| at <= now) {
        let grace = KEEPALIVE_GRACE.as_secs();
        return Some((EndCause::Lapsed, Some(format!("no keepalive for {grace} s"))));
    }
    None
}

/// The host is gone for good, so nobody can say any more what is on the machine.
fn revoked(facts: Facts<'_>) -> Option<Next> {
    (facts.machine.host_intent == HostIntent::Revoked).then(|| Next::Quarantine {
        cause: EndCause::HostRevoked,
        reason: "its host was revoked while a session was on it".to_owned(),
    })
}

fn earliest(times: impl IntoIterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    times.into_iter().flatten().min()
}

fn scheduled(facts: Facts<'_>) -> Next {
    let Facts { session, machine, now, .. } = facts;
    let start = session.interval.start();
    let is_early = facts.reservation == ReservationState::Confirmed && now < start;
    if is_early {
        let ahead = start.checked_sub(PREPARE_AHEAD).unwrap_or(start);
        if now < ahead || facts.before == Before::Claimed {
            return Next::Wait { until: Some(if now < ahead { ahead } else { start }), why: None };
        }
    }
    if machine.host_intent == HostIntent::Revoked {
        return Next::Fail { cause: EndCause::HostRevoked, detail: None };
    }
    if machine.condition == MachineCondition::Withdrawn {
        let detail = "its host no longer offers the machine".to_owned();
        return Next::Fail { cause: EndCause::HostLost, detail: Some(detail) };
    }
    let why = match (machine.host_link, machine.host_intent, machine.condition, facts.occupant) {
        (_, HostIntent::Pending | HostIntent::Draining | HostIntent::Maintenance | HostIntent::Revoked, _, _) => {
            Some(Waits::HostNotInService)
        }
        (HostLink::Offline, HostIntent::InService, _, _) => Some(Waits::HostOffline),
        (HostLink::Online, HostIntent::InService, MachineCondition::Quarantined | MachineCondition::Withdrawn, _) => {
            Some(Waits::MachineQuarantined)
        }
        (HostLink::Online, HostIntent::InService, MachineCondition::Ready, Occupant::AnotherSession) => {
            Some(Waits::MachineNotClean)
        }
        (HostLink::Online, HostIntent::InService, MachineCondition::Ready, Occupant::Nobody) => None,
    };
    if let Some((cause, detail)) = over(facts) {
        let detail = detail.or_else(|| why.map(|why| format!("it never began: {why}")));
        return Next::End { cause, detail };
    }
    match why {
        // Its time has not come: there is nothing to explain yet.
        Some(_) if is_early => Next::Wait { until: Some(start), why: None },
        Some(why) => {
            let until = earliest([Some(session.interval.end()), lapses_at(facts)]);
            Next::Wait { until, why: Some(why) }
        }
        None => Next::Prepare,
    }
}

fn preparing(facts: Facts<'_>) -> Next {
    let session = facts.session;
    if let Some(next) = revoked(facts) {
        return next;
    }
    if let Some((cause, detail)) = over(facts) {
        return Next::Revert { cause, detail };
    }
    let failed = |detail: Option<String>| Next::Revert { cause: EndCause::PrepareFailed, detail };
    let Some(work) = facts.work else {
        return failed(Some("its instruction is not there any more".to_owned()));
    };
    match work.state {
        TransactionState::Waiting
        | TransactionState::Offered
        | TransactionState::Claimed
        | TransactionState::Running => {
            Next::Wait { until: earliest([Some(session.interval.end()), lapses_at(facts)]), why: None }
        }
        // Prepared ahead: it is active from its start.
        TransactionState::Done if facts.now < session.interval.start() => {
            Next::Wait { until: Some(session.interval.start()), why: None }
        }
        TransactionState::Done => Next::Activate,
        TransactionState::Failed | TransactionState::Cancelled | TransactionState::Unknown => {
            failed(work.cause.clone().or_else(|| Some(format!("the instruction ended as {}", work.state))))
        }
        TransactionState::Expired | TransactionState::NeverDelivered => {
            let detail = format!("the host did not come for the instruction ({})", work.state);
            Next::Revert { cause: EndCause::HostLost, detail: Some(detail) }
        }
    }
}

fn active(facts: Facts<'_>) -> Next {
    let Facts { session, machine, now, .. } = facts;
    if let Some(next) = revoked(facts) {
        return next;
    }
    if let Some((cause, detail)) = over(facts) {
        return Next::Revert { cause, detail };
    }
    let after = |at: Timestamp, by: SignedDuration| at.checked_add(by).ok();
    let no_show_at = match (session.keep, session.taken_up) {
        (Keep::Reservation, false) => after(session.since, facts.rules.no_show_after),
        (Keep::Reservation, true) | (Keep::Keepalive, _) => None,
    };
    if no_show_at.is_some_and(|at| at <= now) {
        let minutes = facts.rules.no_show_after.as_mins();
        return Next::Revert { cause: EndCause::NoShow, detail: Some(format!("not used for {minutes} min")) };
    }
    let lost_at = match machine.host_link {
        HostLink::Online => None,
        HostLink::Offline => after(machine.host_link_since, HOST_LOST_AFTER),
    };
    if lost_at.is_some_and(|at| at <= now) {
        let detail = format!("its host is offline since {}", machine.host_link_since);
        return Next::Revert { cause: EndCause::HostLost, detail: Some(detail) };
    }
    let end = session.interval.end();
    let notice = RELEASE_NOTICE.min(facts.rules.no_show_after / 2);
    let notice_at = no_show_at.and_then(|at| at.checked_sub(notice).ok());
    let warn_at = |warning: Warning| match warning.before_end() {
        Some(before) => end.checked_sub(before).ok(),
        None => notice_at,
    };
    let due = Warning::ALL.iter().copied().rfind(|w| warn_at(*w).is_some_and(|at| at <= now));
    if let Some(warning) = due
        && session.warned < Some(warning)
    {
        let released = no_show_at.filter(|_| warning == Warning::NotTakenUp);
        let detail =
            released.map(|at| format!("not used yet: it is released at {at}; open a terminal or run a command"));
        return Next::Warn { warning, detail };
    }
    let next_warning = Warning::ALL.iter().filter_map(|w| warn_at(*w)).filter(|at| *at > now).min();
    Next::Wait { until: earliest([Some(end), lapses_at(facts), no_show_at, lost_at, next_warning]), why: None }
}

fn reverting(facts: Facts<'_>) -> Next {
    if let Some(next) = revoked(facts) {
        return next;
    }
    let Some(work) = facts.work else {
        return match facts.machine.host_link {
            HostLink::Online => Next::SendRevert,
            HostLink::Offline => Next::Wait { until: None, why: Some(Waits::HostOffline) },
        };
    };
    match work.state {
        TransactionState::Waiting
        | TransactionState::Offered
        | TransactionState::Claimed
        | TransactionState::Running => Next::Wait { until: None, why: None },
        TransactionState::Done => Next::Ended,
        TransactionState::Expired | TransactionState::NeverDelivered => match facts.machine.host_link {
            HostLink::Online => Next::SendRevert,
            HostLink::Offline => Next::Wait { until: None, why: Some(Waits::HostOffline) },
        },
        TransactionState::Failed | TransactionState::Cancelled | TransactionState::Unknown => {
            let reason = work.cause.clone().unwrap_or_else(|| format!("its revert ended as {}", work.state));
            Next::Quarantine { cause: EndCause::RevertFailed, reason }
        }
    }
}
