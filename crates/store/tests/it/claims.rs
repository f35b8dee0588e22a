//! The database alone refuses what would overlap, also to statements that nobody should write.

use domain::{environments::EnvironmentSpec, ids::ReservationId, interval::Interval, people::Role, sessions::Keep};
use jiff::SignedDuration;
use store::{
    Store,
    machines::MachineRef,
    reservations::{Claimed, NewReservation},
};
use testkit::World;

fn hours(world: &World, from: i64, to: i64) -> Interval {
    let at = |hour: i64| world.clock.now() + SignedDuration::from_hours(hour);
    Interval::new(at(from), at(to)).expect("not empty")
}

async fn claim(world: &World, person: domain::ids::PersonId, wanted: &[MachineRef], interval: Interval) -> Claimed {
    let permit = world.permit();
    let machines = store::machines::find(world.store.read(), &permit, wanted).await.expect("reads");
    assert_eq!(machines.len(), wanted.len());
    let new = NewReservation {
        id: ReservationId::new(),
        person,
        interval,
        machines: &machines,
        purpose: None,
        environment: &EnvironmentSpec::default(),
        keep: Keep::Reservation,
    };
    let tx = world.store.begin().await.expect("begins");
    let claimed = store::reservations::create(&tx, &permit, &new, world.clock.now()).await.expect("decides");
    match claimed {
        Claimed::Done(_) => tx.commit().await.expect("commits"),
        Claimed::Taken(_) => tx.rollback().await.expect("rolls back"),
    }
    claimed
}

#[tokio::test(flavor = "multi_thread")]
async fn touching_claims_fit_and_overlapping_ones_do_not() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await.actor.person;
        let machine = world.machines("rack", 1, "").await[0];
        let wanted = [MachineRef::Id(machine)];
        let taken = Claimed::Taken(machine);
        assert_ne!(claim(&world, ada, &wanted, hours(&world, 2, 4)).await, taken);
        for (from, to) in [(2, 4), (1, 3), (3, 5), (1, 5)] {
            assert_eq!(claim(&world, ada, &wanted, hours(&world, from, to)).await, taken, "{from} to {to}");
        }
        for (from, to) in [(0, 2), (4, 6), (8, 9)] {
            assert_ne!(claim(&world, ada, &wanted, hours(&world, from, to)).await, taken, "{from} to {to}");
        }
        // Between two claims, over the gap and into the later one.
        assert_eq!(claim(&world, ada, &wanted, hours(&world, 7, 9)).await, taken);
        assert_ne!(claim(&world, ada, &wanted, hours(&world, 6, 8)).await, taken);
        assert_eq!(store::reservations::overlaps(world.store.read()).await.expect("counts"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_gets_around_the_rule() {
    use sea_orm::{ConnectionTrait, Statement};
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await.actor.person;
        let machine = world.machines("rack", 1, "").await[0];
        let wanted = [MachineRef::Id(machine)];
        claim(&world, ada, &wanted, hours(&world, 0, 2)).await;
        claim(&world, ada, &wanted, hours(&world, 2, 4)).await;
        let conn = world.store.read();
        let backend = conn.get_database_backend();
        for sql in [
            "update sessions set end_ms = end_ms + 1",
            "update sessions set start_ms = start_ms - 1",
            "insert into sessions select (select id from reservations limit 1), tenant_id, reservation_id, person_id, machine_id, \
             host_id, start_ms, end_ms, holds, state, since_ms, cause, cause_detail, keep, last_keepalive_ms, taken_up, \
             warned, steps, transaction_id, generation from sessions limit 1",
        ] {
            let refused = conn.execute_raw(Statement::from_string(backend, sql)).await.expect_err(sql);
            assert!(store::StoreError::from(refused).is_overlap(), "{sql}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_on_one_machine_never_overlap() {
    const TASKS: i64 = 32;
    const EACH: i64 = 25;
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await.actor.person;
        let machine = world.machines("rack", 1, "").await[0];
        let tasks = (0..TASKS).map(|task| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut won = 0;
                for at in 0..EACH {
                    // Lengths and starts that differ, so that claims overlap in every way.
                    let start = (task * 7 + at * 3) % 50;
                    let interval = hours(&world, start, start + 1 + task % 3);
                    match claim(&world, ada, &[MachineRef::Id(machine)], interval).await {
                        Claimed::Done(_) => won += 1,
                        Claimed::Taken(_) => {}
                    }
                }
                won
            })
        });
        let mut won = 0;
        for task in tasks.collect::<Vec<_>>() {
            won += task.await.expect("no task fails, none deadlocks");
        }
        assert!(won > 0);
        assert_eq!(store::reservations::overlaps(world.store.read()).await.expect("counts"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_are_claimed_whole_or_not_at_all_and_do_not_wait_for_each_other() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await.actor.person;
        let machines = world.machines("rack", 6, "").await;
        let tasks = (0..24_usize).map(|task| {
            let (world, machines) = (world.clone(), machines.clone());
            tokio::spawn(async move {
                for at in 0..10_usize {
                    // Three of the six, in an order that differs from task to task.
                    let set: Vec<MachineRef> =
                        (0..3).map(|n| MachineRef::Id(machines[(task + at + n * (1 + task % 2)) % 6])).collect();
                    let start = i64::try_from(at).expect("small");
                    claim(&world, ada, &set, hours(&world, start, start + 2)).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("no task fails, none deadlocks");
        }
        assert_eq!(store::reservations::overlaps(world.store.read()).await.expect("counts"), 0);
        let filter = store::reservations::Filter::default();
        let all = store::reservations::list(world.store.read(), &world.permit(), &filter, 1_000).await.expect("reads");
        assert!(!all.is_empty());
        assert!(all.iter().all(|reservation| reservation.sessions.len() == 3), "half a set was booked");
    })
    .await;
}
