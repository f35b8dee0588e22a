//! The layers that every request passes: whose address it comes from, whether another site sent it, who asks; and the
//! headers of every answer. docs/security.md says what each is for.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
};
use http_body_util::Limited;
use services::{Error, sign_in, tokens};
use tower_sessions::Session;

use crate::{
    caller::{Authenticated, RequestId},
    config::Config,
    failure::{self, Failure},
    large,
    pace::{Late, Limits, Pace},
    passing, rest,
    sign_in::{layer as sign_in_layer, query_value},
    state::AppState,
    upload,
};

/// The largest body of a request, in bytes. Files travel over WebSockets, in frames.
const MAX_BODY_BYTES: usize = 1024 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What is no page: nothing may be loaded by it and nothing may frame it. Pages bring a policy of their own.
const BARE_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// A year.
const HSTS: &str = "max-age=31536000";
/// Files and probes: the same for everybody, so nobody has to be known.
const OPEN_PREFIXES: &[&str] = &["/pkg/", "/vendor/", "/healthz", "/readyz", "/metrics"];

/// The address of who asks: the connection's, or what a trusted proxy says it was.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<ClientAddress>() {
            Some(address) => Ok(*address),
            None => Err(Error::Internal("the layer that finds the client's address is missing".into()).into()),
        }
    }
}

/// Puts the layers around `router`; the last one here is the first to see a request.
pub fn around(router: Router<AppState>, state: &AppState) -> Router<AppState> {
    router
        .layer(middleware::from_fn_with_state(state.clone(), rest::idempotency::layer))
        .layer(middleware::from_fn_with_state(large::Gate::default(), large::layer))
        .layer(middleware::from_fn_with_state(state.clone(), authenticate))
        .layer(sign_in_layer(state.services.clone(), state.config.is_https()))
        .layer(middleware::from_fn(readable_cookies))
        .layer(middleware::from_fn_with_state(state.clone(), refuse_cross_site))
        // Of its own it would be less than some paths may have.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(limit_body))
        .layer(middleware::from_fn_with_state(state.clone(), answer_headers))
        .layer(middleware::from_fn_with_state(state.clone(), client_address))
        .layer(middleware::from_fn(named))
}

/// How many bytes the body of a request for `path` may have.
pub(crate) fn most(path: &str) -> usize {
    match path {
        rest::deployments::PATH => rest::deployments::MAX_BODY_BYTES,
        upload::PATH => upload::MAX_BODY_BYTES,
        _ => MAX_BODY_BYTES,
    }
}

/// A body that is too large is refused where it says so, and broken off where it turns out to be.
async fn limit_body(request: Request, next: Next) -> Response {
    let most = most(request.uri().path());
    let said =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|length| length > most as u64) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    next.run(request.map(|body| Body::new(Limited::new(body, most)))).await
}

/// Failures name the request.
async fn named(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    failure::within(id, next.run(request)).await
}

/// A request's id goes into logs and the audit log: one from outside is taken only if it looks like one.
pub async fn sane_request_id(mut request: Request, next: Next) -> Response {
    let sane = |id: &HeaderValue| {
        (8..=64).contains(&id.len()) && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    if request.headers().get(REQUEST_ID).is_some_and(|id| !sane(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

/// Whoever reads cookies from here on reads text, and would see none of them where one is other than ASCII: another program on
/// this host name may have set it.
async fn readable_cookies(mut request: Request, next: Next) -> Response {
    if request.headers().get_all(header::COOKIE).iter().any(|line| line.to_str().is_err()) {
        let kept = passing::keep_cookies(request.headers_mut(), |name, value| name.is_ascii() && value.is_ascii());
        if kept.is_err() {
            return StatusCode::BAD_REQUEST.into_response();
        }
    }
    next.run(request).await
}

/// Whose request it is, past proxies that are trusted.
pub(crate) fn address_of(state: &AppState, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let lines = request.headers().get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    state.config.trusted_proxies.client(peer, lines)
}

async fn client_address(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let address = address_of(&state, &request);
    request.extensions_mut().insert(ClientAddress(address));
    next.run(request).await
}

/// `scheme://authority` without a default port, in lower case.
fn origin(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let authority = match (scheme, authority.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) => authority.host(),
        _ => authority.as_str(),
    };
    Some(format!("{scheme}://{authority}").to_lowercase())
}

/// Whether a request comes from the portal's own pages or from a program that is no browser.
fn is_own(headers: &HeaderMap, config: &Config) -> bool {
    let has_cookie = headers.contains_key(header::COOKIE);
    if headers.contains_key(header::AUTHORIZATION) && !has_cookie {
        // Another site cannot make a browser send a token that it does not know, nor this header without a preflight,
        // which nobody answers here.
        return true;
    }
    // Browsers set it themselves and pages cannot: where it is, it decides.
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    match headers.get(header::ORIGIN) {
        Some(from) => {
            let from = from.to_str().ok().and_then(origin);
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            // By the Host too: a portal may be reached under several names, and cookies belong to one host anyway.
            let scheme = if config.is_https() { "https" } else { "http" };
            let own = [origin(&config.public_url), host.and_then(|host| origin(&format!("{scheme}://{host}")))];
            from.is_some() && own.contains(&from)
        }
        // No browser of today leaves both away; a program may, but not with somebody's cookie.
        None => !has_cookie,
    }
}

/// One check for every unsafe request and every WebSocket (which browsers let any site open): REST, forms, server
/// functions and terminals have none of their own.
async fn refuse_cross_site(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrade = request.headers().contains_key(header::UPGRADE);
    if (safe && !upgrade) || is_own(request.headers(), &state.config) {
        return next.run(request).await;
    }
    metrics::counter!("berth_cross_site_refused_total").increment(1);
    let (parts, _) = request.into_parts();
    tracing::warn!(path = parts.uri.path(), "a request from another site was refused");
    failure::cross_site(RequestId::of(&parts).0)
}

/// The token of `Authorization: Bearer …`; `Some(None)` if the header holds anything else.
fn bearer(headers: &HeaderMap) -> Option<Option<&str>> {
    let value = headers.get(header::AUTHORIZATION)?;
    Some(value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }))
}

/// Leaves [`Authenticated`] in the request. A token that is sent decides alone: a bad one is 401, whatever the cookie.
async fn authenticate(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if OPEN_PREFIXES.iter().any(|prefix| request.uri().path().starts_with(prefix)) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let id = RequestId::of(&parts).0;
    let call = match bearer(&parts.headers) {
        Some(None) => Err(Error::NotSignedIn),
        Some(Some(token)) => tokens::caller(&state.services, token, id.clone()).await.map(Some),
        None => match parts.extensions.get::<Session>().and_then(Session::id) {
            Some(session) => sign_in::caller(&state.services, &session.to_string(), id.clone()).await,
            None => Ok(None),
        },
    };
    match call {
        Ok(call) => {
            parts.extensions.insert(Authenticated(call));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => Failure::from(error).in_request(id).into_response(),
    }
}

/// When a request is given up. Streams answer at once and are not concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    all: Duration,
    /// Of those whose body may be large.
    large: Limits,
}

impl Default for Times {
    fn default() -> Self {
        Self { all: Duration::from_secs(30), large: large::LIMITS }
    }
}

/// Nobody waits for ever: whatever holds the answer up, the caller is told, and what to do.
pub(crate) async fn in_time(State(times): State<Times>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let id = RequestId::of(&parts).0;
    let answered = if large::is_large(parts.uri.path()) {
        let (body, pace) = Pace::of(body);
        pace.within(times.large, next.run(Request::from_parts(parts, body))).await
    } else {
        let answered = tokio::time::timeout(times.all, next.run(Request::from_parts(parts, body))).await;
        answered.map_err(|_| Late::Answer(times.all))
    };
    match answered {
        Ok(response) => response,
        Err(late @ (Late::Piece(_) | Late::Body(_))) => large::too_slow(late).in_request(id).into_response(),
        Err(late @ Late::Answer(_)) => {
            tracing::warn!(request_id = id.as_deref(), "a request was given up: {late}");
            let why = "the server did not come to an answer in time. What you asked may have been done: look, or send it \
                       again with the same Idempotency-Key.";
            Failure::from(Error::Unavailable(why.to_owned())).in_request(id).into_response()
        }
    }
}

/// For pages: who is not signed in is led to the sign-in page and from there back.
pub async fn lead_to_sign_in(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let known = matches!(request.extensions().get::<Authenticated>(), Some(Authenticated(Some(_))));
    if known || path == "/sign-in" || path.starts_with("/sign-in/") {
        return next.run(request).await;
    }
    let back = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if back == "/" {
        return Redirect::to("/sign-in").into_response();
    }
    Redirect::to(&format!("/sign-in?next={}", query_value(back))).into_response()
}

async fn answer_headers(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let open = OPEN_PREFIXES.iter().any(|prefix| request.uri().path().starts_with(prefix));
    let most = most(request.uri().path());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::INSUFFICIENT_STORAGE {
        state.services.note_full();
    }
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let error = Error::invalid("body", format!("is larger than {most} bytes"));
        response = Failure::from(error).with_status(StatusCode::PAYLOAD_TOO_LARGE).into_response();
    }
    let headers = response.headers_mut();
    let set = |headers: &mut HeaderMap, name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::X_FRAME_OPTIONS, "DENY");
    // Not `no-referrer`: with it browsers send `Origin: null` with forms, which is then another site.
    set(headers, header::REFERRER_POLICY, "same-origin");
    set(headers, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(
        headers,
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    );
    if state.config.is_https() {
        // Browsers heed it on HTTPS only, and elsewhere complain of it.
        set(headers, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        set(headers, header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        set(headers, header::CONTENT_SECURITY_POLICY, BARE_POLICY);
    }
    if !open && !headers.contains_key(header::CACHE_CONTROL) {
        set(headers, header::CACHE_CONTROL, "no-store");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn requests_of_other_sites_are_known() {
        let config = Config { public_url: "https://berth.example".into(), ..Config::default() };
        let check = |expected: bool, pairs: &[(&str, &str)]| {
            assert_eq!(is_own(&headers(pairs), &config), expected, "{pairs:?}");
        };
        let cookie = ("cookie", "berth=x");
        check(true, &[cookie, ("sec-fetch-site", "same-origin")]);
        check(false, &[cookie, ("sec-fetch-site", "cross-site")]);
        // Notebooks and object workers live on sister hosts (D8): they are strangers too.
        check(false, &[cookie, ("sec-fetch-site", "same-site"), ("origin", "https://x.apps.berth.example")]);
        check(false, &[("sec-fetch-site", "cross-site")]);
        check(true, &[cookie, ("origin", "https://berth.example")]);
        check(true, &[cookie, ("origin", "https://berth.example:443")]);
        check(true, &[cookie, ("origin", "https://other-name:8443"), ("host", "other-name:8443")]);
        check(false, &[cookie, ("origin", "http://berth.example")]);
        check(false, &[cookie, ("origin", "https://berth.example.evil.example")]);
        check(false, &[cookie, ("origin", "null")]);
        check(false, &[("origin", "https://evil.example")]);
        check(false, &[cookie]);
        check(true, &[]);
        check(true, &[("authorization", "Bearer berth_x"), ("origin", "https://evil.example")]);
        check(false, &[("authorization", "Bearer berth_x"), cookie, ("origin", "https://evil.example")]);
    }

    /// What a request gets whose body comes in so many pieces, with such a pause before each.
    async fn sent_slowly(path: &str, pieces: usize, pause_ms: u64) -> StatusCode {
        use futures_util::StreamExt as _;
        use tower::ServiceExt as _;
        let (idle, body) = (Duration::from_secs(2), Duration::from_secs(20));
        let times = Times { all: Duration::from_secs(2), large: Limits { idle, body, answer: idle } };
        let router = Router::new()
            .fallback(async |body: axum::body::Bytes| body.len().to_string())
            .layer(middleware::from_fn_with_state(times, in_time));
        let pieces = futures_util::stream::repeat(b"piece".as_slice()).take(pieces).then(move |piece| async move {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            Ok::<_, std::io::Error>(piece)
        });
        let request = Request::post(path).body(Body::from_stream(pieces)).unwrap();
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn what_is_large_has_the_time_that_its_line_takes() {
        for path in [rest::deployments::PATH, upload::PATH] {
            assert_eq!(sent_slowly(path, 15, 200).await, StatusCode::OK, "{path}");
            assert_eq!(sent_slowly(path, 1, 60_000).await, StatusCode::REQUEST_TIMEOUT, "{path}");
        }
        assert_eq!(sent_slowly("/api/v1/reservations", 15, 200).await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_token_is_taken_from_its_header() {
        assert_eq!(bearer(&headers(&[])), None);
        assert_eq!(bearer(&headers(&[("authorization", "Bearer berth_x")])), Some(Some("berth_x")));
        assert_eq!(bearer(&headers(&[("authorization", "bearer  berth_x")])), Some(Some("berth_x")));
        assert_eq!(bearer(&headers(&[("authorization", "Basic YTpi")])), Some(None));
        assert_eq!(bearer(&headers(&[("authorization", "berth_x")])), Some(None));
    }
}
