//! A person who is locked, and a token that is revoked, against a real agent: what they have open is cut at once.

use std::time::{Duration, Instant};

use api::streams::{CLOSE_CONFLICT, ServerFrame};
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    agent::{self, Heard},
    process::{Agent, give_back, session},
    site::{LIMIT, Site, on_both},
};

/// A token of the owner of `token`, and its id.
async fn token(site: &Site, token: &str, name: &str) -> (String, String) {
    let ask = json!({"name": name, "scope": "all"});
    let made = site.json(token, "POST", "/tokens", Some(ask)).await;
    (made["secret"].as_str().unwrap().to_owned(), made["token"]["id"].as_str().unwrap().to_owned())
}

/// The end of a stream: the words in its last frame, and the close code.
async fn cut(socket: &mut agent::Socket) -> (String, u16) {
    let mut words = String::new();
    loop {
        match agent::frame(socket).await {
            Heard::Frame(ServerFrame::Error { message }) => words = message,
            Heard::Frame(_) | Heard::Bytes(_) => {}
            Heard::Closed(code) => return (words, code),
        }
    }
}

/// The last event of an event stream, whole.
async fn last_event(stream: &mut reqwest::Response) -> String {
    let mut text = String::new();
    let read = async {
        while let Ok(Some(chunk)) = stream.chunk().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(LIMIT, read).await.expect("the stream ends");
    text.split("\n\n").filter(|event| event.contains("event:")).last().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_and_a_revoked_token_cut_what_is_open_within_a_second() {
    on_both(|site| async move {
        let root = site.admin_token().await;
        let (eve_id, eve) = site.person(&root, "eve@x", domain::people::Role::Engineer).await;
        let ask = json!({"name": "first", "scope": "all"});
        let answer = eve.request("POST", "/api/v1/tokens").header("origin", &site.url).json(&ask).send().await;
        let first: serde_json::Value = answer.unwrap().json().await.unwrap();
        let first = first["secret"].as_str().unwrap().to_owned();
        let _agent = Agent::start(&site.url, &root).await;
        let active = session(&site.url, &first, "lab/a").await;

        // A token, and what came from it: both are cut with it, others of its owner's are not.
        let (second, second_id) = token(&site, &first, "second").await;
        let (child, _) = token(&site, &second, "child").await;
        let mut kept = agent::exec(&site.url, &first, &active, &["sleep", "1000"]).await;
        let mut by_second = agent::exec(&site.url, &second, &active, &["sleep", "1000"]).await;
        let terminal = format!("/sessions/{active}/terminal");
        let mut by_child = agent::connect(&site.url, &child, &terminal).await;
        let mut events = site.api(&child, "GET", "/events").send().await.unwrap();
        let revoked = site.api(&first, "DELETE", &format!("/tokens/{second_id}")).send().await.unwrap();
        assert_eq!(revoked.status(), StatusCode::NO_CONTENT);
        let since = Instant::now();
        let (program, shell, event) = tokio::join!(cut(&mut by_second), cut(&mut by_child), last_event(&mut events));
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        let told = ("the token is revoked or over".to_owned(), 1008);
        assert_eq!((&program, &shell), (&told, &told));
        assert!(event.contains("event: end") && event.contains("revoked"), "{event}");
        for secret in [&second, &child] {
            assert_eq!(site.api(secret, "GET", "/me").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
        }

        let mut shell = agent::connect(&site.url, &first, &terminal).await;
        let mut events = eve.request("GET", "/api/v1/events").send().await.unwrap();
        let lock = json!({"locked": true});
        site.json(&root, "PATCH", &format!("/people/{eve_id}"), Some(lock)).await;
        let since = Instant::now();
        let (program, shell, event) = tokio::join!(cut(&mut kept), cut(&mut shell), last_event(&mut events));
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        let told = ("your account is locked".to_owned(), 1008);
        assert_eq!((&program, &shell), (&told, &told));
        assert!(event.contains("event: end") && event.contains("locked"), "{event}");
        site.json(&root, "PATCH", &format!("/people/{eve_id}"), Some(json!({"locked": false}))).await;
        give_back(&site.url, &first).await;

        // What passes is said on the WebSocket, where a page can read it; whose session it is, before.
        let mut late = agent::connect(&site.url, &first, &terminal).await;
        let (words, code) = cut(&mut late).await;
        assert_eq!(code, CLOSE_CONFLICT, "{words}");
        assert!(words.contains("session"), "{words}");
        let (_, other) = site.person(&root, "ann@x", domain::people::Role::Engineer).await;
        for (path, status) in
            [(terminal, StatusCode::FORBIDDEN), ("/sessions/none/terminal".to_owned(), StatusCode::NOT_FOUND)]
        {
            let refused = other.request("GET", &format!("/api/v1{path}"));
            let refused =
                refused.header("origin", &site.url).header("connection", "upgrade").header("upgrade", "websocket");
            let refused =
                refused.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            assert_eq!(refused.send().await.unwrap().status(), status, "{path}");
        }
        site
    })
    .await;
}
