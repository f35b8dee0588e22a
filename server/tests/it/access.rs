//! Who may do what: every route of the OpenAPI document against the table below. A route that is not in it fails.

use std::collections::BTreeSet;

use domain::{access::Action, people::Role, tokens::Scope};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

use crate::site::{Browser, Site, client, location};

const ID: &str = "0198c0de-0000-7000-8000-000000000000";

/// What is sent: enough to come past the reading of the request, so that the answer tells of the right to do it.
enum Sends {
    Nothing,
    Json(Value),
    Upgrade,
}

/// One that is refused for what is in it.
fn policy() -> Value {
    json!({
        "sizes": [], "max_notebooks": 1, "max_running": 1, "max_cpu_millis": null, "max_memory_bytes": null,
        "volume_bytes": 1, "idle_after_min": null, "warn_before_min": 0,
    })
}

/// Method, path, what it needs, and what to send.
fn table() -> Vec<(&'static str, &'static str, Action, Sends)> {
    use Action as A;
    use Sends::{Json, Nothing, Upgrade};
    vec![
        ("GET", "/me", A::PeopleRead, Nothing),
        ("GET", "/people", A::PeopleRead, Nothing),
        ("POST", "/people", A::PeopleManage, Json(json!({"email": "not an address", "role": "engineer"}))),
        ("GET", "/people/{id}", A::PeopleRead, Nothing),
        ("PATCH", "/people/{id}", A::PeopleManage, Json(json!({"locked": true}))),
        ("DELETE", "/people/{id}", A::PeopleManage, Nothing),
        ("POST", "/people/{id}/link", A::PeopleManage, Nothing),
        ("GET", "/tokens", A::TokensOwn, Nothing),
        ("POST", "/tokens", A::TokensOwn, Json(json!({"name": "x", "scope": "read"}))),
        ("DELETE", "/tokens/{id}", A::TokensOwn, Nothing),
        ("GET", "/audit", A::AuditRead, Nothing),
        ("GET", "/events", A::EventsRead, Nothing),
        ("GET", "/machines", A::MachinesRead, Nothing),
        ("GET", "/machines/free", A::MachinesRead, Nothing),
        ("GET", "/machines/{machine}", A::MachinesRead, Nothing),
        ("PATCH", "/machines/{machine}", A::MachinesManage, Json(json!({"action": "verify"}))),
        ("GET", "/reservations", A::ReservationsRead, Nothing),
        ("POST", "/reservations", A::ReservationsCreate, Json(json!({"machine": "none/0", "duration_s": 3600}))),
        ("GET", "/reservations/{id}", A::ReservationsRead, Nothing),
        ("PATCH", "/reservations/{id}", A::ReservationsChange, Json(json!({"purpose": "x"}))),
        ("DELETE", "/reservations/{id}", A::ReservationsChange, Nothing),
        ("GET", "/sessions", A::SessionsRead, Nothing),
        ("GET", "/sessions/{id}", A::SessionsRead, Nothing),
        ("GET", "/sessions/{id}/logs", A::SessionsRead, Nothing),
        ("POST", "/sessions/{id}/keepalive", A::SessionsUse, Nothing),
        ("POST", "/sessions/{id}/end", A::SessionsEnd, Nothing),
        ("GET", "/sessions/{id}/terminal", A::SessionsUse, Upgrade),
        ("GET", "/sessions/{id}/exec", A::SessionsUse, Upgrade),
        ("GET", "/notebooks", A::NotebooksRead, Nothing),
        ("POST", "/notebooks", A::NotebooksManage, Json(json!({"name": "No Name"}))),
        ("GET", "/notebooks/{id}", A::NotebooksRead, Nothing),
        ("DELETE", "/notebooks/{id}", A::NotebooksManage, Nothing),
        ("POST", "/notebooks/{id}/start", A::NotebooksManage, Nothing),
        ("POST", "/notebooks/{id}/stop", A::NotebooksManage, Nothing),
        ("POST", "/notebooks/{id}/keep", A::NotebooksOpen, Nothing),
        ("GET", "/notebooks/{id}/shares", A::NotebooksRead, Nothing),
        ("PUT", "/notebooks/{id}/shares/{person}", A::NotebooksManage, Json(json!({"access": "read"}))),
        ("DELETE", "/notebooks/{id}/shares/{person}", A::NotebooksManage, Nothing),
        ("GET", "/notebooks/{id}/logs", A::NotebooksRead, Nothing),
        ("GET", "/notebook-environments", A::NotebooksRead, Nothing),
        ("POST", "/notebook-environments", A::NotebooksManage, Json(json!({"name": "no name", "requirements": ""}))),
        ("PUT", "/notebook-environments/{id}/pool", A::NotebooksSet, Json(json!({"count": 99, "size": "small"}))),
        ("GET", "/notebook-policy", A::NotebooksRead, Nothing),
        ("PUT", "/notebook-policy", A::NotebooksSet, Json(policy())),
        ("GET", "/notebook-warm", A::NotebooksRead, Nothing),
        ("GET", "/notebook-volumes", A::NotebooksManage, Nothing),
        ("DELETE", "/notebook-volumes/{id}", A::NotebooksManage, Nothing),
        ("DELETE", "/notebook-environments/{id}", A::NotebooksManage, Nothing),
        ("GET", "/deployments", A::DeploymentsRead, Nothing),
        ("POST", "/deployments", A::DeploymentsManage, Json(json!({"name": "No Name", "main": "a.js", "modules": []}))),
        ("GET", "/deployments/{id}", A::DeploymentsRead, Nothing),
        ("DELETE", "/deployments/{id}", A::DeploymentsManage, Nothing),
        ("GET", "/deployments/{id}/versions", A::DeploymentsRead, Nothing),
        ("GET", "/deployments/{id}/versions/{number}", A::DeploymentsRead, Nothing),
        ("POST", "/deployments/{id}/run", A::DeploymentsManage, Json(json!({"version": 1}))),
        ("GET", "/deployment-briefs", A::DeploymentsRead, Nothing),
        ("GET", "/deployments/{id}/rollout", A::DeploymentsRead, Nothing),
        ("GET", "/deployments/{id}/stats", A::DeploymentsRead, Nothing),
        ("GET", "/deployments/{id}/console", A::ObjectsLook, Nothing),
        ("GET", "/objects", A::DeploymentsRead, Nothing),
        ("GET", "/objects/{deployment}/{class}/{id}", A::DeploymentsRead, Nothing),
        ("DELETE", "/objects/{deployment}/{class}/{id}", A::DeploymentsManage, Nothing),
        ("GET", "/objects/{deployment}/{class}/{id}/kv", A::ObjectsLook, Nothing),
        ("POST", "/objects/{deployment}/{class}/{id}/sql", A::ObjectsLook, Json(json!({"query": "select 1"}))),
        ("GET", "/objects/{deployment}/{class}/{id}/console", A::ObjectsLook, Nothing),
        ("GET", "/hosts", A::HostsRead, Nothing),
        ("GET", "/hosts/{id}", A::HostsRead, Nothing),
        ("GET", "/hosts/{id}/metrics", A::HostsRead, Nothing),
        ("PATCH", "/hosts/{id}", A::HostsManage, Json(json!({"intent": "draining"}))),
        ("DELETE", "/hosts/{id}", A::HostsManage, Nothing),
        ("POST", "/hosts/{id}/approve", A::HostsManage, Nothing),
        ("POST", "/hosts/{id}/revoke", A::HostsManage, Nothing),
        ("GET", "/zero-certificates", A::ZeroCertificatesManage, Nothing),
        (
            "POST",
            "/zero-certificates",
            A::ZeroCertificatesManage,
            Json(json!({"name": "x", "max_uses": 1, "lifetime_hours": 1, "join": "open"})),
        ),
        ("GET", "/zero-certificates/{id}", A::ZeroCertificatesManage, Nothing),
        ("POST", "/zero-certificates/{id}/revoke", A::ZeroCertificatesManage, Nothing),
        ("GET", "/instructions", A::InstructionsRead, Nothing),
        ("POST", "/instructions", A::InstructionsRun, Json(json!({"hosts": ["none"], "argv": ["true"]}))),
        ("GET", "/instructions/{id}", A::InstructionsRead, Nothing),
        ("POST", "/instructions/{id}/cancel", A::InstructionsRun, Nothing),
        ("GET", "/instructions/{id}/transactions/{transaction}/output", A::InstructionsRead, Nothing),
    ]
}

/// Who asks: a role, and the scope of the token.
fn may(action: Action, role: Role, scope: Scope) -> bool {
    let rule = action.rule();
    scope >= rule.scope && [rule.own, rule.tenant].into_iter().flatten().any(|least| role >= least)
}

async fn ask(site: &Site, token: &str, method: &str, path: &str, sends: &Sends) -> StatusCode {
    let path = path
        .replace("{id}", ID)
        .replace("{transaction}", ID)
        .replace("{machine}", "none")
        .replace("{deployment}", "none")
        .replace("{class}", "None")
        .replace("{number}", "1")
        .replace("{person}", "none@x");
    let request = site.api(token, method, &path);
    let request = match sends {
        Sends::Nothing => request,
        Sends::Json(body) => request.json(body),
        Sends::Upgrade => request
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    };
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_in_the_table() {
    let document = serde_json::to_value(server::rest::openapi()).unwrap();
    let mut known: BTreeSet<(String, String)> =
        table().iter().map(|(method, path, _, _)| ((*method).to_owned(), format!("/api/v1{path}"))).collect();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let route = (method.to_uppercase(), path.clone());
            assert!(known.remove(&route), "{route:?} is not in the table of who may do what");
        }
    }
    assert!(known.is_empty(), "the table names routes that are not there: {known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_for_what_the_table_says() {
    let site = Site::start(None, Vec::new()).await;
    let root = site.admin_token().await;
    let mut callers = Vec::new();
    for role in Role::ALL {
        let (_, browser) = site.person(&root, &format!("{role}@x"), *role).await;
        for scope in Scope::ALL {
            let body = json!({"name": "test", "scope": scope.word()});
            let request = browser.request("POST", "/api/v1/tokens").header(header::ORIGIN, &site.url).json(&body);
            let made: Value = request.send().await.unwrap().json().await.unwrap();
            callers.push((*role, *scope, made["secret"].as_str().unwrap().to_owned()));
        }
    }
    let mut wrong = Vec::new();
    for (method, path, action, sends) in table() {
        let status = ask(&site, "", method, path, &sends).await;
        if status != StatusCode::UNAUTHORIZED {
            wrong.push(format!("{method} {path}: {status} for somebody who is not signed in"));
        }
        for (role, scope, token) in &callers {
            let status = ask(&site, token, method, path, &sends).await;
            let fits = if may(action, *role, *scope) {
                !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && !status.is_server_error()
            } else {
                status == StatusCode::FORBIDDEN
            };
            if !fits {
                wrong.push(format!("{method} {path} ({action}): {status} for {role} with scope {scope}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_lead_to_the_sign_in_page_and_from_there_back() {
    let site = Site::start(None, Vec::new()).await;
    site.admin("ana@x").await;
    for path in app_pages() {
        let concrete = path.replace(":id", ID).replace(":name", "none");
        let answer = client().get(format!("{}{concrete}", site.url)).send().await.unwrap();
        if path.starts_with("/sign-in") {
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        } else {
            assert!(location(&answer).starts_with("/sign-in"), "{path}: {answer:?}");
        }
    }
    let mut browser = Browser::new(&site.url);
    browser.sign_in("ana@x", crate::site::PASSWORD).await;
    assert!(browser.is_in().await);
    site.stop().await;
}

/// The pages, as the app's own route list names them.
fn app_pages() -> Vec<String> {
    leptos_axum::generate_route_list(app::App).iter().map(|route| route.path().to_owned()).collect()
}
