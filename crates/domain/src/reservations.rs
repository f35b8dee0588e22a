//! Reservations: claims on machines for `[start, end)`.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    environments::EnvironmentSpec,
    ids::{MachineId, PersonId, ReservationId, TenantId},
    interval::Interval,
    sessions::Session,
};

/// The shortest booking.
pub const MIN_LENGTH: SignedDuration = SignedDuration::from_mins(1);
/// The longest booking, unless the server's configuration says otherwise.
pub const DEFAULT_MAX_LENGTH: SignedDuration = SignedDuration::from_hours(24 * 14);
/// How far ahead one can book, unless the server's configuration says otherwise.
pub const DEFAULT_MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24 * 90);
/// A start this far in the past still means "now": clocks differ and requests travel.
pub const START_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
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
