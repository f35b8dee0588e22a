//! A notebook's way from launch to stop, who may do what with it, and how a browser gets in; hosts' reports are written as
//! their agents' results are.

use domain::{
    hosts::HostLink,
    ids::{HostId, RunId},
    instructions::{TransactionState, Work},
    notebooks::{
        BASE, BUILD_PAUSE, Notebook, NotebookAct, NotebookOffer, NotebookPolicy, NotebookSize, NotebookState, Pool,
        RunSpec, Software, TICKET_LIFETIME, WarmState,
    },
    people::Role,
};
use jiff::SignedDuration;
use services::{Call, Error, Via, notebooks, page::PageAsk, reconciler, reservations::Whose, sign_in};
use store::Store;
use testkit::World;

const OFFER: NotebookOffer =
    NotebookOffer { cpu_millis: 2_000, memory_bytes: 4 << 30, places: 8, takes_images: false, gives_warm: true };

fn packages(list: &str) -> Software {
    notebooks::software(Some(list), None).expect("is a list")
}

pub(super) async fn pass(world: &World) {
    // Twice: what is safe to repeat does nothing the second time.
    reconciler::pass(&world.services).await.expect("looks");
    reconciler::pass(&world.services).await.expect("looks");
}

pub(super) async fn launch(world: &World, call: &Call, name: &str) -> Notebook {
    let ask = notebooks::Ask { name: Some(name.to_owned()), ..notebooks::Ask::default() };
    notebooks::launch(&world.services, call, &ask).await.expect("may")
}

pub(super) async fn get(world: &World, call: &Call, name: &str) -> Notebook {
    notebooks::get(&world.services, call, name).await.expect("is there")
}

/// The one open instruction ends so.
pub(super) async fn host_says(world: &World, state: TransactionState, cause: Option<&str>) -> Work {
    let mut open = world.open_work().await;
    assert_eq!(open.len(), 1, "{open:?}");
    let (id, work) = open.remove(0);
    world.finish_work(id, state, cause).await;
    pass(world).await;
    work
}

pub(super) async fn world_of(store: Store) -> (World, Call, HostId) {
    let world = World::new(store).await;
    let ada = world.person("Ada", Role::Engineer).await;
    let host = world.host("rack").await;
    world.offer_notebooks(host, Some(OFFER)).await;
    (world, ada, host)
}

pub(super) async fn running(world: &World, call: &Call, name: &str) -> RunSpec {
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
pub(super) async fn signed_in(world: &World, call: &Call) -> (Call, String) {
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

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_limits_are_what_an_admin_sets() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let root = world.person("Root", Role::Admin).await;
        let (mut policy, generation) = notebooks::policy(&world.services, &ada).await.expect("all may look");
        assert_eq!((policy.clone(), generation), (NotebookPolicy::default(), 0));
        policy.sizes.truncate(1);
        policy.sizes[0] = NotebookSize { name: "tiny".to_owned(), cpu_millis: 500, ..policy.sizes[0].clone() };
        policy.max_running = 2;
        let set = async |call: &Call, read: i64, policy: &NotebookPolicy| {
            notebooks::set_policy(&world.services, call, Some(read), policy).await
        };
        assert!(matches!(set(&ada, 0, &policy).await, Err(Error::Denied(_))));
        let bad = NotebookPolicy { max_running: 0, ..policy.clone() };
        assert!(matches!(set(&root, 0, &bad).await, Err(Error::Invalid { field: "max_running", .. })));
        assert_eq!(set(&root, 0, &policy).await.expect("an admin may"), 1);
        assert!(matches!(set(&root, 0, &policy).await, Err(Error::Conflict(_))), "it is not what was read any more");

        let first = launch(&world, &ada, "a").await;
        assert_eq!((first.size.name.as_str(), first.size.cpu_millis), ("tiny", 500));
        let of = |size: &str, name: &str| notebooks::Ask {
            size: Some(size.to_owned()),
            name: Some(name.to_owned()),
            ..notebooks::Ask::default()
        };
        let unknown = notebooks::launch(&world.services, &ada, &of("small", "b")).await;
        assert!(matches!(unknown, Err(Error::Invalid { field: "size", why }) if why.contains("there are tiny")));
        launch(&world, &ada, "b").await;
        let over = notebooks::launch(&world.services, &ada, &of("tiny", "c")).await;
        assert!(matches!(over, Err(Error::Conflict(why)) if why.starts_with("2 notebooks of yours run")));
        notebooks::stop(&world.services, &ada, "b").await.expect("may");
        pass(&world).await;
        let ask = of("tiny", "c");
        // Of many at once only as many get in as the limit lets.
        let all = futures_util::future::join_all((0..4).map(|at| {
            let ask = notebooks::Ask { name: Some(format!("c{at}")), ..ask.clone() };
            let (services, ada) = (&world.services, &ada);
            async move { notebooks::launch(services, ada, &ask).await }
        }))
        .await;
        assert_eq!(all.iter().filter(|launched| launched.is_ok()).count(), 1, "{all:?}");
        let refused = notebooks::start(&world.services, &ada, "b", None).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
        notebooks::stop(&world.services, &ada, "a").await.expect("may");
        host_says(&world, TransactionState::Failed, None).await;
    })
    .await;
}

async fn pool(world: &World, root: &Call, count: u32) {
    let pool = Pool { count, size: "small".to_owned() };
    notebooks::set_pool(&world.services, root, BASE, Some(pool)).await.expect("an admin may");
    pass(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_warm_is_given_and_another_takes_its_place() {
    testkit::both(|store: Store| async move {
        let (world, ada, host) = world_of(store).await;
        let root = world.person("Root", Role::Admin).await;
        let any = Pool { count: 1, size: "small".to_owned() };
        let set =
            async |call: &Call, which: &str| notebooks::set_pool(&world.services, call, which, Some(any.clone())).await;
        assert!(matches!(set(&ada, BASE).await, Err(Error::Denied(_))), "only an admin may");
        let image = notebooks::software(None, Some("lab:1")).expect("is an image");
        notebooks::create_environment(&world.services, &ada, "image", image).await.expect("may");
        assert!(matches!(set(&root, "image").await, Err(Error::Invalid { field: "environment", .. })));
        pool(&world, &root, 1).await;
        let Work::WarmNotebook { spec } = host_says(&world, TransactionState::Done, None).await else {
            panic!("no start");
        };
        let waiting = notebooks::warm_runs(&world.services, &root).await.expect("may");
        assert_eq!((waiting.len(), waiting[0].run, waiting[0].state), (1, spec.run, WarmState::Ready));
        assert_eq!(notebooks::warm_runs(&world.services, &ada).await.expect("may ask").len(), 0);
        notebooks::on_link(&world.services, world.tenant, host, &[spec.run]).await.expect("compares");

        launch(&world, &ada, "a").await;
        pass(&world).await;
        let open = world.open_work().await;
        let (given, started): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(_, work)| matches!(work, Work::GiveNotebook { .. }));
        assert!(matches!(&given[..], [(_, Work::GiveNotebook { run, .. })] if *run == spec.run), "{given:?}");
        assert!(matches!(&started[..], [(_, Work::WarmNotebook { .. })]), "the next is made ready: {started:?}");
        world.finish_work(given[0].0, TransactionState::Done, None).await;
        pass(&world).await;
        let up = get(&world, &ada, "a").await;
        assert_eq!((up.state, up.run, up.is_given), (NotebookState::Running, Some(spec.run), true));

        // There is room for two: the one that waits gives way to a notebook of another size.
        world.finish_work(started[0].0, TransactionState::Done, None).await;
        pass(&world).await;
        let medium = NotebookPolicy::default().sizes[1].name.clone();
        world.offer_notebooks(host, Some(NotebookOffer { cpu_millis: 3_000, memory_bytes: 6 << 30, ..OFFER })).await;
        let ask = notebooks::Ask { name: Some("b".to_owned()), size: Some(medium), ..notebooks::Ask::default() };
        notebooks::launch(&world.services, &ada, &ask).await.expect("may");
        pass(&world).await;
        assert!(matches!(host_says(&world, TransactionState::Done, None).await, Work::StopNotebook { .. }));
        assert!(matches!(host_says(&world, TransactionState::Done, None).await, Work::StartNotebook { .. }));
        assert_eq!(get(&world, &ada, "b").await.state, NotebookState::Running);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_run_that_cannot_be_given_or_started_holds_nobody_up() {
    testkit::both(|store: Store| async move {
        let (world, ada, host) = world_of(store).await;
        let root = world.person("Root", Role::Admin).await;
        pool(&world, &root, 1).await;
        host_says(&world, TransactionState::Failed, Some("no such package")).await;
        let failed = notebooks::warm_runs(&world.services, &root).await.expect("may");
        assert_eq!((failed[0].state, failed[0].cause.as_deref()), (WarmState::Failed, Some("no such package")));
        assert_eq!(world.open_work().await.len(), 0, "it is not tried again at once");
        world.clock.advance(BUILD_PAUSE);
        pass(&world).await;
        let Work::WarmNotebook { spec } = host_says(&world, TransactionState::Done, None).await else {
            panic!("no start");
        };
        // A host that comes back without it has lost it.
        notebooks::on_link(&world.services, world.tenant, host, &[]).await.expect("compares");
        pass(&world).await;
        let Work::WarmNotebook { spec: next } = host_says(&world, TransactionState::Done, None).await else {
            panic!("no start");
        };
        assert_ne!(next.run, spec.run);
        pool(&world, &root, 0).await;
        let open = world.open_work().await;
        assert!(matches!(&open[..], [(_, Work::StopNotebook { run, .. })] if *run == next.run), "{open:?}");
        host_says(&world, TransactionState::Done, None).await;
        assert_eq!(notebooks::warm_runs(&world.services, &root).await.expect("may").len(), 0);

        pool(&world, &root, 1).await;
        host_says(&world, TransactionState::Done, None).await;
        pool_is_left(&world, &ada).await;
    })
    .await;
}

/// Giving fails; the notebook is started as if nothing had waited.
async fn pool_is_left(world: &World, ada: &Call) {
    launch(world, ada, "a").await;
    pass(world).await;
    let open = world.open_work().await;
    let given = open.iter().find(|(_, work)| matches!(work, Work::GiveNotebook { .. })).expect("is given").0;
    world.finish_work(given, TransactionState::Failed, Some("no room on its disk")).await;
    pass(world).await;
    let open = world.open_work().await;
    let stop = open.iter().find(|(_, work)| matches!(work, Work::StopNotebook { .. })).expect("is ended").0;
    world.finish_work(stop, TransactionState::Done, None).await;
    pass(world).await;
    let open = world.open_work().await;
    assert!(open.iter().any(|(_, work)| matches!(work, Work::StartNotebook { .. })), "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_deleted_when_nothing_has_them() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        let bob = world.person("Bob", Role::Engineer).await;
        running(&world, &ada, "a").await;
        let list = async |call: &Call| {
            let ask = PageAsk { limit: None, cursor: None };
            notebooks::volumes(&world.services, call, Whose::Mine, &ask).await.expect("may").items
        };
        let mine = list(&ada).await;
        assert_eq!((mine.len(), list(&bob).await.len()), (1, 0));
        let id = mine[0].id;
        let remove = async |call: &Call| notebooks::remove_volume(&world.services, call, id).await;
        assert!(matches!(remove(&bob).await, Err(Error::NotFound { .. })));
        assert!(matches!(remove(&ada).await, Err(Error::Conflict(_))), "while a notebook has them");
        notebooks::stop(&world.services, &ada, "a").await.expect("may");
        pass(&world).await;
        host_says(&world, TransactionState::Done, None).await;
        remove(&ada).await.expect("may");
        remove(&ada).await.expect("twice comes to the same");
        host_says(&world, TransactionState::Failed, Some("the disk hangs")).await;
        let kept = list(&ada).await;
        assert_eq!(kept[0].cause.as_deref(), Some("the disk hangs"));
        remove(&ada).await.expect("may");
        // Nothing is started with files that are being deleted.
        notebooks::start(&world.services, &ada, "a", None).await.expect("may");
        pass(&world).await;
        let why = get(&world, &ada, "a").await.cause.expect("a reason");
        assert!(why.contains("are deleted"), "{why}");
        // A host that does not come for it is asked again.
        host_says(&world, TransactionState::NeverDelivered, None).await;
        assert!(matches!(host_says(&world, TransactionState::Done, None).await, Work::RemoveVolume { .. }));
        assert_eq!(get(&world, &ada, "a").await.state, NotebookState::Starting);
        assert_ne!(list(&ada).await[0].id, id, "new ones");
    })
    .await;
}

#[test]
fn an_environment_is_of_packages_or_an_image() {
    let image = |image: &str| notebooks::software(None, Some(image));
    assert!(matches!(image("registry.example/team/lab:1"), Ok(Software::Image { .. })));
    for bad in ["", "a b", "-v", "a;b"] {
        let software = image(bad);
        assert!(!matches!(software, Ok(Software::Image { .. })), "{bad}");
    }
    assert!(notebooks::software(Some("numpy"), Some("lab:1")).is_err());
}
