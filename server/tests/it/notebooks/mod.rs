//! Notebooks end to end: the server's and the agent's own processes, a real JupyterLab, and browsers that come to it by the
//! server's proxy alone.

mod refused;
mod streams;
mod visits;

use std::time::{Duration, Instant};

use domain::people::Role;
use serde_json::{Value, json};
use testkit::lab::{From, Lab};

use crate::{
    process::{Agent, Deployment},
    site::{Browser, invited, within},
};

/// How long a notebook may take to run: its environment comes from a package index.
const BUILD_LIMIT: Duration = Duration::from_secs(8 * 60);
const OFFER: &str = "[notebooks]\ncpus = 8\nmemory = \"16GiB\"\n";

/// A person with a browser that is signed in to the portal.
struct Person {
    browser: Browser,
    url: String,
}

impl Person {
    async fn invited(deployment: &Deployment, email: &str) -> Self {
        let (_, browser) = invited(&deployment.url, &deployment.token, email, Role::Engineer).await;
        Self { browser, url: deployment.url.clone() }
    }

    /// What the portal answers to one of its own pages.
    async fn json(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let request = self.browser.request(method, &format!("/api/v1{path}")).header("origin", &self.url);
        let answer = body.iter().fold(request, |request, body| request.json(body)).send().await.expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn launch(&self, name: &str) {
        self.json("POST", "/notebooks", Some(json!({"name": name, "environment": "plain"}))).await;
    }

    async fn is(&self, name: &str, wanted: &str) {
        let path = format!("/notebooks/{name}");
        let look = || async {
            let notebook = self.json("GET", &path, None).await;
            assert!(wanted == "failed" || notebook["state"] != "failed", "{notebook}");
            (notebook["state"] == wanted).then_some(())
        };
        within(BUILD_LIMIT, &format!("{name} is {wanted}"), look).await;
    }

    async fn stop(&self, name: &str) {
        self.json("POST", &format!("/notebooks/{name}/stop"), None).await;
        self.is(name, "stopped").await;
    }
}

/// One deployment for all: an environment takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn notebooks() {
    let mut deployment = Deployment::start(None).await;
    let _agent = Agent::offering(&deployment.url, &deployment.token, OFFER).await;
    let plain = json!({"name": "plain", "requirements": "ipykernel\n"});
    deployment.json("POST", "/notebook-environments", Some(plain)).await;
    let bob = Person::invited(&deployment, "bob@example.org").await;
    let eve = Person::invited(&deployment, "eve@example.org").await;
    for (person, name) in [(&bob, "bobs"), (&bob, "seconds"), (&eve, "eves")] {
        person.launch(name).await;
    }
    for (person, name) in [(&bob, "bobs"), (&bob, "seconds"), (&eve, "eves")] {
        person.is(name, "running").await;
    }
    let lab = Lab::open(&deployment.url, &bob.browser.cookie(), "bobs").await;
    a_quick_answer(&lab).await;
    a_killed_server(&mut deployment, &lab).await;
    refused::all(&deployment, &lab, &bob, &eve).await;
    visits::shared(&deployment, &lab, &bob, &eve).await;
    streams::extend(&lab).await;
    for act in ["stop", "start"] {
        bob.json("POST", &format!("/notebooks/bobs/{act}"), None).await;
        bob.is("bobs", if act == "stop" { "stopped" } else { "running" }).await;
    }
    streams::headers(&lab, &bob).await;
    streams::an_answer_in_pieces(&lab).await;
    streams::a_request_in_pieces(&lab).await;
    streams::uploads(&deployment, &lab).await;
    visits::idle(&deployment, &lab, &[(&bob, "seconds"), (&eve, "eves")], &bob).await;
    bob.stop("bobs").await;
}

/// No connection on the way waits for an acknowledgement, which the other end would give 40 ms later.
async fn a_quick_answer(lab: &Lab) {
    let id = lab.new_kernel().await;
    let mut kernel = lab.socket(From::Own, &id, "trips").await.expect("a socket");
    let mut trips = Vec::new();
    for _ in 0..40 {
        let began = Instant::now();
        kernel.info().await.expect("an answer");
        trips.push(began.elapsed());
    }
    trips.sort();
    assert!(trips[10] < Duration::from_millis(38), "{trips:?}");
}

/// kill -9 of the server under a cell that runs: the kernel goes on, and who comes again with the same cookie and session
/// is told what was printed meanwhile.
async fn a_killed_server(deployment: &mut Deployment, lab: &Lab) {
    const SESSION: &str = "a-page-of-jupyterlab";
    let id = lab.new_kernel().await;
    let mut kernel = lab.socket(From::Own, &id, SESSION).await.expect("a socket");
    let pid = kernel.run("import os, time; print(os.getpid())").await.expect("a cell");
    let waiting = "print('begun', flush=True)\nwhile not os.path.exists('go-on'): time.sleep(0.05)\nprint('over')";
    let mut cell = kernel.begin(waiting).await.expect("is sent");
    while !cell.printed.contains("begun") {
        kernel.read(&mut cell).await.expect("the kernel's word");
    }
    assert!(!cell.printed.contains("over"), "the cell is running");
    deployment.kill_and_restart().await;
    while kernel.read(&mut cell).await.is_ok() {}
    assert!(!cell.is_over(), "the socket ended with the server, before the cell");

    let again = || async { lab.socket(From::Own, &id, SESSION).await.ok() };
    let mut kernel = within(BUILD_LIMIT, "the notebook can be reached again", again).await;
    let other = lab.new_kernel().await;
    let mut other = lab.socket(From::Own, &other, "another-page").await.expect("a socket");
    other.run("open('go-on', 'w').close()").await.expect("a cell");
    while !cell.is_over() {
        kernel.read(&mut cell).await.expect("the kernel's word");
    }
    assert_eq!(cell.printed, "begun\nover\n");
    assert_eq!(kernel.run("print(os.getpid())").await.expect("a cell"), pid);
}
