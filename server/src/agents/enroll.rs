//! `POST /enroll`: a host joins with a zero certificate.

use axum::{Extension, Json, extract::State, extract::rejection::JsonRejection};
use protocol::enroll::{EnrollRequest, EnrollResponse};
use services::{
    Error,
    certificates::{self, Holder},
    zero_certificates,
};

use super::{PeerSerial, Port, refused};
use crate::failure::Failure;

pub(super) async fn enroll(
    State(port): State<Port>,
    Extension(PeerSerial(serial)): Extension<PeerSerial>,
    request: Result<Json<EnrollRequest>, JsonRejection>,
) -> Result<Json<EnrollResponse>, Failure> {
    let Json(request) = request.map_err(|error| Error::invalid("body", error.body_text()))?;
    match certificates::holder(&port.services, &serial).await? {
        Some(Holder::Zero { tenant, zero_certificate }) => {
            Ok(Json(zero_certificates::enroll(&port.services, tenant, zero_certificate, &request).await?))
        }
        Some(Holder::Host { .. }) => Err(refused("this host has joined already")),
        None => Err(refused("this certificate is not known here")),
    }
}
