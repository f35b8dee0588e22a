//! Bookings that are decided in one transaction: each has its own answer, and what was refused or failed leaves nothing.

use api::reservations::NewReservation;
use domain::{ids::PersonId, people::Role, reservations::Reservation};
use futures_util::future::join_all;
use jiff::SignedDuration;
use services::{
    Call, Error,
    page::PageAsk,
    reservations::{self, Ask, ListAsk, Whose},
};
use store::Store;
use testkit::World;

fn ask(world: &World, machines: &[usize], start_h: i64) -> Ask {
    let start = world.clock.now() + SignedDuration::from_hours(start_h);
    let ask = NewReservation {
        machines: Some(machines.iter().map(|machine| format!("rack/{machine}")).collect()),
        start: Some(start.to_string()),
        duration_s: Some(7_200),
        ..NewReservation::default()
    };
    Ask::try_from(ask).expect("a good request")
}

/// All at once, so that they come into few groups.
async fn all(world: &World, asks: Vec<(Call, Ask)>) -> Vec<Result<Reservation, Error>> {
    join_all(asks.iter().map(|(call, ask)| reservations::create(&world.services, call, ask))).await
}

async fn booked(world: &World, call: &Call) -> Vec<Reservation> {
    let page = PageAsk { limit: Some(500), cursor: None };
    let ask = ListAsk { whose: Whose::Everybodys, page, ..ListAsk::default() };
    reservations::list(&world.services, call, &ask).await.expect("reads").items
}

async fn events(world: &World) -> Vec<uuid::Uuid> {
    let events = store::events::after(&world.store, 0, 1_000).await.expect("reads");
    let of_reservations = events.into_iter().filter(|event| event.kind == domain::events::EventKind::Reservation);
    of_reservations.map(|event| event.subject).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_group_has_its_own_answer() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Admin).await;
        world.machines("rack", 4, "").await;
        // Sets and single machines that want the same hours; a set meets its conflict at its first, second or third.
        let sets: [&[usize]; 5] = [&[0], &[0, 1, 2], &[2], &[3, 1], &[3]];
        let asks = (0..100_usize).map(|at| {
            let hour = i64::try_from(at / 5 % 7).expect("small");
            (ada.clone(), ask(&world, sets[at % sets.len()], hour))
        });
        let answers = all(&world, asks.collect()).await;
        let mut won: Vec<_> = Vec::new();
        for answer in &answers {
            match answer {
                Ok(reservation) => won.push(reservation.clone()),
                Err(Error::Overlap { held_by, .. }) => assert!(!held_by.is_empty()),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(won.len() > 5 && won.len() < 100, "{} of 100", won.len());
        let mut stored = booked(&world, &ada).await;
        won.sort_by_key(|reservation| reservation.id);
        stored.sort_by_key(|reservation| reservation.id);
        for (won, stored) in won.iter_mut().zip(&mut stored) {
            won.sessions.sort_by_key(|session| session.machine);
            stored.sessions.sort_by_key(|session| session.machine);
        }
        assert_eq!(won, stored, "what was answered is what is there");
        let mut told = events(&world).await;
        told.sort();
        assert_eq!(told, won.iter().map(|reservation| reservation.id.uuid()).collect::<Vec<_>>());
        assert_eq!(store::reservations::overlaps(world.store.read()).await.expect("counts"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_takes_no_other_with_it() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Admin).await;
        world.machines("rack", 1, "").await;
        // Nobody in the database: its foreign key fails the whole transaction.
        let mut nobody = ada.clone();
        nobody.actor.person = PersonId::new();
        let asks = (0..40_i64).map(|at| {
            let call = if at % 10 == 5 { nobody.clone() } else { ada.clone() };
            (call, ask(&world, &[0], at * 2))
        });
        let answers = all(&world, asks.collect()).await;
        for (at, answer) in answers.iter().enumerate() {
            match answer {
                Ok(_) => assert_ne!(at % 10, 5),
                Err(Error::Store(_)) => assert_eq!(at % 10, 5),
                Err(other) => panic!("{at}: {other:?}"),
            }
        }
        assert_eq!(booked(&world, &ada).await.len(), 36);
        assert_eq!(events(&world).await.len(), 36);
    })
    .await;
}
