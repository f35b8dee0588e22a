//! The database finds the same free stretches as the domain's rule does from the bookings themselves.

use domain::{
    environments::EnvironmentSpec,
    ids::ReservationId,
    interval::{Interval, free_slots},
    people::Role,
    sessions::Keep,
};
use jiff::SignedDuration;
use store::{
    Store,
    machines::{Filter, free, taken},
    reservations::NewReservation,
};
use testkit::World;

fn hours(world: &World, from: i64, to: i64) -> Interval {
    let at = |hour: i64| world.clock.now() + SignedDuration::from_hours(hour);
    Interval::new(at(from), at(to)).expect("not empty")
}

#[tokio::test(flavor = "multi_thread")]
async fn free_stretches_are_those_between_the_claims() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await.actor.person;
        let machine = world.machines("rack", 2, "").await[0];
        let permit = world.permit();
        let machines = store::machines::list(world.store.read(), &permit, &Filter::default(), 10).await.expect("reads");
        // Touching ones, gaps of 1 to 5 hours, and on the other machine one that has nothing to do with it.
        for (at, from, to) in [(0, 0, 2), (0, 2, 3), (0, 4, 6), (0, 11, 12), (0, 14, 20), (1, 6, 10)] {
            let new = NewReservation {
                id: ReservationId::new(),
                person: ada,
                interval: hours(&world, from, to),
                machines: &machines[at..=at],
                purpose: None,
                environment: &EnvironmentSpec::default(),
                keep: Keep::Reservation,
            };
            let tx = world.store.begin().await.expect("begins");
            store::reservations::create(&tx, &permit, &new, world.clock.now()).await.expect("decides");
            tx.commit().await.expect("commits");
        }
        let conn = world.store.read();
        for window in [(0, 24), (1, 24), (3, 13), (15, 18), (21, 30), (5, 11), (-4, 1)] {
            for length in 1..=6 {
                for limit in [1, 2, 10] {
                    let (window, length) = (hours(&world, window.0, window.1), SignedDuration::from_hours(length));
                    let taken = taken(conn, &permit, Some(&[machine]), window).await.expect("reads");
                    let taken = taken.get(&machine).map_or(&[][..], Vec::as_slice);
                    let found = free(conn, &permit, machine, window, length, limit).await.expect("reads");
                    assert_eq!(found, free_slots(window, taken, length, limit), "{window:?} {length} {limit}");
                }
            }
        }
    })
    .await;
}
