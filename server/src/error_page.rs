//! Refusals and faults as a page, for a browser that asked for one: what REST answers as a problem, and what no handler
//! could answer. Rendered without the app, which may be what failed.

use std::any::Any;

use api::Problem;
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};

use crate::caller::RequestId;

/// The largest answer that is looked at for a problem, in bytes.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;
/// Whose answers are for programs.
const PROGRAMS: [&str; 4] = ["/api/", "/fn/", "/healthz", "/readyz"];
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What somebody gets whose request made the server panic.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = match panic.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(other) => other.downcast::<String>().map(|text| *text).unwrap_or_default(),
    };
    tracing::error!(panic = text, "a request panicked");
    crate::failure::Failure::from(services::Error::Internal(text)).into_response()
}

fn wants_page(path: &str, headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/html") && !PROGRAMS.iter().any(|prefix| path.starts_with(prefix))
}

/// Puts a page in the place of an answer that says what went wrong to nobody but programs.
pub async fn layer(request: Request, next: Next) -> Response {
    if !wants_page(request.uri().path(), request.headers()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let (id, theme) = (RequestId::of(&parts).0, theme(&parts.headers));
    let response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status();
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let again = head.headers.contains_key(header::RETRY_AFTER);
    let page = page(status, problem(body).await.as_ref(), id.as_deref(), theme, again);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    head.headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    head.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (head, Html(page)).into_response()
}

async fn problem(body: Body) -> Option<Problem> {
    let bytes = to_bytes(body, MAX_PROBLEM_BYTES).await.ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The theme that was chosen, as the pages' cookie has it.
fn theme(headers: &HeaderMap) -> &'static str {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let chosen = lines.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix("berth-theme="));
    match chosen {
        Some("dark") => "dark",
        Some("light") => "light",
        Some(_) | None => "auto",
    }
}

/// What to say where no handler has said it.
fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::NOT_FOUND => {
            ("There is nothing at this address", "It may have been deleted, or the link is incomplete.")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            ("This address takes no such form", "Go back, load the page again, and send it from there.")
        }
        StatusCode::FORBIDDEN => (
            "This was refused",
            "It did not come from the portal's own pages, or it is not for you. Nothing was changed.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => ("This is too large", "Nothing was changed. Go back and send less."),
        StatusCode::TOO_MANY_REQUESTS => ("Too many attempts", "Nothing was changed. Wait a moment and try again."),
        StatusCode::SERVICE_UNAVAILABLE => (
            "The server did not answer in time",
            "It may be busy, or its database is away. Sessions and jobs go on. Try again in a moment.",
        ),
        status if status.is_server_error() => (
            "Something broke in the server",
            "What runs goes on. Try again in a moment; if it stays, hand the request's id to an operator.",
        ),
        _ => ("This cannot be shown", "Check the address, or go back and try again."),
    }
}

/// `again`: the browser asks once more by itself, after a while.
fn page(status: StatusCode, problem: Option<&Problem>, request_id: Option<&str>, theme: &str, again: bool) -> String {
    let (title, next) = words(status);
    let (title, detail) = match problem {
        Some(problem) => (problem.title.as_str(), format!("<p>{}</p>", escaped(&problem.detail))),
        None => (title, String::new()),
    };
    let title = escaped(title);
    let request = request_id.map(|id| format!("<p class=\"soft small\">Request <code>{}</code></p>", escaped(id)));
    let request = request.unwrap_or_default();
    let again = if again { "<meta http-equiv=\"refresh\" content=\"10\">" } else { "" };
    format!(
        "<!DOCTYPE html><html lang=\"en\" data-theme=\"{theme}\"><head><meta charset=\"utf-8\">{again}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title} · Berth</title>\
         <link rel=\"icon\" href=\"/logo.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"/pkg/main.css\"></head>\
         <body><div class=\"alone\"><main id=\"main\" class=\"card\">\
         <p class=\"brand\"><img src=\"/logo.svg\" alt=\"\" width=\"24\" height=\"24\">Berth</p>\
         <h1 class=\"centred\">{title}</h1>{detail}<p>{next}</p>\
         <div class=\"row\"><a class=\"button primary\" href=\"\">Try again</a><a class=\"button\" href=\"/\">Go to the first page</a></div>\
         {request}</main></div></body></html>"
    )
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_text() {
        let text = page(StatusCode::NOT_FOUND, None, Some("<script>\"&"), "auto", false);
        assert!(text.contains("&lt;script&gt;&quot;&amp;") && !text.contains("<script"), "{text}");
    }

    #[test]
    fn programs_get_no_pages() {
        let browser = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/html,*/*"))]);
        assert!(wants_page("/machines", &browser) && wants_page("/", &browser));
        assert!(!wants_page("/api/v1/machines", &browser));
        assert!(!wants_page("/machines", &HeaderMap::new()));
    }
}
