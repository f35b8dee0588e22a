//! Passes requests on to a notebook's JupyterLab, through the tunnel of its host: HTTP/1.1 and WebSocket, streaming both ways.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    ids::{HostId, RunId, SessionId, TenantId},
    notebooks::{Access, SOCKET},
};
use protocol::tunnel::{Open, Target};
use services::{
    Error, links,
    notebooks::{self, Visitor},
};
use tokio::io::DuplexStream;

use super::{
    answer::Answer,
    door,
    messages::{Channel, V1},
    notice,
    reading::{self, Unwritable, Verdict},
    socket::{self, Opened},
};
use crate::{passing, state::AppState};

/// Sends the request on and gives its answer.
pub(super) async fn pass(state: AppState, visitor: Arc<Visitor>, request: Request) -> Response {
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    let verdict = match visitor.access {
        Access::Full => Verdict::Pass,
        Access::Read => reading::judge(request.method(), request.uri().path(), is_upgrade),
    };
    let forwarded = match verdict {
        Verdict::Refuse => return reading::refused(),
        Verdict::Drop => return StatusCode::NO_CONTENT.into_response(),
        Verdict::Pass => forwarded(state, visitor, request, None).await,
        Verdict::PassUnwritable => forwarded(state, visitor, request, Some(Unwritable::default())).await,
    };
    match forwarded {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "a notebook did not answer");
            let next = "Its host may have lost its link for a moment. What runs in it goes on; try again.";
            door::told(StatusCode::BAD_GATEWAY, "The notebook cannot be reached now", next)
        }
    }
}

fn unavailable(why: &dyn std::fmt::Display) -> Error {
    Error::Unavailable(format!("the notebook: {why}"))
}

async fn forwarded(
    state: AppState,
    visitor: Arc<Visitor>,
    mut request: Request,
    unwritable: Option<Unwritable>,
) -> Result<Response, Error> {
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    let from_browser = is_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_page = !is_upgrade && notice::is_page(&method, &path);
    if is_work(&method, &path) {
        notebooks::note_work(&state.services, &visitor).await;
    }
    let stream = connect(&state, visitor.tenant, visitor.host, visitor.run).await?;
    prepare(request.headers_mut(), &visitor, state.config.is_https(), is_upgrade)?;
    if is_page || unwritable.is_some() {
        notice::ask_plain(request.headers_mut());
    }
    let target = match (visitor.access, Channel::of(&path)) {
        (Access::Read, Channel::Kernel) => reading::own_session(request.uri(), visitor.call.actor.person),
        _ => request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
    };
    *request.uri_mut() = target.parse().map_err(|_| Error::invalid("path", "is no path"))?;
    let answered = tokio::select! {
        answered = passing::send(stream, request, passing::LIMITS) => answered,
        () = socket::gone(&state, &visitor) => return Err(unavailable(&"its visitor may not stay")),
    };
    let mut response = answered.map_err(|error| unavailable(&error))?;
    clean(response.headers_mut());
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(from_browser)) = (response.status(), from_browser) {
        let is_v1 = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).is_some_and(|name| name == V1);
        let opened = Opened { channel: Channel::of(&path), is_v1 };
        passing::join(from_browser, &mut response, move |browser, notebook| async move {
            socket::join(&state, &visitor, opened, browser, notebook).await;
        });
        return Ok(response.map(Body::new).into_response());
    }
    if unwritable.is_some() {
        notice::never_kept(response.headers_mut());
    }
    let (token, gone) = (visitor.token.clone(), async move { socket::gone(&state, &visitor).await });
    let response = response.map(|body| Answer::body(body, gone, unwritable));
    if is_page { notice::add(response, &token).await } else { Ok(response) }
}

/// A stream to where the run's JupyterLab listens.
pub(super) async fn connect(
    state: &AppState,
    tenant: TenantId,
    host: HostId,
    run: RunId,
) -> Result<DuplexStream, Error> {
    let session = SessionId::from_uuid(run.uuid());
    let open = Open::Connect { session, to: Target::UnixSocket(SOCKET.to_owned()) };
    links::connect(&state.services, tenant, host, open).await
}

/// Whether a request is a person's doing: what changes files, kernels and terminals. JupyterLab saves only what was changed,
/// and asks for all else by itself.
fn is_work(method: &Method, path: &str) -> bool {
    let is_theirs = ["/api/contents", "/api/kernels", "/api/sessions", "/api/terminals"]
        .iter()
        .any(|place| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    is_theirs && matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
}

/// What JupyterLab gets to see of a request: its own token in place of what the browser said of itself.
fn prepare(headers: &mut HeaderMap, visitor: &Visitor, is_https: bool, is_upgrade: bool) -> Result<(), Error> {
    passing::strip(headers, is_upgrade);
    // With permessage-deflate nobody on the way could tell what passes.
    headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    passing::keep_cookies(headers, |name, _| door::is_notebooks(name))
        .map_err(|error| Error::Internal(error.to_string()))?;
    let forwarded: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            name.as_str().starts_with("x-forwarded-") || matches!(name.as_str(), "forwarded" | "x-real-ip" | "x-scheme")
        })
        .cloned()
        .collect();
    for name in forwarded {
        headers.remove(name);
    }
    let scheme = if is_https { "https" } else { "http" };
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static(scheme));
    let token = format!("token {}", visitor.token);
    let mut token = HeaderValue::from_str(&token).map_err(|error| Error::Internal(error.to_string()))?;
    token.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, token);
    Ok(())
}

/// What the browser gets to see of an answer: no cookie by which JupyterLab would know it without this proxy.
fn clean(headers: &mut HeaderMap) {
    let kept: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|value| value.as_bytes().starts_with(b"_xsrf="))
        .cloned()
        .collect();
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
    headers.remove(HeaderName::from_static("keep-alive"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
