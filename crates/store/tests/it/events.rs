//! Events come with the change that they tell of, in the order of their revisions, and none is passed over.

use domain::events::EventKind;
use store::Store;
use testkit::World;
use uuid::Uuid;

async fn tell(world: &World, word: &str) -> store::Tx {
    let tx = world.store.begin().await.expect("begins");
    let (permit, now) = (world.permit(), world.clock.now());
    store::events::append(&tx, &permit, EventKind::Machine, Uuid::now_v7(), word, now).await.expect("tells");
    tx
}

async fn words(world: &World, after: i64) -> Vec<String> {
    let events = store::events::after(&world.store, after, 1_000).await.expect("reads");
    events.into_iter().map(|event| event.word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_there_with_its_change_or_not_at_all() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let before = store::events::newest(&world.store).await.expect("reads");
        tell(&world, "undone").await.rollback().await.expect("rolls back");
        drop(tell(&world, "dropped").await);
        tell(&world, "done").await.commit().await.expect("commits");
        assert_eq!(words(&world, before).await, ["done"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_what_their_own_tenant_missed() {
    testkit::both(|store: Store| async move {
        let (ours, theirs) = (World::new(store.clone()).await, World::new(store).await);
        let before = store::events::newest(&ours.store).await.expect("reads");
        for (world, word) in [(&ours, "one"), (&theirs, "secret"), (&ours, "two")] {
            tell(world, word).await.commit().await.expect("commits");
        }
        let missed = async |world: &World, after| {
            let events = store::events::after_for(&world.store, &world.permit(), after, 10).await.expect("reads");
            events.into_iter().map(|event| (event.revision, event.word)).collect::<Vec<_>>()
        };
        let all = missed(&ours, before).await;
        assert_eq!(all.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(missed(&ours, all[0].0).await, all[1..]);
        assert_eq!(missed(&theirs, before).await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_what_many_write_at_once_misses_none() {
    const WRITERS: usize = 16;
    const EACH: usize = 25;
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let mut seen = store::events::newest(&world.store).await.expect("reads");
        let writers = (0..WRITERS).map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    tell(&world, "told").await.commit().await.expect("commits");
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut count = 0;
        // A reader that asks only for what is newer than the newest that it saw.
        while count < WRITERS * EACH {
            let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
            let events = store::events::after(&world.store, seen, 1_000).await.expect("reads");
            assert!(!(done && events.is_empty()), "{} events were passed over", WRITERS * EACH - count);
            count += events.len();
            seen = events.last().map_or(seen, |event| event.revision);
        }
    })
    .await;
}
