//! A busy team for `cargo xtask dev --demo`: 30 people and 8 weeks of bookings on whatever machines there are, six of
//! the weeks gone by. It goes through the store's own calls, so every rule of the database holds for it too.

use domain::{
    access::Permit,
    environments::EnvironmentSpec,
    ids::ReservationId,
    interval::Interval,
    machines::Machine,
    people::Role,
    reservations::ReservationState,
    sessions::{EndCause, Keep, SessionState},
};
use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use store::{
    Tx,
    people::NewPerson,
    reservations::{Claimed, NewReservation},
    sessions::{Claim, Turn},
};

use crate::{Error, Result, Services};

const PEOPLE: &[&str] = &[
    "Ada Lindqvist",
    "Bruno Okafor",
    "Chiara Conti",
    "Dmitri Volkov",
    "Elif Yılmaz",
    "Farid Haddad",
    "Greta Sommer",
    "Hana Kobayashi",
    "Ivan Petrov",
    "Jana Novak",
    "Kofi Mensah",
    "Lucía Ortega",
    "Mateusz Zieliński",
    "Noor de Vries",
    "Oskar Lund",
    "Priya Raman",
    "Quentin Dubois",
    "Rosa Martins",
    "Samuel Weiss",
    "Tariq Aziz",
    "Ulla Berg",
    "Viktor Horváth",
    "Wanda Kowalska",
    "Xin Zhao",
    "Yara Costa",
    "Zoltán Kiss",
    "Amir Cohen",
    "Beatriz Rocha",
    "Caleb Stone",
    "Dana Levy",
];
const PURPOSES: &[&str] = &[
    "nightly regression",
    "kernel bisect",
    "load test",
    "reproduce a customer's report",
    "driver upgrade",
    "training run",
    "benchmark",
    "release candidate",
    "pairing",
    "packaging",
    "fuzzing",
    "migration rehearsal",
];
const WEEKS_BACK: i64 = 6;
const WEEKS_AHEAD: i64 = 2;
/// The seed is fixed, so that two demonstrations look alike.
const SEED: u64 = 0x0062_6572_7468;
const MACHINES: u64 = 500;
/// Bookings in one transaction of the database.
const BATCH: usize = 200;

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub people: usize,
    pub reservations: usize,
}

/// One booking that is to be made.
struct Plan<'a> {
    machine: &'a Machine,
    person: usize,
    interval: Interval,
    purpose: &'static str,
}

async fn first_tenant(services: &Services) -> Result<Permit> {
    let tenants = store::tenants::list(services.store()).await?;
    let (tenant, _) =
        tenants.first().ok_or_else(|| Error::Conflict("there is no tenant; make an admin first".into()))?;
    Ok(Permit::system(*tenant))
}

async fn offered(services: &Services, permit: &Permit) -> Result<Vec<Machine>> {
    let all = store::machines::Filter::default();
    Ok(store::machines::list(services.store().read(), permit, &all, MACHINES).await?)
}

/// How many machines agents offer.
pub async fn machines(services: &Services) -> Result<usize> {
    Ok(offered(services, &first_tenant(services).await?).await?.len())
}

/// Fills the first tenant. Does nothing if its people are there already.
pub async fn seed(services: &Services) -> Result<Made> {
    let tenants = store::tenants::list(services.store()).await?;
    let (tenant, _) =
        tenants.first().ok_or_else(|| Error::Conflict("there is no tenant; make an admin first".into()))?;
    let permit = Permit::system(*tenant);
    let now = services.clock().now();
    let machines =
        store::machines::list(services.store().read(), &permit, &store::machines::Filter::default(), MACHINES).await?;
    let mut people = Vec::with_capacity(PEOPLE.len());
    let tx = services.store().begin().await?;
    for (at, name) in PEOPLE.iter().enumerate() {
        let role = if at % 10 == 0 { Role::Manager } else { Role::Engineer };
        let new = NewPerson { email: address(name), name: (*name).to_owned(), role };
        match store::people::create(&tx, &permit, new, now).await? {
            Some(person) => people.push(person.id),
            None => return Ok(Made { people: 0, reservations: 0 }),
        }
    }
    tx.commit().await?;
    let mut random = StdRng::seed_from_u64(SEED);
    let plans: Vec<Plan<'_>> = machines.iter().flat_map(|machine| plan(machine, now, &mut random)).collect();
    let mut reservations = 0;
    for batch in plans.chunks(BATCH) {
        let tx = services.store().begin().await?;
        for booking in batch {
            let person = people.get(booking.person).copied().ok_or_else(|| Error::Internal("no such person".into()))?;
            reservations += book(&tx, &permit, booking, person, now).await?;
        }
        tx.commit().await?;
    }
    services.live().nudge();
    Ok(Made { people: people.len(), reservations })
}

/// `ada.lindqvist@example.org`.
fn address(name: &str) -> String {
    let plain: String = name
        .to_lowercase()
        .chars()
        .map(|c| match c {
            'ı' | 'í' => 'i',
            'ń' => 'n',
            'á' => 'a',
            ' ' => '.',
            other => other,
        })
        .filter(|c| c.is_ascii_lowercase() || *c == '.')
        .collect();
    format!("{plain}@example.org")
}

/// Bookings of one machine, in working hours mostly, none touching another. Some machines are liked, some idle.
fn plan<'a>(machine: &'a Machine, now: Timestamp, random: &mut StdRng) -> Vec<Plan<'a>> {
    let hour = SignedDuration::from_hours(1);
    let load: f64 = random.random_range(0.1..0.75);
    let mut plans = Vec::new();
    let mut at = now - SignedDuration::from_hours(24 * 7 * WEEKS_BACK);
    let end = now + SignedDuration::from_hours(24 * 7 * WEEKS_AHEAD);
    while at < end {
        let of_day = at.as_second().rem_euclid(86_400) / 3_600;
        let weekend = matches!(at.as_second().div_euclid(86_400).rem_euclid(7), 2 | 3);
        let likely = load * if (7..18).contains(&of_day) { 0.6 } else { 0.08 } * if weekend { 0.2 } else { 1.0 };
        if !random.random_bool(likely) {
            at += hour;
            continue;
        }
        let start = at + SignedDuration::from_mins(15 * random.random_range(0..4));
        let length = SignedDuration::from_mins(30 * random.random_range(1..12));
        let Ok(interval) = Interval::new(start, start + length) else { break };
        let purpose = PURPOSES.choose(random).copied().unwrap_or("benchmark");
        plans.push(Plan { machine, person: random.random_range(0..PEOPLE.len()), interval, purpose });
        at = interval.end() + hour;
    }
    plans
}

/// Makes the booking, and if it is past, what became of it. 1, or 0 where the machine is taken.
async fn book(
    tx: &Tx,
    permit: &Permit,
    plan: &Plan<'_>,
    person: domain::ids::PersonId,
    now: Timestamp,
) -> Result<usize> {
    let new = NewReservation {
        id: ReservationId::new(),
        person,
        interval: plan.interval,
        machines: std::slice::from_ref(plan.machine),
        purpose: Some(plan.purpose),
        environment: &EnvironmentSpec::default(),
        keep: Keep::Reservation,
    };
    match store::reservations::create(tx, permit, &new, now).await? {
        Claimed::Done(_) => {}
        Claimed::Taken(_) => return Ok(0),
    }
    if plan.interval.end() <= now {
        for session in store::sessions::of_reservations(tx.conn(), permit, &[new.id]).await? {
            let ended = Turn {
                state: SessionState::Ended,
                since: plan.interval.end(),
                cause: Some(EndCause::TimeUp),
                cause_detail: None,
                transaction: None,
                warned: None,
                claim: Claim::LetsGo(plan.interval.end()),
            };
            store::sessions::turn(tx, permit, &session, &ended).await?;
        }
        store::reservations::finish(tx, permit, new.id, ReservationState::Ended).await?;
    } else if plan.interval.contains(now) {
        // Taken up, so that the reconciler, which prepares it on the machine, does not release it as a no-show.
        for session in store::sessions::of_reservations(tx.conn(), permit, &[new.id]).await? {
            store::sessions::touch(tx, permit, session.id, None).await?;
        }
    }
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain_and_differ() {
        let mut addresses: Vec<String> = PEOPLE.iter().map(|name| address(name)).collect();
        assert!(addresses.iter().all(|a| domain::people::email(a).is_ok()), "{addresses:?}");
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), PEOPLE.len());
    }
}
