//! What an attacker tries, and forms as plain as a browser without scripts sends them.

use std::time::Duration;

use domain::people::Role;
use reqwest::{
    StatusCode,
    header::{self, HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    hosts::{Host, zero},
    site::{Browser, PASSWORD, Site, client, location, on_both},
};

#[tokio::test(flavor = "multi_thread")]
async fn one_signs_in_by_form_and_out_again() {
    on_both(|site| async move {
        site.admin("ana@x").await;
        let mut browser = Browser::new(&site.url);
        assert_eq!(
            location(&browser.sign_in("ana@x", "wrong horse battery").await),
            "/sign-in?error=wrong&next=/machines"
        );
        assert!(browser.cookies.is_empty(), "nobody gets a cookie before they are in");
        let answer = browser.sign_in("Ana@X", PASSWORD).await;
        assert_eq!(location(&answer), "/machines");
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"),
            "{cookie}"
        );
        assert!(browser.is_in().await);
        let mut other = Browser::new(&site.url);
        other.sign_in("ana@x", PASSWORD).await;
        let copied = browser.clone();
        assert_eq!(location(&browser.post("/sign-out", &[]).await), "/sign-in");
        assert!(browser.cookies.is_empty());
        assert!(!copied.is_in().await, "the cookie is worth nothing after it");
        assert!(other.is_in().await);
        browser.sign_in("ana@x", PASSWORD).await;
        let copied = browser.clone();
        browser.post("/sign-out/everywhere", &[]).await;
        assert!(!other.is_in().await && !copied.is_in().await);
        site
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_lets_one_choose_a_password_once() {
    on_both(|site| async move {
        let token = site.admin_token().await;
        let (_, mut eve) = site.person(&token, "eve@x", Role::Engineer).await;
        let before = eve.clone();
        assert_eq!(location(&eve.post("/account/password", &[("new", "short")]).await), "/account?error=password");
        let new = "a good new secret";
        assert_eq!(location(&eve.post("/account/password", &[("new", new)]).await), "/");
        assert!(eve.is_in().await);
        assert!(!before.is_in().await, "the id is a new one");
        // The link's grace is used up: from now on the old password is asked for.
        let answer = eve.post("/account/password", &[("new", "yet another secret")]).await;
        assert_eq!(location(&answer), "/account?error=current");
        let answer = eve.post("/account/password", &[("current", new), ("new", "yet another secret")]).await;
        assert_eq!(location(&answer), "/account?done=password");
        assert_eq!(location(&Browser::new(&site.url).sign_in("eve@x", "yet another secret").await), "/machines");
        let answer = Browser::new(&site.url).post("/sign-in/link", &[("token", "x")]).await;
        assert_eq!(location(&answer), "/sign-in/link?error=link");
        site
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_planted_is_not_taken_over() {
    on_both(|site| async move {
        site.admin("ana@x").await;
        // Session fixation: an id of the attacker's making, and one that is signed in as the attacker.
        site.admin("mallory@x").await;
        let mut mallory = Browser::new(&site.url);
        mallory.sign_in("mallory@x", PASSWORD).await;
        for planted in ["AAAAAAAAAAAAAAAAAAAAAA", mallory.cookies["berth"].as_str(), "nonsense", ""] {
            let mut victim = Browser::new(&site.url);
            victim.cookies.insert("berth".into(), planted.to_owned());
            let attacker = victim.clone();
            assert_eq!(location(&victim.sign_in("ana@x", PASSWORD).await), "/machines");
            assert_ne!(victim.cookies["berth"], planted);
            assert!(victim.is_in().await);
            assert!(!attacker.is_in().await, "{planted}");
        }
        site
    })
    .await;
}

/// Of another program on the same host name: it signs nobody out.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_is_no_ascii_hides_no_other() {
    let site = Site::start(None, Vec::new()).await;
    site.admin("ana@x").await;
    let mut ana = Browser::new(&site.url);
    ana.sign_in("ana@x", PASSWORD).await;
    for line in
        [format!("theirs=ä; {}", ana.cookie()).as_bytes(), &[b"theirs=\xe4; ", ana.cookie().as_bytes()].concat()]
    {
        let asked = Browser::new(&site.url).request("GET", "/api/v1/me");
        let answer = asked.header(header::COOKIE, HeaderValue::from_bytes(line).unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_requests_are_refused() {
    let site = Site::start(None, Vec::new()).await;
    site.admin("ana@x").await;
    let mut ana = Browser::new(&site.url);
    ana.sign_in("ana@x", PASSWORD).await;
    let evil = [
        (header::ORIGIN.as_str(), "https://evil.example"),
        (header::ORIGIN.as_str(), "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    for (name, value) in evil {
        for (method, path) in
            [("POST", "/sign-out"), ("POST", "/api/v1/tokens"), ("DELETE", "/api/v1/people/x"), ("POST", "/fn/x")]
        {
            let answer = ana.request(method, path).header(name, value).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path} {name} {value}");
        }
        // A WebSocket is a GET that any site may open.
        let answer = ana
            .request("GET", "/api/v1/sessions/0198c0de-0000-7000-8000-000000000000/terminal")
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "upgrade")
            .header(name, value)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name} {value}");
        // Signing a victim in as the attacker is refused as well.
        let form = client().post(format!("{}/sign-in", site.url)).header(name, value);
        assert_eq!(form.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
    let answer = ana.request("POST", "/sign-out").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "a cookie without an origin");
    assert!(ana.is_in().await);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_address_buys_no_guesses() {
    let site = Site::start(None, Vec::new()).await;
    let attempt = |site: &Site, at: usize, forwarded: String| {
        client()
            .post(format!("{}/sign-in", site.url))
            .header("x-forwarded-for", forwarded)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("email=p{at}@x&password=wrong"))
            .send()
    };
    for at in 0..50 {
        let answer = attempt(&site, at, format!("198.51.100.{at}")).await.unwrap();
        assert_eq!(location(&answer), "/sign-in?error=wrong", "{at}");
    }
    let answer = attempt(&site, 50, "198.51.100.50".into()).await.unwrap();
    assert!(location(&answer).starts_with("/sign-in?error=too-many&retry_s="), "{answer:?}");
    site.stop().await;
    // Behind a proxy that is trusted, each client counts for itself; what it wrote itself does not.
    let site = Site::start(None, vec!["127.0.0.1".parse().unwrap()]).await;
    for at in 0..50 {
        let answer = attempt(&site, at, format!("10.0.0.{at}, 198.51.100.1")).await.unwrap();
        assert_eq!(location(&answer), "/sign-in?error=wrong", "{at}");
    }
    assert!(location(&attempt(&site, 51, "10.0.0.51, 198.51.100.1".into()).await.unwrap()).contains("too-many"));
    assert_eq!(location(&attempt(&site, 52, "198.51.100.2".into()).await.unwrap()), "/sign-in?error=wrong");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_person_is_out_within_two_seconds() {
    on_both(|site| async move {
        let root = site.admin_token().await;
        let (id, eve) = site.person(&root, "eve@x", Role::Engineer).await;
        let ask = json!({"name": "cli", "scope": "all"});
        let answer = eve.request("POST", "/api/v1/tokens").header(header::ORIGIN, &site.url).json(&ask).send().await;
        let made: Value = answer.unwrap().json().await.unwrap();
        let token = made["secret"].as_str().unwrap().to_owned();
        let mut by_cookie = eve.request("GET", "/api/v1/events").send().await.unwrap();
        let mut by_token = site.api(&token, "GET", "/events").send().await.unwrap();
        assert_eq!((by_cookie.status(), by_token.status()), (StatusCode::OK, StatusCode::OK));
        let locked = site.api(&root, "PATCH", &format!("/people/{id}")).json(&json!({"locked": true})).send().await;
        assert_eq!(locked.unwrap().status(), StatusCode::OK);
        let since = std::time::Instant::now();
        assert!(!eve.is_in().await);
        assert_eq!(site.api(&token, "GET", "/me").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
        for stream in [&mut by_cookie, &mut by_token] {
            let end = async { while let Ok(Some(_)) = stream.chunk().await {} };
            tokio::time::timeout(Duration::from_secs(10), end).await.expect("the stream ends");
        }
        let took = since.elapsed();
        // Two seconds, and what a busy machine takes to notice.
        assert!(took < Duration::from_secs(4), "{took:?}");
        site
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_is_done_once() {
    on_both(|site| async move {
        let root = site.admin_token().await;
        let invite = |email: &str| {
            let body = json!({"email": email, "role": "engineer"});
            site.api(&root, "POST", "/people").header("idempotency-key", "one").json(&body).send()
        };
        let first = invite("eve@x").await.unwrap();
        assert_eq!(first.status(), StatusCode::CREATED);
        let again = invite("eve@x").await.unwrap();
        assert_eq!(again.status(), StatusCode::CONFLICT);
        let again: Value = again.json().await.unwrap();
        assert_eq!(again["type"], "urn:berth:problem:shown-once", "the link is kept nowhere");
        assert_eq!(invite("bob@x").await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
        // A refusal is repeated as it was.
        let refuse = || {
            let body = json!({"name": "", "scope": "all"});
            site.api(&root, "POST", "/tokens").header("idempotency-key", "two").json(&body).send()
        };
        let (first, again) = (refuse().await.unwrap(), refuse().await.unwrap());
        assert_eq!(
            (first.status(), again.status()),
            (StatusCode::UNPROCESSABLE_ENTITY, StatusCode::UNPROCESSABLE_ENTITY)
        );
        assert!(first.headers().get("idempotency-replayed").is_none());
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        assert_eq!(first.text().await.unwrap(), again.text().await.unwrap());
        // An answer is repeated with its headers.
        let host = Host::join(&zero(&site.url, &root, 1).await, "rack").await;
        let _link = host.link(vec![]).await;
        let book = || {
            let body = json!({"machine": "rack/0", "duration_s": 600});
            site.api(&root, "POST", "/reservations").header("idempotency-key", "three").json(&body).send()
        };
        let (first, again) = (book().await.unwrap(), book().await.unwrap());
        assert_eq!((first.status(), again.status()), (StatusCode::CREATED, StatusCode::CREATED));
        assert!(first.headers().contains_key(header::LOCATION) && first.headers().contains_key(header::ETAG));
        assert_eq!(again.headers()["idempotency-replayed"], "true");
        for name in [header::LOCATION, header::ETAG, header::CONTENT_TYPE] {
            assert_eq!(first.headers()[&name], again.headers()[&name], "{name}");
        }
        let location = first.headers()[header::LOCATION].to_str().unwrap().trim_start_matches("/api/v1").to_owned();
        let booked: Value = first.json().await.unwrap();
        assert_eq!(site.json(&root, "GET", &location, None).await["id"], booked["id"]);
        assert_eq!(again.json::<Value>().await.unwrap(), booked);
        site
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_and_malformed_input_is_a_problem() {
    let site = Site::start(None, Vec::new()).await;
    let root = site.admin_token().await;
    let check = async |answer: reqwest::Response, status: StatusCode| {
        assert_eq!(answer.status(), status, "{answer:?}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["request_id"], id.as_str(), "{problem}");
    };
    let send = |body: String| {
        site.api(&root, "POST", "/people").header(header::CONTENT_TYPE, "application/json").body(body).send()
    };
    check(send("{".into()).await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY).await;
    check(send("x".repeat(1_100_000)).await.unwrap(), StatusCode::PAYLOAD_TOO_LARGE).await;
    let long = json!({"email": format!("{}@x", "a".repeat(10_000)), "role": "engineer"}).to_string();
    check(send(long).await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY).await;
    check(send(json!({"email": "a@x", "role": "king"}).to_string()).await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY)
        .await;
    let in_order = json!(["a@x", "engineer", null]).to_string();
    check(send(in_order).await.unwrap(), StatusCode::UNPROCESSABLE_ENTITY).await;
    for token in ["berth_x", "", "x", &"a".repeat(5_000)] {
        let answer = client().get(format!("{}/api/v1/me", site.url)).bearer_auth(token).send().await.unwrap();
        check(answer, StatusCode::UNAUTHORIZED).await;
    }
    // Before the form is read, let alone hashed.
    let form = "password=".to_owned() + &"a".repeat(20_000);
    let sent = client().post(format!("{}/sign-in", site.url));
    let sent = sent.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // An id from outside goes into logs only if it looks like one.
    let ids = [("0123-abcd-ef", true), ("a b", false), ("x", false), (&*"a".repeat(65), false)];
    for (id, taken) in ids {
        let answer = site.api(&root, "GET", "/me").header("x-request-id", id).send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"] == id, taken, "{id}");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_headers() {
    let site = Site::start(None, Vec::new()).await;
    for path in ["/", "/sign-in", "/nothing-here", "/api/v1/me", "/api/v1/openapi.json", "/healthz", "/metrics"] {
        let answer = client().get(format!("{}{path}", site.url)).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let policy = header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src")).unwrap_or_default();
        assert!(!scripts.contains("unsafe-inline") && !scripts.contains("'unsafe-eval'"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        assert!(answer.headers().contains_key("x-request-id"), "{path}");
        assert!(!answer.headers().contains_key("strict-transport-security"), "{path}: not on plain HTTP");
    }
    site.stop().await;
}
