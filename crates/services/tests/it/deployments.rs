//! Versions of object workers' code: made, run, gone back to, deleted, and by whom.

use bytes::Bytes;
use domain::{
    deployments::{
        Binding, CodeLimits, KEPT_VERSIONS, MAX_RUNNING_BYTES, MAX_VARS_BYTES, Migration, ModuleKind, Version,
    },
    people::Role,
};
use protocol::bundle::{Bundle, Module};
use services::{
    Call, Error,
    deployments::{self, Ask, Deployed},
    page::PageAsk,
};
use store::Store;
use testkit::World;

pub(crate) fn ask(name: &str, text: &str) -> Ask {
    Ask {
        name: name.to_owned(),
        main: "index.js".to_owned(),
        modules: vec![Module {
            name: "index.js".to_owned(),
            kind: ModuleKind::Esm,
            body: Bytes::from(text.to_owned()),
        }],
        vars: vec![("GREETING".to_owned(), "hello".into())],
        bindings: vec![Binding { name: "ROOMS".to_owned(), class: "Room".to_owned() }],
        services: Vec::new(),
        limits: CodeLimits::default(),
        migrations: vec![Migration { tag: "v1".to_owned(), new: vec!["Room".to_owned()], ..Migration::default() }],
        note: String::new(),
    }
}

pub(crate) async fn deploy(world: &World, call: &Call, ask: &Ask) -> (Version, bool) {
    match deployments::deploy(&world.services, call, ask).await.expect("may") {
        Deployed::Created(_, version) | Deployed::Changed(_, version) => (version, true),
        Deployed::Same(_, version) => (version, false),
    }
}

async fn refused(world: &World, call: &Call, ask: &Ask) -> String {
    deployments::deploy(&world.services, call, ask).await.expect_err("is refused").to_string()
}

async fn world_of(store: Store) -> (World, Call) {
    let world = World::new(store).await;
    let ada = world.person("Ada", Role::Engineer).await;
    (world, ada)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_a_version_and_one_can_go_back() {
    testkit::both(|store: Store| async move {
        let (world, ada) = world_of(store).await;
        let (first, _) = deploy(&world, &ada, &ask("chat", "1")).await;
        assert_eq!(first.number, 1);
        let (second, is_new) = deploy(&world, &ada, &ask("chat", "2")).await;
        assert_eq!((second.number, is_new), (2, true));
        assert_eq!(deploy(&world, &ada, &ask("chat", "2")).await, (second.clone(), false));
        let back = deployments::run_version(&world.services, &ada, "chat", 1).await.expect("its owner may");
        assert_eq!(back.version, 1);
        let (third, _) = deploy(&world, &ada, &ask("chat", "2")).await;
        assert_eq!((third.number, third.bundle), (3, second.bundle));
        let all = deployments::versions(&world.services, &ada, "chat", &PageAsk::default()).await.expect("may");
        assert_eq!(all.items.iter().map(|version| version.number).collect::<Vec<_>>(), [3, 2, 1]);
        let permit = domain::access::Permit::system(ada.actor.tenant);
        let bundle = store::deployments::versions::bundle(world.store.read(), &permit, first.bundle);
        let bundle = bundle.await.expect("reads").expect("is kept");
        assert_eq!(Bundle::decode(&bundle).expect("modules").modules, ask("chat", "1").modules);
        assert!(matches!(
            deployments::run_version(&world.services, &ada, "chat", 9).await,
            Err(Error::NotFound { .. })
        ));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_or_an_admin_changes_it_and_names_are_of_one_thing() {
    testkit::both(|store: Store| async move {
        let (world, ada) = world_of(store).await;
        let (bob, root) = (world.person("Bob", Role::Engineer).await, world.person("Root", Role::Admin).await);
        deploy(&world, &ada, &ask("chat", "1")).await;
        assert!(deployments::get(&world.services, &bob, "chat").await.is_ok(), "colleagues see it");
        // But not what its variables hold, which may be secrets.
        let vars = async |call: &Call| {
            let one = deployments::version(&world.services, call, "chat", 1).await.expect("may").code.vars;
            let all = deployments::versions(&world.services, call, "chat", &PageAsk::default()).await.expect("may");
            assert_eq!(all.items[0].code.vars, one);
            one
        };
        let held = |value: serde_json::Value| vec![("GREETING".to_owned(), value)];
        assert_eq!(vars(&bob).await, held(serde_json::Value::Null));
        assert_eq!((vars(&ada).await, vars(&root).await), (held("hello".into()), held("hello".into())));
        let denied = |error: &Error| matches!(error, Error::Denied(_));
        let error = deployments::deploy(&world.services, &bob, &ask("chat", "2")).await.expect_err("not his");
        assert!(denied(&error), "{error:?}");
        let error = deployments::run_version(&world.services, &bob, "chat", 1).await.expect_err("not his");
        assert!(denied(&error), "{error:?}");
        let error = deployments::delete(&world.services, &bob, "chat").await.expect_err("not his");
        assert!(denied(&error), "{error:?}");
        assert_eq!(deploy(&world, &root, &ask("chat", "2")).await.0.number, 2);
        super::notebooks::launch(&world, &bob, "bobs").await;
        assert!(refused(&world, &ada, &ask("bobs", "1")).await.contains("taken by a notebook"));
        let notebook =
            services::notebooks::Ask { name: Some("chat".to_owned()), ..services::notebooks::Ask::default() };
        let error = services::notebooks::launch(&world.services, &bob, &notebook).await.expect_err("is taken");
        assert!(error.to_string().contains("is taken"), "{error}");
        deployments::delete(&world.services, &ada, "chat").await.expect("its owner may");
        services::notebooks::launch(&world.services, &bob, &notebook).await.expect("the name is free again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_follow_their_migrations() {
    testkit::both(|store: Store| async move {
        let (world, ada) = world_of(store).await;
        let unmade = Ask { migrations: Vec::new(), ..ask("chat", "1") };
        assert!(refused(&world, &ada, &unmade).await.contains("new_sqlite_classes = [\"Room\"]"));
        assert!(deployments::get(&world.services, &ada, "chat").await.is_err(), "nothing was made");
        deploy(&world, &ada, &ask("chat", "1")).await;
        let mut renamed = ask("chat", "2");
        let rename = domain::deployments::Rename { from: "Room".to_owned(), to: "Hall".to_owned() };
        renamed.migrations.push(Migration { tag: "v2".to_owned(), renamed: vec![rename], ..Migration::default() });
        assert!(refused(&world, &ada, &renamed).await.contains("'Room', which has no migration"));
        renamed.bindings[0].class = "Hall".to_owned();
        deploy(&world, &ada, &renamed).await;
        let deployment = deployments::get(&world.services, &ada, "chat").await.expect("is there");
        let permit = domain::access::Permit::system(ada.actor.tenant);
        let classes = store::deployments::namespaces::get(world.store.read(), &permit, deployment.id);
        let (classes, taken) = classes.await.expect("reads");
        assert_eq!(classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>(), ["Hall"]);
        assert_eq!(taken.as_deref(), Some("v2"));
        let error = deployments::run_version(&world.services, &ada, "chat", 1).await.expect_err("its class is gone");
        assert!(error.to_string().contains("'Room', which was renamed or deleted since"), "{error}");
        assert_eq!(deployments::get(&world.services, &ada, "chat").await.expect("is there").version, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_latest_versions_are_kept_and_the_one_that_runs() {
    testkit::both(|store: Store| async move {
        let (world, ada) = world_of(store).await;
        for number in 0..=KEPT_VERSIONS {
            deploy(&world, &ada, &ask("chat", &number.to_string())).await;
        }
        assert!(deployments::version(&world.services, &ada, "chat", 1).await.is_err());
        deployments::run_version(&world.services, &ada, "chat", 2).await.expect("is kept");
        let permit = domain::access::Permit::system(ada.actor.tenant);
        let second = deployments::version(&world.services, &ada, "chat", 2).await.expect("is kept");
        // A new version takes the oldest's place, here that of the one that runs no more.
        deploy(&world, &ada, &ask("chat", "new")).await;
        assert!(deployments::version(&world.services, &ada, "chat", 2).await.is_err());
        let bundle = store::deployments::versions::bundle(world.store.read(), &permit, second.bundle);
        assert_eq!(bundle.await.expect("reads"), None, "nobody has these modules any more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hosts_are_told_of_all_deployments_is_limited() {
    testkit::both(|store: Store| async move {
        let (world, ada) = world_of(store).await;
        let other = World::new(world.store.clone()).await;
        let bob = other.person("Bob", Role::Engineer).await;
        let large =
            |name: &str| Ask { vars: vec![("V".to_owned(), "x".repeat(MAX_VARS_BYTES - 2).into())], ..ask(name, "1") };
        let fits = usize::try_from(MAX_RUNNING_BYTES).expect("small") / MAX_VARS_BYTES;
        for number in 0..fits {
            let name = format!("large-{number}");
            match deployments::deploy(&world.services, &ada, &large(&name)).await {
                Ok(_) => assert!(number + 1 < fits, "there is more than the variables"),
                Err(error) => assert!(matches!(error, Error::Conflict(_)) && number + 1 == fits, "{number}: {error}"),
            }
        }
        assert!(deployments::get(&world.services, &ada, &format!("large-{}", fits - 1)).await.is_err());
        // One that runs less makes room; another's version is none of it, and the larger one cannot come back.
        deploy(&other, &bob, &large("others")).await;
        deploy(&world, &ada, &ask("large-0", "1")).await;
        deploy(&world, &ada, &large("last")).await;
        let error = deployments::run_version(&world.services, &ada, "large-0", 1).await.expect_err("is too much");
        assert!(matches!(error, Error::Conflict(_)), "{error}");
        assert!(refused(&world, &ada, &large("large-0")).await.contains("at most 8388608"));
        assert_eq!(deployments::get(&world.services, &ada, "large-0").await.expect("is there").version, 2);
    })
    .await;
}
