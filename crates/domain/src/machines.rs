//! Machines: what a person can book.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Actor},
    hosts::{HostIntent, HostLink},
    ids::{HostId, MachineId, PersonId, ReservationId, SessionId, TenantId},
    interval::Interval,
    labels::Labels,
    sessions::SessionState,
};

crate::words! {
    /// What a machine is made of.
    pub enum MachineKind ("kind of machine") {
        /// A slot in which a bubblewrap sandbox runs.
        Sandbox = "sandbox",
        /// A slot in which a container runs.
        Container = "container",
    }
}

crate::words! {
    /// Whether the machine can be handed out, apart from who holds it. Stored; [`MachineState`] is computed.
    pub enum MachineCondition ("condition of a machine") {
        Ready = "ready",
        /// A revert failed its checks; never handed out until it is clean or a person decides.
        Quarantined = "quarantined",
        /// The host's configuration offers it no longer; kept for its history.
        Withdrawn = "withdrawn",
    }
}

crate::words! {
    /// What a page shows.
    pub enum MachineState ("state of a machine") {
        Free = "free",
        /// Reserved for now, nothing runs yet (preparing).
        Held = "held",
        InUse = "in-use",
        Reverting = "reverting",
        Quarantined = "quarantined",
        Offline = "offline",
        InMaintenance = "in-maintenance",
        Withdrawn = "withdrawn",
    }
}

/// The most that a session on the machine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLimits {
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub pids: u32,
    pub disk_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub id: MachineId,
    pub tenant: TenantId,
    pub host: HostId,
    pub host_name: String,
    pub host_intent: HostIntent,
    pub host_link: HostLink,
    /// When the host's link went up or down.
    pub host_link_since: Timestamp,
    /// Unique within the tenant, `HOST/NAME`-like: what people type.
    pub name: String,
    /// What its host's agent knows it by.
    pub local_name: String,
    pub kind: MachineKind,
    pub labels: Labels,
    pub limits: MachineLimits,
    pub condition: MachineCondition,
    /// Why it is quarantined or withdrawn.
    pub reason: Option<String>,
    pub condition_since: Timestamp,
    /// Checks of a quarantined machine since it was put there.
    pub verifications: u32,
}

/// Who has a machine now, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub person: PersonId,
    pub person_name: String,
    pub reservation: ReservationId,
    pub session: SessionId,
    /// The session's, which says whether the machine is being prepared, used or reverted.
    pub state: SessionState,
    pub since: Timestamp,
    pub until: Timestamp,
}

/// A claim on a machine, as its timeline shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    pub reservation: ReservationId,
    pub session: SessionId,
    pub machine: MachineId,
    pub person: PersonId,
    pub person_name: String,
    pub interval: Interval,
    pub state: SessionState,
    pub cause: Option<crate::sessions::EndCause>,
}

/// A machine with what changes about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveMachine {
    pub machine: Machine,
    pub holder: Option<Holder>,
    /// The next claim that has not begun.
    pub next: Option<Booking>,
}

impl LiveMachine {
    pub fn state(&self) -> MachineState {
        state(&self.machine, self.holder.as_ref().map(|h| h.state))
    }
    /// When it entered what [`LiveMachine::state`] says, as far as that is known.
    pub fn since(&self) -> Timestamp {
        match (self.state(), &self.holder) {
            (MachineState::Held | MachineState::InUse | MachineState::Reverting, Some(holder)) => holder.since,
            (MachineState::Offline, _) => self.machine.host_link_since,
            (
                MachineState::Free
                | MachineState::Held
                | MachineState::InUse
                | MachineState::Reverting
                | MachineState::Quarantined
                | MachineState::InMaintenance
                | MachineState::Withdrawn,
                _,
            ) => self.machine.condition_since,
        }
    }
}

/// What a page shows of a machine on which a session is in `occupied_by`.
pub fn state(machine: &Machine, occupied_by: Option<SessionState>) -> MachineState {
    match machine.condition {
        MachineCondition::Withdrawn => return MachineState::Withdrawn,
        MachineCondition::Quarantined => return MachineState::Quarantined,
        MachineCondition::Ready => {}
    }
    match (machine.host_link, machine.host_intent) {
        (HostLink::Offline, _) | (HostLink::Online, HostIntent::Pending | HostIntent::Revoked) => {
            return MachineState::Offline;
        }
        (HostLink::Online, HostIntent::InService | HostIntent::Draining | HostIntent::Maintenance) => {}
    }
    match occupied_by {
        Some(SessionState::Scheduled | SessionState::Preparing) => return MachineState::Held,
        Some(SessionState::Active) => return MachineState::InUse,
        Some(SessionState::Reverting) => return MachineState::Reverting,
        Some(SessionState::Ended | SessionState::Failed) | None => {}
    }
    match machine.host_intent {
        HostIntent::Draining | HostIntent::Maintenance => MachineState::InMaintenance,
        HostIntent::InService | HostIntent::Pending | HostIntent::Revoked => MachineState::Free,
    }
}

/// Why a machine cannot be booked, whoever asks and whenever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotBookable {
    #[error("{name} is in quarantine ({reason}); an admin can check it again or release it")]
    Quarantined { name: String, reason: String },
    #[error("{name} is no longer offered by its host")]
    Withdrawn { name: String },
    #[error("{name}'s host is {intent}")]
    Host { name: String, intent: HostIntent },
}

/// Whether new bookings may be made on the machine. An offline host does not stand against it: it may be back in time.
pub fn bookable(machine: &Machine) -> Result<(), NotBookable> {
    let name = || machine.name.clone();
    match machine.condition {
        MachineCondition::Quarantined => {
            let reason = machine.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
            return Err(NotBookable::Quarantined { name: name(), reason });
        }
        MachineCondition::Withdrawn => return Err(NotBookable::Withdrawn { name: name() }),
        MachineCondition::Ready => {}
    }
    match machine.host_intent {
        HostIntent::InService => Ok(()),
        intent @ (HostIntent::Pending | HostIntent::Draining | HostIntent::Maintenance | HostIntent::Revoked) => {
            Err(NotBookable::Host { name: name(), intent })
        }
    }
}

/// Checks of a quarantined machine before only a person can go on.
pub const MAX_VERIFICATIONS: u32 = 5;

/// How long to wait before the check after `done` ones.
pub fn verification_backoff(done: u32) -> SignedDuration {
    SignedDuration::from_secs(10 * (1 << done.min(10)))
}

crate::words! {
    /// What one can do with a machine.
    pub enum MachineAction ("action on a machine") {
        Reserve = "reserve",
        /// Take it out of use, with a reason.
        Quarantine = "quarantine",
        /// Have the host check it again; clean, it leaves quarantine.
        Verify = "verify",
        /// Back into use without a check: an admin's decision.
        Release = "release",
    }
}

/// The machine's condition does not allow what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine is {condition}: {action} is not possible")]
pub struct WrongCondition {
    pub action: MachineAction,
    pub condition: MachineCondition,
}

impl MachineAction {
    pub fn permission(self) -> Action {
        match self {
            Self::Reserve => Action::ReservationsCreate,
            Self::Quarantine | Self::Verify | Self::Release => Action::MachinesManage,
        }
    }
    pub fn check(self, machine: &Machine) -> Result<(), WrongCondition> {
        let allowed = match self {
            Self::Reserve => bookable(machine).is_ok(),
            Self::Quarantine => machine.condition == MachineCondition::Ready,
            Self::Verify | Self::Release => machine.condition == MachineCondition::Quarantined,
        };
        if allowed { Ok(()) } else { Err(WrongCondition { action: self, condition: machine.condition }) }
    }
}

/// What `actor` can do with the machine now: the rule that the server enforces, for the page to show.
pub fn actions(machine: &Machine, actor: &Actor) -> Vec<MachineAction> {
    let may = |action: &MachineAction| actor.permit(action.permission()).is_ok() && action.check(machine).is_ok();
    MachineAction::ALL.iter().copied().filter(may).collect()
}
