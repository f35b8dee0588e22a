//! Who is let in by the owner, how far, and for how long; and what nobody uses.

use std::time::{Duration, Instant};

use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use testkit::{
    kernel::KernelError,
    lab::{From, Lab},
};

use super::{Person, refused::is_refused};
use crate::{process::Deployment, site::within};

const SHARE: &str = "/notebooks/bobs/shares/eve@example.org";
/// From the answer to who takes it back to the end of the last byte.
const CUT_LIMIT: Duration = Duration::from_secs(1);
/// The next look at all notebooks, and what it takes to stop one.
const IDLE_LIMIT: Duration = Duration::from_secs(4 * 60);

pub async fn shared(deployment: &Deployment, lab: &Lab, bob: &Person, eve: &Person) {
    let portal = &deployment.url;
    let id = lab.new_kernel().await;
    let mut own = lab.socket(From::Own, &id, "owner").await.expect("a socket");
    own.run("secret = 6 * 7").await.expect("a cell");
    let file = json!({"type": "file", "format": "text", "content": "seen"});
    lab.json("PUT", "/api/contents/seen.txt", Some(file.clone())).await;

    bob.json("PUT", SHARE, Some(json!({"access": "read"}))).await;
    let eves = Lab::open(portal, &eve.browser.cookie(), "bobs").await;
    reads(&eves, &id).await;
    for (lab, writable) in [(lab, true), (&eves, false)] {
        let seen = lab.json("GET", "/api/contents/seen.txt", None).await;
        assert_eq!((&seen["content"], &seen["writable"]), (&json!("seen"), &json!(writable)));
    }
    let mut reader = eves.socket(From::Own, &id, "reader").await.expect("a socket");
    reader.info().await.expect("an answer");
    match reader.run("secret = 0").await {
        Err(KernelError::Cell(why)) => assert!(why.contains("ReadOnly"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(own.run("print(secret)").await.expect("a cell"), "42");
    assert_eq!(eves.socket(From::Nobody, &id, "reader").await.err(), Some(StatusCode::FORBIDDEN));

    bob.json("PUT", SHARE, Some(json!({"access": "full"}))).await;
    let mut ended = reader.info().await.is_err();
    while !ended {
        ended = reader.info().await.is_err();
    }
    eves.json("PUT", "/api/contents/theirs.txt", Some(file)).await;
    let mut full = eves.socket(From::Own, &id, "full").await.expect("a socket");
    assert_eq!(full.run("print(secret)").await.expect("a cell"), "42");

    bob.json("DELETE", SHARE, None).await;
    let taken_back = Instant::now();
    while full.info().await.is_ok() {}
    assert!(taken_back.elapsed() < CUT_LIMIT, "cut after {:?}", taken_back.elapsed());
    is_refused(&eves, portal).await;
    assert_eq!(eves.json("GET", "/.berth/state", None).await["state"], "gone");
    own.info().await.expect("the owner's goes on");
    let seen = eve.browser.request("GET", "/api/v1/notebooks/bobs").send().await.expect("an answer");
    assert_eq!(seen.status(), StatusCode::NOT_FOUND);
}

/// What a reader may send, and what is refused.
async fn reads(eves: &Lab, kernel: &str) {
    let acts = [
        ("PUT", "/api/contents/theirs.txt".to_owned()),
        ("DELETE", "/api/contents/seen.txt".to_owned()),
        ("POST", "/api/kernels".to_owned()),
        ("POST", "/api/sessions".to_owned()),
        ("POST", "/api/terminals".to_owned()),
        ("DELETE", format!("/api/kernels/{kernel}")),
        ("POST", "/api/shutdown".to_owned()),
        ("GET", "/terminals/1".to_owned()),
        ("POST", "/.berth/keep".to_owned()),
    ];
    for (method, path) in acts {
        let told = eves.told(eves.request(method, &path).body("{}")).await;
        assert_eq!(told.status, StatusCode::FORBIDDEN, "{method} {path}: {told:?}");
    }
    let layout = eves.told(eves.request("PUT", "/lab/api/workspaces/default").body("{}")).await;
    assert_eq!(layout.status, StatusCode::NO_CONTENT);
    let page = eves.told(eves.request("GET", "/lab").header(header::ACCEPT, "text/html")).await;
    assert!(page.text.contains("src=\"/.berth/notice.js\""), "{page:?}");
    assert!(page.text.contains("\"token\": \"\""), "JupyterLab's token is in its page: {page:?}");
    let state = eves.json("GET", "/.berth/state", None).await;
    assert_eq!((&state["state"], &state["is_reading"]), (&json!("running"), &json!(true)));
}

/// All but the notebook in which a cell runs, though nothing passes and nobody has it open.
pub async fn idle(deployment: &Deployment, lab: &Lab, people: &[(&Person, &str)], bob: &Person) {
    let policy: Value = deployment.json("GET", "/notebook-policy", None).await;
    let mut short = policy.clone();
    (short["idle_after_min"], short["warn_before_min"], short["generation"]) = (json!(1), json!(0), Value::Null);
    // One has kernels whose last cell is over, the other never had any.
    let second = Lab::open(&deployment.url, &bob.browser.cookie(), "seconds").await;
    let id = second.new_kernel().await;
    second.socket(From::Own, &id, "short").await.expect("a socket").run("1").await.expect("a cell");
    let id = lab.new_kernel().await;
    let mut kernel = lab.socket(From::Own, &id, "long").await.expect("a socket");
    let mut cell = kernel.begin("import time; print('begun', flush=True); time.sleep(300)").await.expect("is sent");
    while !cell.printed.contains("begun") {
        kernel.read(&mut cell).await.expect("the kernel's word");
    }
    drop(kernel);
    let mut last = String::new();
    deployment.json("PUT", "/notebook-policy", Some(short)).await;
    for (person, name) in people {
        let path = format!("/notebooks/{name}");
        let look = || async {
            let notebook = person.json("GET", &path, None).await;
            (notebook["state"] == "stopped").then_some(notebook)
        };
        let stopped = within(IDLE_LIMIT, &format!("{name} is stopped"), look).await;
        assert!(stopped["cause"].as_str().is_some_and(|cause| cause.starts_with("idle since ")), "{stopped}");
        stopped["since"].as_str().expect("a time").clone_into(&mut last);
    }
    // Nothing has passed for long: only JupyterLab itself can have said so.
    let used = || async {
        let notebook = bob.json("GET", "/notebooks/bobs", None).await;
        notebook["active_at"].as_str().is_some_and(|at| at > last.as_str()).then_some(())
    };
    within(IDLE_LIMIT, "the server has asked whether a cell runs", used).await;
    let busy = bob.json("GET", "/notebooks/bobs", None).await;
    assert_eq!((&busy["state"], &busy["stops_at"]), (&json!("running"), &Value::Null));
    let mut back = policy;
    back["generation"] = Value::Null;
    deployment.json("PUT", "/notebook-policy", Some(back)).await;
}
