//! What the ways to deployments and to notebooks have in common: a request over a stream of its own to a host, and what of its
//! headers is of this connection alone.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Response, header},
};
use hyper::{
    body::Incoming,
    client::conn::http1,
    upgrade::{OnUpgrade, Upgraded},
};
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

/// Name and value of each cookie, in bytes: browsers send other than ASCII as well. What has no name has an empty one.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty()).map(|pair| match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (pair[..at].trim_ascii_end(), &pair[at + 1..]),
        None => (&[][..], pair),
    })
}

/// Leaves the cookies of these names and values, in one line as HTTP/1.1 wants them (RFC 6265, 5.4).
pub(crate) fn keep_cookies(headers: &mut HeaderMap, is_kept: impl Fn(&[u8], &[u8]) -> bool) -> Result<(), http::Error> {
    let mut line = Vec::new();
    for (name, value) in cookies(headers).filter(|(name, value)| is_kept(name, value)) {
        if !line.is_empty() {
            line.extend_from_slice(b"; ");
        }
        if !name.is_empty() {
            line.extend_from_slice(name);
            line.push(b'=');
        }
        line.extend_from_slice(value);
    }
    headers.remove(header::COOKIE);
    if !line.is_empty() {
        headers.insert(header::COOKIE, HeaderValue::from_bytes(&line)?);
    }
    Ok(())
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

/// Of an answer that grants an upgrade: `carry` gets both ends once they have changed over, in a task that ends with it.
pub(crate) fn join<F>(
    from_client: OnUpgrade,
    response: &mut Response<Incoming>,
    carry: impl FnOnce(TokioIo<Upgraded>, TokioIo<Upgraded>) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let from_host = hyper::upgrade::on(response);
    tokio::spawn(async move {
        match tokio::try_join!(from_client, from_host) {
            Ok((client, host)) => carry(TokioIo::new(client), TokioIo::new(host)).await,
            Err(error) => tracing::debug!(%error, "a socket that is passed on was not opened"),
        }
    });
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

    #[test]
    fn cookies_are_bytes() {
        let check = |lines: &[&[u8]], kept: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            keep_cookies(&mut headers, |name, _| name != b"own").unwrap();
            let found: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(found, kept.into_iter().collect::<Vec<_>>());
        };
        check(&["name=ä; own=secret; b=2".as_bytes()], Some("name=ä; b=2".as_bytes()));
        check(&[b"name=\xe4;own=\xe4"], Some(b"name=\xe4"));
        check(&[b"a=1; own=secret", b"own = secret", b" b=x=y ;; plain"], Some(b"a=1; b=x=y; plain"));
        check(&[b"own=secret"], None);
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
