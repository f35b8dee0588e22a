//! Machines: see them, who has them, when they are free; take them out of use and back.

use std::collections::HashMap;

use domain::{
    access::{Action, Permit},
    events::EventKind,
    ids::{HostId, MachineId},
    interval::{Interval, earliest_common, free_slots},
    labels::Labels,
    machines::{Booking, LiveMachine, Machine, MachineAction, MachineCondition, MachineState, NotBookable, bookable},
    reservations::MAX_OFFERED_SLOTS,
};
use jiff::{SignedDuration, Timestamp};
use store::{
    Tx,
    audit::Entry,
    machines::{Filter, MachineRef, NewCondition, Turned},
};

use crate::{
    Call, Error, Result, Services, audit,
    page::{Page, PageAsk},
};

/// Machines read in one go while a filter looks for those that fit.
const CHUNK: u64 = 1_000;
/// Sessions that a machine's history shows.
const HISTORY: u64 = 50;
/// The most machines that [`free`] answers with.
const MAX_FREE: usize = 200;
/// The longest reason, bytes.
const MAX_REASON_BYTES: usize = 500;
const KIND: &str = "machine";

/// Which machines are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct ListAsk {
    pub labels: Labels,
    pub state: Option<MachineState>,
    /// Part of the name.
    pub q: Option<String>,
    pub host: Option<HostId>,
    pub page: PageAsk,
}

/// By name. A constant number of statements for a page, however many machines are on it.
pub async fn list(services: &Services, call: &Call, ask: &ListAsk) -> Result<Page<LiveMachine>> {
    let permit = call.permit(Action::MachinesRead)?;
    let (limit, mut after) = (ask.page.limit()?, ask.page.after::<String>()?);
    let wanted = usize::try_from(limit + 1).unwrap_or(usize::MAX);
    let conn = services.store().read();
    let now = services.clock().now();
    let mut holders = store::machines::holders(conn, &permit, now).await?;
    let unfiltered = ask.labels.is_empty() && ask.state.is_none();
    let chunk = if unfiltered { limit + 1 } else { CHUNK };
    let mut found: Vec<LiveMachine> = Vec::new();
    loop {
        let filter = Filter { q: ask.q.clone(), host: ask.host, after: after.take() };
        let machines = store::machines::list(conn, &permit, &filter, chunk).await?;
        let read = u64::try_from(machines.len()).unwrap_or(u64::MAX);
        after = machines.last().map(|m| m.name.clone());
        let live = |machine: Machine| {
            let holder = holders.remove(&machine.id);
            LiveMachine { machine, holder, next: None }
        };
        let fits = |live: &LiveMachine| {
            ask.labels.select(&live.machine.labels) && ask.state.is_none_or(|state| live.state() == state)
        };
        found.extend(machines.into_iter().map(live).filter(fits));
        if read < chunk || found.len() >= wanted {
            break;
        }
    }
    found.truncate(wanted);
    let mut page = Page::cut(found, limit, |live| live.machine.name.clone());
    with_next_bookings(services, &permit, &mut page.items, now).await?;
    Ok(page)
}

async fn with_next_bookings(
    services: &Services,
    permit: &Permit,
    machines: &mut [LiveMachine],
    now: Timestamp,
) -> Result<()> {
    let ids: Vec<MachineId> = machines.iter().map(|live| live.machine.id).collect();
    let mut next = store::machines::next_bookings(services.store().read(), permit, &ids, now).await?;
    for live in machines {
        live.next = next.remove(&live.machine.id);
    }
    Ok(())
}

/// What a machine's page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    pub live: LiveMachine,
    /// In the window, by start.
    pub bookings: Vec<Booking>,
    /// Sessions that are over, newest first.
    pub history: Vec<Booking>,
}

/// An id, or a name.
pub(crate) fn reference(text: &str) -> MachineRef {
    text.parse().map_or_else(|_| MachineRef::Name(text.to_owned()), MachineRef::Id)
}

async fn find(services: &Services, permit: &Permit, text: &str) -> Result<Machine> {
    let found = store::machines::find(services.store().read(), permit, &[reference(text)]).await?;
    found.into_iter().next().ok_or_else(|| Error::not_found(KIND, text))
}

/// The machine whose things a list is to show, by id or name; `None` where none is named.
pub(crate) async fn named(services: &Services, permit: &Permit, text: Option<&str>) -> Result<Option<MachineId>> {
    match text {
        Some(text) => Ok(Some(find(services, permit, text).await?.id)),
        None => Ok(None),
    }
}

/// By id or name, with its claims in `window` (two weeks from yesterday if not given).
pub async fn get(services: &Services, call: &Call, machine: &str, window: Option<Interval>) -> Result<Detail> {
    let permit = call.permit(Action::MachinesRead)?;
    let conn = services.store().read();
    let now = services.clock().now();
    let machine = find(services, &permit, machine).await?;
    let window = match window {
        Some(window) => window,
        None => around(now)?,
    };
    let holder = store::machines::holders(conn, &permit, now).await?.remove(&machine.id);
    let bookings = store::machines::bookings(conn, &permit, &[machine.id], window).await?;
    let history = store::machines::history(conn, &permit, machine.id, HISTORY).await?;
    let mut live = [LiveMachine { machine, holder, next: None }];
    with_next_bookings(services, &permit, &mut live, now).await?;
    let [live] = live;
    Ok(Detail { live, bookings, history })
}

fn around(now: Timestamp) -> Result<Interval> {
    let day = SignedDuration::from_hours(24);
    let start = now.saturating_sub(day).unwrap_or(now);
    let end = now.saturating_add(day * 14).unwrap_or(now);
    Interval::new(start, end).map_err(|empty| Error::invalid("from", empty.to_string()))
}

/// Claims on the named machines (all, where none is named) in `window`: what a timeline shows.
pub async fn timeline(
    services: &Services,
    call: &Call,
    machines: &[MachineId],
    window: Interval,
) -> Result<Vec<Booking>> {
    let permit = call.permit(Action::MachinesRead)?;
    Ok(store::machines::bookings(services.store().read(), &permit, machines, window).await?)
}

/// What an admin decides about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Quarantine {
        reason: String,
    },
    /// Have its host check it again now.
    Verify,
    /// Back into use without a check.
    Release {
        reason: String,
    },
}

impl TryFrom<api::machines::MachineChange> for Change {
    type Error = Error;
    fn try_from(change: api::machines::MachineChange) -> Result<Self> {
        let reason = || match change.reason.as_deref().map(str::trim) {
            None | Some("") => Err(Error::invalid("reason", "say why: it is shown on the machine's page")),
            Some(reason) if reason.len() > MAX_REASON_BYTES => {
                Err(Error::invalid("reason", format!("is longer than {MAX_REASON_BYTES} bytes")))
            }
            Some(reason) => Ok(reason.to_owned()),
        };
        match change.action.parse::<MachineAction>() {
            Ok(MachineAction::Quarantine) => Ok(Change::Quarantine { reason: reason()? }),
            Ok(MachineAction::Verify) => Ok(Change::Verify),
            Ok(MachineAction::Release) => Ok(Change::Release { reason: reason()? }),
            Ok(MachineAction::Reserve) | Err(_) => {
                Err(Error::invalid("action", "has to be quarantine, verify or release"))
            }
        }
    }
}

/// Takes a machine out of use, has it checked, or lets it go back into use.
pub async fn change(services: &Services, call: &Call, machine: &str, change: Change) -> Result<LiveMachine> {
    let action = match &change {
        Change::Quarantine { .. } => MachineAction::Quarantine,
        Change::Verify => MachineAction::Verify,
        Change::Release { .. } => MachineAction::Release,
    };
    let permit = call.permit(action.permission())?;
    let machine = find(services, &permit, machine).await?;
    action.check(&machine).map_err(|wrong| Error::Conflict(wrong.to_string()))?;
    let now = services.clock().now();
    let quarantined = |reason, verify_at| NewCondition { condition: MachineCondition::Quarantined, reason, verify_at };
    let (new, detail) = match &change {
        // A person took it out of use: only a person brings it back.
        Change::Quarantine { reason } => (quarantined(Some(reason.as_str()), None), reason.clone()),
        Change::Verify => (quarantined(machine.reason.as_deref(), Some(now)), "check it again".to_owned()),
        Change::Release { reason } => {
            (NewCondition { condition: MachineCondition::Ready, reason: None, verify_at: None }, reason.clone())
        }
    };
    let tx = services.store().begin().await?;
    match store::machines::turn(&tx, &permit, machine.id, machine.condition, new, now).await? {
        Turned::Done => {}
        Turned::Stale => {
            tx.rollback().await?;
            return Err(Error::Conflict("the machine's condition has just changed; look again".to_owned()));
        }
    }
    let entry = Entry {
        action: match action {
            MachineAction::Reserve => "machine.reserve",
            MachineAction::Quarantine => "machine.quarantine",
            MachineAction::Verify => "machine.verify",
            MachineAction::Release => "machine.release",
        },
        subject_kind: KIND,
        subject_id: machine.id.to_string(),
        detail: format!("{}: {detail}", machine.name),
    };
    audit::record(services, call, &permit, &tx, entry).await?;
    store::events::append(&tx, &permit, EventKind::Machine, machine.id, action.word(), now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(get(services, call, &machine.id.to_string(), None).await?.live)
}

/// A machine went wrong: into quarantine, in the caller's transaction. Checks by the host follow until one finds it clean
/// or they are used up. False if it is there already, or withdrawn.
pub(crate) async fn quarantine_in(
    tx: &Tx,
    permit: &Permit,
    machine: MachineId,
    reason: &str,
    verify_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<bool> {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    let new = NewCondition { condition: MachineCondition::Quarantined, reason: Some(reason), verify_at };
    let turned = store::machines::turn(tx, permit, machine, MachineCondition::Ready, new, now).await?;
    if turned == Turned::Done {
        let word = MachineCondition::Quarantined.word();
        store::events::append(tx, permit, EventKind::Machine, machine, word, now).await?;
    }
    Ok(turned == Turned::Done)
}

/// An agent found what a session left on a machine that should be clean.
pub async fn on_dirty(
    services: &Services,
    tenant: domain::ids::TenantId,
    host: HostId,
    local_name: &str,
    reason: &str,
) -> Result<()> {
    let permit = Permit::system(tenant);
    let now = services.clock().now();
    let found = store::machines::by_local_name(services.store().read(), &permit, host, local_name).await?;
    let Some(machine) = found else { return Ok(()) };
    let tx = services.store().begin().await?;
    let verify_at = now.saturating_add(domain::machines::verification_backoff(0)).ok();
    quarantine_in(&tx, &permit, machine.id, reason, verify_at, now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

/// A machine and when it is free.
#[derive(Debug, Clone, PartialEq)]
pub struct Free {
    pub machine: Machine,
    pub slots: Vec<Interval>,
}

/// What [`free`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct FreeAnswer {
    /// The one that is free first at the top.
    pub machines: Vec<Free>,
    /// Why nothing fits, where nothing does.
    pub why_none: Option<String>,
}

/// Machines that carry `labels` and are free for `length` from now on, as far ahead as one can book.
pub async fn free(services: &Services, call: &Call, labels: &Labels, length: SignedDuration) -> Result<FreeAnswer> {
    let permit = call.permit(Action::MachinesRead)?;
    let now = services.clock().now();
    if length <= SignedDuration::ZERO || length > services.settings().reservation_max_length {
        let hours = services.settings().reservation_max_length.as_hours();
        return Err(Error::invalid("duration_s", format!("has to be more than 0 and at most {hours} hours")));
    }
    let filter = Filter::default();
    let all = store::machines::list(services.store().read(), &permit, &filter, u64::from(u32::MAX)).await?;
    let (fitting, explain) = fitting(all, labels);
    let mut machines = slots(services, &permit, fitting, length, now).await?;
    // Those that are free at the same time stay in the list's order, in which slot-2 is before slot-10.
    machines.sort_by_key(|free| free.slots.first().map(|slot| slot.start()));
    machines.truncate(MAX_FREE);
    let why_none = machines.is_empty().then(|| explain.text(labels));
    Ok(FreeAnswer { machines, why_none })
}

/// How many machines were left out, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Explain {
    pub total: usize,
    pub with_labels: usize,
    pub quarantined: usize,
    pub host_away: usize,
    pub taken: usize,
}

impl Explain {
    pub(crate) fn text(&self, labels: &Labels) -> String {
        if self.total == 0 {
            return "there are no machines yet: an admin has to add a host".to_owned();
        }
        let what = if labels.is_empty() { "machines".to_owned() } else { format!("machines with {labels}") };
        if self.with_labels == 0 {
            return format!("there are no {what} among {} machines", self.total);
        }
        let parts = [
            (self.taken, "taken in that time"),
            (self.quarantined, "in quarantine"),
            (self.host_away, "on hosts that are offline or take no new sessions"),
        ];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
        format!(
            "of {} {what}, {}",
            self.with_labels,
            if parts.is_empty() { "none is free".to_owned() } else { parts.join(", ") }
        )
    }
    /// Whether the machine fits apart from its bookings; counts it.
    pub(crate) fn look(&mut self, machine: &Machine, labels: &Labels) -> bool {
        self.total += 1;
        if !labels.select(&machine.labels) {
            return false;
        }
        self.with_labels += 1;
        match bookable(machine) {
            Ok(()) => {}
            Err(NotBookable::Quarantined { .. } | NotBookable::Withdrawn { .. }) => {
                self.quarantined += 1;
                return false;
            }
            Err(NotBookable::Host { .. }) => {
                self.host_away += 1;
                return false;
            }
        }
        match machine.host_link {
            domain::hosts::HostLink::Online => true,
            domain::hosts::HostLink::Offline => {
                self.host_away += 1;
                false
            }
        }
    }
}

fn fitting(all: Vec<Machine>, labels: &Labels) -> (Vec<Machine>, Explain) {
    let mut explain = Explain::default();
    let fitting: Vec<Machine> = all.into_iter().filter(|machine| explain.look(machine, labels)).collect();
    explain.taken = fitting.len();
    (fitting, explain)
}

async fn slots(
    services: &Services,
    permit: &Permit,
    machines: Vec<Machine>,
    length: SignedDuration,
    now: Timestamp,
) -> Result<Vec<Free>> {
    let Some(within) = horizon(services, now, length) else { return Ok(vec![]) };
    let taken = store::machines::taken(services.store().read(), permit, None, within).await?;
    Ok(machines
        .into_iter()
        .map(|machine| {
            let taken = taken.get(&machine.id).map_or(&[][..], Vec::as_slice);
            Free { slots: free_slots(within, taken, length, MAX_OFFERED_SLOTS), machine }
        })
        .filter(|free| !free.slots.is_empty())
        .collect())
}

/// From `from` as far as one can book now.
pub(crate) fn horizon(services: &Services, from: Timestamp, length: SignedDuration) -> Option<Interval> {
    let last = services.clock().now().checked_add(services.settings().reservation_max_ahead).ok()?;
    Interval::new(from, last.checked_add(length).ok()?).ok()
}

/// The nearest interval of `length` from `from` on in which `count` of `machines` are free at once.
pub(crate) async fn nearest(
    services: &Services,
    permit: &Permit,
    machines: &[MachineId],
    count: usize,
    from: Timestamp,
    length: SignedDuration,
) -> Result<Vec<Interval>> {
    let Some(within) = horizon(services, from, length) else { return Ok(vec![]) };
    let conn = services.store().read();
    if let [machine] = machines {
        return Ok(store::machines::free(conn, permit, *machine, within, length, MAX_OFFERED_SLOTS).await?);
    }
    let taken: HashMap<MachineId, Vec<Interval>> = store::machines::taken(conn, permit, Some(machines), within).await?;
    let free: Vec<Vec<Interval>> = machines
        .iter()
        .map(|id| free_slots(within, taken.get(id).map_or(&[][..], Vec::as_slice), length, usize::MAX))
        .collect();
    let start = earliest_common(&free, count, length);
    Ok(start.and_then(|start| Interval::new(start, start.checked_add(length).ok()?).ok()).into_iter().collect())
}
