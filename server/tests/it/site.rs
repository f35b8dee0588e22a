//! A server of the test's own on a free port, and browsers that use it.

use std::{collections::BTreeMap, net::SocketAddr};

use domain::people::Role;
use reqwest::{Client, RequestBuilder, Response, StatusCode, header, redirect::Policy};
use serde_json::Value;
use server::{Server, config::Config};
use services::{Services, people::operator};
use tokio::{sync::oneshot, task::JoinHandle};

pub const PASSWORD: &str = "correct horse battery";

/// A running server; [`Site::stop`] ends it.
pub struct Site {
    pub url: String,
    /// Another process' view of the same database.
    pub services: Services,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
    _directory: tempfile::TempDir,
}

/// On SQLite and then on PostgreSQL.
pub async fn on_both<Fut: Future<Output = Site>>(test: impl Fn(Site) -> Fut) {
    eprintln!("on SQLite");
    test(Site::start(None, Vec::new()).await).await.stop().await;
    eprintln!("on PostgreSQL");
    test(Site::start(Some(testkit::postgres::database().await), Vec::new()).await).await.stop().await;
}

impl Site {
    pub async fn start(database: Option<String>, trusted_proxies: Vec<std::net::IpAddr>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config {
            listen: free,
            data_dir: directory.path().to_owned(),
            site_dir: directory.path().to_owned(),
            trusted_proxies,
            ..Config::default()
        };
        config.agents.listen = free;
        config.database.url = database.unwrap_or_default();
        let services = server::open(&config).await.unwrap();
        let server = Server::bind(config).await.unwrap();
        let url = format!("http://{}", server.address);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move {
            // A test that failed drops its end, which stops the server as well.
            stopped.await.ok();
        }));
        Self { url, services, stop, running, _directory: directory }
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
        let body = serde_json::json!({"email": email, "role": role.word()});
        let made = self.api(admin_token, "POST", "/people").json(&body).send().await.unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
        let made: Value = made.json().await.unwrap();
        let link = made["link"]["url"].as_str().unwrap();
        let secret = link.split("token=").nth(1).unwrap();
        let mut browser = Browser::new(&self.url);
        let answer = browser.post("/sign-in/link", &[("token", secret)]).await;
        assert_eq!(location(&answer), "/account?choose=password");
        (made["person"]["id"].as_str().unwrap().to_owned(), browser)
    }

    pub fn api(&self, token: &str, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse::<reqwest::Method>().unwrap();
        let request = client().request(method, format!("{}/api/v1{path}", self.url));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }
}

pub fn client() -> Client {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    PROVIDER.call_once(|| {
        // The server has set it, if one of this process was first.
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    Client::builder().redirect(Policy::none()).no_proxy().build().unwrap()
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
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = client().request(method, format!("{}{path}", self.url));
        if cookies.is_empty() { request } else { request.header(header::COOKIE, cookies.join("; ")) }
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
