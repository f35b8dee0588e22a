//! Reservations: claims on machines for `[start, end)`.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Actor},
    environments::EnvironmentSpec,
    ids::{MachineId, PersonId, ReservationId, TenantId},
    interval::{Interval, to_millis},
    sessions::{Session, SessionState},
};

/// The shortest booking.
pub const MIN_LENGTH: SignedDuration = SignedDuration::from_mins(1);
/// The longest booking, unless the server's configuration says otherwise.
pub const DEFAULT_MAX_LENGTH: SignedDuration = SignedDuration::from_hours(24 * 14);
/// How far ahead one can book, unless the server's configuration says otherwise.
pub const DEFAULT_MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24 * 90);
/// A start this far in the past still means "now": clocks differ and requests travel.
pub const START_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// The longest purpose, bytes.
pub const MAX_PURPOSE_BYTES: usize = 500;
/// How many free slots a refusal offers.
pub const MAX_OFFERED_SLOTS: usize = 3;
/// The most machines in one reservation.
pub const MAX_MACHINES: usize = 64;

crate::words! {
    pub enum ReservationState ("state of a reservation") {
        /// Waits for its start, or is in use.
        Confirmed = "confirmed",
        Cancelled = "cancelled",
        /// Its time is over, or it was given back.
        Ended = "ended",
        /// Nobody took it up; the machine was released.
        NoShow = "no-show",
    }
}

impl ReservationState {
    /// Whether the machine is taken for the reservation's interval. The database's no-overlap rule names the same states.
    pub fn holds_machine(self) -> bool {
        match self {
            Self::Confirmed => true,
            Self::Cancelled | Self::Ended | Self::NoShow => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub id: ReservationId,
    pub tenant: TenantId,
    pub person: PersonId,
    pub person_name: String,
    pub interval: Interval,
    pub state: ReservationState,
    /// What it is for, in the person's words.
    pub purpose: Option<String>,
    pub environment: EnvironmentSpec,
    pub created_at: Timestamp,
    /// Rises with every change; a write names the one it read.
    pub generation: i64,
    pub sessions: Vec<Session>,
}

/// Who holds a machine in a refused interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    pub machine: MachineId,
    pub machine_name: String,
    pub reservation: ReservationId,
    pub person_name: String,
    pub interval: Interval,
}

crate::words! {
    /// What one can do with a reservation.
    pub enum ReservationAction ("action on a reservation") {
        /// A new start: only while nothing has begun.
        Move = "move",
        Extend = "extend",
        Shorten = "shorten",
        /// Say what it is for.
        Describe = "describe",
        /// Give it back: before its start it is cancelled, after it its sessions end.
        Cancel = "cancel",
    }
}

/// The reservation's state does not allow what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    #[error("the reservation is {state}: {action} is not possible")]
    Over { action: ReservationAction, state: ReservationState },
    #[error("the reservation has begun: its start cannot be moved. Change its end, or cancel it.")]
    Begun,
}

impl ReservationAction {
    pub fn check(self, reservation: &Reservation, now: Timestamp) -> Result<(), NotNow> {
        match reservation.state {
            ReservationState::Confirmed => {}
            state @ (ReservationState::Cancelled | ReservationState::Ended | ReservationState::NoShow) => {
                return Err(NotNow::Over { action: self, state });
            }
        }
        match self {
            Self::Move if reservation.has_begun(now) => Err(NotNow::Begun),
            Self::Move | Self::Extend | Self::Shorten | Self::Describe | Self::Cancel => Ok(()),
        }
    }
}

impl Reservation {
    /// Whether its start has passed or one of its sessions has left `scheduled`.
    pub fn has_begun(&self, now: Timestamp) -> bool {
        self.interval.start() <= now || self.sessions.iter().any(|s| s.state != SessionState::Scheduled)
    }
}

/// What `actor` can do with the reservation at `now`: the rule that the server enforces, for the page to show.
pub fn actions(reservation: &Reservation, actor: &Actor, now: Timestamp) -> Vec<ReservationAction> {
    let permitted =
        actor.permit(Action::ReservationsChange).and_then(|permit| permit.check_owner(reservation.person)).is_ok();
    let may = |action: &ReservationAction| permitted && action.check(reservation, now).is_ok();
    ReservationAction::ALL.iter().copied().filter(may).collect()
}

/// What the operator allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_length: SignedDuration,
    pub max_ahead: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_length: DEFAULT_MAX_LENGTH, max_ahead: DEFAULT_MAX_AHEAD }
    }
}

/// When a booking is wanted, as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// `None` is now.
    pub start: Option<Timestamp>,
    pub until: Until,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    End(Timestamp),
    For(SignedDuration),
}

/// Why a time was refused, and which field of the request says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadTime {
    pub field: &'static str,
    pub why: String,
}

fn bad(field: &'static str, why: String) -> BadTime {
    BadTime { field, why }
}

impl When {
    /// The interval to book at `now`. A start up to [`START_TOLERANCE`] in the past means now.
    pub fn interval(self, now: Timestamp, limits: Limits) -> Result<Interval, BadTime> {
        let now = to_millis(now);
        let start = match self.start {
            None => now,
            Some(start) if start >= now => start,
            Some(start) if now.duration_since(start) <= START_TOLERANCE => now,
            Some(start) => {
                return Err(bad("start", format!("{start} is in the past (it is {now}); leave it away to begin now")));
            }
        };
        let (field, end) = match self.until {
            Until::End(end) => ("end", end),
            Until::For(length) if length <= SignedDuration::ZERO => {
                return Err(bad("duration_s", "has to be more than 0".to_owned()));
            }
            Until::For(length) => {
                let end = start.checked_add(length);
                ("duration_s", end.map_err(|_| bad("duration_s", "is too long".to_owned()))?)
            }
        };
        let interval = Interval::new(start, end).map_err(|empty| bad(field, empty.to_string()))?;
        limits.check(interval, now, field)?;
        if interval.duration() < MIN_LENGTH {
            return Err(bad(field, format!("a booking is at least {} s long", MIN_LENGTH.as_secs())));
        }
        Ok(interval)
    }
}

impl Limits {
    /// Whether the interval is short and near enough; `field` is what the caller would have to change.
    pub fn check(self, interval: Interval, now: Timestamp, field: &'static str) -> Result<(), BadTime> {
        if interval.duration() > self.max_length {
            let hours = self.max_length.as_hours();
            return Err(bad(field, format!("a booking is at most {hours} hours long")));
        }
        if interval.start().duration_since(now) > self.max_ahead {
            let days = self.max_ahead.as_hours() / 24;
            return Err(bad("start", format!("one can book at most {days} days ahead")));
        }
        Ok(())
    }
}

/// A change that was asked for; `None` leaves a part as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub start: Option<Timestamp>,
    pub until: Option<Until>,
    pub purpose: Option<String>,
}

/// What a change comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What it does, each allowed by [`ReservationAction::check`].
    pub actions: Vec<ReservationAction>,
    pub interval: Interval,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    #[error(transparent)]
    NotNow(#[from] NotNow),
    #[error(transparent)]
    Time(#[from] BadTime),
}

/// Decides a change at `now`. A new start without a new end moves the whole booking.
pub fn change(
    reservation: &Reservation,
    change: &Change,
    now: Timestamp,
    limits: Limits,
) -> Result<Changed, ChangeRefused> {
    let old = reservation.interval;
    let now = to_millis(now);
    let start = change.start.map_or(old.start(), to_millis);
    let mut actions = Vec::new();
    if start != old.start() {
        ReservationAction::Move.check(reservation, now)?;
        actions.push(ReservationAction::Move);
        if now.duration_since(start) > START_TOLERANCE {
            return Err(bad("start", format!("{start} is in the past (it is {now})")).into());
        }
    }
    let (field, end) = match change.until {
        Some(Until::End(end)) => ("end", end),
        Some(Until::For(length)) if length <= SignedDuration::ZERO => {
            return Err(bad("duration_s", "has to be more than 0".to_owned()).into());
        }
        Some(Until::For(length)) => {
            ("duration_s", start.checked_add(length).map_err(|_| bad("duration_s", "is too long".to_owned()))?)
        }
        None => ("start", start.checked_add(old.duration()).map_err(|_| bad("start", "is too far ahead".to_owned()))?),
    };
    let interval = Interval::new(start, end).map_err(|empty| bad(field, empty.to_string()))?;
    if interval != old {
        limits.check(interval, now, field)?;
        if interval.duration() < MIN_LENGTH {
            return Err(bad(field, format!("a booking is at least {} s long", MIN_LENGTH.as_secs())).into());
        }
        if interval.end() < now {
            return Err(bad(field, format!("{} is in the past; to give it back now, cancel it", interval.end())).into());
        }
    }
    let resized = match interval.duration().cmp(&old.duration()) {
        std::cmp::Ordering::Less => Some(ReservationAction::Shorten),
        std::cmp::Ordering::Greater => Some(ReservationAction::Extend),
        std::cmp::Ordering::Equal => None,
    };
    let described = change.purpose.as_ref().map(|_| ReservationAction::Describe);
    for action in resized.into_iter().chain(described) {
        action.check(reservation, now)?;
        actions.push(action);
    }
    Ok(Changed { actions, interval })
}
