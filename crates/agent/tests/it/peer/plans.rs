//! The server's answers about objects: the plan that a test has set, and bundles.

use protocol::objects::{BUNDLES_PATH, PLAN_PATH};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::Authority;

/// Requests without bodies, one after the other, until the agent closes.
pub async fn serve(mut stream: TlsStream<TcpStream>, mut head: Vec<u8>, authority: &Authority) {
    loop {
        let end = loop {
            match head.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => match stream.read_buf(&mut head).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                },
            }
        };
        let request = String::from_utf8_lossy(&head[..end]).into_owned();
        head.drain(..end);
        let path = request.split(' ').nth(1).expect("a path");
        let body = answer(path, authority);
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_default();
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        // The agent may have gone.
        if stream.write_all(text.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
    }
}

fn answer(path: &str, authority: &Authority) -> Option<Vec<u8>> {
    if path == PLAN_PATH {
        let plan = authority.plan.lock().expect("a lock").clone()?;
        return Some(rmp_serde::to_vec_named(&plan).expect("encodes"));
    }
    let digest = path.strip_prefix(BUNDLES_PATH)?.strip_prefix('/')?;
    let digest: [u8; 32] = hex::decode(digest).ok()?.try_into().ok()?;
    authority.bundles.lock().expect("a lock").get(&digest).cloned()
}
