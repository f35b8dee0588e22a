//! WebSockets to the server, over TCP or TLS, with the token in a header and never in the address.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self,
        client::IntoClientRequest,
        http::{HeaderValue, StatusCode, header},
        protocol::WebSocketConfig,
    },
};

use crate::{
    client::{CONNECT_LIMIT, Client},
    fault::Fault,
    table::printable,
};

/// TCP or TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub type Socket = WebSocketStream<Box<dyn Duplex>>;

/// Opens `/api/v1/…` as a WebSocket.
pub async fn connect(client: &Client, parts: &[&str], query: &[(&str, String)]) -> Result<Socket, Fault> {
    match timeout(CONNECT_LIMIT, connect_unlimited(client, parts, query)).await {
        Ok(result) => result,
        Err(_) => Err(client.unreachable("it did not answer in time")),
    }
}

async fn connect_unlimited(client: &Client, parts: &[&str], query: &[(&str, String)]) -> Result<Socket, Fault> {
    let mut url = client.url(parts);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let encrypted = url.scheme() == "https";
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let lost = |error: std::io::Error| client.unreachable(error.to_string());

    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(lost)?;
    // Keys typed one by one must not wait for each other's acknowledgement.
    tcp.set_nodelay(true).map_err(lost)?;
    let stream: Box<dyn Duplex> = if encrypted {
        let name = ServerName::try_from(host).map_err(|error| client.unreachable(error.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&client.tls()));
        Box::new(connector.connect(name, tcp).await.map_err(lost)?)
    } else {
        Box::new(tcp)
    };

    let address = url.as_str().replacen("http", "ws", 1);
    let mut request = address.into_client_request().map_err(|error| client.unreachable(error.to_string()))?;
    let bearer =
        HeaderValue::try_from(format!("Bearer {}", client.token().reveal())).map_err(|_| Fault::NotSignedIn)?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    // A server's message is at most the protocol's largest; the write buffer is what a slow network may hold up.
    let config = WebSocketConfig::default()
        .max_message_size(Some(2 * api::streams::MAX_MESSAGE_BYTES))
        .max_frame_size(Some(2 * api::streams::MAX_MESSAGE_BYTES))
        .write_buffer_size(0);
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let (status, body) = (response.status(), response.body().clone().unwrap_or_default());
            let status = StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
            Err(client.refusal(status, &body))
        }
        Err(error) => Err(client.unreachable(error.to_string())),
    }
}

/// RFC 6455's code for a server that cannot do it now.
const TRY_LATER: u16 = 1013;

/// Why a connection is over, in words.
#[derive(Debug)]
pub enum Lost {
    /// The server is there, and says that it cannot now.
    Later(String),
    Broken(String),
}

impl Lost {
    pub fn fault(self, client: &Client) -> Fault {
        match self {
            Lost::Later(why) => Fault::Later(why),
            Lost::Broken(why) => client.unreachable(why),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Lost::Later(why) | Lost::Broken(why)) = self;
        f.write_str(why)
    }
}

/// A close frame's reason, or what else ended the connection.
pub fn closed_because(message: Option<Result<tungstenite::Message, tungstenite::Error>>) -> Lost {
    match message {
        Some(Ok(tungstenite::Message::Close(Some(frame)))) if !frame.reason.is_empty() => {
            let why = printable(&frame.reason);
            if u16::from(frame.code) == TRY_LATER { Lost::Later(why) } else { Lost::Broken(why) }
        }
        Some(Err(error)) => Lost::Broken(error.to_string()),
        Some(Ok(_)) | None => Lost::Broken("the server closed it".to_owned()),
    }
}

pub fn ping() -> tungstenite::Message {
    tungstenite::Message::Ping(Bytes::new())
}
