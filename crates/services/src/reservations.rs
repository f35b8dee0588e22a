//! Reservations: book, change, give back. The database decides who gets a machine (D1); what is asked of it is decided
//! by the domain's rules before.

use domain::{
    access::{Action, Permit},
    environments::{EnvironmentSpec, MAX_SETUP_BYTES},
    events::EventKind,
    ids::{MachineId, PersonId, ReservationId},
    interval::Interval,
    machines::{Machine, MachineKind, bookable},
    reservations::{
        self as rules, ChangeRefused, Limits, MAX_PURPOSE_BYTES, Reservation, ReservationAction, ReservationState,
    },
    sessions::{EndCause, SessionState},
};
use store::{
    audit::Entry,
    reservations::{After, Changed, Filter},
};

use crate::{
    Call, Error, Result, Services, audit, idempotency, instructions,
    machines::{self, Explain},
    page::{Page, PageAsk},
    sessions,
};

mod ask;
mod book;

pub use ask::{Ask, ChangeAsk, What};
use book::{Book, Decided};

const KIND: &str = "reservation";
/// Tries of a booking by labels when others take the chosen machines meanwhile, and of a write that was overtaken.
const TRIES: usize = 8;

fn limits(services: &Services) -> Limits {
    let settings = services.settings();
    Limits { max_length: settings.reservation_max_length, max_ahead: settings.reservation_max_ahead }
}

fn bad_time(bad: rules::BadTime) -> Error {
    Error::Invalid { field: bad.field, why: bad.why }
}

/// Books. All machines of the set or none; a refusal says who holds them and when they are free.
pub async fn create(services: &Services, call: &Call, ask: &Ask) -> Result<Reservation> {
    let permit = call.permit(Action::ReservationsCreate)?;
    let interval = ask.when.interval(services.clock().now(), limits(services)).map_err(bad_time)?;
    check_purpose(ask.purpose.as_deref())?;
    match &ask.what {
        What::Machines { field, machines } => {
            let machines = named(services, &permit, field, machines).await?;
            check_environment(&ask.environment, &machines)?;
            for _ in 0..TRIES {
                match book(services, call, &permit, ask, interval, &machines).await? {
                    Booked::Done(reservation) => return Ok(*reservation),
                    Booked::Again => {}
                    Booked::Taken => return Err(taken(services, &permit, &machines, interval, None).await?),
                }
            }
            Err(taken(services, &permit, &machines, interval, None).await?)
        }
        What::Labels { labels, count } => {
            for _ in 0..TRIES {
                let machines = choose(services, &permit, labels, *count, interval).await?;
                check_environment(&ask.environment, &machines)?;
                match book(services, call, &permit, ask, interval, &machines).await? {
                    Booked::Done(reservation) => return Ok(*reservation),
                    // Somebody was faster with one of them: the next choice does without it.
                    Booked::Taken | Booked::Again => {}
                }
            }
            Err(Error::Unavailable("others keep taking the machines that fit; try again".to_owned()))
        }
    }
}

async fn named(services: &Services, permit: &Permit, field: &'static str, names: &[String]) -> Result<Vec<Machine>> {
    let wanted: Vec<_> = names.iter().map(|name| machines::reference(name)).collect();
    let found = store::machines::find(services.store().read(), permit, &wanted).await?;
    let mut chosen: Vec<Machine> = Vec::with_capacity(names.len());
    for (name, reference) in names.iter().zip(&wanted) {
        let machine = found.iter().find(|machine| match reference {
            store::machines::MachineRef::Id(id) => machine.id == *id,
            store::machines::MachineRef::Name(name) => machine.name == *name,
        });
        let machine = machine.ok_or_else(|| Error::not_found("machine", name))?;
        if chosen.iter().any(|other| other.id == machine.id) {
            return Err(Error::invalid(field, format!("{} is named twice", machine.name)));
        }
        bookable(machine).map_err(|why| Error::Conflict(why.to_string()))?;
        chosen.push(machine.clone());
    }
    Ok(chosen)
}

/// Free, online and in service; those with nobody's environment on them first. Explains itself when there are too few.
async fn choose(
    services: &Services,
    permit: &Permit,
    labels: &domain::labels::Labels,
    count: usize,
    interval: Interval,
) -> Result<Vec<Machine>> {
    let candidates = store::machines::candidates(services.store().read(), permit, interval).await?;
    let mut explain = Explain::default();
    let fitting: Vec<_> = candidates.into_iter().filter(|c| explain.look(&c.machine, labels)).collect();
    let ids: Vec<MachineId> = fitting.iter().map(|c| c.machine.id).collect();
    let mut free: Vec<_> = fitting.into_iter().filter(|c| !c.taken).collect();
    explain.taken = ids.len() - free.len();
    if free.len() < count {
        let why = format!("{count} wanted, {} free: {}", free.len(), explain.text(labels));
        let next_free = if ids.len() < count {
            vec![]
        } else {
            machines::nearest(services, permit, &ids, count, interval.start(), interval.duration()).await?
        };
        let nearest = next_free.first().map(|slot| format!("; the nearest that fits begins at {}", slot.start()));
        return Err(Error::NothingFits { why: why + nearest.as_deref().unwrap_or_default(), next_free });
    }
    // In any order among equals, so that many who ask at once do not all want the same one.
    use rand::seq::SliceRandom as _;
    free.shuffle(&mut rand::rng());
    free.sort_by_key(|candidate| candidate.occupied);
    free.truncate(count);
    Ok(free.into_iter().map(|candidate| candidate.machine).collect())
}

fn check_purpose(purpose: Option<&str>) -> Result<()> {
    match purpose {
        Some(purpose) if purpose.len() > MAX_PURPOSE_BYTES => {
            Err(Error::invalid("purpose", format!("is longer than {MAX_PURPOSE_BYTES} bytes")))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_environment(environment: &EnvironmentSpec, machines: &[Machine]) -> Result<()> {
    const FIELD: &str = "environment";
    if environment.setup.as_ref().is_some_and(|setup| setup.len() > MAX_SETUP_BYTES) {
        return Err(Error::invalid(FIELD, format!("the set-up script is longer than {MAX_SETUP_BYTES} bytes")));
    }
    if environment.setup_timeout_s.is_some_and(|seconds| !(1..=3_600).contains(&seconds)) {
        return Err(Error::invalid(FIELD, "setup_timeout_s has to be from 1 to 3600"));
    }
    let sandbox = machines.iter().find(|machine| match machine.kind {
        MachineKind::Sandbox => true,
        MachineKind::Container => false,
    });
    match (&environment.image, sandbox) {
        (Some(_), Some(machine)) => Err(Error::invalid(
            FIELD,
            format!("{} is a sandbox, which needs no image; choose a machine with kind container", machine.name),
        )),
        (Some(_) | None, _) => Ok(()),
    }
}

enum Booked {
    Done(Box<Reservation>),
    Taken,
    /// The database undid it to let another one go on.
    Again,
}

async fn book(
    services: &Services,
    call: &Call,
    permit: &Permit,
    ask: &Ask,
    interval: Interval,
    machines: &[Machine],
) -> Result<Booked> {
    let write = Book {
        permit: permit.clone(),
        call: call.clone(),
        id: ReservationId::new(),
        ask: ask.clone(),
        interval,
        machines: machines.to_vec(),
    };
    match services.ledger().write(write).await {
        Ok(Decided::Done(reservation)) => Ok(Booked::Done(reservation)),
        Ok(Decided::Taken) => Ok(Booked::Taken),
        Ok(Decided::Overtaken) => Err(idempotency::overtaken()),
        Err(Error::Store(error)) if error.is_transient() => Ok(Booked::Again),
        Err(error) => Err(error),
    }
}

async fn taken(
    services: &Services,
    permit: &Permit,
    machines: &[Machine],
    interval: Interval,
    except: Option<ReservationId>,
) -> Result<Error> {
    let ids: Vec<MachineId> = machines.iter().map(|machine| machine.id).collect();
    let held_by = store::reservations::held_by(services.store().read(), permit, &ids, interval, except).await?;
    let next_free = machines::nearest(services, permit, &ids, ids.len(), interval.start(), interval.duration()).await?;
    Ok(Error::Overlap { held_by, next_free })
}

/// Which reservations are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct ListAsk {
    /// Only the caller's own.
    pub whose: Whose,
    /// Id or name.
    pub machine: Option<String>,
    pub state: Option<ReservationState>,
    /// Those that touch it.
    pub window: Option<Interval>,
    pub page: PageAsk,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whose {
    #[default]
    Mine,
    Everybodys,
    Of(PersonId),
}

impl Whose {
    pub(crate) fn person(self, call: &Call) -> Option<PersonId> {
        match self {
            Whose::Mine => Some(call.actor.person),
            Whose::Everybodys => None,
            Whose::Of(person) => Some(person),
        }
    }
}

/// By start.
pub async fn list(services: &Services, call: &Call, ask: &ListAsk) -> Result<Page<Reservation>> {
    let permit = call.permit(Action::ReservationsRead)?;
    let limit = ask.page.limit()?;
    let machine = machines::named(services, &permit, ask.machine.as_deref()).await?;
    let filter = Filter {
        person: ask.whose.person(call),
        machine,
        state: ask.state,
        window: ask.window,
        after: ask.page.after::<After>()?,
    };
    let rows = store::reservations::list(services.store().read(), &permit, &filter, limit + 1).await?;
    let page = Page::cut(rows, limit, |r| After { start_ms: r.interval.start().as_millisecond(), id: r.id });
    Ok(page.map(|reservation| as_seen_by(call, reservation)))
}

/// Everybody sees who has a machine and until when; what runs there is for those who may read the session.
fn as_seen_by(call: &Call, mut reservation: Reservation) -> Reservation {
    let may = call.permit(Action::SessionsRead).is_ok_and(|permit| permit.check_owner(reservation.person).is_ok());
    if !may {
        reservation.environment = EnvironmentSpec::default();
        for session in &mut reservation.sessions {
            session.steps.clear();
        }
    }
    reservation
}

pub async fn get(services: &Services, call: &Call, id: ReservationId) -> Result<Reservation> {
    let permit = call.permit(Action::ReservationsRead)?;
    let found = store::reservations::get(services.store().read(), &permit, id).await?;
    Ok(as_seen_by(call, found.ok_or_else(|| Error::not_found(KIND, id))?))
}

async fn get_to_change(services: &Services, permit: &Permit, id: ReservationId) -> Result<Reservation> {
    let found = store::reservations::get(services.store().read(), permit, id).await?;
    let reservation = found.ok_or_else(|| Error::not_found(KIND, id))?;
    permit.check_owner(reservation.person)?;
    Ok(reservation)
}

/// Extends, shortens, moves, describes: the same rules and the same decision by the database as for a new one.
/// `generation` is the one that the caller read (If-Match), where they say so.
pub async fn change(
    services: &Services,
    call: &Call,
    id: ReservationId,
    ask: &ChangeAsk,
    generation: Option<i64>,
) -> Result<Reservation> {
    let permit = call.permit(Action::ReservationsChange)?;
    check_purpose(ask.change.purpose.as_deref())?;
    for _ in 0..TRIES {
        let now = services.clock().now();
        let old = get_to_change(services, &permit, id).await?;
        if let Some(read) = generation
            && read != old.generation
        {
            let why = format!("the reservation has changed meanwhile (generation {}, not {read})", old.generation);
            return Err(Error::Conflict(why));
        }
        let changed = rules::change(&old, &ask.change, now, limits(services)).map_err(|refused| match refused {
            ChangeRefused::NotNow(why) => Error::Conflict(why.to_string()),
            ChangeRefused::Time(bad) => bad_time(bad),
        })?;
        if changed.actions.is_empty() {
            return Ok(old);
        }
        let purpose = ask.change.purpose.as_deref().or(old.purpose.as_deref());
        let tx = services.store().begin().await?;
        match store::reservations::reschedule(&tx, &permit, &old, changed.interval, purpose).await {
            Ok(Changed::Done) => {}
            Ok(Changed::Stale) => {
                tx.rollback().await?;
                continue;
            }
            Err(error) if error.is_transient() => {
                tx.rollback().await?;
                continue;
            }
            Ok(Changed::Taken(_)) => {
                tx.rollback().await?;
                let ids: Vec<_> = old.sessions.iter().map(|s| store::machines::MachineRef::Id(s.machine)).collect();
                let machines = store::machines::find(services.store().read(), &permit, &ids).await?;
                return Err(taken(services, &permit, &machines, changed.interval, Some(id)).await?);
            }
            Err(error) => return Err(error.into()),
        }
        let words: Vec<&str> = changed.actions.iter().map(|action| action.word()).collect();
        let detail = format!("{}: from {} to {}", words.join(", "), changed.interval.start(), changed.interval.end());
        let entry = Entry { action: "reservation.change", subject_kind: KIND, subject_id: id.to_string(), detail };
        audit::record(services, call, &permit, &tx, entry).await?;
        store::events::append(&tx, &permit, EventKind::Reservation, id, "changed", now).await?;
        tx.commit().await?;
        services.live().nudge();
        return get(services, call, id).await;
    }
    Err(Error::Conflict("others keep changing the reservation; look again".to_owned()))
}

/// Gives it back: what has not begun is cancelled, what runs ends and is reverted. One that is over stays as it is.
pub async fn cancel(services: &Services, call: &Call, id: ReservationId) -> Result<Reservation> {
    let permit = call.permit(Action::ReservationsChange)?;
    for _ in 0..TRIES {
        let now = services.clock().now();
        let old = get_to_change(services, &permit, id).await?;
        if ReservationAction::Cancel.check(&old, now).is_err() {
            return Ok(as_seen_by(call, old));
        }
        let own = old.person == call.actor.person;
        // One that is being prepared ahead of its start has not begun.
        let begun = old.sessions.iter().any(|session| match session.state {
            SessionState::Scheduled => false,
            SessionState::Preparing => old.interval.start() <= now,
            SessionState::Active | SessionState::Reverting | SessionState::Ended | SessionState::Failed => true,
        });
        let (state, cause) = match (begun, own) {
            (false, _) => (ReservationState::Cancelled, EndCause::Cancelled),
            (true, true) => (ReservationState::Ended, EndCause::Completed),
            (true, false) => (ReservationState::Ended, EndCause::EndedByAdmin),
        };
        let tx = services.store().begin().await?;
        let mut left = store::reservations::finish(&tx, &permit, id, state).await? == Changed::Done;
        for session in &old.sessions {
            left = left && sessions::leave(&tx, &permit, session, cause, None, now).await?;
        }
        if !left {
            tx.rollback().await?;
            continue;
        }
        let detail = format!("{state}, {} machines", old.sessions.len());
        let entry = Entry { action: "reservation.cancel", subject_kind: KIND, subject_id: id.to_string(), detail };
        audit::record(services, call, &permit, &tx, entry).await?;
        store::events::append(&tx, &permit, EventKind::Reservation, id, state.word(), now).await?;
        tx.commit().await?;
        services.live().nudge();
        for session in &old.sessions {
            instructions::wake(services, session.host);
        }
        return get(services, call, id).await;
    }
    Err(Error::Conflict("the reservation keeps changing; look again".to_owned()))
}
