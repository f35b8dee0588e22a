//! What Berth says inside JupyterLab's own page: a small script, which the proxy adds to it, asks how the notebook stands and
//! shows a notice when it is to stop. The script, and what it asks, live below `/.berth/`, where JupyterLab has nothing.

use axum::{
    Json,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::notebooks::{Access, NotebookState};
use serde::Serialize;
use services::{
    Error,
    notebooks::{self, Presence},
};

use super::door;
use crate::state::AppState;

const SCRIPT: &str = include_str!("notice.js");
const SCRIPT_PATH: &str = "/.berth/notice.js";
const STATE_PATH: &str = "/.berth/state";
const KEEP_PATH: &str = "/.berth/keep";
/// JupyterLab's pages have some 10 KB.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// When the page asks again.
const AGAIN_MS: u32 = 15_000;
const AGAIN_WARNED_MS: u32 = 5_000;
/// The first parts of the paths of pages of JupyterLab and of Jupyter's other applications.
const PAGES: [&str; 6] = ["lab", "doc", "tree", "notebooks", "edit", "consoles"];

/// How the notebook stands, for the script.
#[derive(Serialize)]
struct State {
    /// A word of [`NotebookState`], or `gone` for whom it is not open to any more.
    state: &'static str,
    /// Who else's it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    is_reading: bool,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    stops_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// Where to go on.
    portal: String,
    again_ms: u32,
}

/// Answers what is below `/.berth/`, but for the entrance; `None` for all else.
pub(super) async fn answer(
    state: &AppState,
    name: &str,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Option<Response> {
    if !path.starts_with("/.berth/") {
        return None;
    }
    let mut response = match (path, method) {
        (SCRIPT_PATH, &Method::GET) => {
            ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
        }
        (STATE_PATH, &Method::GET) => how_it_stands(state, name, headers).await,
        (KEEP_PATH, &Method::POST) => keep(state, name, headers).await,
        (_, _) => door::told(StatusCode::NOT_FOUND, "This is not here", "Open the notebook from the portal."),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    Some(response)
}

/// Answered for whoever asks, so that no page's console fills with refusals when a notebook has stopped or a visit is over.
async fn how_it_stands(state: &AppState, name: &str, headers: &HeaderMap) -> Response {
    let portal = state.config.public_url.trim_end_matches('/').to_owned();
    let present = match door::cookie(headers) {
        Some(cookie) => notebooks::presence(&state.services, name, cookie).await,
        None => Err(Error::NotSignedIn),
    };
    match present {
        Ok(presence) => Json(told(presence, &portal)).into_response(),
        Err(Error::NotSignedIn) => Json(State {
            state: "gone",
            owner: None,
            is_reading: false,
            stops_at: None,
            idle_since: None,
            cause: None,
            portal,
            again_ms: AGAIN_MS,
        })
        .into_response(),
        Err(error) => {
            tracing::warn!(%error, name, "cannot say how a notebook stands");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn told(presence: Presence, portal: &str) -> State {
    let Presence { notebook, access, is_owner } = presence;
    let is_running = notebook.state == NotebookState::Running;
    let stops_at = notebook.stops_at.filter(|_| is_running);
    State {
        state: notebook.state.word(),
        owner: (!is_owner).then_some(notebook.person_name),
        is_reading: access == Access::Read,
        idle_since: stops_at.map(|_| notebook.active_at.unwrap_or(notebook.since).to_string()),
        again_ms: if stops_at.is_some() { AGAIN_WARNED_MS } else { AGAIN_MS },
        stops_at: stops_at.map(|at| at.to_string()),
        cause: notebook.cause,
        portal: format!("{portal}/notebooks/{}", notebook.name),
    }
}

async fn keep(state: &AppState, name: &str, headers: &HeaderMap) -> Response {
    let kept = match door::cookie(headers) {
        Some(cookie) => notebooks::keep_here(&state.services, name, cookie).await,
        None => Err(Error::NotSignedIn),
    };
    match kept {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(Error::NotSignedIn | Error::Denied(_)) => StatusCode::FORBIDDEN.into_response(),
        Err(Error::Conflict(_)) => StatusCode::CONFLICT.into_response(),
        Err(error) => {
            tracing::warn!(%error, name, "cannot keep a notebook");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Whether a request is for one of JupyterLab's pages, to which the script is added.
pub(super) fn is_page(method: &Method, path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    let is_app = parts.next().is_some_and(|first| PAGES.contains(&first));
    // Of these JupyterLab's pages are made.
    let is_part = parts.next().is_some_and(|second| matches!(second, "api" | "extensions" | "static"));
    *method == Method::GET && is_app && !is_part
}

/// Asks for such a page whole and as plain text.
pub(super) fn ask_plain(headers: &mut HeaderMap) {
    headers.remove(header::ACCEPT_ENCODING);
    headers.remove(header::IF_NONE_MATCH);
    headers.remove(header::IF_MODIFIED_SINCE);
    headers.remove(header::RANGE);
}

/// What is changed on the way is no browser's to keep: it may be another for the same person a moment later.
pub(super) fn never_kept(headers: &mut HeaderMap) {
    headers.remove(header::ETAG);
    headers.remove(header::LAST_MODIFIED);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Adds the script to the page, and takes JupyterLab's own token out of it, which JupyterLab writes into its page and the browser
/// has no use for. What is no page is passed on as it is.
pub(super) async fn add(response: Response, token: &str) -> Result<Response, Error> {
    let is_html = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
    if response.status() != StatusCode::OK || !is_html || response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    let page = to_bytes(body, MAX_PAGE_BYTES).await;
    let page = page.map_err(|error| Error::Unavailable(format!("the notebook's page: {error}")))?;
    let page = changed(&String::from_utf8_lossy(&page), token);
    never_kept(&mut parts.headers);
    parts.headers.insert(header::CONTENT_LENGTH, page.len().into());
    Ok(Response::from_parts(parts, Body::from(page)))
}

fn changed(page: &str, token: &str) -> String {
    let page = if token.is_empty() { page.to_owned() } else { page.replace(token, "") };
    let script = format!("<script defer src=\"{SCRIPT_PATH}\"></script>");
    match page.find("</head>") {
        Some(at) => format!("{}{script}{}", &page[..at], &page[at..]),
        None => page + &script,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_from_what_they_are_made_of() {
        let check = |expected: bool, path: &str| assert_eq!(is_page(&Method::GET, path), expected, "{path}");
        for page in
            ["/lab", "/lab/", "/lab/tree/a/b.ipynb", "/lab/workspaces/auto-1", "/doc/tree/a", "/tree", "/notebooks/a"]
        {
            check(true, page);
        }
        let parts =
            ["/", "/api/contents/a.html", "/files/lab.html", "/lab/api/settings", "/lab/extensions/a/b.js", "/label"];
        for part in parts {
            check(false, part);
        }
        assert!(!is_page(&Method::POST, "/lab"));
    }

    fn answer(status: u16, kind: &'static str, body: &str) -> Response {
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_LENGTH, body.len())
            .header(header::ETAG, "\"1\"")
            .body(Body::from(body.to_owned()))
            .unwrap()
    }

    async fn check(response: Response, expected: &str) {
        let added = add(response, "secret").await.unwrap();
        let length: usize = added.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
        let body = to_bytes(added.into_body(), MAX_PAGE_BYTES).await.unwrap();
        assert_eq!((std::str::from_utf8(&body).unwrap(), length), (expected, expected.len()));
    }

    #[tokio::test]
    async fn the_script_goes_in_and_the_token_comes_out() {
        let page = "<html><head><script>{\"token\": \"secret\"}</script></head><body></body></html>";
        let expected = "<html><head><script>{\"token\": \"\"}</script><script defer src=\"/.berth/notice.js\"></script></head>\
                        <body></body></html>";
        check(answer(200, "text/html; charset=UTF-8", page), expected).await;
        // Nothing else is touched.
        for (status, kind) in [(404, "text/html"), (200, "application/json"), (302, "text/html")] {
            check(answer(status, kind, page), page).await;
        }
    }

    #[tokio::test]
    async fn a_page_without_end_is_refused() {
        let page = "x".repeat(MAX_PAGE_BYTES + 1);
        assert!(matches!(add(answer(200, "text/html", &page), "secret").await, Err(Error::Unavailable(_))));
    }
}
