//! A booking as a write of the ledger: many are decided in one transaction, and each gets its own answer after its commit.

use async_trait::async_trait;
use domain::{
    access::Permit,
    events::EventKind,
    ids::ReservationId,
    interval::Interval,
    machines::Machine,
    reservations::{Reservation, ReservationState},
};
use jiff::Timestamp;
use store::{
    StoreError, Tx,
    audit::Entry,
    events::Told,
    reservations::{Claimed, NewReservation},
};
use uuid::Uuid;

use super::{Ask, KIND};
use crate::{Call, idempotency, ledger::Write, sessions};

/// What became of a booking.
pub(super) enum Decided {
    Done(Box<Reservation>),
    /// Somebody holds one of the machines in that time.
    Taken,
    /// The same request was sent again, and is answered there.
    Overtaken,
}

pub(super) struct Book {
    pub permit: Permit,
    pub call: Call,
    pub id: ReservationId,
    pub ask: Ask,
    pub interval: Interval,
    pub machines: Vec<Machine>,
}

#[async_trait]
impl Write for Book {
    type Out = Decided;

    fn place(&self) -> Option<Uuid> {
        self.machines.iter().map(|machine| machine.id.uuid()).min()
    }

    async fn apply(&self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> Result<Decided, StoreError> {
        let Self { permit, call, id, ask, interval, machines } = self;
        let new = NewReservation {
            id: *id,
            person: call.actor.person,
            interval: *interval,
            machines,
            purpose: ask.purpose.as_deref(),
            environment: &ask.environment,
            keep: ask.keep,
        };
        if !idempotency::holds(tx, call).await? {
            return Ok(Decided::Overtaken);
        }
        let claimed = match store::reservations::create(tx, permit, &new, now).await? {
            Claimed::Done(claimed) => claimed,
            Claimed::Taken(_) => return Ok(Decided::Taken),
        };
        idempotency::bind(tx, call, EventKind::Reservation, id.uuid()).await?;
        let names: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        let detail = format!("{} from {} to {}", names.join(", "), interval.start(), interval.end());
        let entry = Entry { action: "reservation.create", subject_kind: KIND, subject_id: id.to_string(), detail };
        store::audit::append(tx, permit, &call.person_name, entry, call.request_id.as_deref(), now).await?;
        told.push(Told {
            tenant: permit.tenant(),
            kind: EventKind::Reservation,
            subject: id.uuid(),
            word: ReservationState::Confirmed.word(),
        });
        let sessions = claimed.into_iter().filter_map(|(session, machine)| {
            let machine = machines.iter().find(|m| m.id == machine)?;
            Some(sessions::new_session(session, *id, call, machine, *interval, ask.keep, now))
        });
        Ok(Decided::Done(Box::new(Reservation {
            id: *id,
            tenant: permit.tenant(),
            person: call.actor.person,
            person_name: call.person_name.clone(),
            interval: *interval,
            state: ReservationState::Confirmed,
            purpose: ask.purpose.clone(),
            environment: ask.environment.clone(),
            created_at: now,
            generation: 1,
            sessions: sessions.collect(),
        })))
    }
}
