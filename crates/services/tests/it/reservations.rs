//! Booking, changing, giving back; and every way to ask wrongly.

use api::reservations::{LabelsAsk, NewReservation, ReservationChange};
use domain::{
    hosts::{HostIntent, HostLink},
    people::Role,
    reservations::{Reservation, ReservationState},
    sessions::SessionState,
};
use jiff::SignedDuration;
use services::{
    Call, Error, machines,
    page::PageAsk,
    reservations::{self, Ask, ChangeAsk, ListAsk, Whose},
    sessions,
};
use store::Store;
use testkit::World;

fn one(machine: &str, duration_s: u64) -> NewReservation {
    NewReservation { machine: Some(machine.to_owned()), duration_s: Some(duration_s), ..NewReservation::default() }
}

async fn book(world: &World, call: &Call, ask: NewReservation) -> Result<Reservation, Error> {
    reservations::create(&world.services, call, &Ask::try_from(ask)?).await
}

fn at(world: &World, minutes: i64) -> String {
    (world.clock.now() + SignedDuration::from_mins(minutes)).to_string()
}

fn field(result: Result<Reservation, Error>) -> &'static str {
    match result {
        Err(Error::Invalid { field, .. }) => field,
        other => panic!("not refused for its input: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn books_by_name_by_id_as_a_set_and_by_labels() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let ids = world.machines("rack", 3, "os=debian12").await;
        let by_name = book(&world, &ada, one("rack/0", 3_600)).await.expect("by name");
        assert_eq!(by_name.state, ReservationState::Confirmed);
        assert_eq!(by_name.sessions[0].machine, ids[0]);
        assert_eq!(by_name, reservations::get(&world.services, &ada, by_name.id).await.expect("is there"));
        let start = at(&world, 120);
        let set = NewReservation {
            machines: Some(vec![ids[1].to_string(), "rack/0".to_owned()]),
            start: Some(start),
            duration_s: Some(600),
            ..NewReservation::default()
        };
        assert_eq!(book(&world, &ada, set).await.expect("a set").sessions.len(), 2);
        let labelled = |count| NewReservation {
            labels: Some(LabelsAsk::Text("os=debian12".to_owned())),
            count: Some(count),
            duration_s: Some(3_600),
            ..NewReservation::default()
        };
        match book(&world, &ada, labelled(3)).await {
            Err(Error::NothingFits { why, next_free }) => {
                assert!(why.contains("3 wanted, 2 free"), "{why}");
                assert_eq!(next_free.first().map(|slot| slot.start()), Some(by_name.interval.end()));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(book(&world, &ada, labelled(2)).await.expect("by labels").sessions.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_who_holds_it_and_when_it_is_free() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let (ada, ben) = (world.person("Ada", Role::Engineer).await, world.person("Ben", Role::Engineer).await);
        world.machines("rack", 2, "").await;
        let held = book(&world, &ada, one("rack/0", 3_600)).await.expect("free");
        let set = NewReservation {
            machines: Some(vec!["rack/1".to_owned(), "rack/0".to_owned()]),
            duration_s: Some(1_800),
            ..NewReservation::default()
        };
        match book(&world, &ben, set).await {
            Err(Error::Overlap { held_by, next_free }) => {
                assert_eq!(held_by.len(), 1);
                assert_eq!((held_by[0].person_name.as_str(), held_by[0].reservation), ("Ada", held.id));
                assert_eq!(next_free.first().map(|slot| slot.start()), Some(held.interval.end()));
            }
            other => panic!("{other:?}"),
        }
        // All or nothing: the other one of the set is still free.
        book(&world, &ben, one("rack/1", 1_800)).await.expect("the set left nothing behind");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_names_its_field() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        world.machines("rack", 2, "").await;
        let base = one("rack/0", 3_600);
        let cases: Vec<(&str, NewReservation)> = vec![
            ("start", NewReservation { start: Some(at(&world, -10)), ..base.clone() }),
            ("start", NewReservation { start: Some("tomorrow".to_owned()), ..base.clone() }),
            ("start", NewReservation { start: Some(at(&world, 60 * 24 * 91)), ..base.clone() }),
            (
                "end",
                NewReservation {
                    duration_s: None,
                    start: Some(at(&world, 20)),
                    end: Some(at(&world, 10)),
                    ..base.clone()
                },
            ),
            ("end", NewReservation { end: Some(at(&world, 10)), ..base.clone() }),
            ("duration_s", NewReservation { duration_s: None, ..base.clone() }),
            ("duration_s", one("rack/0", 0)),
            ("duration_s", one("rack/0", 10)),
            ("duration_s", one("rack/0", 60 * 60 * 24 * 15)),
            ("duration_s", one("rack/0", u64::MAX)),
            ("machine", NewReservation { machine: None, ..base.clone() }),
            ("machine", NewReservation { machines: Some(vec!["rack/1".to_owned()]), ..base.clone() }),
            (
                "machines",
                NewReservation { machine: None, machines: Some(vec!["rack/1".to_owned(); 2]), ..base.clone() },
            ),
            (
                "machines",
                NewReservation { machine: None, machines: Some(vec!["rack/1".to_owned(); 65]), ..base.clone() },
            ),
            ("machines", NewReservation { machine: None, machines: Some(vec![]), ..base.clone() }),
            (
                "labels",
                NewReservation { machine: None, labels: Some(LabelsAsk::Text("nonsense".to_owned())), ..base.clone() },
            ),
            ("purpose", NewReservation { purpose: Some("x".repeat(501)), ..base.clone() }),
            (
                "environment",
                NewReservation {
                    environment: Some(api::reservations::Environment {
                        image: Some("debian".to_owned()),
                        ..Default::default()
                    }),
                    ..base.clone()
                },
            ),
        ];
        for (expected, ask) in cases {
            assert_eq!(field(book(&world, &ada, ask.clone()).await), expected, "{ask:?}");
        }
        assert!(matches!(book(&world, &ada, one("rack/9", 3_600)).await, Err(Error::NotFound { kind: "machine", .. })));
        // A start a moment ago means now.
        let late =
            NewReservation { start: Some((world.clock.now() - SignedDuration::from_secs(30)).to_string()), ..base };
        assert_eq!(book(&world, &ada, late).await.expect("is now").interval.start(), world.clock.now());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_handed_out_cannot_be_booked() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let admin = world.person("Root", Role::Admin).await;
        let host = world.host("rack").await;
        world.machine(host, "rack", "0", "").await;
        let change = |call: Call, change| {
            let world = world.clone();
            async move { machines::change(&world.services, &call, "rack/0", change).await }
        };
        let quarantine = machines::Change::Quarantine { reason: "smoke".to_owned() };
        assert!(matches!(change(ada.clone(), quarantine.clone()).await, Err(Error::Denied(_))));
        change(admin.clone(), quarantine.clone()).await.expect("an admin may");
        assert!(matches!(change(admin.clone(), quarantine).await, Err(Error::Conflict(_))));
        match book(&world, &ada, one("rack/0", 3_600)).await {
            Err(Error::Conflict(why)) => assert!(why.contains("smoke"), "{why}"),
            other => panic!("{other:?}"),
        }
        change(admin.clone(), machines::Change::Release { reason: "no fire".to_owned() }).await.expect("released");
        world.set_intent(host, HostIntent::Draining).await;
        assert!(matches!(book(&world, &ada, one("rack/0", 3_600)).await, Err(Error::Conflict(_))));
        world.set_intent(host, HostIntent::InService).await;
        world.set_link(host, HostLink::Offline).await;
        book(&world, &ada, one("rack/0", 3_600)).await.expect("it may be back in time");
    })
    .await;
}

/// Everybody sees who has a machine and until when; what runs there is for those who may read the session.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_in_anothers_session_is_not_shown() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let ben = world.person("Ben", Role::Engineer).await;
        let manager = world.person("Mia", Role::Manager).await;
        world.machines("rack", 1, "").await;
        let environment = api::reservations::Environment { setup: Some("token=abc".to_owned()), ..Default::default() };
        let ask = NewReservation { environment: Some(environment), ..one("rack/0", 3_600) };
        let booked = book(&world, &ada, ask).await.expect("booked");
        for (call, shown) in [(&ada, true), (&manager, true), (&ben, false)] {
            let got = reservations::get(&world.services, call, booked.id).await.expect("everybody sees it");
            assert_eq!((got.person_name.as_str(), got.interval), ("Ada", booked.interval));
            let all = ListAsk { whose: Whose::Everybodys, ..ListAsk::default() };
            let listed = reservations::list(&world.services, call, &all).await.expect("everybody sees it").items;
            for seen in [&got, &listed[0]] {
                assert_eq!(seen.environment.setup.is_some(), shown, "{}", call.person_name);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_obey_the_same_rules() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let (ada, ben) = (world.person("Ada", Role::Engineer).await, world.person("Ben", Role::Engineer).await);
        let manager = world.person("Mia", Role::Manager).await;
        world.machines("rack", 1, "").await;
        let mine = book(&world, &ada, NewReservation { start: Some(at(&world, 60)), ..one("rack/0", 3_600) }).await.expect("free");
        let next = book(&world, &ben, NewReservation { start: Some(at(&world, 180)), ..one("rack/0", 3_600) }).await.expect("free");
        let change = |call: &Call, change: ReservationChange, generation| {
            let (world, call) = (world.clone(), call.clone());
            let id = mine.id;
            async move { reservations::change(&world.services, &call, id, &ChangeAsk::try_from(change)?, generation).await }
        };
        let until = |minutes| ReservationChange { end: Some(at(&world, minutes)), ..ReservationChange::default() };
        let longer = change(&ada, until(180), Some(mine.generation)).await.expect("up to the next one");
        assert_eq!(longer.interval.end(), next.interval.start());
        assert_eq!(longer.sessions[0].interval, longer.interval);
        assert!(matches!(change(&ada, until(150), Some(mine.generation)).await, Err(Error::Conflict(_))));
        assert!(matches!(change(&ben, until(150), None).await, Err(Error::Denied(_))));
        match change(&manager, until(181), None).await {
            Err(Error::Overlap { held_by, .. }) => assert_eq!(held_by[0].reservation, next.id),
            other => panic!("{other:?}"),
        }
        let moved = ReservationChange { start: Some(at(&world, 300)), ..ReservationChange::default() };
        assert_eq!(change(&manager, moved, None).await.expect("a manager may").interval.duration(), longer.interval.duration());
        assert_eq!(field(change(&ada, ReservationChange { start: Some(at(&world, -5)), ..Default::default() }, None).await), "start");
        assert_eq!(field(change(&ada, until(15 * 24 * 60), None).await), "end", "longer than any booking");
        let gone = reservations::cancel(&world.services, &ada, mine.id).await.expect("its owner may");
        assert_eq!((gone.state, gone.sessions[0].state), (ReservationState::Cancelled, SessionState::Ended));
        assert!(matches!(change(&ada, until(400), None).await, Err(Error::Conflict(_))));
        reservations::cancel(&world.services, &ada, mine.id).await.expect("once more changes nothing");
        // What was let go can be had.
        book(&world, &ben, NewReservation { start: Some(at(&world, 300)), ..one("rack/0", 3_600) }).await.expect("free again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let (ada, ben) = (world.person("Ada", Role::Engineer).await, world.person("Ben", Role::Engineer).await);
        world.machines("rack", 2, "").await;
        for hour in 0..5_i64 {
            let who = if hour % 2 == 0 { &ada } else { &ben };
            let ask = NewReservation { start: Some(at(&world, hour * 60)), ..one("rack/0", 3_600) };
            book(&world, who, ask).await.expect("free");
        }
        let mut ask = reservations::ListAsk { whose: reservations::Whose::Everybodys, ..Default::default() };
        ask.page.limit = Some(2);
        let mut seen = Vec::new();
        loop {
            let page = reservations::list(&world.services, &ada, &ask).await.expect("lists");
            seen.extend(page.items.iter().map(|r| r.interval.start()));
            ask.page.cursor = page.next_cursor;
            if ask.page.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 5);
        assert!(seen.is_sorted());
        let mine = reservations::list(&world.services, &ben, &reservations::ListAsk::default()).await.expect("lists");
        assert_eq!(mine.items.len(), 2);
        let live = machines::list(&world.services, &ada, &machines::ListAsk::default()).await.expect("lists");
        assert_eq!(live.items.len(), 2);
        assert_eq!(live.items[0].holder.as_ref().map(|h| h.person_name.as_str()), Some("Ada"));
        assert_eq!(live.items[0].next.as_ref().map(|b| b.person_name.as_str()), Some("Ben"));
        assert_eq!(live.items[1].state(), domain::machines::MachineState::Free);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_as_they_come_and_what_is_over_last() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Manager).await;
        world.machines("rack", 1, "").await;
        let mut booked = Vec::new();
        for start_h in 0..6 {
            let start = Some(at(&world, start_h * 120));
            let made = book(&world, &ada, NewReservation { start, ..one("rack/0", 3_600) }).await.expect("free");
            booked.push(made);
        }
        for over in [1, 4] {
            reservations::cancel(&world.services, &ada, booked[over].id).await.expect("has not begun");
        }
        let order = [0, 2, 3, 5, 4, 1].map(|at: usize| booked[at].sessions[0].id);
        // Page by page, where a page ends among what is open, between the two, and among what is over.
        for limit in 1..=7 {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let page = PageAsk { limit: Some(limit), cursor };
                let ask = sessions::ListAsk { whose: Whose::Everybodys, page, ..Default::default() };
                let page = sessions::list(&world.services, &ada, &ask).await.expect("reads");
                seen.extend(page.items.into_iter().map(|session| session.id));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, order, "{limit} a page");
        }
        let cancelled = sessions::ListAsk { state: Some(SessionState::Ended), ..Default::default() };
        let cancelled = sessions::list(&world.services, &ada, &cancelled).await.expect("reads").items;
        assert_eq!(cancelled.iter().map(|session| session.id).collect::<Vec<_>>(), order[4..]);
    })
    .await;
}
