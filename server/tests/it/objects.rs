//! Deployments end to end: the server's and two agents' own processes, with requests at the portal and at both object ports.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use testkit::{COUNTER, free_port};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::{
    process::{Agent, Deployment},
    site::{client, until},
};

/// Where requests go in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Door(SocketAddr);

impl Door {
    fn of(url: &str) -> Self {
        Self(url.strip_prefix("http://").expect("an address").parse().expect("an address"))
    }

    /// Status and text; none where nobody answers.
    async fn ask(self, method: &str, object: &str) -> Option<(u16, String)> {
        let method = method.parse::<reqwest::Method>().expect("a method");
        let request =
            client().request(method, format!("http://{}/{object}", self.0)).header("host", "counters.localhost");
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    async fn count(self, object: &str) -> (u64, String) {
        let (status, text) = self.ask("POST", object).await.expect("is answered");
        assert_eq!(status, 200, "{object}: {text}");
        let (number, life) = text.split_once(' ').expect("a counter's answer");
        (number.parse().expect("a number"), life.to_owned())
    }

    async fn answers(self, wanted: u16) {
        let look = || async { self.ask("GET", "first").await.filter(|(status, _)| *status == wanted).map(drop) };
        until(&format!("{} answers {wanted}", self.0), look).await;
    }
}

struct OnHost {
    agent: Agent,
    door: Door,
}

async fn host(deployment: &Deployment, name: &str) -> OnHost {
    let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (requests, peers) = (at(free_port()), at(free_port()));
    let configuration =
        format!("[objects]\ncpus = 2\nmemory = \"2GiB\"\nlisten = \"{requests}\"\npeer_listen = \"{peers}\"\n");
    let agent = Agent::joined(&deployment.url, &deployment.token, name, &configuration).await;
    OnHost { agent, door: Door(requests) }
}

async fn hosts_online(deployment: &Deployment, count: usize) {
    let look = || async {
        let hosts = deployment.json("GET", "/hosts?link=online", None).await;
        (hosts["items"].as_array().map(Vec::len) == Some(count)).then_some(())
    };
    until("the hosts are online", look).await;
}

fn deploy(code: &str) -> Value {
    json!({
        "name": "counters",
        "main": "index.js",
        "modules": [{"name": "index.js", "kind": "esm", "text": code}],
        "bindings": [{"name": "COUNTERS", "class": "Counter"}],
        "migrations": [{"tag": "v1", "new": ["Counter"]}],
    })
}

/// One deployment for all: each part goes on with what the one before has counted.
#[tokio::test(flavor = "multi_thread")]
async fn objects_on_two_hosts() {
    let mut deployment = Deployment::start(None).await;
    let one = host(&deployment, "one").await;
    let mut two = host(&deployment, "two").await;
    hosts_online(&deployment, 2).await;
    let portal = Door::of(&deployment.url);
    let doors = [portal, one.door, two.door];

    let begun = Instant::now();
    deployment.json("POST", "/deployments", Some(deploy(COUNTER))).await;
    for door in doors {
        door.answers(200).await;
    }
    println!("live at the portal and both hosts after {} ms", begun.elapsed().as_millis());

    through_all_doors(&doors, 1).await;
    a_socket(portal).await;
    a_new_version(&deployment, &doors).await;
    without_the_server(&mut deployment, &doors).await;
    with_a_killed_agent(&mut two, &doors).await;
    a_revoked_host(&deployment, &one, &two).await;
    deployment.json("DELETE", "/deployments/counters", None).await;
    two.door.answers(404).await;
}

const OBJECTS: usize = 8;
const ROUNDS: usize = 9;

/// Everybody counts at once: numbers without a gap and without one twice, each object in one life.
async fn through_all_doors(doors: &[Door], from: u64) {
    let asking = (0..OBJECTS).flat_map(|object| {
        (0..ROUNDS).map(move |round| async move {
            (object, doors[(round + object) % doors.len()].count(&format!("object-{object}")).await)
        })
    });
    let told = futures_util::future::join_all(asking).await;
    for object in 0..OBJECTS {
        let mut of: Vec<_> = told.iter().filter(|(which, _)| *which == object).map(|(_, told)| told).collect();
        of.sort();
        assert!(of.iter().map(|(number, _)| *number).eq(from..from + ROUNDS as u64), "object {object}: {of:?}");
        let lives: BTreeSet<&String> = of.iter().map(|(_, life)| life).collect();
        assert_eq!(lives.len(), 1, "object {object}: {of:?}");
    }
}

async fn a_socket(portal: Door) {
    for object in 0..4 {
        let (_, life) = portal.count(&format!("talker-{object}")).await;
        let stream = TcpStream::connect(portal.0).await.expect("is there");
        let request = format!("ws://counters.localhost/talker-{object}").into_client_request().expect("a request");
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.expect("upgrades");
        socket.send(Message::text("hello")).await.expect("sends");
        let heard = tokio::time::timeout(crate::site::LIMIT, socket.next()).await.expect("in time");
        assert_eq!(heard.expect("is open").expect("is read"), Message::text(format!("{life} hello")));
    }
}

async fn a_new_version(deployment: &Deployment, doors: &[Door]) {
    let second = COUNTER.replace("${this.life}", "second");
    deployment.json("POST", "/deployments", Some(deploy(&second))).await;
    let begun = Instant::now();
    for door in doors {
        let look = || async { door.ask("GET", "first").await.filter(|(_, text)| text.ends_with("second")).map(drop) };
        until("the second version runs", look).await;
    }
    println!("the second version everywhere after {} ms", begun.elapsed().as_millis());
    deployment.json("POST", "/deployments/counters/run", Some(json!({"version": 1}))).await;
    for door in doors {
        let is_first = |(status, text): &(u16, String)| *status == 200 && !text.ends_with("second");
        let look = || async { door.ask("GET", "first").await.filter(is_first).map(drop) };
        until("the first runs again", look).await;
    }
    // What was stored is there.
    assert_eq!(doors[0].count("object-0").await.0, ROUNDS as u64 + 1);
}

/// kill -9 of the server: hosts go on, and call each other. A new one finds them.
async fn without_the_server(deployment: &mut Deployment, doors: &[Door]) {
    deployment.server.kill();
    for round in 0..4 {
        for object in 0..OBJECTS {
            // The first was counted once more by the part before.
            let expected = ROUNDS as u64 + 1 + round + u64::from(object == 0);
            let door = doors[1 + usize::try_from(round).expect("small") % 2];
            assert_eq!(door.count(&format!("object-{object}")).await.0, expected, "object {object}");
        }
    }
    deployment.restart();
    deployment.ready().await;
    doors[0].answers(200).await;
}

/// kill -9 of an agent: what it had goes on where it was.
async fn with_a_killed_agent(two: &mut OnHost, doors: &[Door]) {
    two.agent.kill_and_restart();
    two.door.answers(200).await;
    for object in 0..OBJECTS {
        let expected = ROUNDS as u64 + 5 + u64::from(object == 0);
        let look =
            || async { doors[1].ask("GET", &format!("object-{object}")).await.filter(|(status, _)| *status == 200) };
        until("the object is back", look).await;
        assert_eq!(doors[1].count(&format!("object-{object}")).await.0, expected, "object {object}");
    }
}

/// A host that is revoked serves nothing any more, and says why.
async fn a_revoked_host(deployment: &Deployment, one: &OnHost, two: &OnHost) {
    let from_both = || async {
        let listed = deployment.json("GET", "/objects?deployment=counters", None).await;
        (listed["silent_hosts"].as_array().is_some_and(Vec::is_empty)).then_some(listed)
    };
    let listed = until("both hosts say what they have", from_both).await;
    let on_two: BTreeSet<&str> = listed["items"]
        .as_array()
        .expect("objects")
        .iter()
        .filter(|object| object["host"] == "two")
        .filter_map(|object| object["name"].as_str())
        .filter(|name| name.starts_with("object-"))
        .collect();
    let hosts = deployment.json("GET", "/hosts", None).await;
    let all = hosts["items"].as_array().expect("hosts");
    let id = all.iter().find(|host| host["name"] == "one").and_then(|host| host["id"].as_str()).expect("its id");
    deployment.json("POST", &format!("/hosts/{id}/revoke"), None).await;
    for object in 0..OBJECTS {
        let refused = || async {
            one.door
                .ask("GET", &format!("object-{object}"))
                .await
                .filter(|(status, _)| *status == 503)
                .map(|found| found.1)
        };
        let why = until("it serves nothing", refused).await;
        assert!(why.contains("certificate was revoked"), "{why}");
    }
    // The other one serves what it has, and no more.
    for object in (0..OBJECTS).map(|object| format!("object-{object}")) {
        let served = two.door.ask("GET", &object).await.is_some_and(|(status, _)| status == 200);
        assert_eq!(
            served,
            on_two.contains(object.as_str()),
            "{object}, where these were on the host that is left: {on_two:?}"
        );
    }
}
