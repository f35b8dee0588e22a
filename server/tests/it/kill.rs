//! The server killed (-9) at each step: after its restart each instruction reaches its true end exactly once, and a
//! booking is wholly there or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use domain::ids::TransactionId;
use protocol::{Outcome, ProgressEvent, ToAgent, ToServer};
use serde_json::{Value, json};

use crate::{
    agent,
    hosts::{Host, Talk, zero},
    process::{Agent, Deployment, give_back, session},
    site::{client, until},
};

/// When the server is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Offered,
    Claimed,
    Running,
    /// The result is on its way.
    Done,
}

async fn state(deployment: &Deployment, instruction: &str) -> String {
    let shown = deployment.json("GET", &format!("/instructions/{instruction}"), None).await;
    shown["transactions"][0]["state"].as_str().expect("a state").to_owned()
}

async fn restart(deployment: &mut Deployment, host: &Host, talk: &mut Talk, open: &[TransactionId]) {
    deployment.kill_and_restart().await;
    *talk = host.link_again(open.to_vec()).await;
}

/// One instruction from its request to its end, with the server killed at `step`.
async fn through(deployment: &mut Deployment, host: &Host, talk: &mut Talk, step: Step) {
    let run = json!({"hosts": ["rack"], "argv": ["true"]});
    let run = deployment.json("POST", "/instructions", Some(run)).await;
    let instruction = run["id"].as_str().expect("an id").to_owned();
    let transaction: TransactionId = run["transactions"][0]["id"].as_str().expect("an id").parse().expect("an id");
    talk.offered(transaction).await;
    if step == Step::Offered {
        restart(deployment, host, talk, &[]).await;
        talk.offered(transaction).await;
    }
    assert_eq!(state(deployment, &instruction).await, "offered", "{step:?}");
    assert!(matches!(talk.claim(transaction).await, ToAgent::Instructions { .. }), "{step:?}");
    if step == Step::Claimed {
        restart(deployment, host, talk, &[transaction]).await;
        assert_eq!(state(deployment, &instruction).await, "claimed");
        assert_eq!(talk.claim(transaction).await, ToAgent::NotYours { transaction }, "once only");
    }
    let progress = |seq, event| ToServer::Progress { transaction, seq, event };
    talk.say(progress(0, ProgressEvent::Started)).await;
    talk.say(progress(1, ProgressEvent::Stdout(b"one\n".to_vec()))).await;
    let running = || async { (state(deployment, &instruction).await == "running").then_some(()) };
    until("it is running", running).await;
    if step == Step::Running {
        restart(deployment, host, talk, &[transaction]).await;
        assert_eq!(state(deployment, &instruction).await, "running");
        // All is told again on each link.
        talk.say(progress(0, ProgressEvent::Started)).await;
        talk.say(progress(1, ProgressEvent::Stdout(b"one\n".to_vec()))).await;
    }
    talk.say(progress(2, ProgressEvent::Stdout(b"two\n".to_vec()))).await;
    let result = || ToServer::Result { transaction, outcome: Outcome::Done { exit_code: Some(0) } };
    talk.say(result()).await;
    if step == Step::Done {
        restart(deployment, host, talk, &[transaction]).await;
        talk.say(progress(1, ProgressEvent::Stdout(b"one\n".to_vec()))).await;
        talk.say(progress(2, ProgressEvent::Stdout(b"two\n".to_vec()))).await;
        talk.say(result()).await;
    }
    assert_eq!(talk.answer().await, ToAgent::Acknowledge { transaction }, "{step:?}");
    assert_eq!(state(deployment, &instruction).await, "done", "{step:?}");
    let path = format!("/instructions/{instruction}/transactions/{transaction}/output");
    let output = deployment.json("GET", &path, None).await;
    let pieces: Vec<&Value> = output["items"].as_array().expect("pieces").iter().map(|piece| &piece["seq"]).collect();
    assert_eq!(pieces, [1, 2], "{step:?}: each piece once");
    assert_eq!(talk.claim(transaction).await, ToAgent::NotYours { transaction }, "{step:?}: it is over");
}

async fn each_step(database: Option<String>) {
    let mut deployment = Deployment::start(database).await;
    let host = Host::join(&zero(&deployment.url, &deployment.token, 1).await, "rack").await;
    let mut talk = host.link(vec![]).await;
    for step in [Step::Offered, Step::Claimed, Step::Running, Step::Done] {
        through(&mut deployment, &host, &mut talk, step).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_step_of_the_exchange() {
    each_step(None).await;
    each_step(Some(testkit::postgres::database().await)).await;
}

/// Sends the request until it is answered for good, as a client that has lost an answer does. The answer, and how often the
/// server said that the first is under way.
async fn insist(url: &str, token: &str, path: &str, key: &str, body: &Value) -> (u16, Value) {
    let send = || async {
        let request = client().post(format!("{url}/api/v1{path}")).bearer_auth(token).header("idempotency-key", key);
        let answer = request.json(body).send().await.ok()?;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.ok()?;
        let is_under_way = body["detail"].as_str().is_some_and(|detail| detail.contains("still being answered"));
        (status < 500 && !is_under_way).then_some((status, body))
    };
    until("an answer", send).await
}

/// When the server is killed while a real agent works for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// As soon as the instructions are stored.
    Stored,
    /// One is claimed, or further.
    Claimed,
    /// One is offered, to an agent that stands still.
    Offered,
    /// One has left its mark on the host.
    Marked,
    /// One is done.
    Done,
}

impl Moment {
    const ALL: [Moment; 5] = [Moment::Stored, Moment::Claimed, Moment::Offered, Moment::Marked, Moment::Done];

    /// Whether it has come with an instruction of this state, in this round.
    fn has_come(self, state: &str, marks: &Path, round: usize) -> bool {
        match self {
            Moment::Stored => true,
            Moment::Claimed => ["claimed", "running", "done"].contains(&state),
            Moment::Offered => state == "offered",
            Moment::Marked => {
                let text = std::fs::read_to_string(marks).unwrap_or_default();
                text.lines().any(|line| line.starts_with(&format!("{round}-")))
            }
            Moment::Done => state == "done",
        }
    }
}

/// Until the agent has dialled in since the server's last start: what it is asked is done.
async fn linked(deployment: &Deployment) {
    let run = json!({"hosts": ["lab"], "argv": ["true"]});
    let run = deployment.json("POST", "/instructions", Some(run)).await;
    let id = run["id"].as_str().expect("an id");
    until("the agent is linked", || async { (state(deployment, id).await == "done").then_some(()) }).await;
}

/// With a real agent: each command leaves its mark on the host once, whatever became of the server.
async fn commands(database: Option<String>) {
    let mut deployment = Deployment::start(database).await;
    let agent = Agent::start(&deployment.url, &deployment.token).await;
    let active = session(&deployment.url, &deployment.token, "lab/a").await;
    let marks = deployment.directory.path().join("marks");
    let mut instructions = BTreeMap::new();
    for (round, moment) in Moment::ALL.into_iter().enumerate() {
        if moment == Moment::Offered {
            linked(&deployment).await;
            agent.program.signal("STOP");
        }
        let mut given = Vec::new();
        for at in 0..4 {
            let mark = format!("{round}-{at}");
            let argv = ["sh", "-c", &format!("echo {mark} >> {}; sleep 0.{at}", marks.display())];
            let body = json!({"hosts": ["lab"], "argv": argv});
            let (status, made) = insist(&deployment.url, &deployment.token, "/instructions", &mark, &body).await;
            assert_eq!(status, 201, "{made}");
            let id = made["id"].as_str().expect("an id").to_owned();
            given.push(id.clone());
            instructions.insert(mark, id);
        }
        let come = || async {
            for id in &given {
                if moment.has_come(&state(&deployment, id).await, &marks, round) {
                    return Some(());
                }
            }
            None
        };
        until("the moment has come", come).await;
        deployment.kill_and_restart().await;
        if moment == Moment::Offered {
            agent.program.signal("CONT");
        }
    }
    // Claimed, and the server died before it could hand out the work: never sent again, and never called done.
    let mut unknown = BTreeSet::new();
    for (mark, id) in &instructions {
        let over = || async {
            let state = state(&deployment, id).await;
            assert!(
                ["waiting", "offered", "claimed", "running", "done", "unknown"].contains(&&*state),
                "{mark}: {state}"
            );
            (state == "done" || state == "unknown").then_some(state)
        };
        if until("it is over", over).await == "unknown" {
            unknown.insert(mark.as_str());
        }
    }
    let text = std::fs::read_to_string(&marks).expect("marks");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let done: Vec<&str> = instructions.keys().map(String::as_str).filter(|mark| !unknown.contains(mark)).collect();
    assert_eq!(lines, done, "what is done was done once, and what is unknown not at all");
    assert!(unknown.len() <= 8, "few: those that were being claimed at a kill: {unknown:?}");
    // The session and its machine outlived all that, and can be used.
    let mut program = agent::exec(&deployment.url, &deployment.token, &active, &["echo", "alive"]).await;
    assert_eq!(agent::output(&mut program, 6).await, b"alive\n");
    give_back(&deployment.url, &deployment.token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_real_agent_each_command_runs_once() {
    commands(None).await;
    commands(Some(testkit::postgres::database().await)).await;
}

/// Bookings that are under way when the server is killed: sent again with their keys they are the same bookings.
async fn bookings(database: Option<String>) {
    const AT_ONCE: u64 = 6;
    let mut deployment = Deployment::start(database).await;
    let host = Host::join(&zero(&deployment.url, &deployment.token, 1).await, "rack").await;
    drop(host.link(vec![]).await);
    let begin = services::Clock::system().now() + jiff::SignedDuration::from_hours(2);
    let mut booked = BTreeMap::new();
    for round in 0..8_u64 {
        let asks: Vec<(String, Value)> = (0..AT_ONCE)
            .map(|at| {
                let number = round * AT_ONCE + at;
                let start = begin + jiff::SignedDuration::from_mins(i64::try_from(number).expect("small") * 10);
                let body = json!({"machine": "rack/0", "start": start.to_string(), "duration_s": 600});
                (format!("booking-{number}"), body)
            })
            .collect();
        let sent: Vec<_> = asks
            .iter()
            .map(|(key, body)| {
                let request = client().post(format!("{}/api/v1/reservations", deployment.url));
                request.bearer_auth(&deployment.token).header("idempotency-key", key).json(body).send()
            })
            .collect();
        let answers = futures_util::future::join_all(sent);
        // Killed a little later each time: before, while and after they are committed.
        tokio::time::timeout(Duration::from_millis(6 * round), answers).await.ok();
        deployment.kill_and_restart().await;
        for (key, body) in asks {
            let (status, made) = insist(&deployment.url, &deployment.token, "/reservations", &key, &body).await;
            assert_eq!(status, 201, "{key}: {made}");
            let sessions = made["sessions"].as_array().map(Vec::len);
            assert_eq!((made["state"].as_str(), sessions), (Some("confirmed"), Some(1)), "{made}");
            booked.insert(key, (body, made["id"].clone()));
        }
    }
    let all = deployment.json("GET", "/reservations?limit=500", None).await;
    let ids: Vec<&Value> = all["items"].as_array().expect("a list").iter().map(|item| &item["id"]).collect();
    assert_eq!(ids.len(), booked.len(), "one for each key");
    for (key, (body, id)) in &booked {
        assert!(ids.contains(&id));
        let (status, again) = insist(&deployment.url, &deployment.token, "/reservations", key, body).await;
        assert_eq!((status, &again["id"]), (201, id), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_bookings_are_committed() {
    bookings(None).await;
    bookings(Some(testkit::postgres::database().await)).await;
}
