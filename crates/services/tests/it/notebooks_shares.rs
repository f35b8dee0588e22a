//! Notebooks that are shared: who sees, opens and does what, and what is left when it is taken back.

use domain::{
    notebooks::{Access, NotebookAct},
    people::Role,
};
use services::{Call, Error, notebooks, page::PageAsk, people};
use store::Store;
use testkit::World;

use crate::notebooks::{running, signed_in, world_of};

/// What this browser gets in with; `None` where it does not.
async fn visit(world: &World, browser: &Call) -> Option<(String, notebooks::Visitor)> {
    let ticket = notebooks::ticket(&world.services, browser, "a").await.ok()?;
    let door = notebooks::enter(&world.services, "a", &ticket.secret).await.expect("reads")?;
    let visitor = notebooks::visitor(&world.services, "a", &door.secret).await.ok()?;
    Some((door.secret, visitor))
}

async fn names(world: &World, call: &Call) -> Vec<String> {
    let shared = notebooks::shared(&world.services, call, &PageAsk::default()).await.expect("may");
    shared.items.into_iter().map(|notebook| notebook.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_gets_as_far_as_it_is_shared_and_nobody_else_in() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        running(&world, &ada, "a").await;
        let bob = world.person("Bob", Role::Engineer).await;
        let (bob, _) = signed_in(&world, &bob).await;
        let eve = world.person("Eve", Role::Engineer).await;
        let (eve, _) = signed_in(&world, &eve).await;
        let root = world.person("Root", Role::Admin).await;
        let (root, _) = signed_in(&world, &root).await;
        assert!(visit(&world, &bob).await.is_none());

        let share = notebooks::share(&world.services, &ada, "a", " Bob@Example.test ", Access::Read)
            .await
            .expect("its owner may");
        assert_eq!((share.person, share.access), (bob.actor.person, Access::Read));
        let seen = notebooks::get(&world.services, &bob, "a").await.expect("it is shared");
        assert_eq!((seen.access(&bob.actor), seen.acts(&bob.actor)), (Some(Access::Read), vec![NotebookAct::Open]));
        assert_eq!(names(&world, &bob).await, ["a"]);
        let (cookie, reader) = visit(&world, &bob).await.expect("may read");
        assert_eq!(reader.access, Access::Read);
        assert!(notebooks::may_stay(&world.services, &reader).await);
        // Reading is all they may.
        assert!(matches!(notebooks::keep_here(&world.services, "a", &cookie).await, Err(Error::Denied(_))));
        for refused in [
            notebooks::stop(&world.services, &bob, "a").await.map(|_| ()),
            notebooks::start(&world.services, &bob, "a", None).await.map(|_| ()),
            notebooks::keep(&world.services, &bob, "a").await.map(|_| ()),
            notebooks::delete(&world.services, &bob, "a").await,
            notebooks::shares(&world.services, &bob, "a").await.map(|_| ()),
            notebooks::share(&world.services, &bob, "a", "eve@example.test", Access::Full).await.map(|_| ()),
            notebooks::unshare(&world.services, &bob, "a", "bob@example.test").await,
        ] {
            assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
        }
        // Nobody else knows of it; who sees all does not get in.
        assert!(matches!(notebooks::get(&world.services, &eve, "a").await, Err(Error::NotFound { .. })));
        assert!(matches!(notebooks::shares(&world.services, &eve, "a").await, Err(Error::NotFound { .. })));
        assert!(names(&world, &eve).await.is_empty());
        assert!(visit(&world, &eve).await.is_none() && visit(&world, &root).await.is_none());
        assert!(matches!(
            notebooks::share(&world.services, &root, "a", "eve@example.test", Access::Read).await,
            Err(Error::Denied(_))
        ));

        // With full access what was open is opened anew, and the same cookie leads further.
        notebooks::share(&world.services, &ada, "a", &bob.actor.person.to_string(), Access::Full).await.expect("may");
        assert!(!notebooks::may_stay(&world.services, &reader).await, "not as a reader");
        let full = notebooks::visitor(&world.services, "a", &cookie).await.expect("may");
        assert_eq!(full.access, Access::Full);
        notebooks::keep_here(&world.services, "a", &cookie).await.expect("may");
        assert!(matches!(notebooks::stop(&world.services, &bob, "a").await, Err(Error::Denied(_))));
        assert_eq!(notebooks::shares(&world.services, &ada, "a").await.expect("may").len(), 1);

        // Taken back: at once, for good, with cookie and ticket.
        let ticket = notebooks::ticket(&world.services, &bob, "a").await.expect("may");
        notebooks::unshare(&world.services, &ada, "a", "bob@example.test").await.expect("its owner may");
        assert!(!notebooks::may_stay(&world.services, &full).await);
        assert!(notebooks::enter(&world.services, "a", &ticket.secret).await.expect("reads").is_none());
        assert!(matches!(notebooks::visitor(&world.services, "a", &cookie).await, Err(Error::NotSignedIn)));
        assert!(matches!(notebooks::get(&world.services, &bob, "a").await, Err(Error::NotFound { .. })));
        assert!(matches!(
            notebooks::unshare(&world.services, &ada, "a", "bob@example.test").await,
            Err(Error::NotFound { .. })
        ));
        notebooks::share(&world.services, &ada, "a", "bob@example.test", Access::Full).await.expect("may");
        assert!(
            matches!(notebooks::visitor(&world.services, "a", &cookie).await, Err(Error::NotSignedIn)),
            "a new ticket"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_shared_with_and_who_is_gone() {
    testkit::both(|store: Store| async move {
        let (world, ada, _) = world_of(store).await;
        running(&world, &ada, "a").await;
        let bob = world.person("Bob", Role::Engineer).await;
        let (bob, _) = signed_in(&world, &bob).await;
        let root = world.person("Root", Role::Admin).await;
        let (root, _) = signed_in(&world, &root).await;
        let share = async |who: &str| notebooks::share(&world.services, &ada, "a", who, Access::Full).await;
        assert!(matches!(share("ada@example.test").await, Err(Error::Invalid { field: "person", .. })));
        assert!(matches!(share("nobody@example.test").await, Err(Error::NotFound { kind: "person", .. })));
        let elsewhere = World::new(world.store.clone()).await.person("Mallory", Role::Engineer).await;
        let other = elsewhere.actor.person.to_string();
        assert!(matches!(share(&other).await, Err(Error::NotFound { .. })), "another tenant's");

        share("bob@example.test").await.expect("may");
        let (_, visitor) = visit(&world, &bob).await.expect("may");
        let lock = people::ChangeAsk { locked: Some(true), ..people::ChangeAsk::default() };
        people::change(&world.services, &root, bob.actor.person, &lock).await.expect("an admin may");
        assert!(!notebooks::may_stay(&world.services, &visitor).await);
        assert!(matches!(share("bob@example.test").await, Err(Error::Invalid { field: "person", .. })), "locked");
        people::remove(&world.services, &root, bob.actor.person).await.expect("an admin may");
        assert!(notebooks::shares(&world.services, &ada, "a").await.expect("may").is_empty());
        // Whose files are on a host is named by them.
        people::remove(&world.services, &root, ada.actor.person).await.expect("an admin may");
    })
    .await;
}
