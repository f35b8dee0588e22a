//! A browser at a notebook's own origin, and what it is told there.

use reqwest::{Client, RequestBuilder, StatusCode, header, redirect::Policy};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest as _};

use crate::kernel::{self, Kernel};

/// How long an answer may take on a busy machine.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A client that follows no redirect.
pub fn client() -> Client {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    PROVIDER.call_once(|| {
        // The server has set it, if one of this process was first.
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    Client::builder().redirect(Policy::none()).no_proxy().build().expect("a client")
}

/// What a browser is told: the status, where it is sent, the page's text.
#[derive(Debug)]
pub struct Told {
    pub status: StatusCode,
    pub location: String,
    pub text: String,
}

impl Told {
    async fn from(answer: reqwest::Response) -> Self {
        let location = answer.headers().get(header::LOCATION).map(|to| to.to_str().expect("text").to_owned());
        let status = answer.status();
        Self { status, location: location.unwrap_or_default(), text: answer.text().await.expect("a body") }
    }

    /// It is this page of the server's own.
    pub fn assert_is(&self, status: u16, title: &str) {
        let heading = format!("<h1>{title}</h1>");
        assert!(self.status == status && self.text.contains(&heading), "{status} {title}: {self:?}");
    }
}

/// Whose pages a request comes from.
#[derive(Debug, Clone, Copy)]
pub enum From<'a> {
    Own,
    Nobody,
    Origin(&'a str),
}

/// One that has come in; as often as it is cloned, the same browser.
#[derive(Debug, Clone)]
pub struct Lab {
    pub name: String,
    port: u16,
    /// As in the Cookie header.
    pub cookie: String,
}

/// A name below `localhost` leads to this machine in every browser, and not on every system.
fn port(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

/// The ticket that the portal's page would send on; `cookie` is that of a browser that is signed in to the portal at `url`.
pub async fn ticket(url: &str, cookie: &str, name: &str) -> String {
    let page = client().get(format!("{url}/notebooks/{name}/open")).header(header::COOKIE, cookie);
    let answer = page.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let page = answer.text().await.expect("a page");
    let (_, rest) = page.split_once("name=\"ticket\" value=\"").expect("a ticket");
    rest.split_once('"').expect("its end").0.to_owned()
}

/// What is answered to a request for `host`, whose name stands in the Host header alone.
fn request(port: u16, host: &str, method: &str, path: &str) -> RequestBuilder {
    let method = method.parse::<reqwest::Method>().expect("a method");
    client().request(method, format!("http://127.0.0.1:{port}{path}")).header(header::HOST, format!("{host}:{port}"))
}

impl Lab {
    /// With a cookie that somebody has.
    pub fn with_cookie(url: &str, name: &str, cookie: &str) -> Self {
        Self { name: name.to_owned(), port: port(url), cookie: cookie.to_owned() }
    }

    /// The same browser at another notebook, with this one's cookie, which no browser would send there by itself.
    pub fn at(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    pub fn with(&self, cookie: String) -> Self {
        Self { cookie, ..self.clone() }
    }

    /// Comes in as the portal's page leads a browser in.
    pub async fn open(url: &str, cookie: &str, name: &str) -> Self {
        let lab = Self::with_cookie(url, name, "");
        let answer = lab.enter(url, &ticket(url, cookie, name).await).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("text").to_owned();
        assert!(cookie.contains("; HttpOnly; SameSite=Lax; Max-Age=43200"), "{cookie}");
        assert!(!cookie.to_lowercase().contains("domain="), "of that host alone: {cookie}");
        let cookie = cookie.split(';').next().expect("a first part").to_owned();
        Self { cookie, ..lab }
    }

    async fn enter(&self, portal: &str, ticket: &str) -> reqwest::Response {
        let request = request(self.port, &self.host(), "POST", "/.berth/enter").header(header::ORIGIN, portal);
        request.body(format!("ticket={ticket}")).send().await.expect("an answer")
    }

    pub async fn try_ticket(&self, portal: &str, ticket: &str) -> Told {
        Told::from(self.enter(portal, ticket).await).await
    }

    pub fn host(&self) -> String {
        format!("{}.localhost", self.name)
    }

    fn origin(&self) -> String {
        format!("http://{}:{}", self.host(), self.port)
    }

    /// As JupyterLab's own pages send it.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.request_from(From::Own, method, path)
    }

    pub fn request_from(&self, from: From<'_>, method: &str, path: &str) -> RequestBuilder {
        let request = request(self.port, &self.host(), method, path).header(header::COOKIE, &self.cookie);
        match from {
            From::Own => request.header(header::ORIGIN, self.origin()),
            From::Nobody => request,
            From::Origin(origin) => request.header(header::ORIGIN, origin),
        }
    }

    pub async fn told(&self, request: RequestBuilder) -> Told {
        Told::from(request.send().await.expect("an answer")).await
    }

    /// What a request for another host is told, with this one's cookie.
    pub async fn at_host(&self, host: &str, path: &str) -> Told {
        self.told(request(self.port, host, "GET", path).header(header::COOKIE, &self.cookie)).await
    }

    pub async fn json(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let request = self.request(method, path);
        let answer = self.told(body.iter().fold(request, RequestBuilder::json)).await;
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        serde_json::from_str(&answer.text).unwrap_or(Value::Null)
    }

    pub async fn new_kernel(&self) -> String {
        let made = self.json("POST", "/api/kernels", Some(json!({"name": "python3"}))).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A kernel's socket; else the status with which it was refused.
    pub async fn socket(&self, from: From<'_>, kernel: &str, session: &str) -> Result<Kernel<TcpStream>, StatusCode> {
        let address = format!("ws://{}:{}{}", self.host(), self.port, kernel::path(kernel, session));
        let mut request = address.into_client_request().expect("an address");
        let mut set =
            |name: &'static str, value: &str| request.headers_mut().insert(name, value.parse().expect("text"));
        set("cookie", &self.cookie);
        match from {
            From::Own => drop(set("origin", &self.origin())),
            From::Nobody => {}
            From::Origin(origin) => drop(set("origin", origin)),
        }
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("the server");
        let upgraded = tokio::time::timeout(LIMIT, tokio_tungstenite::client_async(request, stream)).await;
        match upgraded.expect("an answer") {
            Ok((socket, _)) => Ok(Kernel::new(socket, session)),
            Err(tungstenite::Error::Http(answer)) => Err(answer.status()),
            Err(error) => panic!("{error}"),
        }
    }
}
