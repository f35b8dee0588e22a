//! What hosts that run objects fetch: their plan, and the code in it.

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use domain::deployments::Digest;
use protocol::objects::MAX_PLAN_BYTES;
use services::{Error, links::Peer, objects};

use super::{PeerSerial, Port, host, refused};
use crate::failure::Failure;

async fn peer(port: &Port, serial: &Extension<PeerSerial>) -> Result<Peer, Failure> {
    host(&port.services, serial).await?.map_err(|_| refused("this host may not link, and so gets no plan"))
}

fn bytes(body: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static("application/octet-stream");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

pub(super) async fn plan(State(port): State<Port>, serial: Extension<PeerSerial>) -> Result<Response, Failure> {
    let peer = peer(&port, &serial).await?;
    let plan = objects::plan(&port.services, peer.tenant, peer.host).await?;
    let body = rmp_serde::to_vec_named(&plan).map_err(|error| Error::Internal(error.to_string()))?;
    if body.len() > MAX_PLAN_BYTES {
        return Err(Error::Internal(format!("a plan of {} bytes", body.len())).into());
    }
    Ok(bytes(body))
}

pub(super) async fn bundle(
    State(port): State<Port>,
    serial: Extension<PeerSerial>,
    Path(digest): Path<String>,
) -> Result<Response, Failure> {
    let peer = peer(&port, &serial).await?;
    let mut wanted = [0; 32];
    let decoded = hex::decode_to_slice(&digest, &mut wanted);
    decoded.map_err(|_| Error::invalid("digest", "64 hexadecimal digits"))?;
    Ok(bytes(objects::bundle(&port.services, peer.tenant, Digest(wanted)).await?))
}
