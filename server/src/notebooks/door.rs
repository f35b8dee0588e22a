//! How browsers come to a notebook's origin, and what they are told who may not.

use std::sync::Arc;

use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use services::{Error, notebooks};

use super::{notice, proxy};
use crate::{
    caller::Caller,
    error_page::escaped,
    extract::Named,
    failure::Failure,
    origins::nowhere,
    outside::{Said, is_page},
    passing,
    sign_in::is_cookie,
    state::AppState,
};

/// Where a ticket is taken, at the notebook's origin; JupyterLab has nothing there.
const ENTRANCE: &str = "/.berth/enter";
const COOKIE: &str = "berth-notebook";
const MAX_TICKET_BYTES: usize = 1024;

/// Hands the browser over: a page that sends the ticket to the notebook's origin in a form, so that it stands in no
/// address.
pub(super) async fn open(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Response, Failure> {
    let door = notebooks::ticket(&state.services, &call, &which).await?;
    let origin = state.config.app_origin(&door.name);
    let nonce = leptos::nonce::Nonce::new();
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; script-src 'nonce-{nonce}'; form-action {origin}; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Opening {name} · Berth</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"/logo.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"/pkg/main.css\"></head>\
         <body><div class=\"alone\"><main id=\"main\" class=\"card\"><h1 class=\"centred\">Opening {name}</h1>\
         <form id=\"enter\" method=\"post\" action=\"{origin}{ENTRANCE}\">\
         <input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
         <button class=\"button primary\" type=\"submit\">Open</button></form></main></div>\
         <script nonce=\"{nonce}\">document.getElementById('enter').submit()</script></body></html>",
        name = escaped(&door.name),
        ticket = escaped(&door.secret),
    );
    let mut response = Html(page).into_response();
    let policy = HeaderValue::from_str(&policy).map_err(|error| Error::Internal(error.to_string()))?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The secret of this origin's cookie.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let (_, secret) = passing::cookies(headers).find(|(name, _)| *name == COOKIE.as_bytes())?;
    std::str::from_utf8(secret).ok()
}

/// Whether a cookie is JupyterLab's. The portal's own is never sent here by a browser, and goes no further if it is.
pub(super) fn is_notebooks(name: &[u8]) -> bool {
    name != COOKIE.as_bytes() && !is_cookie(name)
}

/// Whether a request that is not safe, or opens a WebSocket, comes from the notebook's own pages: JupyterLab's own checks do
/// not count once its token is put in.
fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    match (headers.get("sec-fetch-site"), headers.get(header::ORIGIN)) {
        (Some(site), _) if site != "same-origin" => false,
        (_, Some(from)) => from.as_bytes() == origin.as_bytes(),
        (Some(_), None) => true,
        (None, None) => false,
    }
}

/// Answers what comes to a notebook's origin.
pub(crate) async fn answer(state: AppState, name: &str, request: Request) -> Response {
    let origin = state.config.app_origin(name);
    if cookie(request.headers()).is_none()
        && let Some(nowhere) = nowhere(&state, name, request.headers()).await
    {
        return nowhere;
    }
    if request.uri().path() == ENTRANCE {
        return enter(&state, name, request).await;
    }
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    if (!is_safe || is_upgrade) && !is_own(request.headers(), &origin) {
        metrics::counter!("berth_cross_site_refused_total").increment(1);
        return told(StatusCode::FORBIDDEN, "This was refused", "It did not come from the notebook's own pages.");
    }
    if let Some(response) =
        notice::answer(&state, name, request.uri().path(), request.method(), request.headers()).await
    {
        return response;
    }
    let Some(secret) = cookie(request.headers()).map(str::to_owned) else {
        return to_portal(&state, name, request.headers());
    };
    match notebooks::visitor(&state.services, name, &secret).await {
        Ok(visitor) => proxy::pass(state, Arc::new(visitor), request).await,
        Err(Error::NotSignedIn) => match nowhere(&state, name, request.headers()).await {
            Some(nowhere) => nowhere,
            None => to_portal(&state, name, request.headers()),
        },
        Err(Error::Conflict(why)) => {
            let next = format!("{why}. Its files are kept; it can be started again in the portal.");
            told(StatusCode::SERVICE_UNAVAILABLE, "The notebook does not run", &next)
        }
        Err(error) => {
            tracing::warn!(%error, name, "cannot find a notebook's visitor");
            told(StatusCode::SERVICE_UNAVAILABLE, "The notebook cannot be reached now", "Try again in a moment.")
        }
    }
}

/// Who has no cookie that counts gets one by way of the portal, which knows who is signed in. Only pages are led there.
fn to_portal(state: &AppState, name: &str, headers: &HeaderMap) -> Response {
    if !is_page(headers) {
        return told(StatusCode::FORBIDDEN, "This is not for you", "Open the notebook from the portal.");
    }
    let portal = state.config.public_url.trim_end_matches('/');
    Redirect::to(&format!("{portal}/notebooks/{name}/open")).into_response()
}

/// Takes the ticket that the portal's page sends, for a cookie.
async fn enter(state: &AppState, name: &str, request: Request) -> Response {
    if request.method() != Method::POST {
        return to_portal(state, name, request.headers());
    }
    let Ok(body) = to_bytes(request.into_body(), MAX_TICKET_BYTES).await else {
        return told(StatusCode::PAYLOAD_TOO_LARGE, "This is no ticket", "Open the notebook from the portal.");
    };
    let ticket = std::str::from_utf8(&body).ok().and_then(|body| body.strip_prefix("ticket="));
    let entered = match ticket {
        Some(ticket) => notebooks::enter(&state.services, name, ticket).await,
        None => Ok(None),
    };
    match entered {
        Ok(Some(door)) => {
            let secure = if state.config.is_https() { "; Secure" } else { "" };
            let cookie = format!(
                "{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}",
                door.secret,
                door.lifetime.as_secs()
            );
            let mut response = Redirect::to("/").into_response();
            match HeaderValue::from_str(&cookie) {
                Ok(cookie) => response.headers_mut().insert(header::SET_COOKIE, cookie),
                Err(_) => {
                    return told(StatusCode::INTERNAL_SERVER_ERROR, "Something broke in the server", "Try again.");
                }
            };
            response
        }
        Ok(None) => {
            let next = "A ticket is good once and for a minute. Open the notebook from the portal again.";
            told(StatusCode::FORBIDDEN, "This ticket is used or over", next)
        }
        Err(error) => {
            tracing::warn!(%error, name, "cannot take a notebook's ticket");
            told(StatusCode::SERVICE_UNAVAILABLE, "The notebook cannot be reached now", "Try again in a moment.")
        }
    }
}

/// A page of the server's own at a notebook's origin, which has none of the portal's files.
pub(super) fn told(status: StatusCode, title: &str, next: &str) -> Response {
    Said { status, title, detail: next, portal: None }.page()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn the_cookie_of_the_door_stays_at_the_door() {
        let map = headers(&[("cookie", "_xsrf=1; berth-notebook=secret; a=b; berth=portal; __Host-berth=portal")]);
        assert_eq!(cookie(&map), Some("secret"));
        let others = |mut map: HeaderMap| {
            passing::keep_cookies(&mut map, |name, _| is_notebooks(name)).unwrap();
            map.get(header::COOKIE).map(|line| line.as_bytes().to_vec())
        };
        assert_eq!(others(map).unwrap(), b"_xsrf=1; a=b");
        assert_eq!(others(headers(&[("cookie", "berth-notebook=secret")])), None);
        // One that is not ASCII, as a page of the same site may set it for all below it, signs nobody out.
        let map = headers(&[("cookie", "name=ä; berth-notebook=secret; _xsrf=1")]);
        assert_eq!(cookie(&map), Some("secret"));
        assert_eq!(others(map).unwrap(), "name=ä; _xsrf=1".as_bytes());
        assert_eq!(cookie(&headers(&[("cookie", "xberth-notebook=secret")])), None);
    }

    #[test]
    fn only_the_notebooks_own_pages_may_write_and_open_sockets() {
        let origin = "http://ann.localhost:8080";
        let check = |expected, pairs: &[(&'static str, &str)]| {
            assert_eq!(is_own(&headers(pairs), origin), expected, "{pairs:?}");
        };
        check(true, &[("origin", origin), ("sec-fetch-site", "same-origin")]);
        check(true, &[("origin", origin)]);
        check(false, &[]);
        check(false, &[("origin", "http://bob.localhost:8080"), ("sec-fetch-site", "same-site")]);
        check(false, &[("origin", "http://localhost:8080")]);
        check(false, &[("origin", origin), ("sec-fetch-site", "cross-site")]);
    }
}
