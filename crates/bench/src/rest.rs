//! A client of the REST API, as a script would be one.

use anyhow::{Context, Result, bail};
use futures_util::Stream;
use reqwest::StatusCode;
use serde_json::Value;

use crate::server::Server;

#[derive(Debug, Clone)]
pub struct Rest {
    client: reqwest::Client,
    site: String,
    base: String,
    token: String,
}

impl Rest {
    pub fn new(server: &Server) -> Result<Self> {
        let client = reqwest::Client::builder().pool_max_idle_per_host(256).no_proxy().build()?;
        Ok(Self {
            client,
            site: server.url.clone(),
            base: format!("{}/api/v1", server.url),
            token: server.token.clone(),
        })
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        let response = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.token).send().await?;
        body(path, response).await
    }

    pub async fn post(&self, path: &str, ask: &Value) -> Result<Value> {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.token).json(ask);
        body(path, request.send().await?).await
    }

    pub async fn put(&self, path: &str, ask: &Value) -> Result<Value> {
        let request = self.client.put(format!("{}{path}", self.base)).bearer_auth(&self.token).json(ask);
        body(path, request.send().await?).await
    }

    /// As [`Rest::post`], where a refusal is an answer like any other.
    pub async fn try_post(&self, path: &str, ask: &Value) -> Result<StatusCode> {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.token).json(ask);
        let response = request.send().await?;
        let status = response.status();
        response.bytes().await?;
        Ok(status)
    }

    /// As [`Rest::try_post`], under a key with which the request may be sent again; an error is a server that is not there.
    pub async fn insist(&self, path: &str, key: &str, ask: &Value) -> reqwest::Result<(StatusCode, Value)> {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.token).json(ask);
        let response = request.header("idempotency-key", key).send().await?;
        Ok((response.status(), response.json().await?))
    }

    /// A page of the portal, as a browser would ask for it.
    pub async fn page(&self, path: &str) -> Result<String> {
        let request = self.client.get(format!("{}{path}", self.site)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.text().await?)
    }

    /// A stream that does not end.
    pub async fn stream(&self, path: &str) -> Result<impl Stream<Item = reqwest::Result<impl AsRef<[u8]>>>> {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.bytes_stream())
    }

    /// The whole list, page by page.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.get(&format!("{path}?limit=500{cursor}")).await?;
            items.append(page["items"].as_array_mut().context("no items in a list")?);
            match page["next_cursor"].as_str() {
                None => return Ok(items),
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }
}

async fn body(path: &str, response: reqwest::Response) -> Result<Value> {
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("{path}: {status}: {text}");
    }
    serde_json::from_str(&text).with_context(|| format!("{path} answered no JSON"))
}
