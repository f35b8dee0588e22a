//! Passes requests on to deployments, through the tunnel of one of the hosts that run objects: HTTP/1.1 and WebSocket, streaming both
//! ways. Who may call a deployment is its own code's decision; the portal's cookie goes no further than here.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::tunnel::{Door, Open};
use rand::Rng;
use services::{Error, links, objects::Entrance};
use tokio::io::DuplexStream;

use crate::{
    outside::{self, Said},
    pace::Late,
    passing::{self, PassError},
    security,
    sign_in::is_cookie,
    state::AppState,
};

/// Hosts that are tried for one request.
const MAX_TRIES: usize = 3;
/// When to come again after there was no place, seconds.
const RETRY_AFTER_S: u64 = 2;
/// Where a program reads who called; only the proxy's word counts.
const CLIENT_HEADERS: [HeaderName; 7] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-scheme"),
    HeaderName::from_static("cf-connecting-ip"),
    header::FORWARDED,
];

pub(crate) fn unavailable(error: &dyn std::error::Error, is_page: bool) -> Response {
    tracing::warn!(%error, "a deployment cannot be reached");
    let detail = "What it holds is safe. Try again in a moment.";
    let title = "The deployment cannot be reached now";
    Said { status: StatusCode::BAD_GATEWAY, title, detail, portal: None }.to(is_page, "unavailable")
}

/// The client's own doing.
fn too_slow(late: Late, is_page: bool) -> Response {
    let detail = format!("{late}. Send it again on a better line.");
    let title = "The request did not come in time";
    Said { status: StatusCode::REQUEST_TIMEOUT, title, detail: &detail, portal: None }.to(is_page, "too-slow")
}

/// Nothing was sent to a host, so whatever it was may be sent again.
fn unreached(error: &Error, is_page: bool) -> Response {
    tracing::warn!(%error, "no host takes a request to a deployment");
    let detail = "Its hosts have as many requests as they take, or cannot be reached. What it holds is safe.";
    let title = "The deployment cannot be reached now";
    let mut response =
        Said { status: StatusCode::SERVICE_UNAVAILABLE, title, detail, portal: None }.to(is_page, "unavailable");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    response
}

fn no_host(is_page: bool) -> Response {
    let detail =
        "The deployment is there, and runs as soon as a host that runs objects is back. What it holds is safe.";
    let title = "No host that runs objects is online now";
    Said { status: StatusCode::SERVICE_UNAVAILABLE, title, detail, portal: None }.to(is_page, "unavailable")
}

/// Answers what comes to a deployment's host.
pub(crate) async fn answer(state: &AppState, entrance: &Entrance, request: Request) -> Response {
    let is_page = outside::is_page(request.headers());
    if entrance.hosts.is_empty() {
        return no_host(is_page);
    }
    let stream = match connect(state, entrance).await {
        Ok(stream) => stream,
        Err(error) => return unreached(&error, is_page),
    };
    match pass(state, stream, request).await {
        Ok(response) => response,
        Err(PassError::Late(late @ (Late::Piece(_) | Late::Body(_)))) => too_slow(late, is_page),
        Err(error @ (PassError::Late(Late::Answer(_)) | PassError::Host(_) | PassError::Unfit(_))) => {
            unavailable(&error, is_page)
        }
    }
}

/// A connection to one of the hosts: any does, as each knows where an object is.
async fn connect(state: &AppState, entrance: &Entrance) -> Result<DuplexStream, Error> {
    let first = rand::rng().random_range(0..entrance.hosts.len());
    let mut trouble = None;
    for host in entrance.hosts.iter().cycle().skip(first).take(entrance.hosts.len().min(MAX_TRIES)) {
        let open = Open::Objects { door: Door::Requests, deployment: Some(entrance.deployment) };
        match links::connect(&state.services, entrance.tenant, *host, open).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                tracing::debug!(%error, %host, "a host takes no requests for objects");
                trouble = Some(error);
            }
        }
    }
    Err(trouble.unwrap_or_else(|| Error::Unavailable("no host runs objects".to_owned())))
}

async fn pass(state: &AppState, stream: DuplexStream, mut request: Request) -> Result<Response, PassError> {
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    let from_client = is_upgrade.then(|| hyper::upgrade::on(&mut request));
    prepare(state, &mut request, is_upgrade)?;
    let mut response = passing::send(stream, request, passing::LIMITS).await?;
    clean(response.headers_mut());
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(from_client)) = (response.status(), from_client) {
        // Ends with either side.
        passing::join(from_client, &mut response, |mut client, mut host| async move {
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut host).await {
                tracing::debug!(%error, "a deployment's socket broke");
            }
        });
    }
    Ok(response.map(Body::new).into_response())
}

/// What the deployment gets to see of a request.
fn prepare(state: &AppState, request: &mut Request, is_upgrade: bool) -> Result<(), PassError> {
    let client = security::address_of(state, request);
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // The host stays in its header alone, as on the object port: see `origins`.
    let target = target.parse().map_err(http::Error::from)?;
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    passing::strip(headers, is_upgrade);
    for name in CLIENT_HEADERS {
        headers.remove(name);
    }
    // The portal's own is never sent here by a browser, and goes no further if it is.
    passing::keep_cookies(headers, |name, _| !is_cookie(name))?;
    let scheme = if state.config.is_https() { "https" } else { "http" };
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static(scheme));
    let client = HeaderValue::from_str(&client.to_string()).map_err(http::Error::from)?;
    headers.insert(HeaderName::from_static("x-forwarded-for"), client);
    Ok(())
}

/// What the client gets to see of an answer. Its cookies are of its own host: none may reach the portal's, or a neighbour's.
fn clean(headers: &mut HeaderMap) {
    headers.remove(HeaderName::from_static("keep-alive"));
    let cookies: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    headers.remove(header::SET_COOKIE);
    for cookie in cookies {
        let is_domain = |part: &[u8]| {
            let name = part.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"domain")
        };
        let parts = cookie.as_bytes().split(|byte| *byte == b';').enumerate();
        let kept: Vec<&[u8]> = parts.filter(|(at, part)| *at == 0 || !is_domain(part)).map(|(_, part)| part).collect();
        match HeaderValue::from_bytes(&kept.join(&b';')) {
            Ok(kept) => {
                headers.append(header::SET_COOKIE, kept);
            }
            Err(error) => tracing::debug!(%error, "a deployment's cookie cannot be passed on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployments_cookies_are_of_its_own_host() {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, HeaderValue::from_static("berth=x; Domain=localhost; Path=/; domain = a"));
        headers.append(header::SET_COOKIE, HeaderValue::from_static("domain=mine; HttpOnly"));
        headers.append(header::SET_COOKIE, HeaderValue::from_bytes(b"name=\xe4; Domain=a; Path=/").unwrap());
        clean(&mut headers);
        let kept: Vec<_> = headers.get_all(header::SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(kept, [b"berth=x; Path=/".as_slice(), b"domain=mine; HttpOnly", b"name=\xe4; Path=/"]);
    }
}
