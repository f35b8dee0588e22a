//! States as a person sees them: icon, word, colour, since when and why.

use api::objects::{HostStanding, ObjectState, RolloutStanding};
use domain::certificates::ZeroCertificateState;
use domain::hosts::{HostIntent, HostLink};
use domain::instructions::TransactionState;
use domain::machines::MachineState;
use domain::notebooks::NotebookState;
use domain::reservations::ReservationState;
use domain::sessions::{SessionState, StepState};
use jiff::Timestamp;
use leptos::prelude::*;

use super::icon::Icon;
use super::time::{Ago, Prose};

/// What the colour says; never alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    /// In use or in motion, as it should be.
    Busy,
    Warn,
    Bad,
    Idle,
}

/// How a state looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Badge {
    pub icon: &'static str,
    pub word: &'static str,
    pub tone: Tone,
    /// Whether it will go on by itself; the icon turns.
    pub moving: bool,
}

const fn badge(icon: &'static str, word: &'static str, tone: Tone) -> Badge {
    Badge { icon, word, tone, moving: false }
}

const fn moving(word: &'static str) -> Badge {
    Badge { icon: "progress", word, tone: Tone::Busy, moving: true }
}

impl From<MachineState> for Badge {
    fn from(state: MachineState) -> Self {
        match state {
            MachineState::Free => badge("free", "free", Tone::Good),
            MachineState::Held => badge("clock", "held", Tone::Busy),
            MachineState::InUse => badge("busy", "in use", Tone::Busy),
            MachineState::Reverting => moving("reverting"),
            MachineState::Quarantined => badge("warning", "quarantined", Tone::Bad),
            MachineState::Offline => badge("offline", "offline", Tone::Idle),
            MachineState::InMaintenance => badge("wrench", "in maintenance", Tone::Warn),
            MachineState::Withdrawn => badge("dash", "withdrawn", Tone::Idle),
        }
    }
}

impl From<SessionState> for Badge {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Scheduled => badge("clock", "scheduled", Tone::Idle),
            SessionState::Preparing => moving("preparing"),
            SessionState::Active => badge("busy", "active", Tone::Good),
            SessionState::Reverting => moving("reverting"),
            SessionState::Ended => badge("check", "ended", Tone::Idle),
            SessionState::Failed => badge("error", "failed", Tone::Bad),
        }
    }
}

impl From<NotebookState> for Badge {
    fn from(state: NotebookState) -> Self {
        match state {
            NotebookState::Waiting => badge("clock", "waiting", Tone::Idle),
            NotebookState::Starting => moving("starting"),
            NotebookState::Running => badge("busy", "running", Tone::Good),
            NotebookState::Stopping => moving("stopping"),
            NotebookState::Stopped => badge("check", "stopped", Tone::Idle),
            NotebookState::Failed => badge("error", "failed", Tone::Bad),
        }
    }
}

impl From<ReservationState> for Badge {
    fn from(state: ReservationState) -> Self {
        match state {
            ReservationState::Confirmed => badge("ok", "confirmed", Tone::Good),
            ReservationState::Cancelled => badge("blocked", "cancelled", Tone::Idle),
            ReservationState::Ended => badge("check", "ended", Tone::Idle),
            ReservationState::NoShow => badge("warning", "no-show", Tone::Warn),
        }
    }
}

impl From<TransactionState> for Badge {
    fn from(state: TransactionState) -> Self {
        match state {
            TransactionState::Waiting => badge("clock", "waiting", Tone::Idle),
            TransactionState::Offered => badge("clock", "offered", Tone::Busy),
            TransactionState::Claimed => moving("claimed"),
            TransactionState::Running => moving("running"),
            TransactionState::Done => badge("ok", "done", Tone::Good),
            TransactionState::Failed => badge("error", "failed", Tone::Bad),
            TransactionState::Cancelled => badge("blocked", "cancelled", Tone::Idle),
            TransactionState::Expired => badge("warning", "expired", Tone::Warn),
            TransactionState::NeverDelivered => badge("warning", "never delivered", Tone::Warn),
            TransactionState::Unknown => badge("warning", "unknown", Tone::Bad),
        }
    }
}

impl From<HostLink> for Badge {
    fn from(state: HostLink) -> Self {
        match state {
            HostLink::Online => badge("online", "online", Tone::Good),
            HostLink::Offline => badge("offline", "offline", Tone::Idle),
        }
    }
}

impl From<HostIntent> for Badge {
    fn from(state: HostIntent) -> Self {
        match state {
            HostIntent::Pending => badge("clock", "waits for approval", Tone::Warn),
            HostIntent::InService => badge("ok", "in service", Tone::Good),
            HostIntent::Draining => badge("undo", "draining", Tone::Warn),
            HostIntent::Maintenance => badge("wrench", "in maintenance", Tone::Warn),
            HostIntent::Revoked => badge("blocked", "revoked", Tone::Bad),
        }
    }
}

impl From<StepState> for Badge {
    fn from(state: StepState) -> Self {
        match state {
            StepState::Pending => badge("free", "pending", Tone::Idle),
            StepState::Running => moving("running"),
            StepState::Done => badge("check", "done", Tone::Good),
            StepState::Failed => badge("error", "failed", Tone::Bad),
            StepState::Skipped => badge("dash", "skipped", Tone::Idle),
        }
    }
}

impl From<ZeroCertificateState> for Badge {
    fn from(state: ZeroCertificateState) -> Self {
        match state {
            ZeroCertificateState::Valid => badge("ok", "valid", Tone::Good),
            ZeroCertificateState::UsedUp => badge("check", "used up", Tone::Idle),
            ZeroCertificateState::Expired => badge("clock", "expired", Tone::Idle),
            ZeroCertificateState::Revoked => badge("blocked", "revoked", Tone::Bad),
        }
    }
}

impl From<ObjectState> for Badge {
    fn from(state: ObjectState) -> Self {
        match state {
            ObjectState::Live => badge("busy", state.word(), Tone::Good),
            ObjectState::AtRest => badge("clock", state.word(), Tone::Idle),
            ObjectState::GivenUp => badge("error", state.word(), Tone::Bad),
        }
    }
}

impl From<RolloutStanding> for Badge {
    fn from(standing: RolloutStanding) -> Self {
        match standing {
            RolloutStanding::Runs => badge("busy", standing.word(), Tone::Good),
            RolloutStanding::Starting => moving(standing.word()),
            RolloutStanding::Partly => badge("warning", standing.word(), Tone::Warn),
            RolloutStanding::Failed => badge("warning", standing.word(), Tone::Bad),
            RolloutStanding::Nowhere => badge("clock", standing.word(), Tone::Warn),
        }
    }
}

/// As a deployment's that has this host alone.
impl From<HostStanding> for Badge {
    fn from(standing: HostStanding) -> Self {
        Badge::from(match standing {
            HostStanding::Runs => RolloutStanding::Runs,
            HostStanding::Starting => RolloutStanding::Starting,
            HostStanding::Failed => RolloutStanding::Failed,
        })
    }
}

impl Badge {
    /// Of an account that can be used.
    pub const fn active() -> Self {
        badge("ok", "active", Tone::Good)
    }

    /// Of an account whose person has not come in yet.
    pub const fn invited() -> Self {
        badge("clock", "invited", Tone::Idle)
    }

    /// Of an account that cannot be used.
    pub const fn locked() -> Self {
        badge("blocked", "locked", Tone::Bad)
    }

    /// The classes of the badge.
    fn class(self) -> String {
        let tone = match self.tone {
            Tone::Good => "good",
            Tone::Busy => "busy",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Idle => "idle",
        };
        format!("status {tone}{}", if self.moving { " moving" } else { "" })
    }
}

/// `<Status badge=machine.state/>`, with `since=at` and `why=reason` where there are any.
#[component]
pub fn Status(
    #[prop(into)] badge: Badge,
    #[prop(optional_no_strip, into)] since: Option<Timestamp>,
    #[prop(optional_no_strip, into)] why: Option<String>,
) -> impl IntoView {
    view! {
        <span class="status-line">
            <span class=badge.class()>
                <Icon name=badge.icon/>
                {badge.word}
            </span>
            {since.map(|at| view! { <span class="since"><Ago at/></span> })}
            {why.map(|why| view! { <span class="why"><Prose text=why/></span> })}
        </span>
    }
}
