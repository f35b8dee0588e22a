//! The agents' port (D3, D4): TLS with client certificates of Berth's own. `POST /enroll` for zero certificates,
//! `/agent/link`, `/agent/tunnel` and `/agent/objects` for hosts, `/replica/…` for the other servers.

mod enroll;
mod link;
mod listener;
mod objects;
mod tunnel;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    routing::{get, post},
};
use domain::hosts::HostIntent;
pub use listener::Listener;
use protocol::{
    CloseReason,
    objects::{BUNDLES_PATH, PLAN_PATH},
};
use services::{
    Error, Services,
    certificates::{self, Holder},
    links::Peer,
};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

use crate::{failure::Failure, replicas};

/// The largest body of a request, bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The longest that a request may take, its body included; what it upgrades to has limits of its own.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What the port's handlers need.
#[derive(Clone)]
pub(crate) struct Port {
    pub services: Services,
    pub stop: CancellationToken,
}

/// The serial of the certificate with which the connection was made, lower-case hex.
#[derive(Clone)]
pub(crate) struct PeerSerial(pub Arc<str>);

fn router(port: Port) -> Router {
    Router::new()
        .route("/enroll", post(enroll::enroll))
        .route("/agent/link", get(link::link))
        .route("/agent/tunnel", get(tunnel::tunnel))
        .route(PLAN_PATH, get(objects::plan))
        .route(&format!("{BUNDLES_PATH}/{{digest}}"), get(objects::bundle))
        .merge(replicas::router())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_LIMIT))
        .with_state(port)
}

/// Whether the host may talk, or why its connection is closed at once.
type Standing = Result<Peer, CloseReason>;

/// Who is at the other end of a connection that only hosts may make.
async fn host(services: &Services, Extension(PeerSerial(serial)): &Extension<PeerSerial>) -> Result<Standing, Failure> {
    match certificates::holder(services, serial).await? {
        Some(Holder::Host { tenant, host, name, intent, expires_at, revoked }) => {
            let expired = expires_at <= services.clock().now();
            Ok(match intent {
                HostIntent::Revoked => Err(CloseReason::Revoked),
                _ if revoked || expired => Err(CloseReason::Revoked),
                HostIntent::Pending => Err(CloseReason::NotApproved),
                HostIntent::InService | HostIntent::Draining | HostIntent::Maintenance => {
                    Ok(Peer { tenant, host, name, serial: serial.to_string(), expires_at })
                }
            })
        }
        Some(Holder::Zero { .. }) => {
            Err(refused("a zero certificate is good for joining only: run berth-agent enroll"))
        }
        None => Err(refused("this certificate is of no host that is known here; enrol the host")),
    }
}

pub(crate) fn refused(why: &str) -> Failure {
    Failure::from(Error::Conflict(why.to_owned()))
}
