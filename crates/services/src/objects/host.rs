//! Asks a host about its objects: see [`protocol::objects::control`].

use std::time::Duration;

use bytes::Bytes;
use domain::ids::{HostId, TenantId};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use protocol::{
    objects::control::{Failed, MAX_ANSWER_BYTES, MAX_WAIT_MS},
    tunnel::{Door, Open},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;

use crate::{Error, Result, Services, links};

/// The longest that an answer may take that waits for nothing, and what more one may take that does.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

fn silent(error: &dyn std::fmt::Display) -> Error {
    tracing::debug!(%error, "a host did not answer for its objects");
    Error::Unavailable("the host does not answer for its objects now; try again".to_owned())
}

/// A query string.
pub(super) fn query(pairs: &[(&str, String)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut encoded, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
            encoded
        })
    };
    pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

async fn send(
    services: &Services,
    (tenant, host): (TenantId, HostId),
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes)> {
    let stream =
        links::connect(services, tenant, host, Open::Objects { door: Door::Control, deployment: None }).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| silent(&error))?;
    // Ends with the sender.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "objects")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| Error::Internal(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| silent(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| silent(&error))?;
    Ok((status, body.to_bytes()))
}

async fn ask(
    services: &Services,
    (tenant, host): (TenantId, HostId),
    method: Method,
    path: &str,
    body: Bytes,
    limit: Duration,
) -> Result<Bytes> {
    let answered = timeout(limit, send(services, (tenant, host), method, path, body)).await;
    let (status, body) = answered.map_err(|late| silent(&late))??;
    if status.is_success() {
        return Ok(body);
    }
    let why = serde_json::from_slice::<Failed>(&body).map_or_else(|_| format!("HTTP {status}"), |failed| failed.why);
    Err(match status {
        StatusCode::NOT_FOUND => Error::not_found("object", why),
        StatusCode::BAD_REQUEST => Error::invalid("query", why),
        StatusCode::CONFLICT => Error::Conflict(why),
        _ => Error::Unavailable(why),
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| silent(&error))
}

pub(super) async fn get<T: DeserializeOwned>(
    services: &Services,
    tenant: TenantId,
    host: HostId,
    path: &str,
) -> Result<T> {
    read(&ask(services, (tenant, host), Method::GET, path, Bytes::new(), ANSWER_LIMIT).await?)
}

/// As [`get`], for what may wait for [`MAX_WAIT_MS`].
pub(super) async fn wait<T: DeserializeOwned>(
    services: &Services,
    tenant: TenantId,
    host: HostId,
    path: &str,
) -> Result<T> {
    let limit = ANSWER_LIMIT + Duration::from_millis(MAX_WAIT_MS);
    read(&ask(services, (tenant, host), Method::GET, path, Bytes::new(), limit).await?)
}

pub(super) async fn post<T: DeserializeOwned>(
    services: &Services,
    tenant: TenantId,
    host: HostId,
    path: &str,
    body: &impl Serialize,
) -> Result<T> {
    let body = serde_json::to_vec(body).map_err(|error| Error::Internal(error.to_string()))?;
    read(&ask(services, (tenant, host), Method::POST, path, body.into(), ANSWER_LIMIT).await?)
}

pub(super) async fn delete(services: &Services, tenant: TenantId, host: HostId, path: &str) -> Result<()> {
    ask(services, (tenant, host), Method::DELETE, path, Bytes::new(), ANSWER_LIMIT).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn a_query_keeps_what_it_says() {
        assert_eq!(query(&[("a", "b c&d=e".to_owned()), ("n", "ä/1".to_owned())]), "a=b%20c%26d%3De&n=%C3%A4%2F1");
    }
}
