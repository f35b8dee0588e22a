//! HTTP in front of deployments: requests to their entry workers, bodies streamed both ways, upgrades to WebSockets.

use std::{borrow::Cow, convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderMap, HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;

use super::{
    ErrorPages,
    bodies::{FeedLimits, Feeder, HostBody},
    deployment::{BodyIn, ClientEnd, Deployment, Feeding, Fetched, RequestIn},
    websocket::{self, Role},
};
use crate::wire::{Headers, Problem};

/// From the connection's first byte, or the last answer, to the end of a request's headers.
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// Headers by which proxies say for whom they ask.
const WHO_ASKS: [&str; 6] =
    ["cf-connecting-ip", "forwarded", "true-client-ip", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"];
/// Headers that belong to one connection alone.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
];

/// What a request leads to.
pub enum Routed {
    To(Arc<Deployment>),
    NoSuchDeployment,
    /// Nothing is served here now, and why.
    Unavailable(String),
}

impl From<Option<Arc<Deployment>>> for Routed {
    fn from(found: Option<Arc<Deployment>>) -> Self {
        found.map_or(Routed::NoSuchDeployment, Routed::To)
    }
}

/// Serves connections until the future is dropped. `route` says whose a request is.
pub async fn serve<R, T>(listener: TcpListener, connections: usize, route: R)
where
    R: Fn(&Request<Incoming>) -> T + Clone + Send + Sync + 'static,
    T: Into<Routed>,
{
    serve_until(listener, connections, |peer, _| Client::Direct(peer), route, CancellationToken::new()).await;
}

/// Serves connections until `stop`. Then it takes no more, and ends when all that was asked on those that are open is
/// answered; dropped, they are cut. `client` says by a connection's address and a request's headers who sends it.
pub async fn serve_until<C, R, T>(
    listener: TcpListener,
    connections: usize,
    client: C,
    route: R,
    stop: CancellationToken,
) where
    C: Fn(IpAddr, &HeaderMap) -> Client + Clone + Send + Sync + 'static,
    R: Fn(&Request<Incoming>) -> T + Clone + Send + Sync + 'static,
    T: Into<Routed>,
{
    let room = Arc::new(Semaphore::new(connections));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            () = stop.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (client, route, stop) = (client.clone(), route.clone(), stop.clone());
                    tasks.spawn(async move {
                        let client = move |headers: &HeaderMap| client(peer.ip(), headers);
                        match stream.set_nodelay(true) {
                            Ok(()) => requests(stream, client, route, stop).await,
                            Err(error) => tracing::debug!(%error, "a connection was lost at its start"),
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_ended) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Whoever sends the requests. What it says of itself as a proxy would is not passed on.
    Direct(IpAddr),
    /// Whoever is behind a proxy that is trusted: its `x-forwarded-proto` says how it was asked.
    Behind(IpAddr),
    /// A proxy that is trusted, as with [`Self::Behind`]: its `x-forwarded-for` says whose a request is.
    Proxy,
}

/// Serves one connection to its end. After `stop` it answers what it was asked, and nothing more.
pub async fn serve_connection<S, R, T>(stream: S, client: Client, route: R, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    R: Fn(&Request<Incoming>) -> T + Clone + Send + Sync + 'static,
    T: Into<Routed>,
{
    requests(stream, move |_| client, route, stop).await;
}

async fn requests<S, C, R, T>(stream: S, client: C, route: R, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: Fn(&HeaderMap) -> Client + Send + Sync + 'static,
    R: Fn(&Request<Incoming>) -> T + Clone + Send + Sync + 'static,
    T: Into<Routed>,
{
    let service = service_fn(move |request| {
        let routed = route(&request).into();
        let client = client(request.headers());
        async move {
            Ok::<_, Infallible>(match routed {
                Routed::To(deployment) => handle(&deployment, request, client).await,
                Routed::NoSuchDeployment => plain(StatusCode::NOT_FOUND, "There is no such deployment here.\n"),
                Routed::Unavailable(why) => unavailable(&why),
            })
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// In the form of RFC 9457.
fn unavailable(why: &str) -> Response<HostBody> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let problem = serde_json::json!({ "title": "Nothing is served here", "status": status.as_u16(), "detail": why });
    let mut response = plain(status, &problem.to_string());
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, text: &str) -> Response<HostBody> {
    let mut response = Response::new(HostBody::Whole(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// One request, from whoever accepted the connection.
pub async fn handle(
    deployment: &Arc<Deployment>,
    mut request: Request<Incoming>,
    client: Client,
) -> Response<HostBody> {
    let upgrade =
        websocket_key(&request).map(|key| (derive_accept_key(key.as_bytes()), hyper::upgrade::on(&mut request)));
    let (parts, body) = request.into_parts();
    let body = if upgrade.is_some() || body.is_end_stream() {
        BodyIn::None
    } else {
        let limits = deployment.limits();
        match body_in(deployment, body, limits.request_bytes, limits.whole_body_bytes.into(), limits.chunk_bytes).await
        {
            Ok(body) => body,
            Err(response) => return *response,
        }
    };
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let (headers, scheme) = headers_from(client, &parts.headers);
    let request =
        RequestIn { method: parts.method.as_str().to_owned(), url: format!("{scheme}://{host}{path}"), headers, body };
    let head = parts.method == Method::HEAD;
    match deployment.fetch(request).await {
        Ok(fetched) => answer(deployment, fetched, upgrade, head),
        Err(problem) => failed(deployment, &problem),
    }
}

/// A request's headers; of what says who asks, what is known to be so. How it was asked.
fn headers_from(client: Client, sent: &HeaderMap) -> (Headers, &'static str) {
    let bytes = |address: IpAddr| Cow::Owned(address.to_string().into_bytes());
    // What stands before the proxy's own word anybody may have written.
    let protocols = sent.get_all("x-forwarded-proto").iter().next_back().map(HeaderValue::as_bytes);
    let last = protocols.and_then(|protocols| protocols.rsplit(|byte| *byte == b',').next());
    let is_https = last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"https"));
    let by_proxy = if is_https { "https" } else { "http" };
    let (address, scheme) = match client {
        Client::Direct(address) => (Some(bytes(address)), "http"),
        Client::Behind(address) => (Some(bytes(address)), by_proxy),
        Client::Proxy => (sent.get("x-forwarded-for").map(|address| Cow::Borrowed(address.as_bytes())), by_proxy),
    };
    let mut headers = Headers::default();
    for (name, value) in sent.iter().filter(|(name, _)| !WHO_ASKS.contains(&name.as_str())) {
        headers.push_bytes(name.as_str(), value.as_bytes());
    }
    if let Some(address) = address {
        headers.push_bytes("cf-connecting-ip", &address);
        headers.push_bytes("x-forwarded-for", &address);
    }
    headers.push("x-forwarded-proto", scheme);
    (headers, scheme)
}

fn websocket_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let headers = request.headers();
    let asks = headers.get(header::UPGRADE)?.as_bytes().eq_ignore_ascii_case(b"websocket");
    let version = headers.get(header::SEC_WEBSOCKET_VERSION)?.as_bytes() == b"13";
    (asks && version && request.method() == Method::GET).then(|| headers.get(header::SEC_WEBSOCKET_KEY).cloned())?
}

async fn body_in(
    deployment: &Arc<Deployment>,
    body: Incoming,
    request_bytes: u64,
    whole_bytes: u64,
    chunk_bytes: u32,
) -> Result<BodyIn, Box<Response<HostBody>>> {
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > request_bytes) {
        return Err(Box::new(plain(StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large.\n")));
    }
    if length.is_some_and(|length| length <= whole_bytes) {
        return match body.collect().await {
            Ok(collected) => Ok(BodyIn::Whole(collected.to_bytes())),
            Err(_gone) => Err(Box::new(plain(StatusCode::BAD_REQUEST, "The request's body ended early.\n"))),
        };
    }
    let feeder = Arc::new(Feeder::default());
    let feed = FeedLimits { body_bytes: request_bytes, chunk_bytes: chunk_bytes as usize };
    let (fed, by) = (Arc::clone(&feeder), Arc::clone(deployment));
    // Ends with the body, with the connection, or when the engine wants no more of it.
    tokio::spawn(async move { fed.feed(&by, body, feed).await });
    Ok(BodyIn::Feeder { feeder: Feeding(feeder), length })
}

pub fn headers_in(headers: &HeaderMap) -> Headers {
    let mut out = Headers::default();
    for (name, value) in headers {
        out.push_bytes(name.as_str(), value.as_bytes());
    }
    out
}

/// Headers as an engine said them. None of those that cannot be sent.
pub fn headers_out(headers: &Headers) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = if value.is_ascii() {
            HeaderValue::from_str(value).ok()
        } else {
            let bytes: Option<Vec<u8>> = value.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
            bytes.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok())
        };
        if let (Some(name), Some(value)) = (name, value)
            && !HOP_BY_HOP.contains(&name)
        {
            out.append(name, value);
        }
    }
    out
}

fn answer(
    deployment: &Arc<Deployment>,
    fetched: Fetched,
    upgrade: Option<(String, hyper::upgrade::OnUpgrade)>,
    head: bool,
) -> Response<HostBody> {
    if fetched.status == 101 {
        return match (fetched.socket, upgrade) {
            (Some(socket), Some((accept, upgraded))) => switch(deployment, socket, &accept, upgraded, &fetched.headers),
            (Some(_untaken), None) => plain(StatusCode::UPGRADE_REQUIRED, "This address speaks WebSocket.\n"),
            (None, _) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The worker answered 101 without a WebSocket.\n"),
        };
    }
    let mut response = Response::new(fetched.body);
    *response.status_mut() = StatusCode::from_u16(fetched.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers_out(&fetched.headers);
    if !head {
        // Follows from the body; two that differ would let one response pass for two.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

fn switch(
    deployment: &Arc<Deployment>,
    socket: ClientEnd,
    accept: &str,
    upgraded: hyper::upgrade::OnUpgrade,
    headers: &Headers,
) -> Response<HostBody> {
    let mut response = Response::new(HostBody::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers_out(headers);
    let fixed = response.headers_mut();
    fixed.remove(header::CONTENT_LENGTH);
    fixed.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fixed.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        fixed.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    let deployment = Arc::clone(deployment);
    let Some(socket) = socket.take() else { return response };
    // Ends with the socket, which its object, its client or the end of the deployment closes.
    tokio::spawn(async move {
        match upgraded.await {
            Ok(upgraded) => websocket::run(&deployment, &socket, TokioIo::new(upgraded), Role::Server).await,
            Err(error) => {
                tracing::debug!(%error, "a client left before its WebSocket began");
                deployment.socket_closed(socket.id, 1006, String::new(), false);
            }
        }
        deployment.socket_over(socket.id);
    });
    response
}

fn failed(deployment: &Arc<Deployment>, problem: &Problem) -> Response<HostBody> {
    let status = if problem.overloaded { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
    match deployment.error_pages() {
        ErrorPages::Plain => plain(status, &format!("{}\n", status.canonical_reason().unwrap_or("Error"))),
        ErrorPages::Detailed => {
            let place = problem.place.as_ref().map(|(file, line, column)| format!("\n    at {file}:{line}:{column}"));
            let stack = problem.stack.as_deref().map(|stack| format!("\n{stack}"));
            plain(status, &format!("{problem}{}{}\n", place.unwrap_or_default(), stack.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(client: Client, sent: &[(&'static str, &'static str)]) -> (&'static str, Vec<String>) {
        let sent = sent.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let (headers, scheme) = headers_from(client, &sent.collect());
        (scheme, headers.iter().map(|(name, value)| format!("{name}: {value}")).collect())
    }

    #[test]
    fn nobody_says_who_they_are_but_a_trusted_proxy() {
        let sent = [
            ("cf-connecting-ip", "9.9.9.9"),
            ("x-forwarded-for", "8.8.8.8"),
            ("x-forwarded-proto", "https"),
            ("a", "b"),
        ];
        let (scheme, headers) = seen(Client::Direct([1, 2, 3, 4].into()), &sent);
        assert_eq!(scheme, "http");
        assert_eq!(
            headers,
            ["a: b", "cf-connecting-ip: 1.2.3.4", "x-forwarded-for: 1.2.3.4", "x-forwarded-proto: http"]
        );
        let (scheme, headers) = seen(Client::Proxy, &sent);
        assert_eq!(scheme, "https");
        assert_eq!(
            headers,
            ["a: b", "cf-connecting-ip: 8.8.8.8", "x-forwarded-for: 8.8.8.8", "x-forwarded-proto: https"]
        );
        let (scheme, headers) = seen(Client::Behind([1, 2, 3, 4].into()), &sent);
        assert_eq!((scheme, headers[1].as_str()), ("https", "cf-connecting-ip: 1.2.3.4"));
        let twice = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "https, http")];
        assert_eq!(seen(Client::Behind([1, 2, 3, 4].into()), &twice).0, "http");
        assert_eq!(seen(Client::Proxy, &sent[..1]), ("http", vec!["x-forwarded-proto: http".to_owned()]));
    }
}
