//! Who does not come in, and what they are told.

use reqwest::{StatusCode, header};
use testkit::lab::{From, Lab, ticket};

use super::Person;
use crate::process::Deployment;

const OVER: &str = "This ticket is used or over";
const NOT_YOURS: &str = "This is not for you";
const NOT_OWN: &str = "This was refused";

pub async fn all(deployment: &Deployment, lab: &Lab, bob: &Person, eve: &Person) {
    tickets(deployment, bob).await;
    cookies(deployment, lab, bob, eve).await;
    origins(deployment, lab).await;
    hosts(deployment, lab).await;
}

async fn tickets(deployment: &Deployment, bob: &Person) {
    let portal = &deployment.url;
    let [bobs, seconds] = ["bobs", "seconds"].map(|name| Lab::with_cookie(portal, name, ""));
    let good = ticket(portal, &bob.browser.cookie(), "bobs").await;
    seconds.try_ticket(portal, &good).await.assert_is(403, OVER);
    assert_eq!(bobs.try_ticket(portal, &good).await.status, StatusCode::SEE_OTHER);
    bobs.try_ticket(portal, &good).await.assert_is(403, OVER);
    let first = ticket(portal, &bob.browser.cookie(), "bobs").await;
    let _second = ticket(portal, &bob.browser.cookie(), "bobs").await;
    bobs.try_ticket(portal, &first).await.assert_is(403, OVER);
    bobs.try_ticket(portal, &"f".repeat(good.len())).await.assert_is(403, OVER);
    bobs.try_ticket(portal, &"f".repeat(64 * 1024)).await.assert_is(413, "This is no ticket");

    // A ticket is no cookie, and a cookie no ticket.
    let good = ticket(portal, &bob.browser.cookie(), "bobs").await;
    is_refused(&Lab::with_cookie(portal, "bobs", &format!("berth-notebook={good}")), portal).await;
    let lab = Lab::open(portal, &bob.browser.cookie(), "bobs").await;
    let secret = lab.cookie.split_once('=').expect("a value").1;
    bobs.try_ticket(portal, secret).await.assert_is(403, OVER);

    // A token that acts for bob is no browser of his.
    let open = |token: &str| deployment.request("GET", "/notebooks/bobs/open", token);
    let answer = open(&deployment.token).send().await.expect("an answer");
    assert_ne!(answer.status(), StatusCode::OK);
}

/// Pages are led to the portal, whatever else is refused, and sockets are not opened.
pub async fn is_refused(lab: &Lab, portal: &str) {
    let page = lab.request("GET", "/lab").header(header::ACCEPT, "text/html");
    let told = lab.told(page).await;
    assert_eq!(
        (told.status, &told.location),
        (StatusCode::SEE_OTHER, &format!("{portal}/notebooks/{}/open", lab.name))
    );
    lab.told(lab.request("GET", "/api/status")).await.assert_is(403, NOT_YOURS);
    lab.told(lab.request("POST", "/api/kernels").body("{}")).await.assert_is(403, NOT_YOURS);
    assert_eq!(lab.socket(From::Own, "any", "any").await.err(), Some(StatusCode::FORBIDDEN));
}

async fn cookies(deployment: &Deployment, lab: &Lab, bob: &Person, eve: &Person) {
    let portal = &deployment.url;
    assert_eq!(lab.told(lab.request("GET", "/api/status")).await.status, StatusCode::OK);
    is_refused(&Lab::with_cookie(portal, "bobs", ""), portal).await;
    is_refused(&Lab::with_cookie(portal, "bobs", &format!("berth-notebook={}", "f".repeat(43))), portal).await;
    let second = Lab::open(portal, &bob.browser.cookie(), "seconds").await;
    is_refused(&second.at("bobs"), portal).await;
    let eves = Lab::open(portal, &eve.browser.cookie(), "eves").await;
    is_refused(&eves.at("bobs"), portal).await;
    is_refused(&lab.at("eves"), portal).await;
    let nobodys = lab.at("nobodys");
    let page = nobodys.request("GET", "/lab").header(header::ACCEPT, "text/html");
    nobodys.told(page).await.assert_is(404, "There is nothing at this address");
    // Nor does the portal give anybody else a ticket.
    for (person, name, status) in [(eve, "bobs", 404), (bob, "eves", 404), (bob, "nobodys", 404), (bob, "bobs", 200)] {
        let answer = person.browser.request("GET", &format!("/notebooks/{name}/open")).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{name}");
    }
    // A cookie ends with the sign-in by which it was made.
    let mut gone = Person::invited(deployment, "gone@example.org").await;
    gone.launch("gones").await;
    gone.is("gones", "running").await;
    let gones = Lab::open(portal, &gone.browser.cookie(), "gones").await;
    assert_eq!(gones.told(gones.request("GET", "/api/status")).await.status, StatusCode::OK);
    let id = gones.new_kernel().await;
    let mut kernel = gones.socket(From::Own, &id, "open").await.expect("a socket");
    kernel.info().await.expect("an answer");
    gone.stop("gones").await;
    assert!(kernel.info().await.is_err(), "open sockets end with the notebook");
    gones.told(gones.request("GET", "/api/status")).await.assert_is(503, "The notebook does not run");
    gone.browser.post("/sign-out", &[]).await;
    is_refused(&gones, portal).await;
}

async fn origins(deployment: &Deployment, lab: &Lab) {
    let id = lab.new_kernel().await;
    let eves = format!("http://eves.localhost:{}", deployment.url.rsplit_once(':').expect("a port").1);
    let others = [From::Nobody, From::Origin(&deployment.url), From::Origin(&eves), From::Origin("null")];
    for from in others {
        for (method, path) in [("POST", "/api/kernels"), ("PUT", "/api/contents/x"), ("DELETE", "/api/contents/x")] {
            lab.told(lab.request_from(from, method, path).body("{}")).await.assert_is(403, NOT_OWN);
        }
        assert_eq!(lab.socket(from, &id, "any").await.err(), Some(StatusCode::FORBIDDEN), "{from:?}");
    }
    // What a browser says of a request goes before what a page could make it say.
    let cross = lab.request("POST", "/api/kernels").header("sec-fetch-site", "same-site").body("{}");
    lab.told(cross).await.assert_is(403, NOT_OWN);
    let kernels = lab.json("GET", "/api/kernels", None).await;
    let known: Vec<&str> =
        kernels.as_array().into_iter().flatten().filter_map(|kernel| kernel["id"].as_str()).collect();
    assert!(known.contains(&id.as_str()), "{known:?}");
    lab.socket(From::Own, &id, "any").await.expect("its own pages open sockets").info().await.expect("an answer");
}

async fn hosts(deployment: &Deployment, lab: &Lab) {
    let portal = deployment.url.trim_start_matches("http://").split(':').next().expect("a host");
    // Other names are the portal's, which has no such page and does not know this cookie.
    for host in [portal, "evil.example", "bobs.evil.example", "bobs.localhost.evil.example", "x.bobs.localhost"] {
        let told = lab.at_host(host, "/api/status").await;
        assert!(told.status == StatusCode::NOT_FOUND && !told.text.contains("kernels"), "{host}: {told:?}");
    }
    assert_eq!(lab.at_host("BOBS.LOCALHOST", "/api/status").await.status, StatusCode::OK, "names have no case");
}
