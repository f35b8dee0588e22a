//! API tokens.

use domain::{access::Action, people::Role, tokens::Scope};
use jiff::SignedDuration;
use services::{Call, Error, page::PageAsk, people, tokens};
use testkit::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_speaks_for_its_owner_within_its_scope() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        let (token, secret) = tokens::create(&world.services, &eve, " cli ", Scope::Read, Some(1)).await.unwrap();
        assert!(secret.starts_with("berth_") && secret.len() == 49, "{secret}");
        assert_eq!((token.name.as_str(), token.last_used_at), ("cli", None));
        let call = tokens::caller(&world.services, &secret, None).await.unwrap();
        assert_eq!((call.actor.person, call.actor.scope), (eve.actor.person, Scope::Read));
        assert!(call.permit(Action::MachinesRead).is_ok());
        for action in [Action::ReservationsCreate, Action::TokensOwn, Action::HostsManage] {
            assert!(matches!(call.permit(action), Err(Error::Denied(_))), "{action}");
        }
        let raised = tokens::create(&world.services, &call, "more", Scope::All, None).await;
        assert!(matches!(raised, Err(Error::Denied(_))), "a token cannot make one that may more: {raised:?}");
        for near in [secret[..48].to_owned(), secret.to_uppercase(), format!("{secret}a"), String::new()] {
            assert!(matches!(tokens::caller(&world.services, &near, None).await, Err(Error::NotSignedIn)), "{near}");
        }
        world.clock.advance(SignedDuration::from_hours(24));
        assert!(matches!(tokens::caller(&world.services, &secret, None).await, Err(Error::NotSignedIn)), "it is over");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_is_kept_to_the_minute() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        let (_, secret) = tokens::create(&world.services, &eve, "cli", Scope::All, None).await.unwrap();
        let last = || async {
            tokens::caller(&world.services, &secret, None).await.unwrap();
            let page = tokens::list(&world.services, &eve, &PageAsk::default()).await.unwrap();
            page.items[0].last_used_at.unwrap()
        };
        let first = last().await;
        world.clock.advance(SignedDuration::from_secs(59));
        assert_eq!(last().await, first, "not written at each request");
        world.clock.advance(SignedDuration::from_secs(2));
        assert_eq!(last().await, world.clock.now());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_and_revokes_only_ones_own() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        let ada = world.person("Ada", Role::Admin).await;
        let mut made = Vec::new();
        for at in 0..5 {
            made.push(tokens::create(&world.services, &eve, &format!("t{at}"), Scope::Use, None).await.unwrap());
        }
        let list = |call: &Call, cursor: Option<String>| {
            let (services, call) = (world.services.clone(), call.clone());
            async move { tokens::list(&services, &call, &PageAsk { limit: Some(2), cursor }).await.unwrap() }
        };
        assert!(list(&ada, None).await.items.is_empty());
        let other = tokens::revoke(&world.services, &ada, made[0].0.id).await;
        assert!(matches!(other, Err(Error::NotFound { .. })), "{other:?}");
        let mut names = Vec::new();
        let mut cursor = None;
        loop {
            let page = list(&eve, cursor).await;
            names.extend(page.items.into_iter().map(|token| token.name));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(names, ["t4", "t3", "t2", "t1", "t0"]);
        tokens::revoke(&world.services, &eve, made[2].0.id).await.unwrap();
        assert!(tokens::caller(&world.services, &made[2].1, None).await.is_err());
        assert!(tokens::caller(&world.services, &made[3].1, None).await.is_ok());
        assert!(tokens::revoke(&world.services, &eve, made[2].0.id).await.is_err(), "it is gone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_asks_say_what_is_wrong() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Engineer).await;
        let ask = |name: String, days| {
            let (services, eve) = (world.services.clone(), eve.clone());
            async move { tokens::create(&services, &eve, &name, Scope::All, days).await.map(|_| ()) }
        };
        for (name, days, field) in [
            (String::new(), None, "name"),
            ("x".repeat(81), None, "name"),
            ("a\nb".into(), None, "name"),
            ("cli".into(), Some(0), "expires_in_days"),
            ("cli".into(), Some(366), "expires_in_days"),
        ] {
            match ask(name, days).await {
                Err(Error::Invalid { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{other:?}"),
            }
        }
        for _ in 0..domain::tokens::MAX_TOKENS {
            ask("cli".into(), Some(1)).await.unwrap();
        }
        assert!(matches!(ask("one too many".into(), None).await, Err(Error::Conflict(_))));
        world.clock.advance(SignedDuration::from_hours(24));
        ask("the others are over".into(), None).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_with_a_token_ends_with_it() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let eve = world.person("Eve", Role::Admin).await;
        let create = async |call: &Call, days| tokens::create(&world.services, call, "x", Scope::All, Some(days)).await;
        let caller = async |secret: &str| tokens::caller(&world.services, secret, None).await;
        let (parent, secret) = create(&eve, 10).await.unwrap();
        let by_parent = caller(&secret).await.unwrap();
        let (child, child_secret) = create(&by_parent, 365).await.unwrap();
        assert_eq!((child.parent, child.expires_at), (Some(parent.id), parent.expires_at), "no longer than its parent");
        let by_child = caller(&child_secret).await.unwrap();
        let (grandchild, grandchild_secret) = create(&by_child, 1).await.unwrap();
        assert_eq!(grandchild.parent, Some(child.id));
        let (other, other_secret) = create(&eve, 1).await.unwrap();
        assert_eq!(other.parent, None);
        let own = people::link(&world.services, &by_parent, eve.actor.person).await;
        assert!(matches!(own, Err(Error::Conflict(_))), "a sign-in that would outlive the token");

        // While the line goes on being made, its head is revoked: not one of them is left.
        let making = {
            let (services, by_child) = (world.services.clone(), by_child.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                while let Ok((_, secret)) = tokens::create(&services, &by_child, "x", Scope::All, Some(1)).await {
                    made.push(secret);
                }
                made
            })
        };
        tokens::revoke(&world.services, &eve, parent.id).await.unwrap();
        let made = making.await.unwrap();
        for secret in made.iter().chain([&secret, &child_secret, &grandchild_secret]) {
            assert!(matches!(caller(secret).await, Err(Error::NotSignedIn)));
        }
        for call in [&by_parent, &by_child] {
            assert!(create(call, 1).await.is_err(), "a stream's caller that was in before makes none either");
        }
        assert!(caller(&other_secret).await.is_ok());
    })
    .await;
}
