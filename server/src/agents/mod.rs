//! The agents' port (D3, D4): TLS with client certificates of Berth's own. `POST /enroll` for zero certificates,
//! `/agent/link` and `/agent/tunnel` for hosts.

mod enroll;
mod link;
mod listener;
mod tunnel;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use domain::hosts::HostIntent;
pub use listener::Listener;
use protocol::CloseReason;
use services::{
    Error, Services,
    certificates::{self, Holder},
    links::Peer,
};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// The largest body of a request, bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the port's handlers need.
#[derive(Clone)]
struct Port {
    services: Services,
    stop: CancellationToken,
}

/// The serial of the certificate with which the connection was made, lower-case hex.
#[derive(Clone)]
struct PeerSerial(Arc<str>);

fn router(port: Port) -> Router {
    Router::new()
        .route("/enroll", post(enroll::enroll))
        .route("/agent/link", get(link::link))
        .route("/agent/tunnel", get(tunnel::tunnel))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
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

fn refused(why: &str) -> Failure {
    Failure::from(Error::Conflict(why.to_owned()))
}
