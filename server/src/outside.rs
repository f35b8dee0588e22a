//! The server's own words at origins that are not the portal's and have none of its files: a page for browsers, a problem for
//! programs.

use api::Problem;
use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use crate::error_page::escaped;

/// In the page itself; the colours are those of style/tokens.css.
const STYLE: &str = ":root{color-scheme:light dark}\
    body{display:grid;place-items:center;min-block-size:100vh;margin:0;padding:1rem;box-sizing:border-box;\
    background:light-dark(#f5f7f8,#0b0e10);color:light-dark(#161b1f,#e6eaed);font:1rem/1.5 Inter,system-ui,sans-serif}\
    main{box-sizing:border-box;inline-size:100%;max-inline-size:30rem;padding:2rem;border:1px solid light-dark(#e1e6e9,#262e34);\
    border-radius:.75rem;background:light-dark(#fff,#171c20);overflow-wrap:anywhere}\
    h1{margin:0 0 .5rem;font-size:1.25rem;line-height:1.3}p{margin:0;color:light-dark(#4a565e,#a9b4bb)}\
    p+p{margin-block-start:1.25rem}\
    a{display:inline-block;padding:.375rem .875rem;border-radius:.375rem;background:light-dark(#0b6b87,#56c4e2);\
    color:light-dark(#fff,#04222c);font-weight:550;text-decoration:none}\
    a:focus-visible{outline:2px solid light-dark(#0b6b87,#56c4e2);outline-offset:2px}";

/// What is said.
pub(crate) struct Said<'a> {
    pub status: StatusCode,
    pub title: &'a str,
    pub detail: &'a str,
    /// Where the portal is, if that helps.
    pub portal: Option<&'a str>,
}

/// Whether somebody reads the answer in a browser's window.
pub(crate) fn is_page(headers: &HeaderMap) -> bool {
    let accepts = || {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    };
    headers.get("sec-fetch-mode").map_or_else(accepts, |mode| mode == "navigate")
}

impl Said<'_> {
    /// A page for a browser's window; `kind` ends the type of the problem that all others get.
    pub(crate) fn to(&self, is_page: bool, kind: &str) -> Response {
        if is_page {
            return self.page();
        }
        let problem = Problem {
            kind: format!("urn:berth:problem:{kind}"),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.to_owned(),
            request_id: None,
            field: None,
            held_by: None,
            next_free: None,
        };
        let mut response = (self.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    pub(crate) fn page(&self) -> Response {
        let (title, detail) = (escaped(self.title), escaped(self.detail));
        let link = self.portal.map(|portal| format!("<p><a href=\"{}\">Go to the portal</a></p>", escaped(portal)));
        let (link, nonce) = (link.unwrap_or_default(), leptos::nonce::Nonce::new());
        let page = format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
             <link rel=\"icon\" href=\"data:,\"><style nonce=\"{nonce}\">{STYLE}</style></head>\
             <body><main><h1>{title}</h1><p>{detail}</p>{link}</main></body></html>"
        );
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let mut response = (self.status, Html(page)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let policy = HeaderValue::from_str(&policy);
        let policy = policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_gets_a_page_and_a_program_a_problem() {
        let check = |pairs: &[(&'static str, &'static str)], expected| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            assert_eq!(is_page(&headers.collect()), expected, "{pairs:?}");
        };
        check(&[("accept", "text/html,*/*")], true);
        check(&[("accept", "text/html,*/*"), ("sec-fetch-mode", "navigate")], true);
        check(&[("accept", "text/html"), ("sec-fetch-mode", "cors")], false);
        check(&[("accept", "*/*")], false);
        check(&[], false);
    }

    #[tokio::test]
    async fn what_comes_from_outside_is_text() {
        let said = Said {
            status: StatusCode::NOT_FOUND,
            title: "<b>",
            detail: "<script>",
            portal: Some("http://localhost:8080"),
        };
        let body = axum::body::to_bytes(said.to(true, "not-found").into_body(), 16 * 1024).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
    }
}
