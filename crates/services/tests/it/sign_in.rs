//! Signing in: passwords, limits on guessing, sign-ins' lives, and what cuts open streams.

use std::net::IpAddr;

use domain::people::Role;
use jiff::SignedDuration;
use services::{
    Call, Error, live,
    people::{self, ChangeAsk, operator},
    sign_in::{self, ABSOLUTE_LIFE, IDLE_LIFE, Proof},
    tokens,
};
use testkit::World;

const PASSWORD: &str = "correct horse battery";

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

async fn admin(world: &World, email: &str) -> domain::people::Person {
    operator::create_admin(&world.services, email, None, Some(PASSWORD.into())).await.unwrap()
}

async fn tries(world: &World, email: &str, password: &str, from: IpAddr) -> Result<bool, Error> {
    let entered = sign_in::with_password(&world.services, email, password.into(), from, None).await?;
    Ok(entered.is_some())
}

/// As a browser that has signed in under the id `id`.
async fn browser(world: &World, person: &domain::people::Person, id: &str) -> Call {
    sign_in::begin(&world.services, id, person.tenant, person.id, "{}".into()).await.unwrap();
    sign_in::caller(&world.services, id, None).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_fails_gets_one_answer() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let ana = admin(&world, "ana@x").await;
        let bob = admin(&world, "bob@x").await;
        let invited = world.person("Eve", Role::Engineer).await;
        assert!(tries(&world, " ANA@x ", PASSWORD, address(1)).await.unwrap());
        let call = browser(&world, &ana, "id of ana").await;
        people::change(&world.services, &call, bob.id, &ChangeAsk { locked: Some(true), ..ChangeAsk::default() })
            .await
            .unwrap();
        let long = "x".repeat(100_000);
        for (email, password) in [
            ("ana@x", "wrong horse battery"),
            ("ana@x", ""),
            ("ana@x", long.as_str()),
            ("nobody@x", PASSWORD),
            ("bob@x", PASSWORD),
            ("eve@example.test", PASSWORD),
            ("eve@example.test", ""),
            ("", ""),
            (long.as_str(), PASSWORD),
            ("' or 1=1 --", PASSWORD),
        ] {
            let entered = tries(&world, email, password, address(2)).await.unwrap();
            assert!(!entered, "{}", email.chars().take(40).collect::<String>());
        }
        assert!(!invited.person_name.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_takes_as_long_as_a_known_one() {
    testkit::both(|store| async move {
        let world = World::with_clock(store, services::Clock::system()).await;
        admin(&world, "ana@x").await;
        let mut known = Vec::new();
        let mut unknown = Vec::new();
        // By turns, and few, to stay under the limits.
        for round in 0..8 {
            for (email, times) in [("ana@x", &mut known), ("nobody@x", &mut unknown)] {
                let before = std::time::Instant::now();
                assert!(!tries(&world, email, "wrong horse battery", address(round)).await.unwrap());
                times.push(before.elapsed().as_secs_f64());
            }
        }
        // The quickest of each: what else runs on the machine only ever adds.
        let quickest = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
        let (known, unknown) = (quickest(&known), quickest(&unknown));
        // Without the decoy hash the unknown one takes a tenth.
        assert!((0.5..2.0).contains(&(unknown / known)), "known {known} s, unknown {unknown} s");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_limited_by_account_and_by_address() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        admin(&world, "ana@x").await;
        // A hundred at once from a hundred addresses: ten are heard.
        let mut tasks = tokio::task::JoinSet::new();
        for last in 0..100 {
            let world = world.clone();
            tasks.spawn(async move { tries(&world, "ana@x", "wrong", address(last)).await });
        }
        let answers = tasks.join_all().await;
        let heard = answers.iter().filter(|answer| matches!(answer, Ok(false))).count();
        let busy = answers.iter().filter(|answer| matches!(answer, Err(Error::Unavailable(_)))).count();
        let refused = answers.iter().filter(|answer| matches!(answer, Err(Error::TooMany { .. }))).count();
        assert_eq!((heard + busy, refused), (10, 90), "{answers:?}");
        // Another replica counts the same.
        let other = world.restarted();
        match tries(&other, "ana@x", PASSWORD, address(200)).await {
            Err(Error::TooMany { retry_after_s }) => assert_eq!(retry_after_s, 15 * 60),
            answer => panic!("{answer:?}"),
        }
        // An account that is not there is limited alike.
        for _ in 0..10 {
            assert!(!tries(&world, "nobody@x", "wrong", address(201)).await.unwrap());
        }
        assert!(matches!(tries(&world, "nobody@x", "wrong", address(202)).await, Err(Error::TooMany { .. })));
        world.clock.advance(SignedDuration::from_mins(15));
        assert!(tries(&world, "ana@x", PASSWORD, address(200)).await.unwrap());

        // One address that tries many accounts; in IPv6 the whole /64 is one.
        for at in 0..50 {
            let from: IpAddr = format!("2001:db8::{at:x}").parse().unwrap();
            assert!(!tries(&world, &format!("p{at}@x"), "wrong", from).await.unwrap());
        }
        let same: IpAddr = "2001:db8::ffff".parse().unwrap();
        assert!(matches!(tries(&world, "ana@x", PASSWORD, same).await, Err(Error::TooMany { .. })));
        let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        assert!(tries(&world, "ana@x", PASSWORD, other).await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_forgets_the_wrong_ones() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        admin(&world, "ana@x").await;
        for _ in 0..3 {
            for _ in 0..9 {
                assert!(!tries(&world, "ana@x", "wrong", address(1)).await.unwrap());
            }
            assert!(tries(&world, "ana@x", PASSWORD, address(1)).await.unwrap());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_end_when_idle_and_for_good() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let ana = admin(&world, "ana@x").await;
        let holds = |id: &'static str| {
            let services = world.services.clone();
            async move { sign_in::caller(&services, id, None).await.unwrap().is_some() }
        };
        browser(&world, &ana, "idle").await;
        browser(&world, &ana, "busy").await;
        let step = SignedDuration::from_hours(12);
        let mut gone = SignedDuration::ZERO;
        while gone + step < ABSOLUTE_LIFE {
            world.clock.advance(step);
            gone += step;
            assert!(holds("busy").await, "after {gone:?}");
            if gone == IDLE_LIFE {
                assert!(!holds("idle").await, "nobody used it for that long");
            }
        }
        world.clock.advance(step);
        assert!(!holds("busy").await);
        sign_in::prune(&world.services).await.unwrap();
        assert!(sign_in::data(&world.services, "busy").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_sign_in_is_not_brought_back_by_a_late_write() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let ana = admin(&world, "ana@x").await;
        browser(&world, &ana, "one").await;
        sign_in::end(&world.services, "one").await.unwrap();
        sign_in::keep(&world.services, "one", "{}".into()).await.unwrap();
        assert!(sign_in::caller(&world.services, "one", None).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sign_ins() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let ana = admin(&world, "ana@x").await;
        let call = browser(&world, &ana, "this").await;
        browser(&world, &ana, "other").await;
        let change = |proof, new: &str| sign_in::change_password(&world.services, &call, proof, new.to_owned());
        let new = "another good secret";
        let wrong = change(Proof::Password("wrong".into()), new).await;
        assert!(matches!(wrong, Err(Error::Invalid { field: "current", .. })), "{wrong:?}");
        let weak = change(Proof::Password(PASSWORD.into()), "short").await;
        assert!(matches!(weak, Err(Error::Invalid { field: "new", .. })), "{weak:?}");
        assert!(tries(&world, "ana@x", PASSWORD, address(1)).await.unwrap(), "nothing was changed");
        change(Proof::Password(PASSWORD.into()), new).await.unwrap();
        assert!(sign_in::caller(&world.services, "this", None).await.unwrap().is_some());
        assert!(sign_in::caller(&world.services, "other", None).await.unwrap().is_none());
        assert!(!tries(&world, "ana@x", PASSWORD, address(1)).await.unwrap());
        assert!(tries(&world, "ana@x", new, address(1)).await.unwrap());
        // Who has the cookie alone cannot guess the password through this door either.
        for _ in 0..10 {
            assert!(change(Proof::Password("guess".into()), new).await.is_err());
        }
        let limited = change(Proof::Password(new.into()), "yet another secret").await;
        assert!(matches!(limited, Err(Error::TooMany { .. })), "{limited:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_end_with_what_opened_them() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let ana = admin(&world, "ana@x").await;
        let bob = admin(&world, "bob@x").await;
        let by_ana = browser(&world, &ana, "ana").await;
        let by_bob = browser(&world, &bob, "bob").await;
        let (token, secret) =
            tokens::create(&world.services, &by_bob, "cli", domain::tokens::Scope::All, None).await.unwrap();
        let by_token = tokens::caller(&world.services, &secret, None).await.unwrap();
        let may = |call: &Call| {
            let (services, call) = (world.services.clone(), call.clone());
            async move { live::ousted(&services, &call).await.is_none() }
        };
        assert!(may(&by_bob).await && may(&by_token).await);
        let set = |locked| ChangeAsk { locked: Some(locked), ..ChangeAsk::default() };
        people::change(&world.services, &by_ana, bob.id, &set(true)).await.unwrap();
        assert!(!may(&by_bob).await && !may(&by_token).await, "locked");
        assert!(matches!(tokens::caller(&world.services, &secret, None).await, Err(Error::NotSignedIn)));
        assert!(sign_in::caller(&world.services, "bob", None).await.unwrap().is_none());
        people::change(&world.services, &by_ana, bob.id, &set(false)).await.unwrap();
        assert!(!may(&by_bob).await, "the sign-in is gone for good");
        assert!(may(&by_token).await, "the token works again");
        tokens::revoke(&world.services, &by_token, token.id).await.unwrap();
        assert!(!may(&by_token).await, "revoked");
        let again = browser(&world, &bob, "bob again").await;
        let role = ChangeAsk { role: Some(Role::Engineer), ..ChangeAsk::default() };
        people::change(&world.services, &by_ana, bob.id, &role).await.unwrap();
        assert!(!may(&again).await, "what it may do has changed: it asks anew");
        let again = browser(&world, &bob, "bob once more").await;
        sign_in::end_everywhere(&world.services, &again).await.unwrap();
        assert!(!may(&again).await, "signed out everywhere");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_get_in_is_in_the_audit_log() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let ana = admin(&world, "ana@x").await;
        let auditor = browser(&world, &ana, "auditor").await;
        let log = async || {
            let ask = services::page::PageAsk { limit: Some(500), cursor: None };
            let lines = services::audit::list(&world.services, &auditor, &ask).await.unwrap().items;
            let refused = |line: &store::audit::Line| line.action.starts_with("sign-in.");
            lines
                .into_iter()
                .filter(refused)
                .map(|line| (line.action, line.person_name, line.detail))
                .collect::<Vec<_>>()
        };
        let try_in = async |email: &str, secret: &str, address: &str| {
            let address = address.parse().unwrap();
            sign_in::with_password(&world.services, email, secret.to_owned(), address, Some("request-1")).await
        };
        assert!(try_in("ana@x", "hunter2 is wrong", "198.51.100.1").await.unwrap().is_none());
        let strange = format!("eve\u{1b}[2J{}@x", "e".repeat(5_000));
        assert!(try_in(&strange, "hunter2 is wrong", "2001:db8::1").await.unwrap().is_none());
        let void = sign_in::with_link(&world.services, "nonsense", "198.51.100.2".parse().unwrap(), None).await;
        assert!(void.unwrap().is_none());
        let lines = log().await;
        let details: Vec<&str> = lines.iter().map(|(_, _, detail)| detail.as_str()).collect();
        assert_eq!(details.len(), 3, "{lines:?}");
        assert_eq!(details[2], "'ana@x' from 198.51.100.1: wrong password");
        assert!(details[1].starts_with("'eve [2Jeee") && details[1].ends_with("…' from 2001:db8::1: no such account"));
        assert!(details[1].len() < 200 && !details[1].contains('\u{1b}'));
        assert_eq!(details[0], "'one-time link' from 198.51.100.2: used, over or void");
        for (action, person, detail) in &lines {
            assert_eq!((action.as_str(), person.as_str()), ("sign-in.refused", "somebody not signed in"));
            assert!(!detail.contains("hunter2"), "the password is in the log");
        }
        // Throttled: one line, however often it is tried.
        for _ in 0..9 {
            try_in("ana@x", "wrong", "198.51.100.3").await.unwrap();
        }
        for _ in 0..20 {
            let throttled = try_in("ana@x", "wrong", "198.51.100.3").await;
            assert!(matches!(throttled, Err(Error::TooMany { .. })), "{throttled:?}");
        }
        let lines = log().await;
        let throttled: Vec<_> = lines.iter().filter(|(action, ..)| action == "sign-in.throttled").collect();
        assert_eq!(throttled.len(), 1, "{lines:?}");
        assert!(throttled[0].2.contains("10 failed attempts on this account"), "{throttled:?}");
        // A flood from everywhere fills no log.
        for at in 0..1_100_u32 {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + at).to_string();
            let void = sign_in::with_link(&world.services, "nonsense", address.parse().unwrap(), None).await;
            assert!(void.unwrap().is_none());
        }
        let ask = services::page::PageAsk { limit: Some(1), cursor: None };
        let newest = services::audit::list(&world.services, &auditor, &ask).await.unwrap();
        assert!(newest.items[0].detail.starts_with("more refusals than are listed"), "{:?}", newest.items);
    })
    .await;
}
