//! Notebooks in the browser, on origins of their own (D8): `NAME.apps.DOMAIN`, in development `NAME.localhost`. What comes to
//! such a host never reaches the portal's routes, and the portal's cookie never comes to it.
//!
//! [`router`] is the portal's side: it hands the browser over with a ticket. [`by_host`] is the other: it takes the ticket for
//! a cookie of that origin, and passes on whatever comes with the cookie ([`proxy`]), less what its visitor may not do ([`reading`]).
//! What passes on sockets tells whether anybody is at work ([`socket`], [`frames`], [`messages`]); where nothing passes JupyterLab is
//! asked ([`idle`]), and the page says when the notebook is to stop ([`notice`]).

mod answer;
mod door;
mod frames;
mod idle;
mod messages;
mod notice;
mod proxy;
mod reading;
mod scan;
mod socket;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Uri, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};

pub use idle::run as watch_idle;

use crate::{security::lead_to_sign_in, state::AppState};

/// The portal's side.
pub fn router() -> Router<AppState> {
    let open = get(door::open).route_layer(middleware::from_fn(lead_to_sign_in));
    Router::new().route("/notebooks/{id}/open", open)
}

/// The name of the notebook to whose origin a request comes; `None` for the portal's own.
fn name<'a>(uri: &'a Uri, headers: &'a HeaderMap, domain: &str) -> Option<&'a str> {
    let host = uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| headers.get(header::HOST)?.to_str().ok())?;
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let (name, rest) = host.split_once('.')?;
    rest.eq_ignore_ascii_case(domain).then_some(name)
}

/// The outermost layer: tells notebooks' origins from the portal's.
pub async fn by_host(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let domain = state.config.apps_domain();
    match name(request.uri(), request.headers(), &domain).map(str::to_ascii_lowercase) {
        Some(name) => door::answer(state, &name, request).await,
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart() {
        let check = |host: &str, domain: &str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(name(&Uri::from_static("/"), &headers, domain), expected, "{host}");
        };
        check("ann.localhost:8080", "localhost", Some("ann"));
        check("ann.LOCALHOST", "localhost", Some("ann"));
        check("localhost:8080", "localhost", None);
        check("127.0.0.1:8080", "localhost", None);
        check("[::1]:8080", "localhost", None);
        check("a.b.localhost", "localhost", None);
        check("ann.apps.berth.example", "apps.berth.example", Some("ann"));
        check("berth.example", "apps.berth.example", None);
        check("ann.apps.berth.example.evil.example", "apps.berth.example", None);
    }
}
