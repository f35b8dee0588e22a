//! What the ways to deployments and to notebooks have in common: a request over a stream of its own to a host, and what of its
//! headers is of this connection alone.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Response, header},
};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use crate::pace::{Late, Limits, Pace};

/// Bodies pass as they come, and a host may be slow to take them.
pub(crate) const LIMITS: Limits =
    Limits { idle: Duration::from_secs(60), body: Duration::from_secs(3_600), answer: Duration::from_secs(120) };
/// Headers that speak of one connection, not of the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    #[error("the host's answer: {0}")]
    Host(#[from] hyper::Error),
    #[error(transparent)]
    Late(#[from] Late),
    #[error("the request cannot be passed on: {0}")]
    Unfit(#[from] http::Error),
}

/// Takes away what is of the client's connection.
pub(crate) fn strip(headers: &mut HeaderMap, is_upgrade: bool) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if !is_upgrade {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
}

/// Sends one request over the stream, which ends with its answer or with what it upgraded to.
pub(crate) async fn send(
    stream: DuplexStream,
    request: Request,
    limits: Limits,
) -> Result<Response<Incoming>, PassError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let (parts, body) = request.into_parts();
    let (body, pace) = Pace::of(body);
    Ok(pace.within(limits, sender.send_request(Request::from_parts(parts, body))).await??)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body};
    use futures_util::StreamExt as _;
    use http::StatusCode;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    /// What a request gets whose body comes in so many pieces, with such a pause before each.
    async fn passed(limits: Limits, pieces: usize, pause: Duration) -> Result<StatusCode, PassError> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let host = Router::new().fallback(async |body: bytes::Bytes| body.len().to_string());
        let host = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(host));
        let pieces = futures_util::stream::repeat(b"piece".as_slice()).take(pieces).then(move |piece| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(piece)
        });
        let request = Request::post("/").body(Body::from_stream(pieces))?;
        tokio::select! {
            answer = send(near, request, limits) => Ok(answer?.status()),
            ended = host => panic!("the host ended before its answer was taken: {ended:?}"),
        }
    }

    #[tokio::test]
    async fn a_slow_request_has_its_time_and_the_answer_its_own() {
        let (idle, answer) = (Duration::from_secs(2), Duration::from_secs(2));
        let limits = Limits { idle, body: Duration::from_secs(60), answer };
        let steady = passed(limits, 15, Duration::from_millis(200)).await;
        assert_eq!(steady.expect("is answered"), StatusCode::OK);
        let limits = Limits { idle: Duration::from_millis(200), ..limits };
        let stalls = passed(limits, 1, Duration::from_secs(60)).await;
        assert!(matches!(stalls, Err(PassError::Late(Late::Piece(_)))), "{stalls:?}");
    }
}
