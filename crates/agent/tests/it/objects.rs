//! Objects on agents for real: engines in processes of their own, other agents over mutual TLS, the server's side by a test.

mod barred;
mod ending;
mod faults;
mod fleet;
mod intruders;
mod limits;
mod proxies;
mod refused;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{deployments::GROUPS, ids::HostId};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    objects::Holder,
    tunnel::{Door, Open},
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use self::fleet::{COUNTER, Fleet, Member, ask, counted};
use crate::peer::{Network, until, within};

const WRITES: &str = r#"{"sql":{"query":"create table t (a)","limit":1}}"#;

/// Each of `objects` is counted up by everybody at once; what each was told.
async fn count_all(members: &[Member], objects: usize, rounds: usize) -> BTreeMap<usize, Vec<(u64, String)>> {
    let mut asking = Vec::new();
    for round in 0..rounds {
        for object in 0..objects {
            let member = &members[(round + object) % members.len()];
            asking.push(async move { (object, member.count("counters", &format!("object-{object}")).await) });
        }
    }
    let mut told: BTreeMap<usize, Vec<(u64, String)>> = BTreeMap::new();
    for (object, counted) in futures_util::future::join_all(asking).await {
        told.entry(object).or_default().push(counted);
    }
    told
}

/// Numbers without a gap and without one twice, from one life alone.
fn assert_one_instance(told: BTreeMap<usize, Vec<(u64, String)>>, from: u64) -> BTreeSet<String> {
    let mut lives = BTreeSet::new();
    for (object, mut told) in told {
        told.sort();
        let numbers: Vec<u64> = told.iter().map(|(number, _)| *number).collect();
        assert!(numbers.iter().copied().eq(from..from + told.len() as u64), "object {object}: {numbers:?}");
        assert!(told.iter().all(|(_, life)| *life == told[0].1), "object {object} lived twice: {told:?}");
        lives.insert(told[0].1.clone());
    }
    lives
}

#[tokio::test]
async fn through_two_agents_at_once_each_object_is_one() {
    let mut fleet = Fleet::of(2).await;
    let tunnel = fleet.peer.tunnel().await;
    let (first, second) = (Network::over(tunnel), Network::over(fleet.peer.tunnel().await));
    let id = fleet.deploy().await;
    assert_eq!(assert_one_instance(count_all(&fleet.members, 12, 8).await, 1).len(), 12);
    // Both have some of them, and nobody all.
    for network in [&first, &second] {
        let (status, told) = Fleet::control(network, "GET", &format!("/deployments/{id}"), "").await;
        assert_eq!((status, &told["version"], &told["problem"]), (200, &1.into(), &serde_json::Value::Null), "{told}");
        let live = told["live"].as_u64().expect("a number");
        assert!((1..=12).contains(&live), "{told}");
    }
}

#[tokio::test]
async fn through_three_agents_at_once_each_object_is_one() {
    let fleet = Fleet::counters(3).await;
    assert_eq!(assert_one_instance(count_all(&fleet.members, 12, 9).await, 1).len(), 12);
}

#[tokio::test]
async fn bodies_and_sockets_go_across_hosts() {
    let fleet = Fleet::counters(2).await;
    let body = "0123456789abcdef".repeat(200_000);
    for object in 0..6 {
        let stream = TcpStream::connect(fleet.members[0].requests).await.expect("is there");
        let path = format!("/object-{object}");
        let asked = ask(stream, "PUT", "counters", &path, "", body.as_bytes());
        let (status, text) = within("the body", asked).await.expect("is answered");
        assert_eq!((status, text.len()), (200, body.len()), "object {object}");
        assert!(text == body, "object {object}: the bytes are others");

        let (_, life) = fleet.members[0].count("counters", &format!("object-{object}")).await;
        let stream = TcpStream::connect(fleet.members[0].requests).await.expect("is there");
        let upgraded = tokio_tungstenite::client_async(format!("ws://counters.test{path}"), stream);
        let (mut socket, _) = within("an upgrade", upgraded).await.expect("upgrades");
        for word in ["one", "two"] {
            socket.send(Message::text(word)).await.expect("is sent");
            let answer = within("an echo", socket.next()).await.expect("is open").expect("is read");
            assert_eq!(answer, Message::text(format!("{life} {word}")), "object {object}");
        }
        socket.close(None).await.expect("closes");
    }
}

#[tokio::test]
async fn requests_and_questions_come_through_the_tunnel() {
    let mut fleet = Fleet::of(1).await;
    let network = Network::over(fleet.peer.tunnel().await);
    let id = fleet.deploy().await;
    let namespace = fleet.plan.deployments[0].classes[0].namespace;
    // Two objects: `/first`, which was read when it was deployed, keeps nothing and counts as none until it writes.
    fleet.members[0].count("counters", "first").await;
    for number in 1..=3 {
        let stream = network.open(Open::Objects { door: Door::Requests, deployment: None }).await.expect("is opened");
        let asked = ask(stream, "POST", "counters", "/seen", "", b"");
        let (status, text) = within("an answer", asked).await.expect("is answered");
        assert_eq!((status, counted(&text).0), (200, number));
    }
    let stream = network.open(Open::Objects { door: Door::Requests, deployment: None }).await.expect("is opened");
    let (status, _) = within("an answer", ask(stream, "GET", "unknown", "/", "", b"")).await.expect("is answered");
    assert_eq!(status, 404, "there is no such deployment");

    let path = |rest: &str| format!("/deployments/{id}{rest}");
    let list = path("/objects?live=true&name=seen");
    let (status, listed) = Fleet::control(&network, "GET", &list, "").await;
    assert_eq!(status, 200, "{listed}");
    let [seen] = listed["objects"].as_array().expect("a list").as_slice() else { panic!("{listed}") };
    let (_, all) = Fleet::control(&network, "GET", &path("/objects?limit=1"), "").await;
    let first = all["objects"][0].clone();
    let after = format!("%2F{}", first["id"].as_str().expect("an id"));
    let next = path(&format!("/objects?namespace={namespace}&limit=1&after={namespace}{after}"));
    let (_, rest) = Fleet::control(&network, "GET", &next, "").await;
    assert_eq!((&all["more"], &rest["more"]), (&true.into(), &false.into()), "{all} {rest}");
    assert!(
        rest["objects"][0]["id"] != first["id"] && [&first["id"], &rest["objects"][0]["id"]].contains(&&seen["id"]),
        "{all} {rest}"
    );
    let object = path(&format!("/objects/{namespace}/{}", seen["id"].as_str().expect("an id")));
    let (status, kv) =
        Fleet::control(&network, "POST", &format!("{object}/look"), r#"{"kv":{"start":"","limit":10}}"#).await;
    assert_eq!((status, &kv["items"][0]["key"]), (200, &"n".into()), "{kv}");
    let (status, console) = Fleet::control(&network, "GET", &path("/console?after=0&wait_ms=1000"), "").await;
    let text = console["lines"][0]["text"].as_str().unwrap_or_default();
    assert_eq!((status, text), (200, "counted to 1"), "{console}");
    let (status, wrong) = Fleet::control(&network, "POST", &format!("{object}/look"), WRITES).await;
    assert_eq!(status, 400, "only what reads is taken: {wrong}");
    let (status, _) = Fleet::control(&network, "DELETE", &object, "").await;
    assert_eq!(status, 204);
    let (status, _) = Fleet::control(&network, "GET", &object, "").await;
    assert_eq!(status, 404, "nothing of it is left");
    assert_eq!(fleet.members[0].count("counters", "seen").await.0, 1, "it begins anew");
    let none = format!("/deployments/{}", domain::ids::DeploymentId::new());
    let (status, why) = Fleet::control(&network, "GET", &none, "").await;
    assert_eq!((status, &why["why"]), (404, &"the deployment has not come to this host yet".into()));
}

#[tokio::test]
async fn versions_follow_the_plan_and_what_objects_store_stays() {
    let mut fleet = Fleet::of(2).await;
    let network = Network::over(fleet.peer.tunnel().await);
    let id = fleet.deploy().await;
    let before = fleet.members[0].count("counters", "kept").await.0;
    let says = |word: &str| COUNTER.replace("`${n} ${this.life}`", &format!("`${{n}} {word}`"));
    let digest = fleet.bundle(&says("second"));
    (fleet.plan.deployments[0].version, fleet.plan.deployments[0].digest) = (2, digest);
    fleet.tell().await;
    for member in &fleet.members {
        fleet.answers(member, "GET", |status, text| status == 200 && text.ends_with("second")).await;
    }
    assert_eq!(fleet.members[1].count("counters", "kept").await, (before + 1, "second".to_owned()));

    // Code that cannot be had: the last version goes on, and it is told why.
    (fleet.plan.deployments[0].version, fleet.plan.deployments[0].digest) = (3, [9; 32]);
    fleet.tell().await;
    let told = status_with(&network, &format!("/deployments/{id}"), |told| told["problem"].is_string()).await;
    assert_eq!(told["version"], 2, "{told}");
    assert!(told["problem"].as_str().is_some_and(|why| why.contains("404")), "{told}");
    assert_eq!(fleet.members[1].count("counters", "kept").await, (before + 2, "second".to_owned()));

    // Back to the first.
    let digest = fleet.bundle(COUNTER);
    (fleet.plan.deployments[0].version, fleet.plan.deployments[0].digest) = (1, digest);
    fleet.tell().await;
    let told = status_with(&network, &format!("/deployments/{id}"), |told| told["version"] == 1).await;
    assert!(told["problem"].is_null(), "what was wrong is over: {told}");
    assert_eq!(fleet.members[0].count("counters", "kept").await.0, before + 3);

    // Gone with all that was stored.
    let namespace = fleet.plan.deployments[0].classes[0].namespace;
    let stored = |member: &Member| files_of(&member.host.state().join("objects/storage"), &namespace.uuid());
    assert!(fleet.members.iter().any(|member| stored(member) > 0), "what is stored shows by its name");
    fleet.plan.deployments.clear();
    fleet.plan.deleted.push(namespace);
    fleet.tell().await;
    for member in &fleet.members {
        fleet.answers(member, "GET", |status, _| status == 404).await;
        until("nothing is left", || stored(member) == 0).await;
    }
}

/// Files below that lie in a directory of the namespace.
fn files_of(directory: &std::path::Path, namespace: &uuid::Uuid) -> usize {
    let name = namespace.simple().to_string();
    let mut waiting = vec![directory.to_owned()];
    let mut found = 0;
    while let Some(directory) = waiting.pop() {
        // It may be removed while it is looked at.
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else if directory.to_string_lossy().contains(&name) {
                found += 1;
            }
        }
    }
    found
}

#[tokio::test]
async fn a_host_that_knows_better_has_its_callers_look_again() {
    let mut fleet = Fleet::of(3).await;
    fleet.plan_counters("counters", COUNTER);
    let holders = |host: HostId, epoch: u64| vec![Some(Holder { host, epoch }); usize::from(GROUPS)];
    let [_, second, third] = fleet.members.as_slice() else { panic!("three members") };
    let (second, third) = (second.id, third.id);
    fleet.plan.deployments[0].groups = holders(second, 1);
    fleet.tell().await;
    for member in &fleet.members {
        fleet.answers(member, "GET", |status, _| status == 200).await;
    }
    assert_eq!(fleet.members[0].count("counters", "before").await.0, 1);
    // All groups go on; the first agent has not heard of it.
    fleet.plan.deployments[0].groups = holders(third, 2);
    fleet.keep();
    for member in &fleet.members[1..] {
        member.nudge().await;
    }
    let says = "the plan leads to a host that refuses";
    let mut object = 0;
    // The second may still be reading it: what it takes until then is nobody's of later.
    while !fleet.members[0].host.log().contains(says) {
        object += 1;
        fleet.members[0].count("counters", &format!("object-{object}")).await;
    }
    let (_, life) = fleet.members[0].count("counters", "after").await;
    assert_eq!(fleet.members[2].count("counters", "after").await, (2, life));
}

/// What an agent says of a deployment, as soon as it is so.
async fn status_with(network: &Network, path: &str, right: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let asking = async {
        loop {
            let (_, told) = Fleet::control(network, "GET", path, "").await;
            if right(&told) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("such a status", asking).await
}

#[tokio::test]
async fn engines_and_their_groups_end_with_the_agent() {
    let mut fleet = Fleet::counters(1).await;
    let member = &mut fleet.members[0];
    member.count("counters", "alive").await;
    let engines = member.engines();
    assert!(!engines.is_empty(), "engines are in the group: {:?}", member.groups());
    member.host.terminate();
    assert!(member.host.exited().await.success());
    let left: Vec<&i32> = engines.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "{left:?} outlived the agent");
    assert_eq!(member.groups(), Vec::<std::path::PathBuf>::new());
    // Of one that is killed they go as well, and `clear` removes the group.
    member.start(&mut fleet.peer).await;
    member.count("counters", "alive").await;
    let engines = member.engines();
    member.kill();
    until("the engines have gone", || {
        engines.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    })
    .await;
    let (status, output) = member.host.clear().await;
    assert!(status.success(), "{output}");
    assert_eq!(member.groups(), Vec::<std::path::PathBuf>::new());
}
