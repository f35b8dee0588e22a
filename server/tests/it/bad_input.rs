//! Bad input over REST: each is refused with what is wrong and what to do, and changes nothing.

use domain::people::Role;
use jiff::{SignedDuration, Timestamp};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use services::{Clock, people::operator};

use crate::{
    hosts::{Host, zero},
    site::{Site, client, on_both},
};

/// Whose requests are sent, and what may not change by them.
struct Case<'a> {
    site: &'a Site,
    root: String,
    before: Value,
}

impl Case<'_> {
    async fn state(site: &Site, root: &str) -> Value {
        let of = async |path: &str| site.json(root, "GET", path, None).await["items"].clone();
        json!([of("/reservations?whose=all").await, of("/sessions?whose=all").await, of("/people").await])
    }

    /// The request is refused with this status, this kind of problem, and words that hold each of `says`.
    async fn check(&self, token: &str, path: &str, body: Value, expected: (StatusCode, &str), says: &[&str]) -> Value {
        let answer = self.site.api(token, "POST", path).json(&body).send().await.unwrap();
        let (status, what) =
            (answer.status(), format!("{path} {}", body.to_string().chars().take(200).collect::<String>()));
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json", "{what}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((status, problem["type"].as_str()), (expected.0, Some(expected.1)), "{what}: {problem}");
        assert_eq!(problem["status"], expected.0.as_u16(), "{what}");
        assert!(problem["request_id"].is_string(), "{what}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        for word in says {
            assert!(detail.contains(word), "{what}: '{word}' is not in: {detail}");
        }
        assert_eq!(Self::state(self.site, &self.root).await, self.before, "{what}: something was changed");
        problem
    }
}

const INVALID: (StatusCode, &str) = (StatusCode::UNPROCESSABLE_ENTITY, "urn:berth:problem:invalid");
const CONFLICT: (StatusCode, &str) = (StatusCode::CONFLICT, "urn:berth:problem:conflict");
const OVERLAP: (StatusCode, &str) = (StatusCode::CONFLICT, "urn:berth:problem:overlap");
const NOT_FOUND: (StatusCode, &str) = (StatusCode::NOT_FOUND, "urn:berth:problem:not-found");
const DENIED: (StatusCode, &str) = (StatusCode::FORBIDDEN, "urn:berth:problem:denied");
const NOBODY: (StatusCode, &str) = (StatusCode::UNAUTHORIZED, "urn:berth:problem:not-signed-in");

fn after(minutes: i64) -> Timestamp {
    Clock::system().now() + SignedDuration::from_mins(minutes)
}

/// A booking that is good but for what `change` sets.
fn booking(change: Value) -> Value {
    let mut body = json!({"machine": "rack/0", "start": after(60).to_string(), "duration_s": 600});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_booked_says_why_and_what_to_do() {
    on_both(|site| async move {
        let root = site.admin_token().await;
        let host = Host::join(&zero(&site.url, &root, 1).await, "rack").await;
        let _link = host.link(vec![]).await;
        site.json(&root, "POST", "/reservations", Some(booking(json!({})))).await;
        let before = Case::state(&site, &root).await;
        let case = Case { site: &site, root: root.clone(), before };
        let refused = async |change: Value, expected, says: &[&str]| {
            case.check(&root, "/reservations", booking(change), expected, says).await
        };

        let taken = refused(json!({}), OVERLAP, &["rack/0 is held by", "from", "to"]).await;
        // What is a WebSocket says so to a client that comes without.
        for stream in ["terminal", "exec"] {
            let path = format!("/sessions/{}/{stream}", taken["held_by"][0]["reservation"].as_str().unwrap());
            let answer = site.api(&root, "GET", &path).send().await.unwrap();
            assert_eq!(answer.status(), INVALID.0, "{stream}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json", "{stream}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!((problem["type"].as_str(), problem["field"].as_str()), (Some(INVALID.1), Some("upgrade")));
        }
        assert_eq!(taken["held_by"][0]["machine"], "rack/0", "{taken}");
        assert!(taken["next_free"][0]["start"].is_string(), "{taken}");
        // A minute of it is enough.
        refused(json!({"start": after(50).to_string(), "duration_s": 660}), OVERLAP, &["is held by"]).await;
        let problem =
            refused(json!({"start": after(-10).to_string()}), INVALID, &["in the past", "leave it away"]).await;
        assert_eq!(problem["field"], "start");
        let reversed = json!({"machine": "rack/0", "start": after(90).to_string(), "end": after(80).to_string()});
        let problem = case.check(&root, "/reservations", reversed, INVALID, &["end"]).await;
        assert_eq!(problem["field"], "end");
        refused(json!({"duration_s": 0}), INVALID, &["more than 0"]).await;
        refused(json!({"duration_s": 24 * 15 * 3_600}), INVALID, &["at most 336 hours"]).await;
        refused(json!({"duration_s": u64::MAX}), INVALID, &["too long"]).await;
        refused(json!({"start": after(60 * 24 * 200).to_string()}), INVALID, &["at most 90 days ahead"]).await;
        refused(json!({"start": "tomorrow"}), INVALID, &["start", "RFC 3339"]).await;
        refused(json!({"machine": "rack/9"}), NOT_FOUND, &["no machine 'rack/9'"]).await;
        refused(json!({"machine": "'; drop table machines; --"}), NOT_FOUND, &["no machine"]).await;
        refused(json!({"machine": null}), INVALID, &["name a machine"]).await;
        refused(json!({"colour": "blue"}), INVALID, &["colour"]).await;

        // Too large: a purpose, a script, a list, a body.
        refused(json!({"purpose": "x".repeat(501)}), INVALID, &["purpose", "500"]).await;
        let script = json!({"environment": {"setup": "x".repeat(200_000)}});
        refused(script, INVALID, &["set-up script is longer than"]).await;
        let many: Vec<String> = (0..65).map(|n| format!("rack/{n}")).collect();
        refused(json!({"machine": null, "machines": many}), INVALID, &["from 1 to 64"]).await;
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "urn:berth:problem:invalid");
        refused(json!({"purpose": "x".repeat(1_200_000)}), too_large, &["larger than 1048576 bytes"]).await;

        // A machine in quarantine, by name and by labels.
        let why = json!({"action": "quarantine", "reason": "the disk makes noises"});
        site.json(&root, "PATCH", "/machines/rack%2F0", Some(why)).await;
        let later = json!({"start": after(180).to_string()});
        refused(later, CONFLICT, &["rack/0", "quarantine", "the disk makes noises"]).await;
        let any = json!({"machine": null, "labels": {}, "start": after(180).to_string()});
        refused(any, (StatusCode::CONFLICT, "urn:berth:problem:nothing-fits"), &["1 in quarantine"]).await;
        site
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_what_it_needs() {
    on_both(|site| async move {
        let root = site.admin_token().await;
        let (_, eve) = site.person(&root, "eve@x", Role::Engineer).await;
        let ask = json!({"name": "cli", "scope": "all"});
        let made = eve.request("POST", "/api/v1/tokens").header(header::ORIGIN, &site.url).json(&ask).send().await;
        let made: Value = made.unwrap().json().await.unwrap();
        let engineer = made["secret"].as_str().unwrap().to_owned();
        let narrow = site.json(&root, "POST", "/tokens", Some(json!({"name": "r", "scope": "read"}))).await;
        let narrow = narrow["secret"].as_str().unwrap().to_owned();
        let long_ago = site.services_with(Clock::manual(after(-60 * 24 * 91))).await;
        let expired = operator::create_admin_token(&long_ago, "root@x", None).await.unwrap();
        let before = Case::state(&site, &root).await;
        let case = Case { site: &site, root, before };
        let invite = || json!({"email": "bob@x", "role": "admin"});
        case.check(&engineer, "/people", invite(), DENIED, &["needs the role admin", "yours is engineer", "Ask"]).await;
        let run = json!({"hosts": ["rack"], "argv": ["reboot"]});
        case.check(&engineer, "/instructions", run, DENIED, &["needs the role admin"]).await;
        case.check(&narrow, "/people", invite(), DENIED, &["scope is 'read'", "needs 'all'", "Make a token"]).await;
        case.check(&expired, "/people", invite(), NOBODY, &["sign in first, or send a token"]).await;
        case.check("berth_nonsense", "/people", invite(), NOBODY, &["sign in first"]).await;
        let answer = client().get(format!("{}/api/v1/me", site.url)).bearer_auth(&expired).send().await.unwrap();
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        case.check(&case.root, "/people", json!({"email": "bob@x"}), INVALID, &["role"]).await;
        case.check(
            &case.root,
            "/tokens",
            json!({"name": "x", "scope": "all", "expires_in_days": 9_999}),
            INVALID,
            &["1 to 365"],
        )
        .await;
        site
    })
    .await;
}
