//! Requests to the server's port for agents: the plan, and bundles.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use protocol::objects::{BUNDLES_PATH, MAX_PLAN_BYTES, PLAN_PATH};
use tokio_util::task::AbortOnDropHandle;

use super::kept::MAX_ENCODED_BUNDLE_BYTES;
use crate::dial::{DialError, Dialer};

/// One request, its answer's body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Of a refusal's words.
const MAX_WORDS: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    #[error("the answer could not be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the server answered {status}: {words}")]
    Refused { status: u16, words: String },
    #[error("the server did not answer within {} s", REQUEST_LIMIT.as_secs())]
    TimedOut,
}

/// One connection.
pub struct Server {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    _connection: AbortOnDropHandle<()>,
}

impl Server {
    pub async fn connect(dialer: &Dialer) -> Result<Self, FetchError> {
        let stream = dialer.connect().await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection for the plan of objects ended");
            }
        });
        Ok(Self { sender, host: dialer.address().to_string(), _connection: AbortOnDropHandle::new(connection) })
    }

    pub async fn plan(&mut self) -> Result<Bytes, FetchError> {
        self.get(PLAN_PATH, MAX_PLAN_BYTES).await
    }

    /// Not checked yet.
    pub async fn bundle(&mut self, digest: &[u8; 32]) -> Result<Bytes, FetchError> {
        let path = format!("{BUNDLES_PATH}/{}", hex::encode(digest));
        self.get(&path, MAX_ENCODED_BUNDLE_BYTES).await
    }

    async fn get(&mut self, path: &str, limit: usize) -> Result<Bytes, FetchError> {
        let request = http::Request::get(path).header(header::HOST, &self.host).body(Empty::new())?;
        let ask = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), limit).collect().await.map_err(FetchError::Body)?.to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let words = String::from_utf8_lossy(&body).chars().take(MAX_WORDS).collect();
            Err(FetchError::Refused { status: status.as_u16(), words })
        };
        tokio::time::timeout(REQUEST_LIMIT, ask).await.map_err(|_elapsed| FetchError::TimedOut)?
    }
}
