//! Notebooks that nobody uses: warned, kept, stopped; and never while something runs in them, or where nobody could ask.

use domain::{
    ids::HostId,
    notebooks::{Asked, NotebookIntent, NotebookPolicy, NotebookState, RunSpec},
    people::Role,
};
use jiff::{SignedDuration, Timestamp};
use services::{Call, Error, notebooks};
use store::Store;
use testkit::World;

use crate::notebooks::{get, host_says, pass, running, signed_in, world_of};

const QUIET: Asked = Asked::Quiet { last: None };

fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

/// A notebook that runs, of a tenant whose notebooks stop after an hour, and are told ten minutes before.
async fn idle_world(store: Store) -> (World, Call, notebooks::Quiet) {
    let (world, ada, host) = world_of(store).await;
    let policy = NotebookPolicy { idle_after_min: Some(60), warn_before_min: 10, ..NotebookPolicy::default() };
    let tx = world.store.begin().await.expect("begins");
    store::notebooks::policy::set(&tx, &world.permit(), 0, &policy).await.expect("writes");
    tx.commit().await.expect("commits");
    let spec = running(&world, &ada, "a").await;
    let quiet = quiet(&world, host, &spec);
    (world, ada, quiet)
}

fn quiet(world: &World, host: HostId, spec: &RunSpec) -> notebooks::Quiet {
    notebooks::Quiet { tenant: world.tenant, notebook: spec.notebook, host, run: spec.run, token: String::new() }
}

async fn says(world: &World, quiet: &notebooks::Quiet, asked: Asked) {
    // Two servers ask at once; the second finds what the first did.
    notebooks::answered(&world.services, quiet, asked).await.expect("acts");
    notebooks::answered(&world.restarted().services, quiet, asked).await.expect("acts");
}

async fn events(world: &World) -> Vec<String> {
    let events = store::events::after(&world.store, 0, 1_000).await.expect("reads");
    events
        .into_iter()
        .map(|event| event.word)
        .filter(|word| matches!(word.as_str(), "idle-warning" | "idle-stop" | "kept"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_one_is_told_then_stopped_and_starts_again() {
    testkit::both(|store: Store| async move {
        let (world, ada, quiet) = idle_world(store).await;
        let since = get(&world, &ada, "a").await.since;
        world.clock.advance(minutes(49));
        says(&world, &quiet, QUIET).await;
        assert_eq!(get(&world, &ada, "a").await.stops_at, None, "not yet");
        world.clock.advance(minutes(1));
        says(&world, &quiet, QUIET).await;
        let told = get(&world, &ada, "a").await;
        assert_eq!(told.stops_at, Some(since + minutes(60)));
        assert_eq!((told.state, told.intent), (NotebookState::Running, NotebookIntent::Run));
        world.clock.advance(minutes(9));
        says(&world, &quiet, QUIET).await;
        assert_eq!(get(&world, &ada, "a").await.intent, NotebookIntent::Run, "not before it was said");
        world.clock.advance(minutes(1));
        says(&world, &quiet, QUIET).await;
        assert_eq!(get(&world, &ada, "a").await.intent, NotebookIntent::Stop);
        assert_eq!(events(&world).await, ["idle-warning", "idle-stop"]);
        pass(&world).await;
        host_says(&world, domain::instructions::TransactionState::Done, None).await;
        let stopped = get(&world, &ada, "a").await;
        assert_eq!((stopped.state, stopped.active_at, stopped.stops_at), (NotebookState::Stopped, None, None));
        assert_eq!(stopped.cause, Some(format!("idle since {since}")));
        notebooks::start(&world.services, &ada, "a", None).await.expect("its owner may");
        // What was asked of the run before means nothing now.
        says(&world, &quiet, QUIET).await;
        assert_eq!(get(&world, &ada, "a").await.intent, NotebookIntent::Run);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_runs_or_cannot_be_asked_is_left_alone() {
    testkit::both(|store: Store| async move {
        let (world, ada, quiet) = idle_world(store).await;
        world.clock.advance(minutes(600));
        says(&world, &quiet, Asked::Silent).await;
        assert_eq!(get(&world, &ada, "a").await.stops_at, None, "nobody could ask");
        says(&world, &quiet, Asked::Busy).await;
        let busy = get(&world, &ada, "a").await;
        assert_eq!((busy.active_at, busy.stops_at), (Some(world.clock.now()), None));
        world.clock.advance(minutes(50));
        says(&world, &quiet, QUIET).await;
        assert!(get(&world, &ada, "a").await.stops_at.is_some());
        world.clock.advance(minutes(10));
        for asked in [Asked::Silent, Asked::Busy] {
            says(&world, &quiet, asked).await;
            assert_eq!(get(&world, &ada, "a").await.intent, NotebookIntent::Run, "{asked:?}");
        }
        assert_eq!(get(&world, &ada, "a").await.stops_at, None, "a cell runs: the warning is void");
        // What JupyterLab itself saw, with no tab open.
        world.clock.advance(minutes(55));
        let last: Timestamp = world.clock.now() - minutes(3);
        says(&world, &quiet, Asked::Quiet { last: Some(last) }).await;
        let used = get(&world, &ada, "a").await;
        assert_eq!((used.active_at, used.stops_at), (Some(last), None));
        // A host that is not linked here is another server's to ask.
        world.clock.advance(minutes(600));
        let looked = notebooks::look(&world.services).await.expect("looks");
        assert!(looked.ask.is_empty());
        assert_eq!(get(&world, &ada, "a").await.intent, NotebookIntent::Run);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn use_and_a_word_of_its_person_keep_it() {
    testkit::both(|store: Store| async move {
        let (world, ada, quiet) = idle_world(store).await;
        let warn = async || {
            world.clock.advance(minutes(50));
            says(&world, &quiet, QUIET).await;
            assert!(get(&world, &ada, "a").await.stops_at.is_some());
        };
        warn().await;
        notebooks::keep(&world.services, &ada, "a").await.expect("its owner may");
        let kept = get(&world, &ada, "a").await;
        assert_eq!((kept.active_at, kept.stops_at), (Some(world.clock.now()), None));
        world.clock.advance(minutes(10));
        says(&world, &quiet, QUIET).await;
        assert_eq!(get(&world, &ada, "a").await.intent, NotebookIntent::Run);

        // Work that passes, from a browser that is in.
        warn().await;
        let (browser, _) = signed_in(&world, &ada).await;
        let ticket = notebooks::ticket(&world.services, &browser, "a").await.expect("may");
        let visit = notebooks::enter(&world.services, "a", &ticket.secret).await.expect("reads").expect("is good");
        let visitor = notebooks::visitor(&world.services, "a", &visit.secret).await.expect("may");
        assert!(get(&world, &ada, "a").await.stops_at.is_some(), "an open tab is no use");
        notebooks::note_work(&world.services, &visitor).await;
        let used = get(&world, &ada, "a").await;
        assert_eq!((used.active_at, used.stops_at), (Some(world.clock.now()), None));
        // It is not written down for each message.
        let first = world.clock.now();
        world.clock.advance(SignedDuration::from_secs(14));
        notebooks::note_work(&world.services, &visitor).await;
        assert_eq!(get(&world, &ada, "a").await.active_at, Some(first));
        world.clock.advance(SignedDuration::from_secs(1));
        notebooks::note_work(&world.services, &visitor).await;
        assert_eq!(get(&world, &ada, "a").await.active_at, Some(first + SignedDuration::from_secs(15)));

        // By its page's own button.
        warn().await;
        notebooks::keep_here(&world.services, "a", &visit.secret).await.expect("its owner may");
        assert_eq!(get(&world, &ada, "a").await.stops_at, None);
        assert!(matches!(notebooks::keep_here(&world.services, "a", "forged").await, Err(Error::NotSignedIn)));
        assert_eq!(events(&world).await.iter().filter(|word| *word == "kept").count(), 3);
        let bob = world.person("Bob", Role::Admin).await;
        assert!(matches!(notebooks::keep(&world.services, &bob, "a").await, Err(Error::NotFound { .. })));
        notebooks::stop(&world.services, &ada, "a").await.expect("may");
        assert!(matches!(notebooks::keep(&world.services, &ada, "a").await, Err(Error::Conflict(_))));
    })
    .await;
}
