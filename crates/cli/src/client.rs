//! REST v1 from the client's side: one request, its problem if refused; lists over all their pages; live events.

use std::{fs, path::Path, sync::Arc, time::Duration};

use api::{Page, Problem};
use reqwest::{Method, StatusCode, Url, header};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    fault::Fault,
    settings::{Secret, Settings},
};

/// How long a request without a stream may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The largest answer that is read, bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The most items of a list; beyond, a filter helps more than a longer list.
const MAX_ITEMS: usize = 100_000;
/// Where Linux distributions keep the authorities they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A server and the right to ask it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    token: Secret,
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.server.as_str()).finish_non_exhaustive()
    }
}

fn add_roots(roots: &mut RootCertStore, file: &Path) -> Result<usize, Fault> {
    let pem = fs::read(file).map_err(Fault::io(format!("cannot read {}", file.display())))?;
    // One odd certificate among the system's hundred is no reason to trust none of them.
    let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    Ok(added)
}

fn tls(settings: &Settings) -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = SYSTEM_ROOTS.iter().map(Path::new).find(|file| file.exists()) {
        add_roots(&mut roots, file)?;
    }
    if let Some(ca) = &settings.ca
        && add_roots(&mut roots, ca)? == 0
    {
        return Err(Fault::Usage(format!("{} holds no certificate in PEM", ca.display())));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Failed(format!("cannot set up TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The innermost cause is the one that says something: "connection refused", "invalid peer certificate".
fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { "it did not answer in time".to_owned() } else { cause.to_string() }
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let token = settings.token.clone().ok_or(Fault::NotSignedIn)?;
        let tls = tls(settings)?;
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(tls.clone())
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            // Somewhere else the token has no business.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Fault::Failed(format!("cannot set up HTTP: {}", why(&error))))?;
        Ok(Self { http, server: settings.server.clone(), token, tls: Arc::new(tls) })
    }

    pub fn server(&self) -> &Url {
        &self.server
    }
    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        self.tls.clone()
    }
    /// The server as people type it.
    pub fn name(&self) -> String {
        self.server.as_str().trim_end_matches('/').to_owned()
    }

    /// `/api/v1/…`; each part is escaped.
    pub fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.server.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["api", "v1"]).extend(parts);
        }
        url
    }

    pub(crate) fn unreachable(&self, why: impl Into<String>) -> Fault {
        Fault::Unreachable { server: self.name(), why: why.into() }
    }
    pub(crate) fn strange(&self, what: impl Into<String>) -> Fault {
        Fault::Answer { server: self.name(), what: what.into() }
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        self.http
            .request(method, url)
            .bearer_auth(self.token.reveal())
            .header(header::ACCEPT, "application/json, application/problem+json")
            .timeout(REQUEST_LIMIT)
    }

    /// The problem that a refusal carries, or what else it seems to be.
    pub(crate) fn refusal(&self, status: StatusCode, body: &[u8]) -> Fault {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Fault::Refused(Box::new(problem)),
            Err(_) if status == StatusCode::UNAUTHORIZED => Fault::NotSignedIn,
            Err(_) if matches!(status.as_u16(), 502..=504) => self.unreachable(format!("a proxy answers {status}")),
            Err(_) => self.strange(status.to_string()),
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Fault> {
        let mut response = request.send().await.map_err(|error| self.unreachable(why(&error)))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(why(&error)))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(self.strange(format!("more than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok(body) } else { Err(self.refusal(status, &body)) }
    }

    async fn json<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Fault> {
        let body = self.answer(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    pub async fn get<T: DeserializeOwned>(&self, parts: &[&str]) -> Result<T, Fault> {
        self.json(self.request(Method::GET, self.url(parts))).await
    }

    pub async fn get_with<T: DeserializeOwned>(&self, parts: &[&str], query: &[(&str, String)]) -> Result<T, Fault> {
        let mut url = self.url(parts);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.json(self.request(Method::GET, url)).await
    }

    /// All pages of a list.
    pub async fn list<T: DeserializeOwned>(&self, parts: &[&str], query: &[(&str, String)]) -> Result<Vec<T>, Fault> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", "500".to_owned()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get_with(parts, &query).await?;
            items.extend(page.items);
            match page.next_cursor {
                Some(next) if items.len() < MAX_ITEMS => cursor = Some(next),
                Some(_) => return Err(Fault::Failed(format!("more than {MAX_ITEMS} items: narrow the list down"))),
                None => return Ok(items),
            }
        }
    }

    pub async fn post<T: DeserializeOwned>(&self, parts: &[&str], body: &impl Serialize) -> Result<T, Fault> {
        self.json(self.request(Method::POST, self.url(parts)).json(body)).await
    }

    /// Sent again after a lost answer with the same `key`, it is done once.
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        body: &impl Serialize,
        key: uuid::Uuid,
    ) -> Result<T, Fault> {
        let request =
            || self.request(Method::POST, self.url(parts)).header("Idempotency-Key", key.to_string()).json(body);
        match self.json(request()).await {
            Err(Fault::Unreachable { .. }) => self.json(request()).await,
            answer => answer,
        }
    }

    /// A POST whose answer says no more than that it was done.
    pub async fn tell(&self, parts: &[&str], body: &impl Serialize) -> Result<(), Fault> {
        self.answer(self.request(Method::POST, self.url(parts)).json(body)).await.map(drop)
    }

    pub async fn patch<T: DeserializeOwned>(&self, parts: &[&str], body: &impl Serialize) -> Result<T, Fault> {
        self.json(self.request(Method::PATCH, self.url(parts)).json(body)).await
    }

    pub async fn put<T: DeserializeOwned>(&self, parts: &[&str], body: &impl Serialize) -> Result<T, Fault> {
        self.json(self.request(Method::PUT, self.url(parts)).json(body)).await
    }

    pub async fn delete(&self, parts: &[&str]) -> Result<(), Fault> {
        self.answer(self.request(Method::DELETE, self.url(parts))).await.map(drop)
    }

    /// The server's live events from now on.
    pub(crate) async fn event_stream(&self) -> Result<reqwest::Response, Fault> {
        self.stream(&["events"]).await
    }

    /// Server-sent events.
    pub(crate) async fn stream(&self, parts: &[&str]) -> Result<reqwest::Response, Fault> {
        let request =
            self.http.get(self.url(parts)).bearer_auth(self.token.reveal()).header(header::ACCEPT, "text/event-stream");
        let response = request.send().await.map_err(|error| self.unreachable(why(&error)))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(response.status(), &response.bytes().await.unwrap_or_default()))
        }
    }
}
