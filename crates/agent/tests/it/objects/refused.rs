//! Versions that do not load are told when they come; what ran before goes on.

use std::time::Duration;

use super::{
    files_of,
    fleet::{COUNTER, Fleet},
    status_with,
};
use crate::peer::{Network, until, within};

const NO_OBJECTS: &str = "export default { fetch() { return new Response('none') } };";
const SPINS: &str = "for (;;);";

#[tokio::test]
async fn a_version_that_does_not_load_leaves_the_one_before() {
    let mut fleet = Fleet::of(1).await;
    let network = Network::over(fleet.peer.tunnel().await);
    let id = fleet.deploy().await;
    let path = format!("/deployments/{id}");
    let bad = [
        ("throw new Error('not today');", "Error: not today", Some(1)),
        ("\nexport default {\n  fetch( {\n", "SyntaxError", Some(4)),
        ("export default { fetch() { return new Response('no class') } };", "exports no class Counter", None),
        ("import './missing.js'; export default {};", "missing.js", None),
        (SPINS, "", None),
    ];
    for (number, (code, words, line)) in (2..).zip(bad) {
        let digest = fleet.bundle(code);
        (fleet.plan.deployments[0].version, fleet.plan.deployments[0].digest) = (number, digest);
        fleet.tell().await;
        let told = status_with(&network, &path, |told| told["refused"]["version"] == number).await;
        println!("{told}");
        assert_eq!(told["version"], 1, "{told}");
        let refused = &told["refused"];
        assert!(refused["message"].as_str().is_some_and(|message| message.contains(words)), "{told}");
        if let Some(line) = line {
            assert_eq!((&refused["place"]["file"], &refused["place"]["line"]), (&"index.js".into(), &line.into()));
        }
        let prefix = format!("version {number} does not load: ");
        assert!(told["problem"].as_str().is_some_and(|why| why.starts_with(&prefix)), "{told}");
        fleet.members[0].count("counters", "kept").await;
    }
    // Also after a start, with and without the server.
    fleet.members[0].kill();
    fleet.members[0].host.start();
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 200).await;
    // It asks for a link, and gets no answer.
    let unanswered = fleet.peer.raw_link().await;
    fleet.members[0].kill();
    drop(unanswered);
    fleet.peer.forget_links();
    fleet.members[0].start(&mut fleet.peer).await;
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 200).await;
    let counted = fleet.members[0].count("counters", "kept").await.0;
    assert_eq!(counted, bad.len() as u64 + 1);
    // One that loads takes its place.
    let digest = fleet.bundle(&COUNTER.replace("`${n} ${this.life}`", "`${n} next`"));
    (fleet.plan.deployments[0].version, fleet.plan.deployments[0].digest) = (9, digest);
    fleet.tell().await;
    fleet.answers(&fleet.members[0], "GET", |status, text| status == 200 && text.ends_with("next")).await;
}

#[tokio::test]
async fn a_first_version_that_does_not_load_answers_with_errors() {
    let mut fleet = Fleet::of(1).await;
    let network = Network::over(fleet.peer.tunnel().await);
    let id = fleet.plan_counters("counters", "nonsense;");
    fleet.tell().await;
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 500).await;
    let told = status_with(&network, &format!("/deployments/{id}"), |told| told["refused"]["version"] == 1).await;
    assert!(told["problem"].as_str().is_some_and(|why| why.contains("nonsense")), "{told}");
    let namespace = fleet.plan.deployments[0].classes[0].namespace;
    let path = format!("/deployments/{id}/objects/{namespace}/{}/look", "0".repeat(64));
    for look in [r#"{"kv":{"start":"","limit":1}}"#, r#"{"sql":{"query":"select 1","limit":1}}"#] {
        let (status, told) = Fleet::control(&network, "POST", &path, look).await;
        assert_eq!(status, 409, "nothing is wrong with the question: {told}");
        assert!(told["why"].as_str().is_some_and(|why| why.contains("nonsense")), "{told}");
    }
    fleet.members[0].kill();
    fleet.members[0].host.start();
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 500).await;
    assert_eq!(fleet.members[0].engines(), Vec::<i32>::new(), "nothing is started for it");
}

#[tokio::test]
async fn a_trial_that_a_kill_has_cut_is_made_again() {
    // Loads, and takes a second of CPU time for it.
    let slow = format!(
        "for (let i = 0, sum = 0; i < 3e7; i++) sum += i;\n{}",
        COUNTER.replace("`${n} ${this.life}`", "`${n} next`")
    );
    let mut fleet = Fleet::of(1).await;
    fleet.deploy().await;
    for (number, code) in [(2, SPINS), (3, &slow)] {
        fleet.members[0].count("counters", "kept").await;
        let before = fleet.members[0].engines();
        let digest = fleet.bundle(code);
        (fleet.plan.deployments[0].version, fleet.plan.deployments[0].digest) = (number, digest);
        fleet.tell().await;
        let member = &fleet.members[0];
        until("it is tried", || member.engines().iter().any(|engine| !before.contains(engine))).await;
        fleet.members[0].kill();
        let refused = fleet.members[0].host.state().join("objects/refused");
        assert!(!refused.exists(), "killed before it was known");
        // Without the server: what ran before goes on, and by what is kept the new one is tried.
        fleet.members[0].host.start();
        fleet.answers(&fleet.members[0], "GET", |status, text| status == 200 && !text.ends_with("next")).await;
        if number == 2 {
            let is_told = async {
                while !refused.exists() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            within("it is refused", is_told).await;
            fleet.answers(&fleet.members[0], "GET", |status, text| status == 200 && !text.ends_with("next")).await;
        } else {
            fleet.answers(&fleet.members[0], "GET", |status, text| status == 200 && text.ends_with("next")).await;
        }
        // It asks for a link, and gets no answer.
        let unanswered = fleet.peer.raw_link().await;
        fleet.members[0].kill();
        drop(unanswered);
        fleet.peer.forget_links();
        fleet.members[0].start(&mut fleet.peer).await;
        fleet
            .answers(&fleet.members[0], "GET", |status, text| status == 200 && (number == 2) != text.ends_with("next"))
            .await;
    }
    assert_eq!(fleet.members[0].count("counters", "kept").await.0, 3);
}

#[tokio::test]
async fn a_class_is_deleted_only_once_a_version_without_it_runs() {
    let mut fleet = Fleet::of(1).await;
    let network = Network::over(fleet.peer.tunnel().await);
    let path = format!("/deployments/{}", fleet.deploy().await);
    let namespace = fleet.plan.deployments[0].classes[0].namespace;
    assert_eq!(fleet.members[0].count("counters", "kept").await.0, 1);
    let storage = fleet.members[0].host.state().join("objects/storage");
    let stored = || files_of(&storage, &namespace.uuid());
    assert!(stored() > 0);

    // The next one has no class any more, and does not load.
    let planned = &mut fleet.plan.deployments[0];
    planned.classes.clear();
    planned.bindings.clear();
    fleet.plan.deleted.push(namespace);
    let next = |fleet: &mut Fleet, version: u32, digest: [u8; 32]| {
        (fleet.plan.deployments[0].version, fleet.plan.deployments[0].digest) = (version, digest);
    };
    let digest = fleet.bundle("throw new Error('not today');");
    next(&mut fleet, 2, digest);
    fleet.tell().await;
    status_with(&network, &path, |told| told["refused"]["version"] == 2).await;
    fleet.members[0].kill();
    drop(network);
    fleet.members[0].start(&mut fleet.peer).await;
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 200).await;
    assert_eq!(fleet.members[0].count("counters", "kept").await.0, 2);

    // Of one that cannot be had it is the same, and where nothing runs after a start.
    let network = Network::over(fleet.peer.tunnel().await);
    next(&mut fleet, 3, [9; 32]);
    fleet.tell().await;
    status_with(&network, &path, |told| told["problem"].as_str().is_some_and(|why| why.contains("404"))).await;
    assert_eq!(fleet.members[0].count("counters", "kept").await.0, 3);
    fleet.members[0].kill();
    drop(network);
    fleet.members[0].start(&mut fleet.peer).await;
    let network = Network::over(fleet.peer.tunnel().await);
    status_with(&network, &path, |told| told["problem"].as_str().is_some_and(|why| why.contains("404"))).await;
    assert!(stored() > 0);

    let digest = fleet.bundle(NO_OBJECTS);
    next(&mut fleet, 4, digest);
    fleet.tell().await;
    fleet.answers(&fleet.members[0], "GET", |_, text| text == "none").await;
    until("nothing is left", || stored() == 0).await;
}
