//! Requests that are sent again.

use api::reservations::NewReservation;
use domain::{events::EventKind, people::Role};
use jiff::SignedDuration;
use services::{
    Call, Error,
    idempotency::{Answer, Claim, Decision, claim},
    reservations,
};
use testkit::World;

async fn ask(world: &World, call: &Call, content: &str) -> Result<Decision, Error> {
    claim(&world.services, call, "key", content).await
}

fn work(decision: Result<Decision, Error>) -> Claim {
    match decision {
        Ok(Decision::Work(claim)) => claim,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_same_answer() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        let first = work(ask(&world, &eve, "POST /x {}").await);
        assert!(matches!(ask(&world, &eve, "POST /x {}").await, Err(Error::Conflict(_))), "under way");
        assert!(matches!(ask(&world, &eve, "POST /x {1}").await, Err(Error::Invalid { .. })), "another request");
        let headers = vec![("location".to_owned(), "/x/1".to_owned())];
        let answer = Answer { status: 201, headers, body: "made".to_owned() };
        first.answer(answer.clone()).await.unwrap();
        match ask(&world.restarted(), &eve, "POST /x {}").await {
            Ok(Decision::Repeat(repeated)) => assert_eq!(repeated, answer),
            other => panic!("{other:?}"),
        }
        assert!(matches!(ask(&world, &eve, "POST /x {1}").await, Err(Error::Invalid { .. })));
        // Another person's key of the same name is another key.
        let bob = world.person("Bob", Role::Engineer).await;
        work(ask(&world, &bob, "POST /x {1}").await).release().await.unwrap();
        world.clock.advance(SignedDuration::from_hours(24) + SignedDuration::from_secs(1));
        work(ask(&world, &eve, "POST /x {1}").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_does_the_work() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (world, eve) = (world.clone(), eve.clone());
            tasks.spawn(async move { ask(&world, &eve, "POST /x").await });
        }
        let answers = tasks.join_all().await;
        let working = answers.iter().filter(|answer| matches!(answer, Ok(Decision::Work(_)))).count();
        let waiting = answers.iter().filter(|answer| matches!(answer, Err(Error::Conflict(_)))).count();
        assert_eq!((working, waiting), (1, 15), "{answers:?}");
    })
    .await;
}

/// A server that is killed: it answers no more, and nobody tells the database.
fn killed(claim: Claim) {
    std::mem::forget(claim);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_died_with_its_server_may_be_sent_again() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        services::replicas::join(&world.services, "127.0.0.1:1").await.unwrap();
        killed(work(ask(&world, &eve, "POST /x").await));
        let other = world.restarted();
        assert!(matches!(ask(&other, &eve, "POST /x").await, Err(Error::Conflict(_))), "it may live");
        // Missed, and another one begun at its address: both mean that it is gone.
        world.clock.advance(SignedDuration::from_secs(20));
        killed(work(ask(&other, &eve, "POST /x").await));
        services::replicas::join(&other.services, "127.0.0.1:1").await.unwrap();
        let third = world.restarted();
        services::replicas::join(&third.services, "127.0.0.1:1").await.unwrap();
        work(ask(&third, &eve, "POST /x").await).release().await.unwrap();
        // One that gave up without a word, as its database was away, is no hindrance to its own server.
        drop(work(ask(&third, &eve, "POST /x").await));
        work(ask(&third, &eve, "POST /x").await);
        for key in [String::new(), "x".repeat(201), "a b".into(), "ä".into()] {
            let refused = claim(&world.services, &eve, &key, "POST /x").await;
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{key:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_whose_server_died_before_it_answered_is_found_again() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        world.machines("rack", 3, "").await;
        let ask_for_any = || {
            let ask = NewReservation {
                labels: Some(api::reservations::LabelsAsk::Text(String::new())),
                duration_s: Some(600),
                ..NewReservation::default()
            };
            reservations::Ask::try_from(ask).unwrap()
        };
        let first = work(ask(&world, &eve, "POST /reservations").await);
        let booked = reservations::create(&world.services, &first.call(), &ask_for_any()).await.unwrap();
        let late = first.call();
        killed(first);
        let second = world.restarted();
        match ask(&second, &eve, "POST /reservations").await {
            Ok(Decision::Remake { claim, kind: EventKind::Reservation, made }) => {
                assert_eq!(made, booked.id.uuid());
                drop(claim);
            }
            other => panic!("{other:?}"),
        }
        // A request that was taken for dead and was only slow books nothing more.
        let slow = reservations::create(&world.services, &late, &ask_for_any()).await;
        assert!(matches!(slow, Err(Error::Conflict(_))), "{slow:?}");
        let all = reservations::list(&world.services, &eve, &reservations::ListAsk::default()).await.unwrap();
        assert_eq!(all.items.len(), 1);
    })
    .await;
}
