//! Requests that are sent again.

use domain::people::Role;
use jiff::SignedDuration;
use services::{
    Call, Error,
    idempotency::{Claim, Decision, claim},
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
        first.answer(201, "made".into()).await.unwrap();
        match ask(&world.restarted(), &eve, "POST /x {}").await {
            Ok(Decision::Repeat { status, body }) => assert_eq!((status, body.as_str()), (201, "made")),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_died_with_its_server_may_be_sent_again() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        work(ask(&world, &eve, "POST /x").await);
        world.clock.advance(SignedDuration::from_mins(6));
        work(ask(&world, &eve, "POST /x").await).release().await.unwrap();
        work(ask(&world, &eve, "POST /x").await);
        for key in [String::new(), "x".repeat(201), "a b".into(), "ä".into()] {
            let refused = claim(&world.services, &eve, &key, "POST /x").await;
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{key:?}");
        }
    })
    .await;
}
