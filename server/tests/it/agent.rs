//! Byte streams of a session, as a client opens them.

use api::streams::{STDIN, STDOUT, ServerFrame};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::site::LIMIT;

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The WebSocket at `path` under the API.
pub async fn connect(url: &str, token: &str, path: &str) -> Socket {
    let address = format!("{}/api/v1{path}", url.replacen("http", "ws", 1));
    let mut request = address.into_client_request().expect("an address");
    request.headers_mut().insert(header::AUTHORIZATION.as_str(), format!("Bearer {token}").parse().expect("a header"));
    tokio_tungstenite::connect_async(request).await.expect("upgrades").0
}

/// A program in the session, started.
pub async fn exec(url: &str, token: &str, session: &str, argv: &[&str]) -> Socket {
    let mut socket = connect(url, token, &format!("/sessions/{session}/exec")).await;
    let ask = serde_json::json!({ "argv": argv }).to_string();
    socket.send(Message::text(ask)).await.expect("sends");
    match frame(&mut socket).await {
        Heard::Frame(ServerFrame::Started { .. }) => socket,
        other => panic!("{other:?}"),
    }
}

#[derive(Debug)]
pub enum Heard {
    Frame(ServerFrame),
    Bytes(Vec<u8>),
    Closed(u16),
}

/// What comes next.
pub async fn frame(socket: &mut Socket) -> Heard {
    loop {
        match tokio::time::timeout(LIMIT, socket.next()).await.expect("something comes") {
            Some(Ok(Message::Text(text))) => return Heard::Frame(serde_json::from_str(&text).expect("a frame")),
            Some(Ok(Message::Binary(bytes))) => return Heard::Bytes(bytes.to_vec()),
            Some(Ok(Message::Close(Some(close)))) => return Heard::Closed(close.code.into()),
            Some(Ok(Message::Close(None)) | Err(_)) | None => return Heard::Closed(0),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
        }
    }
}

pub async fn input(socket: &mut Socket, bytes: &[u8]) {
    let mut message = vec![STDIN];
    message.extend_from_slice(bytes);
    socket.send(Message::Binary(message.into())).await.expect("sends");
}

/// Reads standard output until there are as many bytes.
pub async fn output(socket: &mut Socket, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < bytes {
        match frame(socket).await {
            Heard::Bytes(piece) => {
                assert_eq!(piece.first(), Some(&STDOUT), "{}", String::from_utf8_lossy(&piece));
                all.extend_from_slice(&piece[1..]);
            }
            Heard::Frame(ServerFrame::Credit { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    all
}
