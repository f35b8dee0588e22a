//! People: invitations, roles, locks, removal, and what the operator does.

use api::reservations::NewReservation;
use domain::{
    events::EventKind,
    people::{Person, Role},
};
use services::{
    Call, Error,
    page::PageAsk,
    people::{self, ChangeAsk, Removal, operator},
    reservations, sign_in, tokens,
};
use testkit::World;

const ADDRESS: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn role(role: Role) -> ChangeAsk {
    ChangeAsk { role: Some(role), ..ChangeAsk::default() }
}

fn lock(locked: bool) -> ChangeAsk {
    ChangeAsk { locked: Some(locked), ..ChangeAsk::default() }
}

async fn words(world: &World, person: &Person) -> Vec<String> {
    let events = store::events::after(&world.store, 0, 1_000).await.unwrap();
    let of_person = |e: &&domain::events::Event| e.kind == EventKind::Person && e.subject == person.id.uuid();
    events.iter().filter(of_person).map(|e| e.word.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_person_comes_in_once_by_the_link() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let (person, link) =
            people::invite(&world.services, &admin, " Eve@Example.test ", None, Role::Engineer).await.unwrap();
        assert_eq!((person.email.as_str(), person.name.as_str()), ("eve@example.test", "eve"));
        assert!(!person.has_password);
        let secret = link.url.split("token=").nth(1).unwrap();
        assert!(!format!("{link:?}").contains(secret), "a link's secret is in no log");
        let again = people::invite(&world.services, &admin, "eve@example.test", None, Role::Admin).await;
        assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
        let enter = || sign_in::with_link(&world.services, secret, ADDRESS, None);
        assert_eq!(enter().await.unwrap().unwrap().id, person.id);
        assert!(enter().await.unwrap().is_none(), "a link works once");
        assert_eq!(words(&world, &person).await, ["invited"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_use_a_link_at_once_one_gets_in() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let (_, link) = people::invite(&world.services, &admin, "eve@x", None, Role::Engineer).await.unwrap();
        let secret = link.url.split("token=").nth(1).unwrap().to_owned();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (services, secret) = (world.services.clone(), secret.clone());
            tasks.spawn(async move { sign_in::with_link(&services, &secret, ADDRESS, None).await.unwrap().is_some() });
        }
        let entered = tasks.join_all().await.into_iter().filter(|entered| *entered).count();
        assert_eq!(entered, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_with_its_time_with_the_next_one_and_with_a_lock() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let eve = world.person("Eve", Role::Engineer).await.actor.person;
        let link = || async {
            let link = people::link(&world.services, &admin, eve).await.unwrap();
            link.url.split("token=").nth(1).unwrap().to_owned()
        };
        let enters = |secret: String| {
            let services = world.services.clone();
            async move { sign_in::with_link(&services, &secret, ADDRESS, None).await.unwrap().is_some() }
        };
        let (first, second) = (link().await, link().await);
        assert!(!enters(first).await, "the next link makes it void");
        assert!(enters(second).await);
        let late = link().await;
        world.clock.advance(people::LINK_LIFE);
        assert!(!enters(late).await);
        let locked = link().await;
        people::change(&world.services, &admin, eve, &lock(true)).await.unwrap();
        assert!(!enters(locked.clone()).await);
        assert!(matches!(people::link(&world.services, &admin, eve).await, Err(Error::Conflict(_))));
        people::change(&world.services, &admin, eve, &lock(false)).await.unwrap();
        assert!(!enters(locked).await, "a lock makes links void for good");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_manage_people() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        for who in [world.person("Max", Role::Manager).await, eve.clone()] {
            let invited = people::invite(&world.services, &who, "new@x", None, Role::Engineer).await;
            assert!(matches!(invited, Err(Error::Denied(_))), "{invited:?}");
            let raised = people::change(&world.services, &who, who.actor.person, &role(Role::Admin)).await;
            assert!(matches!(raised, Err(Error::Denied(_))), "{raised:?}");
            assert!(people::remove(&world.services, &who, eve.actor.person).await.is_err());
            assert!(people::link(&world.services, &who, eve.actor.person).await.is_err());
            assert_eq!(people::list(&world.services, &who, &PageAsk::default()).await.unwrap().items.len(), 2);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_people_are_not_there() {
    testkit::both(|store| async move {
        let world = World::new(store.clone()).await;
        let other = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let stranger = other.person("Sam", Role::Engineer).await.actor.person;
        let lost = |error: Error| matches!(error, Error::NotFound { .. });
        assert!(lost(people::get(&world.services, &admin, stranger).await.unwrap_err()));
        assert!(lost(people::change(&world.services, &admin, stranger, &lock(true)).await.unwrap_err()));
        assert!(lost(people::remove(&world.services, &admin, stranger).await.unwrap_err()));
        assert!(lost(people::link(&world.services, &admin, stranger).await.unwrap_err()));
        assert_eq!(people::list(&world.services, &admin, &PageAsk::default()).await.unwrap().items.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_last_admins_cannot_demote_each_other_at_once() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        for round in 0..10 {
            let a = world.person(&format!("A{round}"), Role::Admin).await;
            let b = world.person(&format!("B{round}"), Role::Admin).await;
            let demote = |by: &Call, whom: &Call| {
                let (services, by, whom) = (world.services.clone(), by.clone(), whom.actor.person);
                async move { people::change(&services, &by, whom, &role(Role::Engineer)).await }
            };
            let (first, second) = tokio::join!(demote(&a, &b), demote(&b, &a));
            assert!(first.is_ok() != second.is_ok(), "one of the two: {first:?} {second:?}");
            let refused = if first.is_ok() { second } else { first };
            assert!(matches!(refused, Err(Error::Conflict(_))));
            // The next round begins without admins.
            let permit = world.permit();
            for call in [&a, &b] {
                let mut person = store::people::get(&world.store, &permit, call.actor.person).await.unwrap().unwrap();
                person.role = Role::Engineer;
                let tx = world.store.begin().await.unwrap();
                store::people::update(&tx, &permit, &person).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Admin).await;
        let id = ada.actor.person;
        for ask in [role(Role::Manager), lock(true)] {
            let refused = people::change(&world.services, &ada, id, &ask).await;
            assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
        }
        assert!(matches!(people::remove(&world.services, &ada, id).await, Err(Error::Conflict(_))));
        let bob = world.person("Bob", Role::Admin).await;
        people::change(&world.services, &bob, id, &role(Role::Manager)).await.unwrap();
        assert_eq!(people::get(&world.services, &bob, id).await.unwrap().role, Role::Manager);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_person_is_gone_or_has_no_name() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let new = world.person("New", Role::Engineer).await;
        let (_, secret) = tokens::create(&world.services, &new, "cli", domain::tokens::Scope::All, None).await.unwrap();
        let removed = people::remove(&world.services, &admin, new.actor.person).await.unwrap();
        assert_eq!(removed, Removal::Deleted);
        assert!(matches!(tokens::caller(&world.services, &secret, None).await, Err(Error::NotSignedIn)));

        world.machines("rack", 1, "").await;
        let old = world.person("Old", Role::Engineer).await;
        let ask = NewReservation {
            machine: Some("rack/0".into()),
            duration_s: Some(3_600),
            start: Some((world.clock.now() + jiff::SignedDuration::from_hours(1)).to_string()),
            ..NewReservation::default()
        };
        let ask = reservations::Ask::try_from(ask).unwrap();
        let booked = reservations::create(&world.services, &old, &ask).await.unwrap();
        let held = people::remove(&world.services, &admin, old.actor.person).await;
        assert!(matches!(held, Err(Error::Conflict(_))), "who holds machines stays: {held:?}");
        reservations::cancel(&world.services, &old, booked.id).await.unwrap();
        let removed = people::remove(&world.services, &admin, old.actor.person).await.unwrap();
        assert_eq!(removed, Removal::Anonymised);
        assert!(people::get(&world.services, &admin, old.actor.person).await.is_err());
        // The booking is still there, and the address is free for another.
        assert!(reservations::get(&world.services, &admin, booked.id).await.is_ok());
        people::invite(&world.services, &admin, "old@example.test", None, Role::Engineer).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_makes_the_first_admin() {
    testkit::both(|store| async move {
        let services = services::Services::new(store, services::Clock::system(), services::Settings::default());
        let short = operator::create_admin(&services, "ana@x", None, Some("short".into())).await;
        assert!(matches!(short, Err(Error::Invalid { field: "password", .. })), "{short:?}");
        let password = "correct horse battery";
        let ana = operator::create_admin(&services, "ana@x", None, Some(password.into())).await.unwrap();
        assert_eq!(ana.role, Role::Admin);
        let entered = sign_in::with_password(&services, "ana@x", password.into(), ADDRESS, None).await.unwrap();
        assert_eq!(entered.unwrap().id, ana.id);
        let secret = operator::create_admin_token(&services, "ana@x", None).await.unwrap();
        let call = tokens::caller(&services, &secret, None).await.unwrap();
        assert_eq!(call.actor.person, ana.id, "the same person, not a second");
        let actions: Vec<String> = services::audit::list(&services, &call, &PageAsk::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|line| line.action)
            .collect();
        assert!(
            actions.contains(&"tokens.create".to_owned()) && actions.contains(&"sign-in".to_owned()),
            "{actions:?}"
        );
        assert!(operator::link(&services, "nobody@x").await.is_err());
    })
    .await;
}
