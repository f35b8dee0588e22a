//! What a manager sees of the team: who has what, what is in trouble, how much was used.

use api::reservations::NewReservation;
use domain::{
    hosts::{HostIntent, HostLink},
    interval::Interval,
    machines::MachineCondition,
    people::Role,
};
use jiff::SignedDuration;
use services::{Call, Error, reconciler, reservations, team};
use store::{Store, machines::NewCondition};
use testkit::World;

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

async fn book(world: &World, call: &Call, machine: &str, start_h: i64, length_h: i64) {
    let ask = NewReservation {
        machine: Some(machine.to_owned()),
        start: Some((world.clock.now() + hours(start_h)).to_string()),
        duration_s: Some(u64::try_from(length_h).expect("a length") * 3_600),
        ..NewReservation::default()
    };
    let ask = reservations::Ask::try_from(ask).expect("well asked");
    reservations::create(&world.services, call, &ask).await.expect("free");
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_trouble_and_use() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let manager = world.person("Mia", Role::Manager).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let bob = world.person("Bob", Role::Engineer).await;
        world.machines("rack", 3, "").await;
        let dirty = world.machines("old", 1, "").await[0];
        // Ada has two machines now and one tomorrow, Bob one later today; Mia none.
        book(&world, &ada, "rack/0", 0, 3).await;
        book(&world, &ada, "rack/1", 0, 2).await;
        book(&world, &ada, "rack/2", 30, 1).await;
        book(&world, &bob, "rack/2", 6, 4).await;
        reconciler::pass(&world.services).await.expect("looks");
        let now = world.clock.now();
        let window = Interval::new(now, now + hours(8)).expect("a window");
        let seen = team::look(&world.services, &manager, window).await.expect("a manager may");
        let people: Vec<_> = seen
            .people
            .iter()
            .map(|share| (share.name.as_str(), share.machines, share.first_free, share.held))
            .collect();
        assert_eq!(
            people,
            [("Ada", 2, Some(now + hours(2)), hours(5)), ("Bob", 0, None, hours(2))],
            "who has machines now goes first; claims are cut to the window"
        );
        assert_eq!((seen.machines, seen.held), (4, hours(7)));
        assert!((seen.used - 7.0 / 32.0).abs() < 1e-9, "{}", seen.used);
        assert_eq!((seen.hosts.len(), seen.quarantined.len()), (0, 0));

        // Trouble: a host that should be linked, one that waits for an admin; none where an admin took it out.
        let offline = world.host("offline").await;
        world.set_link(offline, HostLink::Offline).await;
        let pending = world.host("pending").await;
        world.set_intent(pending, HostIntent::Pending).await;
        let away = world.host("away").await;
        world.set_intent(away, HostIntent::Maintenance).await;
        world.set_link(away, HostLink::Offline).await;
        let new = NewCondition {
            condition: MachineCondition::Quarantined,
            reason: Some("a process is left"),
            verify_at: None,
        };
        let tx = world.store.begin().await.expect("begins");
        let old = MachineCondition::Ready;
        store::machines::turn(&tx, &world.permit(), dirty, old, new, world.clock.now()).await.expect("writes");
        tx.commit().await.expect("commits");
        let seen = team::look(&world.services, &manager, window).await.expect("a manager may");
        let mut hosts: Vec<_> = seen.hosts.iter().map(|host| host.name.as_str()).collect();
        hosts.sort_unstable();
        assert_eq!(hosts, ["offline", "pending"]);
        let quarantined: Vec<_> = seen.quarantined.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!(quarantined, ["old/0"]);
        assert_eq!(seen.machines, 4, "it is offered, if not given out");

        // A window in which nothing is held.
        let later = Interval::new(now + hours(100), now + hours(108)).expect("a window");
        let seen = team::look(&world.services, &manager, later).await.expect("a manager may");
        assert_eq!((seen.held, seen.used), (SignedDuration::ZERO, 0.0));
        assert_eq!(seen.people.len(), 1, "only who has something now: {:?}", seen.people);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn is_not_for_engineers_and_shows_one_tenant_alone() {
    testkit::both(|store: Store| async move {
        let world = World::new(store.clone()).await;
        let ada = world.person("Ada", Role::Engineer).await;
        world.machines("rack", 1, "").await;
        book(&world, &ada, "rack/0", 0, 1).await;
        let now = world.clock.now();
        let window = Interval::new(now, now + hours(8)).expect("a window");
        let refused = team::look(&world.services, &ada, window).await.expect_err("an engineer may not");
        assert!(matches!(refused, Error::Denied(_)), "{refused:?}");
        let other = World::new(store).await;
        let boss = other.person("Boss", Role::Admin).await;
        let seen = team::look(&other.services, &boss, window).await.expect("an admin may");
        assert_eq!((seen.people.len(), seen.machines, seen.held), (0, 0, SignedDuration::ZERO));
    })
    .await;
}
