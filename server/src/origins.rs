//! Hosts of their own for what people run (D8): `NAME.apps.DOMAIN`, in development `NAME.localhost`. What comes to such a host never
//! reaches the portal's routes, and the portal's cookie never comes to it. One name is of a notebook or of a deployment.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::Next,
    response::Response,
};

use crate::{
    deployments, notebooks,
    outside::{self, Said},
    state::AppState,
};

/// The first label of the host to which a request comes; `None` for the portal's own.
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

/// The outermost layer: tells these hosts from the portal's.
pub async fn by_host(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let domain = state.config.apps_domain();
    let Some(name) = name(request.uri(), request.headers(), &domain).map(str::to_ascii_lowercase) else {
        return next.run(request).await;
    };
    match services::objects::entrance(&state.services, &name).await {
        Ok(Some(entrance)) => deployments::answer(&state, &entrance, request).await,
        Ok(None) => notebooks::answer(state, &name, request).await,
        Err(error) => deployments::unavailable(&error, outside::is_page(request.headers())),
    }
}

/// What an address says that leads nowhere: none has this name, whoever asks. Errors of looking are told as such.
pub(crate) async fn nowhere(state: &AppState, name: &str, headers: &HeaderMap) -> Option<Response> {
    let is_page = outside::is_page(headers);
    match services::objects::is_address(&state.services, name).await {
        Ok(true) => None,
        Ok(false) => {
            let detail = format!(
                "No deployment and no notebook has the name “{name}”. It may have been deleted, or the address is mistyped."
            );
            let portal = Some(state.config.public_url.as_str());
            let said = Said {
                status: StatusCode::NOT_FOUND,
                title: "There is nothing at this address",
                detail: &detail,
                portal,
            };
            Some(said.to(is_page, "not-found"))
        }
        Err(error) => Some(deployments::unavailable(&error, is_page)),
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
