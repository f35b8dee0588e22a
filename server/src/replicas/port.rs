//! What a server answers the others: `/replica/stream` and `/replica/readings`, both WebSockets. Who calls is known by
//! the serial of their certificate, which they have registered in the database.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Query, State, ws::WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use domain::ids::{HostId, TenantId};
use serde::{Deserialize, Serialize};
use services::{
    Error,
    links::{self, Way},
    replicas::{self, Replica},
};
use tokio::sync::Semaphore;

use super::{readings, relay};
use crate::{
    agents::{PeerSerial, Port, refused},
    failure::Failure,
};

/// Streams of the others that go through this server at a time, of each part.
const MAX_RELAYED: usize = 1_024;
/// Servers that follow this one at a time.
const MAX_FOLLOWERS: usize = 64;

/// How many of each kind are open.
#[derive(Clone)]
struct Room {
    requests: Arc<Semaphore>,
    people: Arc<Semaphore>,
    followers: Arc<Semaphore>,
}

pub(crate) fn router() -> Router<Port> {
    let seats = |most: usize| Arc::new(Semaphore::new(most));
    let room = Room { requests: seats(MAX_RELAYED), people: seats(MAX_RELAYED), followers: seats(MAX_FOLLOWERS) };
    Router::new().route("/replica/stream", get(stream)).route("/replica/readings", get(follow)).layer(Extension(room))
}

async fn caller(port: &Port, PeerSerial(serial): &PeerSerial) -> Result<Replica, Failure> {
    let caller = replicas::by_serial(&port.services, serial).await?;
    caller.ok_or_else(|| refused("this certificate is of no server that is known here"))
}

fn full() -> Failure {
    Error::Unavailable("this server carries as much for the others as it can".to_owned()).into()
}

/// Which host's stream is wanted.
#[derive(Serialize, Deserialize)]
pub(super) struct Wanted {
    pub tenant: TenantId,
    pub host: HostId,
    #[serde(default)]
    pub part: Part,
}

/// What a stream is for: requests to deployments, which anybody may send, take no place of all else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    Requests,
    #[default]
    People,
}

impl Part {
    pub(super) fn word(self) -> &'static str {
        match self {
            Part::Requests => "requests",
            Part::People => "people",
        }
    }
}

/// A stream to a host whose tunnel is here; 421 if it is elsewhere by now.
async fn stream(
    State(port): State<Port>,
    Extension(room): Extension<Room>,
    Extension(serial): Extension<PeerSerial>,
    Query(wanted): Query<Wanted>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    caller(&port, &serial).await?;
    let room = match wanted.part {
        Part::Requests => room.requests,
        Part::People => room.people,
    };
    let seat = room.try_acquire_owned().map_err(|_| full())?;
    let tunnel = match links::way(&port.services, wanted.tenant, wanted.host).await? {
        Way::Here(tunnel) => tunnel,
        Way::Through(_) => return Ok(StatusCode::MISDIRECTED_REQUEST.into_response()),
    };
    let upgrade = upgrade
        .max_message_size(relay::MAX_MESSAGE_BYTES)
        .max_frame_size(relay::MAX_MESSAGE_BYTES)
        .write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = relay::carry(socket, tunnel) => {}
            () = port.stop.cancelled() => {}
        }
        drop(seat);
    }))
}

/// The readings of the hosts that are linked here, as they come.
async fn follow(
    State(port): State<Port>,
    Extension(room): Extension<Room>,
    Extension(serial): Extension<PeerSerial>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    caller(&port, &serial).await?;
    let seat = room.followers.try_acquire_owned().map_err(|_| full())?;
    Ok(upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = readings::tell(socket, &port.services) => {}
            () = port.stop.cancelled() => {}
        }
        drop(seat);
    }))
}
