//! A request that asks for a WebSocket.

use reqwest::{
    Response, Upgraded,
    header::{self, HeaderMap, HeaderValue},
};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::{refused, why};
use crate::{host::deployment::RequestIn, wire::Problem};

pub(super) struct Handshake {
    key: String,
}

impl Handshake {
    /// None: it asks for none.
    pub(super) fn wanted(request: &RequestIn) -> Result<Option<Self>, Problem> {
        let asked = request.headers.iter().find(|(name, _)| *name == "upgrade");
        let Some((_, protocol)) = asked else { return Ok(None) };
        if !protocol.eq_ignore_ascii_case("websocket") || request.method != "GET" {
            return Err(refused("fetch failed: what can be upgraded is a GET, and to a WebSocket"));
        }
        Ok(Some(Handshake { key: generate_key() }))
    }

    pub(super) fn add(&self, headers: &mut HeaderMap) -> Result<(), Problem> {
        // None is spoken here.
        headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_str(&self.key).map_err(refused)?);
        Ok(())
    }

    /// The connection, once the other end has agreed.
    pub(super) async fn finish(self, response: Response) -> Result<Upgraded, Problem> {
        let expected = derive_accept_key(self.key.as_bytes());
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted.as_bytes() != expected.as_bytes()) {
            return Err(refused("fetch failed: the other end does not speak of WebSockets as it should"));
        }
        response.upgrade().await.map_err(|error| why(&error))
    }
}
