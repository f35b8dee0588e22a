//! Hosts of their own for what people run (D8): `NAME.apps.DOMAIN`, in development `NAME.localhost`. What comes to such a host never
//! reaches the portal's routes, and the portal's cookie never comes to it. One name is of a notebook or of a deployment.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};

use crate::{
    deployments, notebooks,
    outside::{self, Said},
    state::AppState,
};

/// Whose a host is to which a request comes.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Portal,
    /// Of the deployment or notebook of this name.
    Of(String),
    /// None has such a name.
    Nobodys(String),
}

/// The host that a request is for: of its target where that names one, which then decides alone (RFC 9112, 3.2.2).
fn host(request: &Request) -> Option<HeaderValue> {
    match request.uri().authority() {
        Some(authority) => {
            let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
            HeaderValue::from_str(host).ok()
        }
        None => request.headers().get(header::HOST).cloned(),
    }
}

/// Whatever lies below `domain` is never the portal's.
fn origin(host: &HeaderValue, domain: &str) -> Origin {
    let host = String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => &host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let below = host.strip_suffix(&domain.to_ascii_lowercase()).and_then(|below| below.strip_suffix('.'));
    match below {
        None => Origin::Portal,
        Some(name) if name.is_empty() || name.contains('.') => Origin::Nobodys(name.to_owned()),
        Some(name) => Origin::Of(name.to_owned()),
    }
}

/// The outermost layer: tells these hosts from the portal's.
pub async fn by_host(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let Some(host) = host(&request) else { return next.run(request).await };
    let name = match origin(&host, &state.config.apps_domain()) {
        Origin::Portal => return next.run(request).await,
        Origin::Of(name) => name,
        Origin::Nobodys(name) => return nothing(&state, &name, outside::is_page(request.headers())),
    };
    // What is behind sees the host by which it was found, whatever else was said.
    request.headers_mut().insert(header::HOST, host);
    match services::objects::entrance(&state.services, &name).await {
        Ok(Some(entrance)) => deployments::answer(&state, &entrance, request).await,
        Ok(None) => notebooks::answer(state, &name, request).await,
        Err(error) => deployments::unavailable(&error, outside::is_page(request.headers())),
    }
}

fn nothing(state: &AppState, name: &str, is_page: bool) -> Response {
    let detail = format!(
        "No deployment and no notebook has the name “{name}”. It may have been deleted, or the address is mistyped."
    );
    let portal = Some(state.config.public_url.as_str());
    let said =
        Said { status: StatusCode::NOT_FOUND, title: "There is nothing at this address", detail: &detail, portal };
    said.to(is_page, "not-found")
}

/// What an address says that leads nowhere: none has this name, whoever asks. Errors of looking are told as such.
pub(crate) async fn nowhere(state: &AppState, name: &str, headers: &HeaderMap) -> Option<Response> {
    let is_page = outside::is_page(headers);
    match services::objects::is_address(&state.services, name).await {
        Ok(true) => None,
        Ok(false) => Some(nothing(state, name, is_page)),
        Err(error) => Some(deployments::unavailable(&error, is_page)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        let check = |host: &str, domain: &str, expected: Origin| {
            assert_eq!(origin(&HeaderValue::from_bytes(host.as_bytes()).unwrap(), domain), expected, "{host}");
        };
        let of = |name: &str| Origin::Of(name.to_owned());
        let nobodys = |name: &str| Origin::Nobodys(name.to_owned());
        check("ann.localhost:8080", "localhost", of("ann"));
        check("Ann.LOCALHOST", "localhost", of("ann"));
        check("localhost:8080", "localhost", Origin::Portal);
        check("127.0.0.1:8080", "localhost", Origin::Portal);
        check("[::1]:8080", "localhost", Origin::Portal);
        check("a.b.localhost", "localhost", nobodys("a.b"));
        check("ann.apps.berth.example", "apps.berth.example", of("ann"));
        check("berth.example", "apps.berth.example", Origin::Portal);
        check("ann.apps.berth.example.evil.example", "apps.berth.example", Origin::Portal);
        // A name may end in a dot (RFC 1034, 3.1).
        check("ann.apps.berth.example.", "apps.berth.example", of("ann"));
        check("ann.apps.berth.example.:443", "apps.berth.example", of("ann"));
        check("berth.example.", "apps.berth.example", Origin::Portal);
        check("x.ann.apps.berth.example", "apps.berth.example", nobodys("x.ann"));
        check(".apps.berth.example", "apps.berth.example", nobodys(""));
        check("ä.apps.berth.example", "apps.berth.example", of("ä"));
        check("xapps.berth.example", "apps.berth.example", Origin::Portal);
    }

    #[test]
    fn the_target_decides() {
        let check = |target: &str, said: &str, expected: &str| {
            let request = Request::get(target).header(header::HOST, said).body(axum::body::Body::empty()).unwrap();
            assert_eq!(host(&request).unwrap(), expected, "{target}");
        };
        check("/", "ann.localhost", "ann.localhost");
        check("http://ann.localhost:8080/", "evil.example", "ann.localhost:8080");
        check("http://bob@ann.localhost/", "evil.example", "ann.localhost");
    }
}
