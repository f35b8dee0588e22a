//! A session's way from booking to a clean machine, with the clock in the test's hand and the hosts' reports written as
//! their agents' results are.

use api::reservations::NewReservation;
use domain::{
    events::EventKind,
    hosts::{HostIntent, HostLink},
    ids::SessionId,
    instructions::{TransactionState, Work},
    machines::{MAX_VERIFICATIONS, MachineCondition, MachineState},
    people::Role,
    reservations::{Reservation, ReservationState},
    sessions::{EndCause, Keep, PREPARE_AHEAD, RELEASE_NOTICE, Session, SessionState, Warning},
};
use jiff::SignedDuration;
use services::{Call, machines, reconciler, reservations, sessions};
use store::Store;
use testkit::World;

async fn book(world: &World, call: &Call, keep: Keep, duration_s: u64) -> Reservation {
    let ask = NewReservation {
        machine: Some("rack/0".to_owned()),
        duration_s: Some(duration_s),
        keep: Some(keep),
        ..NewReservation::default()
    };
    let ask = reservations::Ask::try_from(ask).expect("well asked");
    reservations::create(&world.services, call, &ask).await.expect("free")
}

async fn pass(world: &World) {
    // Twice: what is safe to repeat does nothing the second time.
    reconciler::pass(&world.services).await.expect("looks");
    reconciler::pass(&world.services).await.expect("looks");
}

async fn session(world: &World, call: &Call, reservation: &Reservation) -> Session {
    sessions::get(&world.services, call, reservation.sessions[0].id).await.expect("is there")
}

/// The one open instruction ends so.
async fn host_says(world: &World, state: TransactionState, cause: Option<&str>) -> Work {
    let mut open = world.open_work().await;
    assert_eq!(open.len(), 1, "{open:?}");
    let (id, work) = open.remove(0);
    world.finish_work(id, state, cause).await;
    pass(world).await;
    work
}

async fn activate(world: &World, call: &Call, keep: Keep, duration_s: u64) -> Reservation {
    let reservation = book(world, call, keep, duration_s).await;
    pass(world).await;
    assert_eq!(session(world, call, &reservation).await.state, SessionState::Preparing);
    assert!(matches!(host_says(world, TransactionState::Done, None).await, Work::Prepare { .. }));
    assert_eq!(session(world, call, &reservation).await.state, SessionState::Active);
    reservation
}

async fn machine_state(world: &World, call: &Call) -> MachineState {
    machines::get(&world.services, call, "rack/0", None).await.expect("is there").live.state()
}

async fn world_of(store: Store) -> (World, Call, domain::ids::HostId) {
    let world = World::new(store).await;
    let ada = world.person("Ada", Role::Engineer).await;
    let host = world.host("rack").await;
    world.machine(host, "rack", "0", "").await;
    (world, ada, host)
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_booking_to_clean() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = activate(&world, &ada, Keep::Reservation, 3_600).await;
        assert_eq!(machine_state(&world, &ada).await, MachineState::InUse);
        sessions::touch(&world.services, &ada, reservation.sessions[0].id).await.expect("its owner may");
        for (after, warned) in [(49, None), (1, Some(Warning::TenMinutes)), (8, Some(Warning::TwoMinutes))] {
            world.clock.advance(minutes(after));
            pass(&world).await;
            assert_eq!(session(&world, &ada, &reservation).await.warned, warned);
        }
        world.clock.advance(minutes(2));
        pass(&world).await;
        let ending = session(&world, &ada, &reservation).await;
        assert_eq!((ending.state, ending.cause), (SessionState::Reverting, Some(EndCause::TimeUp)));
        assert_eq!(machine_state(&world, &ada).await, MachineState::Reverting);
        assert!(matches!(host_says(&world, TransactionState::Done, None).await, Work::Revert { .. }));
        let ended = session(&world, &ada, &reservation).await;
        assert_eq!((ended.state, ended.cause), (SessionState::Ended, Some(EndCause::TimeUp)));
        assert_eq!(machine_state(&world, &ada).await, MachineState::Free);
        let reservation = reservations::get(&world.services, &ada, reservation.id).await.expect("is there");
        assert_eq!(reservation.state, ReservationState::Ended);
    })
    .await;
}

/// What was told of the session so far, each word once in a row.
async fn told(world: &World, session: SessionId) -> Vec<String> {
    let events = store::events::after(&world.store, 0, 1_000).await.expect("reads");
    let of_it = events.into_iter().filter(|event| event.kind == EventKind::Session && event.subject == session.uuid());
    let mut words: Vec<String> = of_it.map(|event| event.word).collect();
    words.dedup();
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_state_is_told() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = activate(&world, &ada, Keep::Reservation, 3_600).await;
        let id = reservation.sessions[0].id;
        assert_eq!(told(&world, id).await, ["preparing", "active"]);
        sessions::end(&world.services, &ada, id).await.expect("its owner may");
        assert_eq!(told(&world, id).await, ["preparing", "active", "reverting"]);
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        assert_eq!(told(&world, id).await, ["preparing", "active", "reverting", "ended"]);
        // One that never began.
        let early = book(&world, &ada, Keep::Reservation, 3_600).await;
        reservations::cancel(&world.services, &ada, early.id).await.expect("its owner may");
        assert_eq!(told(&world, early.sessions[0].id).await, ["ended"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_waits_until_the_machine_is_clean() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let ben = world.person("Ben", Role::Engineer).await;
        let first = activate(&world, &ada, Keep::Reservation, 3_600).await;
        world.clock.advance(minutes(10));
        sessions::end(&world.services, &ada, first.sessions[0].id).await.expect("its owner may");
        // The rest of its time is free at once, the machine only when it is clean.
        let second = book(&world, &ben, Keep::Reservation, 600).await;
        pass(&world).await;
        let waiting = session(&world, &ben, &second).await;
        assert_eq!(waiting.state, SessionState::Scheduled);
        assert!(waiting.cause_detail.is_some_and(|why| why.contains("cleaned")));
        host_says(&world, TransactionState::Done, None).await;
        let ended = session(&world, &ada, &first).await;
        assert_eq!((ended.state, ended.cause), (SessionState::Ended, Some(EndCause::Completed)));
        assert_eq!(session(&world, &ben, &second).await.state, SessionState::Preparing);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_client_loses_the_session_within_two_keepalives() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = activate(&world, &ada, Keep::Keepalive, 3_600).await;
        for _ in 0..10 {
            world.clock.advance(SignedDuration::from_secs(15));
            sessions::keepalive(&world.services, &ada, reservation.sessions[0].id).await.expect("alive");
            pass(&world).await;
        }
        assert_eq!(session(&world, &ada, &reservation).await.state, SessionState::Active);
        world.clock.advance(SignedDuration::from_secs(30));
        pass(&world).await;
        let lapsed = session(&world, &ada, &reservation).await;
        assert_eq!((lapsed.state, lapsed.cause), (SessionState::Reverting, Some(EndCause::Lapsed)));
        assert!(sessions::keepalive(&world.services, &ada, lapsed.id).await.is_err());
    })
    .await;
}

/// Nobody was there to hear the client while the server was down.
#[tokio::test(flavor = "multi_thread")]
async fn the_grace_time_begins_anew_with_the_server() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = activate(&world, &ada, Keep::Keepalive, 3_600).await;
        sessions::keepalive(&world.services, &ada, reservation.sessions[0].id).await.expect("alive");
        world.clock.advance(minutes(5));
        let again = world.restarted();
        for _ in 0..2 {
            pass(&again).await;
            assert_eq!(session(&again, &ada, &reservation).await.state, SessionState::Active);
            again.clock.advance(SignedDuration::from_secs(29));
        }
        pass(&again).await;
        assert_eq!(session(&again, &ada, &reservation).await.cause, Some(EndCause::Lapsed));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_nobody_takes_up_is_released() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = activate(&world, &ada, Keep::Reservation, 36_000).await;
        world.clock.advance(minutes(30));
        pass(&world).await;
        assert_eq!(session(&world, &ada, &reservation).await.cause, Some(EndCause::NoShow));
        let released = reservations::get(&world.services, &ada, reservation.id).await.expect("is there");
        assert_eq!(released.state, ReservationState::NoShow);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_preparation_is_reverted() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = book(&world, &ada, Keep::Reservation, 3_600).await;
        pass(&world).await;
        host_says(&world, TransactionState::Failed, Some("setup: exit 1")).await;
        let failed = session(&world, &ada, &reservation).await;
        assert_eq!((failed.state, failed.cause), (SessionState::Reverting, Some(EndCause::PrepareFailed)));
        assert_eq!(failed.cause_detail.as_deref(), Some("setup: exit 1"));
        assert!(matches!(host_says(&world, TransactionState::Done, None).await, Work::Revert { .. }));
        assert_eq!(machine_state(&world, &ada).await, MachineState::Free);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_fails_its_revert_is_never_handed_out() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let admin = world.person("Root", Role::Admin).await;
        // Booked while the machine was still good.
        let ask = NewReservation {
            machine: Some("rack/0".to_owned()),
            start: Some((world.clock.now() + minutes(30)).to_string()),
            duration_s: Some(36_000),
            ..NewReservation::default()
        };
        let ask = reservations::Ask::try_from(ask).expect("well asked");
        let later = reservations::create(&world.services, &ada, &ask).await.expect("free");
        let first = activate(&world, &ada, Keep::Reservation, 600).await;
        sessions::end(&world.services, &ada, first.sessions[0].id).await.expect("its owner may");
        pass(&world).await;
        host_says(&world, TransactionState::Failed, Some("a process is left: 4711")).await;
        let failed = session(&world, &ada, &first).await;
        assert_eq!((failed.state, failed.cause), (SessionState::Failed, Some(EndCause::RevertFailed)));
        assert_eq!(machine_state(&world, &ada).await, MachineState::Quarantined);
        for _ in 0..MAX_VERIFICATIONS {
            world.clock.advance(minutes(30));
            pass(&world).await;
            assert_eq!(session(&world, &ada, &later).await.state, SessionState::Scheduled, "dirty, and handed out");
            let work = host_says(&world, TransactionState::Failed, Some("it is still there")).await;
            assert!(matches!(work, Work::Verify { .. }));
        }
        world.clock.advance(SignedDuration::from_hours(2));
        pass(&world).await;
        assert!(world.open_work().await.is_empty(), "only a person goes on now");
        let machine = machines::get(&world.services, &ada, "rack/0", None).await.expect("is there").live.machine;
        assert_eq!(machine.condition, MachineCondition::Quarantined);
        assert!(machine.reason.is_some_and(|why| why.contains("still there") && why.contains("admin")));
        machines::change(&world.services, &admin, "rack/0", machines::Change::Verify).await.expect("an admin may");
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        assert_eq!(session(&world, &ada, &later).await.state, SessionState::Preparing);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_away_lost_or_revoked() {
    testkit::both(|store: Store| async move {
        let (world, ada, host) = world_of(store).await;
        world.set_link(host, HostLink::Offline).await;
        let reservation = book(&world, &ada, Keep::Reservation, 36_000).await;
        pass(&world).await;
        let waiting = session(&world, &ada, &reservation).await;
        assert_eq!(
            (waiting.state, waiting.cause_detail.as_deref()),
            (SessionState::Scheduled, Some("the host is offline"))
        );
        world.set_link(host, HostLink::Online).await;
        world.set_intent(host, HostIntent::Draining).await;
        pass(&world).await;
        assert!(world.open_work().await.is_empty(), "a draining host gets no new session");
        world.set_intent(host, HostIntent::InService).await;
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        world.set_link(host, HostLink::Offline).await;
        world.clock.advance(minutes(9));
        pass(&world).await;
        assert_eq!(session(&world, &ada, &reservation).await.state, SessionState::Active);
        world.clock.advance(minutes(1));
        pass(&world).await;
        assert_eq!(session(&world, &ada, &reservation).await.cause, Some(EndCause::HostLost));
        assert!(world.open_work().await.is_empty(), "nothing is sent to a host that is away");
        world.set_link(host, HostLink::Online).await;
        pass(&world).await;
        assert_eq!(world.open_work().await.len(), 1);
        world.set_intent(host, HostIntent::Revoked).await;
        pass(&world).await;
        let failed = session(&world, &ada, &reservation).await;
        assert_eq!((failed.state, failed.cause), (SessionState::Failed, Some(EndCause::HostRevoked)));
        let machine = machines::get(&world.services, &ada, "rack/0", None).await.expect("is there").live.machine;
        assert_eq!(machine.condition, MachineCondition::Quarantined);
    })
    .await;
}

/// A future that is dropped after so many polls: as a server killed at that point, whose transaction is never committed.
async fn killed_after(polls: usize, future: impl Future<Output = ()>) {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_await_it_goes_on_after_the_restart() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        for polls in 1..40 {
            let reservation = book(&world, &ada, Keep::Reservation, 600).await;
            let mut states = vec![SessionState::Scheduled];
            for _ in 0..50 {
                let killed = world.restarted();
                killed_after(polls, async move {
                    reconciler::pass(&killed.services).await.expect("looks");
                })
                .await;
                // The next server finishes what the killed one left.
                reconciler::pass(&world.restarted().services).await.expect("looks");
                let now = session(&world, &ada, &reservation).await;
                if states.last() != Some(&now.state) {
                    states.push(now.state);
                }
                let open = world.open_work().await;
                assert!(open.len() <= 1, "sent twice: {open:?}");
                if let Some((id, _)) = open.first() {
                    world.finish_work(*id, TransactionState::Done, None).await;
                }
                match now.state {
                    SessionState::Active => {
                        sessions::end(&world.services, &ada, now.id).await.expect("its owner may");
                    }
                    SessionState::Ended => break,
                    SessionState::Scheduled | SessionState::Preparing | SessionState::Reverting => {}
                    SessionState::Failed => panic!("failed: {now:?}"),
                }
            }
            assert_eq!(states.last(), Some(&SessionState::Ended), "killed after {polls} polls: {states:?}");
            assert!(
                states.windows(2).all(|pair| pair[0].may_become(pair[1]) || pair[0] == SessionState::Scheduled),
                "{states:?}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_reconcilers_send_each_instruction_once() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        world.machines("rack", 20, "").await;
        let names: Vec<String> = (0..20).map(|n| format!("rack/{n}")).collect();
        let ask = NewReservation { machines: Some(names), duration_s: Some(600), ..NewReservation::default() };
        let ask = reservations::Ask::try_from(ask).expect("well asked");
        reservations::create(&world.services, &ada, &ask).await.expect("free");
        for expected in [20, 0] {
            let replicas: Vec<World> = (0..4).map(|_| world.restarted()).collect();
            let passes = replicas.iter().map(|replica| {
                let services = replica.services.clone();
                tokio::spawn(async move { reconciler::pass(&services).await.expect("looks") })
            });
            for pass in passes.collect::<Vec<_>>() {
                pass.await.expect("no pass fails");
            }
            let open = world.open_work().await;
            assert_eq!(open.len(), expected);
            for (id, _) in open {
                world.finish_work(id, TransactionState::Done, None).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_logs_are_kept_and_have_limits() {
    use domain::sessions::{Step, StepState};
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = activate(&world, &ada, Keep::Reservation, 3_600).await;
        let id = reservation.sessions[0].id;
        let step = |name: &str, state, detail: Option<String>| Step {
            name: name.to_owned(),
            state,
            started_at: None,
            ended_at: None,
            detail,
        };
        for (name, state, detail) in [
            ("root", StepState::Running, None),
            ("root", StepState::Done, None),
            ("set-up", StepState::Done, Some("ü".repeat(10_000))),
        ] {
            sessions::on_step(&world.services, world.tenant, id, step(name, state, detail)).await.expect("noted");
        }
        for _ in 0..10 {
            let output = "x".repeat(60_000) + "\0\u{fc}";
            sessions::on_output(&world.services, world.tenant, id, "prepare", output.as_bytes()).await.expect("noted");
        }
        sessions::end(&world.services, &ada, id).await.expect("its owner may");
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        let ended = session(&world, &ada, &reservation).await;
        assert_eq!(ended.steps.len(), 2);
        assert_eq!(ended.steps[0].state, StepState::Done);
        let lines = sessions::logs(&world.services, &ada, id, &services::page::PageAsk::default()).await.expect("kept");
        let kept: usize = lines.items.iter().map(|line| line.content.chars().count()).sum();
        assert!(kept <= domain::sessions::MAX_LOG_BYTES && kept > domain::sessions::MAX_LOG_BYTES / 2, "{kept}");
        let ben = world.person("Ben", Role::Engineer).await;
        assert!(sessions::logs(&world.services, &ben, id, &services::page::PageAsk::default()).await.is_err());
        assert!(sessions::end(&world.services, &ben, id).await.is_err());
    })
    .await;
}

async fn book_ahead(world: &World, call: &Call, ahead: SignedDuration) -> Reservation {
    let ask = NewReservation {
        machine: Some("rack/0".to_owned()),
        start: Some((world.clock.now() + ahead).to_string()),
        duration_s: Some(3_600),
        ..NewReservation::default()
    };
    let ask = reservations::Ask::try_from(ask).expect("well asked");
    reservations::create(&world.services, call, &ask).await.expect("free")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_booked_ahead_is_ready_at_its_start() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let reservation = book_ahead(&world, &ada, minutes(10)).await;
        world.clock.advance(minutes(10) - PREPARE_AHEAD - SignedDuration::from_millis(1));
        let next = reconciler::pass(&world.services).await.expect("looks").expect("something is due");
        assert_eq!(next, reservation.interval.start() - PREPARE_AHEAD);
        assert_eq!(session(&world, &ada, &reservation).await.state, SessionState::Scheduled);
        world.clock.advance(SignedDuration::from_millis(1));
        pass(&world).await;
        assert_eq!(session(&world, &ada, &reservation).await.state, SessionState::Preparing);
        host_says(&world, TransactionState::Done, None).await;
        assert_eq!(session(&world, &ada, &reservation).await.state, SessionState::Preparing, "not before its start");
        world.clock.advance(PREPARE_AHEAD);
        pass(&world).await;
        let active = session(&world, &ada, &reservation).await;
        assert_eq!((active.state, active.since), (SessionState::Active, reservation.interval.start()));
        // Given back, the machine is somebody else's until shortly before the next start: nothing is prepared over it.
        let later = book_ahead(&world, &ada, minutes(90)).await;
        sessions::end(&world.services, &ada, active.id).await.expect("its owner may");
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        world.clock.advance(minutes(87));
        let between = book(&world, &ada, Keep::Reservation, 179).await;
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        assert_eq!(session(&world, &ada, &between).await.state, SessionState::Active);
        world.clock.advance(SignedDuration::from_secs(150));
        pass(&world).await;
        assert_eq!(session(&world, &ada, &later).await.state, SessionState::Scheduled);
        // Cancelled before its start it is cancelled, also while it is being prepared; nothing is left of it.
        world.clock.advance(SignedDuration::from_secs(29));
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        assert_eq!(session(&world, &ada, &later).await.state, SessionState::Preparing);
        let cancelled = reservations::cancel(&world.services, &ada, later.id).await.expect("its owner may");
        assert_eq!(cancelled.state, ReservationState::Cancelled);
        let left = session(&world, &ada, &later).await;
        assert_eq!((left.state, left.cause), (SessionState::Reverting, Some(EndCause::Cancelled)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_is_told_before_a_booking_is_released() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let unused = activate(&world, &ada, Keep::Reservation, 36_000).await;
        world.clock.advance(minutes(30) - RELEASE_NOTICE);
        pass(&world).await;
        let told = session(&world, &ada, &unused).await;
        assert_eq!((told.state, told.warned), (SessionState::Active, Some(Warning::NotTakenUp)));
        let at = (told.since + minutes(30)).to_string();
        assert!(told.cause_detail.as_ref().is_some_and(|words| words.contains(&at)), "{:?}", told.cause_detail);
        let permit = world.permit();
        let events = store::events::after_for(&world.store, &permit, 0, 1_000).await.expect("reads");
        let warned = events.iter().filter(|event| event.word == Warning::NotTakenUp.word()).count();
        assert_eq!(warned, 1, "told once");
        // Used after all: nothing is released, nothing is said any more, and the warnings of its end come as ever.
        sessions::touch(&world.services, &ada, told.id).await.expect("its owner may");
        world.clock.advance(minutes(60));
        pass(&world).await;
        let used = session(&world, &ada, &unused).await;
        assert_eq!((used.state, used.cause_detail), (SessionState::Active, None));
        world.clock.advance(minutes(600 - 85 - 9));
        pass(&world).await;
        assert_eq!(session(&world, &ada, &unused).await.warned, Some(Warning::TenMinutes));
    })
    .await;
}
