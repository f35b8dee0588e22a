//! A notebook's way from launch to stop, who may do what with it, and how a browser gets in; hosts' reports are written as
//! their agents' results are.

use domain::{
    hosts::HostLink,
    ids::{HostId, RunId},
    instructions::{TransactionState, Work},
    notebooks::{
        BASE, Notebook, NotebookAct, NotebookOffer, NotebookPolicy, NotebookState, RunSpec, Software, TICKET_LIFETIME,
    },
    people::Role,
};
use jiff::SignedDuration;
use services::{Call, Error, Via, notebooks, reconciler, sign_in};
use store::Store;
use testkit::World;

const OFFER: NotebookOffer =
    NotebookOffer { cpu_millis: 2_000, memory_bytes: 4 << 30, places: 8, takes_images: false, gives_warm: true };

fn packages(list: &str) -> Software {
    notebooks::software(Some(list), None).expect("is a list")
}

async fn pass(world: &World) {
    // Twice: what is safe to repeat does nothing the second time.
    reconciler::pass(&world.services).await.expect("looks");
    reconciler::pass(&world.services).await.expect("looks");
}

async fn launch(world: &World, call: &Call, name: &str) -> Notebook {
    let ask = notebooks::Ask { name: Some(name.to_owned()), ..notebooks::Ask::default() };
    notebooks::launch(&world.services, call, &ask).await.expect("may")
}

async fn get(world: &World, call: &Call, name: &str) -> Notebook {
    notebooks::get(&world.services, call, name).await.expect("is there")
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

async fn world_of(store: Store) -> (World, Call, HostId) {
    let world = World::new(store).await;
    let ada = world.person("Ada", Role::Engineer).await;
    let host = world.host("rack").await;
    world.offer_notebooks(host, Some(OFFER)).await;
    (world, ada, host)
}

async fn running(world: &World, call: &Call, name: &str) -> RunSpec {
    launch(world, call, name).await;
    pass(world).await;
    match host_says(world, TransactionState::Done, None).await {
        Work::StartNotebook { spec } => spec,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_launch_to_stop_and_back() {
    testkit::both(|store: Store| async move {
        let (world, ada, host) = world_of(store).await;
        let asked = launch(&world, &ada, "ada-1").await;
        assert_eq!((asked.state, asked.environment_name.as_str()), (NotebookState::Waiting, BASE));
        pass(&world).await;
        let starting = get(&world, &ada, "ada-1").await;
        assert_eq!((starting.state, starting.host), (NotebookState::Starting, Some(host)));
        let Work::StartNotebook { spec } = host_says(&world, TransactionState::Done, None).await else {
            panic!("no start");
        };
        assert!(spec.software.text().contains("jupyterlab") && spec.software.text().contains("pandas"));
        assert_eq!((Some(spec.run), spec.limits), (starting.run, NotebookPolicy::default().sizes[0].limits()));
        let up = get(&world, &ada, "ada-1").await;
        assert_eq!((up.state, up.acts(&ada.actor)), (NotebookState::Running, vec![NotebookAct::Open, NotebookAct::Stop]));

        notebooks::stop(&world.services, &ada, "ada-1").await.expect("its owner may");
        pass(&world).await;
        assert_eq!(get(&world, &ada, "ada-1").await.state, NotebookState::Stopping);
        // A host that does not come for it is asked again.
        host_says(&world, TransactionState::NeverDelivered, None).await;
        assert!(matches!(host_says(&world, TransactionState::Done, None).await, Work::StopNotebook { run, .. } if run == spec.run));
        assert_eq!(get(&world, &ada, "ada-1").await.state, NotebookState::Stopped);

        notebooks::start(&world.services, &ada, "ada-1", None).await.expect("its owner may");
        pass(&world).await;
        let Work::StartNotebook { spec: again } = host_says(&world, TransactionState::Done, None).await else {
            panic!("no start");
        };
        assert_eq!(again.volume, spec.volume, "the files are the same");
        assert_ne!(again.run, spec.run);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_room_it_waits_and_says_why() {
    testkit::both(|store: Store| async move {
        let (world, ada, host) = world_of(store).await;
        world.offer_notebooks(host, None).await;
        launch(&world, &ada, "a").await;
        pass(&world).await;
        let why = get(&world, &ada, "a").await.cause.expect("a reason");
        assert!(why.contains("no host takes notebooks"), "{why}");
        world.offer_notebooks(host, Some(OFFER)).await;
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        // 2 of 4 GiB and 1 of 2 CPUs are taken: one more fits, and then none.
        running(&world, &ada, "b").await;
        launch(&world, &ada, "c").await;
        pass(&world).await;
        let waiting = get(&world, &ada, "c").await;
        assert_eq!(waiting.state, NotebookState::Waiting);
        assert!(waiting.cause.expect("a reason").starts_with("waits for room"));
        notebooks::stop(&world.services, &ada, "b").await.expect("may");
        pass(&world).await;
        let mut open = world.open_work().await;
        assert_eq!(open.len(), 1, "no start before there is room");
        world.finish_work(open.remove(0).0, TransactionState::Done, None).await;
        pass(&world).await;
        assert_eq!(get(&world, &ada, "c").await.state, NotebookState::Starting);
        // One that has not been placed is stopped at once.
        launch(&world, &ada, "d").await;
        notebooks::stop(&world.services, &ada, "d").await.expect("may");
        pass(&world).await;
        assert_eq!(get(&world, &ada, "d").await.state, NotebookState::Stopped);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_loses_has_failed_and_what_nobody_wants_is_ended() {
    testkit::both(|store: Store| async move {
        let (world, ada, host) = world_of(store).await;
        let spec = running(&world, &ada, "a").await;
        notebooks::on_run_ended(&world.services, world.tenant, HostId::new(), spec.run, "forged")
            .await
            .expect("ignored");
        assert_eq!(
            get(&world, &ada, "a").await.state,
            NotebookState::Running,
            "another host's word counts for nothing"
        );
        notebooks::on_run_ended(&world.services, world.tenant, host, spec.run, "out of memory").await.expect("noted");
        let ended = get(&world, &ada, "a").await;
        assert_eq!((ended.state, ended.cause.as_deref()), (NotebookState::Failed, Some("out of memory")));

        let spec = running(&world, &ada, "b").await;
        notebooks::on_link(&world.services, world.tenant, host, &[spec.run]).await.expect("compares");
        assert_eq!(get(&world, &ada, "b").await.state, NotebookState::Running);
        let stray = RunId::new();
        notebooks::on_link(&world.services, world.tenant, host, &[stray]).await.expect("compares");
        assert_eq!(get(&world, &ada, "b").await.state, NotebookState::Failed);
        let open = world.open_work().await;
        assert!(matches!(&open[..], [(_, Work::StopNotebook { run, .. })] if *run == stray), "{open:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_and_an_unclear_one_is_cleaned_up_first() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        launch(&world, &ada, "a").await;
        pass(&world).await;
        host_says(&world, TransactionState::Failed, Some("environment: no such package")).await;
        let failed = get(&world, &ada, "a").await;
        assert_eq!(
            (failed.state, failed.cause.as_deref()),
            (NotebookState::Failed, Some("environment: no such package"))
        );

        launch(&world, &ada, "b").await;
        pass(&world).await;
        host_says(&world, TransactionState::Unknown, None).await;
        assert!(matches!(host_says(&world, TransactionState::Done, None).await, Work::StopNotebook { .. }));
        assert_eq!(get(&world, &ada, "b").await.state, NotebookState::Starting, "it is still wanted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_is_its_owners() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        running(&world, &ada, "a").await;
        let bob = world.person("Bob", Role::Engineer).await;
        let root = world.person("Root", Role::Admin).await;
        assert!(matches!(notebooks::get(&world.services, &bob, "a").await, Err(Error::NotFound { .. })));
        assert!(matches!(notebooks::stop(&world.services, &bob, "a").await, Err(Error::NotFound { .. })));
        let seen = notebooks::list(&world.services, &bob, &notebooks::ListAsk::default()).await.expect("may");
        assert!(seen.items.is_empty());
        let of_admin = notebooks::get(&world.services, &root, "a").await.expect("an admin sees all");
        assert_eq!(of_admin.acts(&root.actor), vec![NotebookAct::Stop], "but does not look into it");
        assert!(notebooks::ticket(&world.services, &root, "a").await.is_err());
        let taken = notebooks::Ask { name: Some("a".to_owned()), ..notebooks::Ask::default() };
        assert!(matches!(notebooks::launch(&world.services, &bob, &taken).await, Err(Error::Conflict(_))));
        let bad = notebooks::Ask { name: Some("A b".to_owned()), ..notebooks::Ask::default() };
        assert!(matches!(
            notebooks::launch(&world.services, &bob, &bad).await,
            Err(Error::Invalid { field: "name", .. })
        ));
    })
    .await;
}

/// The person as they come with a browser.
async fn signed_in(world: &World, call: &Call) -> (Call, String) {
    let id = format!("sign-in of {}", call.person_name);
    let person = call.actor.person;
    sign_in::begin(&world.services, &id, world.tenant, person, "{}".to_owned()).await.expect("signs in");
    let call = sign_in::caller(&world.services, &id, None).await.expect("reads").expect("is signed in");
    (call, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once_and_a_visit_until_its_sign_in_ends() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let spec = running(&world, &ada, "a").await;
        running(&world, &ada, "b").await;
        assert!(notebooks::ticket(&world.services, &ada, "a").await.is_err(), "only browsers get one");
        let (browser, id) = signed_in(&world, &ada).await;
        assert!(matches!(browser.via, Via::SignIn(_)));
        let enter =
            async |name: &str, secret: &str| notebooks::enter(&world.services, name, secret).await.expect("reads");
        let visitor = async |name: &str, secret: &str| notebooks::visitor(&world.services, name, secret).await;

        let ticket = notebooks::ticket(&world.services, &browser, "a").await.expect("its owner may");
        assert!(enter("b", &ticket.secret).await.is_none(), "another notebook's");
        assert!(visitor("a", &ticket.secret).await.is_err(), "a ticket is no cookie");
        let visit = enter("a", &ticket.secret).await.expect("it is good");
        assert!(enter("a", &ticket.secret).await.is_none(), "once only");
        assert!(enter("a", &visit.secret).await.is_none(), "a cookie is no ticket");
        let known = visitor("a", &visit.secret).await.expect("may");
        assert_eq!((known.run, known.token.len()), (spec.run, 64));
        assert!(visitor("b", &visit.secret).await.is_err(), "of this notebook alone");
        assert!(visitor("a", "forged").await.is_err());
        assert!(notebooks::may_stay(&world.services, &known).await);

        let late = notebooks::ticket(&world.services, &browser, "a").await.expect("may");
        world.clock.advance(TICKET_LIFETIME + SignedDuration::from_secs(1));
        assert!(enter("a", &late.secret).await.is_none(), "over");

        sign_in::end(&world.services, &id).await.expect("ends");
        assert!(!notebooks::may_stay(&world.services, &known).await);
        assert!(matches!(visitor("a", &visit.secret).await, Err(Error::NotSignedIn)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_notebook_lets_nobody_stay() {
    testkit::both(|store: Store| async move {
        let (world, ada, host) = world_of(store).await;
        running(&world, &ada, "a").await;
        let (browser, _) = signed_in(&world, &ada).await;
        let ticket = notebooks::ticket(&world.services, &browser, "a").await.expect("may");
        let visit = notebooks::enter(&world.services, "a", &ticket.secret).await.expect("reads").expect("is good");
        world.set_link(host, HostLink::Offline).await;
        assert!(
            notebooks::visitor(&world.services, "a", &visit.secret).await.is_ok(),
            "its host may be back in a moment"
        );
        notebooks::stop(&world.services, &ada, "a").await.expect("may");
        pass(&world).await;
        assert!(matches!(notebooks::visitor(&world.services, "a", &visit.secret).await, Err(Error::Conflict(_))));
        assert!(notebooks::delete(&world.services, &ada, "a").await.is_err(), "not while it stops");
        host_says(&world, TransactionState::Done, None).await;
        notebooks::delete(&world.services, &ada, "a").await.expect("its owner may");
        assert!(notebooks::get(&world.services, &ada, "a").await.is_err());
        assert!(matches!(notebooks::visitor(&world.services, "a", &visit.secret).await, Err(Error::NotSignedIn)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_of_ones_own_gets_what_a_notebook_needs() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let bob = world.person("Bob", Role::Engineer).await;
        notebooks::create_environment(&world.services, &ada, "forecast", packages("prophet\n")).await.expect("may");
        let again = notebooks::create_environment(&world.services, &bob, "forecast", packages("x\n")).await;
        assert!(matches!(again, Err(Error::Conflict(_))));
        let ask = notebooks::Ask { environment: Some("forecast".to_owned()), ..notebooks::Ask::default() };
        let launched = notebooks::launch(&world.services, &bob, &ask).await.expect("the tenant's");
        assert!(launched.name.starts_with("bob-"), "{}", launched.name);
        pass(&world).await;
        let Work::StartNotebook { spec } = host_says(&world, TransactionState::Done, None).await else {
            panic!("no start");
        };
        assert!(spec.software.text().contains("jupyterlab") && spec.software.text().ends_with("prophet\n"));
        assert!(matches!(
            notebooks::delete_environment(&world.services, &ada, "forecast").await,
            Err(Error::Conflict(_))
        ));
        assert!(notebooks::delete_environment(&world.services, &bob, "forecast").await.is_err(), "it is Ada's");
        assert!(notebooks::delete_environment(&world.services, &ada, BASE).await.is_err());
        let names = notebooks::environments(&world.services, &ada, &Default::default()).await.expect("may");
        assert_eq!(names.items.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [BASE, "forecast"]);
    })
    .await;
}
