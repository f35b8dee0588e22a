//! The team, as a manager looks at it: who has what now, what is in trouble, how much was used.

use std::collections::HashMap;

use domain::{
    access::{Action, Denied, Reach},
    hosts::{Host, HostIntent, HostLink},
    ids::{MachineId, PersonId},
    interval::Interval,
    machines::{Machine, MachineCondition},
    utilization,
};
use jiff::{SignedDuration, Timestamp};

use crate::{Call, Error, Result, Services};

/// What one person holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub person: PersonId,
    pub name: String,
    /// Machines that the person has now.
    pub machines: usize,
    /// When the first of them is free.
    pub first_free: Option<Timestamp>,
    /// In the window.
    pub held: SignedDuration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    /// Who holds or held something in the window; most first.
    pub people: Vec<Share>,
    /// Hosts that should be linked and are not, and those that wait for an admin.
    pub hosts: Vec<Host>,
    pub quarantined: Vec<Machine>,
    /// Machines that are offered.
    pub machines: usize,
    /// Time that bookings held machines in the window, together.
    pub held: SignedDuration,
    /// Of all the time that the machines had in it, 0 to 1.
    pub used: f64,
}

/// What the team has now, and how much it had in `window`.
pub async fn look(services: &Services, call: &Call, window: Interval) -> Result<Team> {
    let permit = call.permit(Action::SessionsRead)?;
    if permit.reach() != Reach::Tenant {
        return Err(Error::Denied(Denied::NotOwn { action: Action::SessionsRead }));
    }
    let (conn, now) = (services.store().read(), services.clock().now());
    let all = store::machines::Filter::default();
    let machines = store::machines::list(conn, &permit, &all, u64::from(u32::MAX)).await?;
    let offered: Vec<Machine> =
        machines.into_iter().filter(|machine| machine.condition != MachineCondition::Withdrawn).collect();
    let ids: Vec<MachineId> = offered.iter().map(|machine| machine.id).collect();
    let bookings = if ids.is_empty() { vec![] } else { store::machines::bookings(conn, &permit, &ids, window).await? };
    let mut people: HashMap<PersonId, Share> = HashMap::new();
    let new = |person, name| Share { person, name, machines: 0, first_free: None, held: SignedDuration::ZERO };
    for booking in &bookings {
        let share = people.entry(booking.person).or_insert_with(|| new(booking.person, booking.person_name.clone()));
        share.held += utilization::held(window, [booking.interval]);
    }
    for holder in store::machines::holders(conn, &permit, now).await?.into_values() {
        let share = people.entry(holder.person).or_insert_with(|| new(holder.person, holder.person_name));
        share.machines += 1;
        share.first_free = Some(share.first_free.map_or(holder.until, |until| until.min(holder.until)));
    }
    let mut people: Vec<Share> = people.into_values().collect();
    people.sort_by(|one, other| {
        (other.machines, other.held).cmp(&(one.machines, one.held)).then_with(|| one.name.cmp(&other.name))
    });
    let held = utilization::held(window, bookings.iter().map(|booking| booking.interval));
    let hosts = crate::hosts::all(services, &permit).await?;
    Ok(Team {
        people,
        hosts: hosts.into_iter().filter(in_trouble).collect(),
        machines: offered.len(),
        used: utilization::share(held, offered.len(), window),
        quarantined: offered.into_iter().filter(|machine| machine.condition == MachineCondition::Quarantined).collect(),
        held,
    })
}

fn in_trouble(host: &Host) -> bool {
    match host.intent {
        HostIntent::Pending => true,
        HostIntent::InService | HostIntent::Draining => host.link == HostLink::Offline,
        HostIntent::Maintenance | HostIntent::Revoked => false,
    }
}
