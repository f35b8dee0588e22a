//! Requests that user code sends: never to a private, loopback or link-local address unless it is allowed by name.
//!
//! The address is looked at after the name was resolved, and it is that address which is connected to: a name that
//! resolves differently the next time gains nothing. Every redirect is a new request to this rule.

mod handshake;

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Method, StatusCode, Upgraded, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use handshake::Handshake;

use super::{
    bodies::{FeedLimits, Feeder, HostBody},
    deployment::{BodyIn, Deployment, Feeding, RequestIn},
    http::{headers_in, headers_out},
};
use crate::wire::{Body, HttpResponse, Problem, Redirect};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Between two parts of an answer.
const READ_LIMIT: Duration = Duration::from_secs(100);
const MAX_REDIRECTS: usize = 20;
/// Where Linux distributions keep the authorities they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Names and addresses that may be reached though they are private. `localhost`, `127.0.0.1`, `db.internal`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub allowed: HashSet<String>,
}

impl Policy {
    fn allows(&self, host: &str, address: IpAddr) -> bool {
        is_public(address) || self.allowed.contains(&host.to_ascii_lowercase())
    }
}

/// Whether an address belongs to the public network, by IANA's registries of special-purpose addresses.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!(
            (a, b, c),
            (0 | 224..=255, _, _) | (100, 64..=127, _) | (198, 18 | 19, _) | (192, 0, 0) | (192, 88, 99)
        );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [a, b, ..] = segments;
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Mapped, compatible, loopback, unspecified.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => embedded(high, low) && (high, low) != (0, 1),
        // Translated by a gateway: where to is what counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] => false,
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarks, documentation, ORCHID.
        [0x2001, 0 | 2 | 0xdb8 | 0x10..=0x2f, ..] | [0x3fff, 0..=0xfff, ..] => false,
        _other => (0x2000..0x4000).contains(&a) && (a, b) != (0x2001, 0),
    }
}

struct Checked(Arc<Policy>);

#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("{0} cannot be resolved: {1}")]
    Lookup(String, #[source] io::Error),
    #[error("{0} is at a private address, which this deployment may not reach")]
    Private(String),
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let found = tokio::net::lookup_host((host, 0)).await;
            let found = found.map_err(|error| ResolveError::Lookup(host.to_owned(), error))?;
            let allowed: Vec<SocketAddr> = found.filter(|address| policy.allows(host, address.ip())).collect();
            if allowed.is_empty() {
                return Err(ResolveError::Private(host.to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Sends requests for one deployment.
pub struct Outgoing {
    policy: Arc<Policy>,
    client: Client,
    /// What becomes a WebSocket is HTTP/1.1, on a connection of its own.
    upgrading: Client,
}

/// What a request came to.
pub struct Answered {
    pub response: HttpResponse,
    pub body: BodyIn,
    /// A WebSocket is spoken on it from now on.
    pub socket: Option<Upgraded>,
}

#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    #[error("cannot set up outgoing requests: {0}")]
    Client(#[from] reqwest::Error),
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = SYSTEM_ROOTS.iter().map(Path::new).find_map(|file| fs::read(file).ok()).unwrap_or_default();
    // One odd certificate among the system's hundred is no reason to trust none of them.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn refused(message: impl std::fmt::Display) -> Problem {
    Problem::new("TypeError", message.to_string())
}

/// The innermost cause is the one that says something.
fn why(error: &reqwest::Error) -> Problem {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    refused(format!(
        "fetch failed: {}",
        if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() }
    ))
}

impl Outgoing {
    pub fn new(policy: Policy) -> Result<Self, OutgoingError> {
        let policy = Arc::new(policy);
        let client = || {
            Ok::<_, OutgoingError>(
                Client::builder()
                    .use_preconfigured_tls(tls()?)
                    .dns_resolver(Arc::new(Checked(Arc::clone(&policy))))
                    .redirect(reqwest::redirect::Policy::none())
                    .connect_timeout(CONNECT_LIMIT)
                    .read_timeout(READ_LIMIT)
                    .no_proxy(),
            )
        };
        let upgrading = client()?.http1_only().pool_max_idle_per_host(0).build()?;
        let client = client()?.build()?;
        Ok(Outgoing { policy, client, upgrading })
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// An address that stands in the URL itself is never resolved.
    fn check(&self, url: &Url) -> Result<(), Problem> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused(format!("fetch failed: {} is no scheme that can be fetched", url.scheme())));
        }
        let host = url.host_str().ok_or_else(|| refused("fetch failed: the URL names no host"))?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !self.policy.allows(host, address) => {
                Err(refused(format!("fetch failed: {host} is a private address, which this deployment may not reach")))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Sends a request; the answer's body is fed to whoever gets it.
    pub async fn fetch(
        &self,
        deployment: &Arc<Deployment>,
        request: RequestIn,
        redirect: Redirect,
    ) -> Result<Answered, Problem> {
        let asked = request.url.clone();
        let mut url = Url::parse(&request.url).map_err(|error| refused(format!("fetch failed: {error}")))?;
        let mut method = Method::from_bytes(request.method.as_bytes()).map_err(refused)?;
        let mut headers = headers_out(&request.headers);
        let handshake = Handshake::wanted(&request)?;
        if let Some(handshake) = &handshake {
            handshake.add(&mut headers)?;
        }
        let client = if handshake.is_some() { &self.upgrading } else { &self.client };
        headers.remove(header::HOST);
        headers.remove(header::CONTENT_LENGTH);
        let (mut body, again) = match deployment.body_out(request.body) {
            HostBody::Whole(data) => (Some(reqwest::Body::from(data.clone())), Some(data)),
            HostBody::Empty => (None, None),
            reader @ HostBody::Reader(_) => (Some(reqwest::Body::wrap(reader)), None),
        };
        let streamed = body.is_some() && again.is_none();
        for hop in 0..=MAX_REDIRECTS {
            self.check(&url)?;
            let mut builder = client.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(body) = body.take() {
                builder = builder.body(body);
            }
            let response = builder.send().await.map_err(|error| why(&error))?;
            let Some(next) = next(&response, &url).filter(|_| redirect != Redirect::Manual) else {
                let redirected = hop > 0 || url.as_str() != asked;
                return match handshake {
                    Some(handshake) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                        let head = head_of(&response, redirected);
                        let socket = Some(handshake.finish(response).await?);
                        Ok(Answered { response: head, body: BodyIn::None, socket })
                    }
                    Some(_) | None => Ok(answer(deployment, response, redirected)),
                };
            };
            if redirect == Redirect::Error {
                return Err(refused("fetch failed: a redirect was not wanted"));
            }
            let next = next.map_err(|error| refused(format!("fetch failed: the redirect names no URL: {error}")))?;
            let status = response.status();
            let keeps = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            let as_get = status == StatusCode::SEE_OTHER && method != Method::HEAD || !keeps && method == Method::POST;
            if as_get {
                method = Method::GET;
                for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                    headers.remove(name);
                }
            } else if streamed {
                return Err(refused("fetch failed: a body that was streamed cannot be sent again for a redirect"));
            } else {
                body = again.clone().map(reqwest::Body::from);
            }
            if next.origin() != url.origin() {
                for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
                    headers.remove(name);
                }
            }
            url = next;
        }
        Err(refused(format!("fetch failed: more than {MAX_REDIRECTS} redirects")))
    }
}

fn head_of(response: &reqwest::Response, redirected: bool) -> HttpResponse {
    HttpResponse {
        status: response.status().as_u16(),
        status_text: response.status().canonical_reason().unwrap_or_default().to_owned(),
        headers: headers_in(response.headers()),
        body: Body::None,
        socket: None,
        url: response.url().to_string(),
        redirected,
    }
}

fn answer(deployment: &Arc<Deployment>, response: reqwest::Response, redirected: bool) -> Answered {
    let head = head_of(&response, redirected);
    let length = response.content_length();
    let limits = deployment.limits();
    let feed = FeedLimits { body_bytes: u64::MAX, chunk_bytes: limits.chunk_bytes as usize };
    let feeder = Arc::new(Feeder::default());
    let (fed, by) = (Arc::clone(&feeder), Arc::clone(deployment));
    // Ends with the body, or when the engine wants no more of it.
    tokio::spawn(async move { fed.feed(&by, reqwest::Body::from(response), feed).await });
    Answered { response: head, body: BodyIn::Feeder { feeder: Feeding(feeder), length }, socket: None }
}

fn next(response: &reqwest::Response, from: &Url) -> Option<Result<Url, url::ParseError>> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION).filter(|_| redirects)?;
    Some(from.join(&String::from_utf8_lossy(location.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_are_public() {
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "100.127.1.1",
            "198.18.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "100::1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.169.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
    }

    #[test]
    fn an_address_in_the_url_is_checked_however_it_is_written() {
        let outgoing = Outgoing::new(Policy::default()).expect("is made");
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
        ] {
            assert!(outgoing.check(&Url::parse(url).expect("a URL")).is_err(), "{url}");
        }
        let allowed = Policy { allowed: ["127.0.0.1".to_owned()].into() };
        let outgoing = Outgoing::new(allowed).expect("is made");
        assert!(outgoing.check(&Url::parse("http://127.0.0.1:9/").expect("a URL")).is_ok());
        assert!(outgoing.check(&Url::parse("http://10.0.0.1/").expect("a URL")).is_err());
    }

    #[tokio::test]
    async fn a_name_at_a_private_address_is_not_resolved_unless_allowed() {
        let name = || "localhost".parse::<Name>().expect("a name");
        let refused = Checked(Arc::default()).resolve(name()).await;
        assert!(refused.is_err());
        let policy = Policy { allowed: ["localhost".to_owned()].into() };
        let found = Checked(Arc::new(policy)).resolve(name()).await.expect("is allowed");
        assert!(found.count() > 0);
    }
}
