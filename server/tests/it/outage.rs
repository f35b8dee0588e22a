//! A database that is lost or whose disk is full, as users see it, and what comes of it when it is back.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use services::Clock;
use testkit::postgres::{Durability, Postgres};
use tokio_util::sync::CancellationToken;

use crate::{
    hosts::zero,
    process::Deployment,
    site::{Browser, PASSWORD, Site, client, until},
};

/// Nobody is left to wait longer for a refusal.
const PATIENCE: Duration = Duration::from_secs(12);

/// Simulated hosts, linked to the server, until dropped.
struct Hosts {
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Hosts {
    async fn start(url: &str, token: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = agent::simulate::Options {
            hosts: 2,
            machines: 2,
            zero: Some(zero(url, token, 2).await),
            state: directory.path().to_owned(),
            prefix: "sim".to_owned(),
            prepare: Duration::from_millis(50),
            command: Duration::ZERO,
            report: None,
            stamps: None,
        };
        let stop = CancellationToken::new();
        tokio::spawn(agent::simulate::run(options, stop.clone()));
        let this = Self { stop, _directory: directory };
        this.online(url, token).await;
        this
    }

    async fn online(&self, url: &str, token: &str) {
        let look = || async {
            let machines = crate::site::json(url, token, "GET", "/machines?state=free", None).await;
            (machines["items"].as_array().map(Vec::len) == Some(4)).then_some(())
        };
        until("all simulated machines are free", look).await;
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The problem that REST answers with.
async fn problem(answer: reqwest::Response, status: StatusCode, kind: &str, says: &str) {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    let wait: u64 = answer.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], kind, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    assert!(
        !problem.to_string().contains("sqlx") && !problem.to_string().contains("/tmp"),
        "no cause inside: {problem}"
    );
}

async fn probe(url: &str, path: &str) -> StatusCode {
    client().get(format!("{url}{path}")).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stops_under_load_and_comes_back() {
    let mut postgres = tokio::task::spawn_blocking(|| Postgres::start(Durability::Full)).await.unwrap();
    let site = Site::start(Some(postgres.create("outage").await), Vec::new()).await;
    let token = site.admin_token().await;
    site.admin("ana@x").await;
    let mut ana = Browser::new(&site.url);
    ana.sign_in("ana@x", PASSWORD).await;
    let hosts = Hosts::start(&site.url, &token).await;
    // One that begins while the database is away.
    let start = Clock::system().now() + SignedDuration::from_secs(4);
    let ask = json!({"machine": "sim-0001/slot-1", "start": start.to_string(), "duration_s": 3600});
    let early = site.json(&token, "POST", "/reservations", Some(ask)).await;
    let session = early["sessions"][0]["id"].as_str().unwrap().to_owned();

    // Load: bookings of one machine, each with a key, in slots of their own.
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let begin = Clock::system().now() + SignedDuration::from_hours(5);
    let body = |number: u64| {
        let start = begin + SignedDuration::from_mins(i64::try_from(number).unwrap());
        json!({"machine": "sim-0002/slot-2", "start": start.to_string(), "duration_s": 60})
    };
    let send = |number: u64| {
        let request = site.api(&token, "POST", "/reservations").header("idempotency-key", format!("key-{number}"));
        request.json(&body(number)).send()
    };
    let load = async {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let status = send(number).await.unwrap().status();
            assert!(status == StatusCode::CREATED || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        }
    };
    let outage = async {
        until("some are booked", || async { (next.load(Ordering::Relaxed) > 20).then_some(()) }).await;
        tokio::task::block_in_place(|| postgres.stop());
        // REST, pages and probes, each while it lasts: an answer, and soon.
        let begun = Instant::now();
        let asked = site.api(&token, "GET", "/machines").send().await.unwrap();
        problem(asked, StatusCode::SERVICE_UNAVAILABLE, "urn:berth:problem:database", "Try again in a moment").await;
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        for path in ["/machines", "/", "/sign-in"] {
            let begun = Instant::now();
            let page = ana.request("GET", path).header(header::ACCEPT, "text/html").send().await.unwrap();
            assert!(begun.elapsed() < PATIENCE, "{path}: {:?}", begun.elapsed());
            assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(page.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"), "{path}");
            assert!(page.headers().contains_key(header::RETRY_AFTER), "{path}");
            let text = page.text().await.unwrap();
            assert!(text.contains("database cannot be used now") && text.contains("<h1"), "{path}: {text}");
        }
        assert_eq!(probe(&site.url, "/healthz").await, StatusCode::OK);
        assert_eq!(probe(&site.url, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        // Past the start of the session that is booked.
        until("its time has come", || async { (Clock::system().now() > start).then_some(()) }).await;
        tokio::task::block_in_place(|| postgres.start_again());
        let ready = || async { (probe(&site.url, "/readyz").await == StatusCode::OK).then_some(()) };
        until("the server is ready again by itself", ready).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, outage);

    // Nothing half done: each key has its one booking, whatever its sender was told.
    let sent = next.load(Ordering::Relaxed);
    for number in 0..sent {
        let booked = || async {
            let answer = send(number).await.unwrap();
            assert!(!answer.status().is_client_error() || answer.status() == StatusCode::CONFLICT, "{answer:?}");
            (answer.status() == StatusCode::CREATED).then_some(())
        };
        until("the same booking", booked).await;
    }
    let store = testkit::connect(postgres.url("outage")).await;
    assert_eq!(store::reservations::overlaps(store.read()).await.unwrap(), 0);
    let mut count = 0;
    let mut cursor = String::new();
    loop {
        let page = site.json(&token, "GET", &format!("/reservations?limit=500{cursor}"), None).await;
        count += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(u64::try_from(count).unwrap(), sent + 1, "one for each key, and the early one");

    // The reconciler catches up, over links that stayed or came back.
    let active = || async {
        let session = site.json(&token, "GET", &format!("/sessions/{session}"), None).await;
        (session["state"] == "active").then_some(())
    };
    until("the session that was due is active", active).await;
    site.json(&token, "POST", &format!("/sessions/{session}/end"), None).await;
    hosts.online(&site.url, &token).await;
    assert!(ana.is_in().await, "nobody is signed out by it");
    site.stop().await;
}

/// A file system of a few MB.
struct Small(PathBuf);

impl Small {
    /// An error where none can be made.
    fn mount(at: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(at)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "berth-test"]).arg(at).output()?;
        if mounted.status.success() {
            Ok(Self(at.to_owned()))
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&mounted.stderr).into_owned()))
        }
    }
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        let block = [0; 4_096];
        while file.write_all(&block).is_ok() {}
    }
    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is left mounted", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_reading_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let small = match Small::mount(&directory.path().join("server")) {
        Ok(small) => small,
        Err(why) => {
            eprintln!("skipped: no file system of a few MB can be mounted here ({why}); it takes root");
            return;
        }
    };
    let deployment = Deployment::at(directory, None).await;
    let (url, token) = (&deployment.url, &deployment.token);
    let hosts = Hosts::start(url, token).await;
    small.fill();
    let begin = Clock::system().now() + SignedDuration::from_hours(1);
    let next = AtomicU64::new(0);
    let book = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let start = begin + SignedDuration::from_mins(i64::try_from(number).unwrap());
        let ask = json!({"machine": "sim-0001/slot-1", "start": start.to_string(), "duration_s": 60});
        client().post(format!("{url}/api/v1/reservations")).bearer_auth(token).json(&ask).send()
    };
    let booked = AtomicU64::new(0);
    // There may be a little room left in files that are there.
    let refused = || async {
        let answer = book().await.unwrap();
        if answer.status() == StatusCode::CREATED {
            booked.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(answer)
    };
    let refused = until("the disk is full", refused).await;
    problem(refused, StatusCode::INSUFFICIENT_STORAGE, "urn:berth:problem:disk-full", "make room").await;
    let count = async || {
        let all = deployment.json("GET", "/reservations?limit=500", None).await;
        u64::try_from(all["items"].as_array().unwrap().len()).unwrap()
    };
    assert_eq!(count().await, booked.load(Ordering::Relaxed), "what was refused is not there");
    assert_eq!(probe(url, "/healthz").await, StatusCode::OK);
    let unready = || async { (probe(url, "/readyz").await == StatusCode::SERVICE_UNAVAILABLE).then_some(()) };
    until("the server says that it cannot write", unready).await;

    small.make_room();
    let ready = || async { (probe(url, "/readyz").await == StatusCode::OK).then_some(()) };
    until("the server is ready again by itself", ready).await;
    let again = || async { (book().await.unwrap().status() == StatusCode::CREATED).then_some(()) };
    until("bookings are taken again", again).await;
    hosts.online(url, token).await;
    let ask = json!({"machine": "sim-0002/slot-1", "duration_s": 600});
    let now = deployment.json("POST", "/reservations", Some(ask)).await;
    let session = now["sessions"][0]["id"].as_str().unwrap().to_owned();
    let active = || async {
        let session = deployment.json("GET", &format!("/sessions/{session}"), None).await;
        (session["state"] == "active").then_some(())
    };
    until("a session begins as ever", active).await;
    drop((hosts, deployment));
    drop(small);
}
