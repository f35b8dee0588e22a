//! A server of the test's own on a free port, and browsers that use it.

use std::{collections::BTreeMap, net::SocketAddr};

use domain::people::Role;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use server::{Server, config::Config};
use services::{Clock, Services, people::operator};
use store::{Store, StoreOptions};
pub use testkit::lab::client;
use tokio::{sync::oneshot, task::JoinHandle};

pub const PASSWORD: &str = "correct horse battery";
/// How long anything that is waited for may take on a busy machine.
pub const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A running server; [`Site::stop`] ends it.
pub struct Site {
    pub url: String,
    /// Where agents dial in.
    pub agents: SocketAddr,
    /// Another process' view of the same database.
    pub services: Services,
    config: Config,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
    pub directory: tempfile::TempDir,
}

/// On SQLite and then on PostgreSQL.
pub async fn on_both<Fut: Future<Output = Site>>(test: impl Fn(Site) -> Fut) {
    eprintln!("on SQLite");
    test(Site::start(None, Vec::new()).await).await.stop().await;
    eprintln!("on PostgreSQL");
    test(Site::start(Some(testkit::postgres::database().await), Vec::new()).await).await.stop().await;
}

impl Site {
    pub async fn start(database: Option<String>, trusted_proxies: Vec<domain::proxies::Network>) -> Self {
        Self::beside(None, database, trusted_proxies).await
    }

    /// Another server on the same database, with the same key.
    pub async fn replica(&self, database: String) -> Self {
        Self::beside(Some(&self.directory.path().join("server.key")), Some(database), Vec::new()).await
    }

    async fn beside(
        key: Option<&std::path::Path>,
        database: Option<String>,
        trusted_proxies: Vec<domain::proxies::Network>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config {
            listen: free,
            data_dir: directory.path().to_owned(),
            site_dir: directory.path().to_owned(),
            trusted_proxies: trusted_proxies.try_into().unwrap(),
            ..Config::default()
        };
        config.agents.listen = free;
        config.server_key_file = key.map(std::path::Path::to_owned).unwrap_or_default();
        config.database.url = database.unwrap_or_default();
        let services = server::open(&config).await.unwrap();
        let server = Server::bind(config.clone()).await.unwrap();
        config.agents.listen.set_port(server.agents_address.port());
        let (url, agents) = (format!("http://{}", server.address), server.agents_address);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move {
            // A test that failed drops its end, which stops the server as well.
            stopped.await.ok();
        }));
        Self { url, agents, services, config, stop, running, directory }
    }

    /// As `services`, by another clock.
    pub async fn services_with(&self, clock: Clock) -> Services {
        let options = StoreOptions { url: self.config.database_url(), max_connections: 2 };
        let store = Store::connect(&options).await.unwrap();
        let settings = services::Settings { server_key: self.config.server_key().ok(), ..self.config.settings() };
        Services::new(store, clock, settings)
    }

    pub async fn stop(self) {
        assert!(self.stop.send(()).is_ok(), "the server ended by itself");
        self.running.await.unwrap().unwrap();
    }

    /// An admin's token that may do all.
    pub async fn admin_token(&self) -> String {
        operator::create_admin_token(&self.services, "root@x", None).await.unwrap()
    }

    pub async fn admin(&self, email: &str) {
        operator::create_admin(&self.services, email, None, Some(PASSWORD.into())).await.unwrap();
    }

    /// Makes a person of that role by invitation, and returns a browser that has come in by the link.
    pub async fn person(&self, admin_token: &str, email: &str, role: Role) -> (String, Browser) {
        invited(&self.url, admin_token, email, role).await
    }

    /// What REST answers to this request, which has to succeed.
    pub async fn json(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Value {
        json(&self.url, token, method, path, body).await
    }

    pub fn api(&self, token: &str, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = client().request(method, format!("{}/api/v1{path}", self.url));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }
}

/// Makes a person of that role by invitation, and returns their id and a browser that has come in by the link.
pub async fn invited(url: &str, admin_token: &str, email: &str, role: Role) -> (String, Browser) {
    let body = serde_json::json!({"email": email, "role": role.word()});
    let made = json(url, admin_token, "POST", "/people", Some(body)).await;
    let link = made["link"]["url"].as_str().unwrap();
    let secret = link.split("token=").nth(1).unwrap();
    let mut browser = Browser::new(url);
    let answer = browser.post("/sign-in/link", &[("token", secret)]).await;
    assert_eq!(location(&answer), "/account?choose=password");
    (made["person"]["id"].as_str().unwrap().to_owned(), browser)
}

/// Waits until `look` finds something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    within(LIMIT, what, look).await
}

/// As [`until`], for what may take another time.
pub async fn within<T, F: Future<Output = Option<T>>>(
    limit: std::time::Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let waiting = async {
        // A tick is the quickest that is looked, not how long anything takes.
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// What REST answers to this request, which has to succeed.
pub async fn json(url: &str, token: &str, method: &str, path: &str, body: Option<Value>) -> Value {
    let method = method.parse::<reqwest::Method>().unwrap();
    let request = client().request(method, format!("{url}/api/v1{path}")).bearer_auth(token);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

pub fn location(answer: &Response) -> &str {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{answer:?}");
    answer.headers()[header::LOCATION].to_str().unwrap()
}

/// Keeps cookies and says where its requests come from, as a browser does.
#[derive(Clone)]
pub struct Browser {
    url: String,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), cookies: BTreeMap::new() }
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = client().request(method, format!("{}{path}", self.url));
        if self.cookies.is_empty() { request } else { request.header(header::COOKIE, self.cookie()) }
    }

    /// As in the Cookie header.
    pub fn cookie(&self) -> String {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        cookies.join("; ")
    }

    /// Sends a form of the portal's own page.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let body: Vec<String> =
            fields.iter().map(|(k, v)| format!("{k}={}", server::sign_in::query_value(v))).collect();
        let answer = self
            .request("POST", path)
            .header(header::ORIGIN, &self.url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.join("&"))
            .send()
            .await
            .unwrap();
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub async fn sign_in(&mut self, email: &str, password: &str) -> Response {
        self.post("/sign-in", &[("email", email), ("password", password), ("next", "/machines")]).await
    }

    /// Whether the portal knows who this is.
    pub async fn is_in(&self) -> bool {
        self.request("GET", "/api/v1/me").send().await.unwrap().status() == StatusCode::OK
    }
}
