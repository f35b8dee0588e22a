//! People of Berth with a browser each that is signed in to the portal.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};
use testkit::lab::Lab;

use super::peers::{pause, usable};
use crate::{host::milliseconds, rest::Rest};

const LIMIT: Duration = Duration::from_secs(900);

#[derive(Clone)]
pub struct Person {
    client: Client,
    url: String,
    cookie: String,
}

impl Person {
    /// Invited by an admin, and in by the link.
    pub async fn invited(rest: &Rest, client: &Client, url: &str, email: &str) -> Result<Self> {
        let made = rest.post("/people", &json!({"email": email, "role": "engineer"})).await?;
        let link = made["link"]["url"].as_str().context("no link")?;
        let secret = link.split("token=").nth(1).context("no secret in the link")?;
        let form = client.post(format!("{url}/sign-in/link")).header(header::ORIGIN, url);
        let form = form.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = form.body(format!("token={secret}")).send().await?;
        let cookie = answer.headers().get(header::SET_COOKIE).context("no cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { client: client.clone(), url: url.to_owned(), cookie })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/api/v1{path}", self.url));
        request.header(header::COOKIE, &self.cookie).header(header::ORIGIN, &self.url)
    }

    async fn is(&self, name: &str, wanted: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let notebook: Value = self.request(Method::GET, &format!("/notebooks/{name}")).send().await?.json().await?;
            match notebook["state"].as_str() {
                Some(state) if state == wanted => return Ok(()),
                Some("failed") => bail!("{name} failed: {}", notebook["cause"]),
                Some(_) | None if began.elapsed() < LIMIT => pause(began).await,
                Some(_) | None => bail!("waited in vain for {name} to be {wanted}: {notebook}"),
            }
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<()> {
        let answer = self.request(Method::POST, path).json(body).send().await?;
        if !answer.status().is_success() {
            bail!("{path}: {}: {}", answer.status(), answer.text().await?);
        }
        Ok(())
    }

    /// From asking for a notebook to JupyterLab's page, as a browser gets there. ms.
    pub async fn launch(&self, name: &str) -> Result<f64> {
        let began = Instant::now();
        self.post("/notebooks", &json!({"name": name, "environment": "base"})).await?;
        self.is(name, "running").await?;
        let lab = self.lab(name).await;
        usable(|path| lab.request("GET", path)).await?;
        Ok(milliseconds(began))
    }

    pub async fn lab(&self, name: &str) -> Lab {
        Lab::open(&self.url, &self.cookie, name).await
    }

    pub async fn remove(&self, name: &str) -> Result<()> {
        self.post(&format!("/notebooks/{name}/stop"), &json!({})).await?;
        self.is(name, "stopped").await?;
        let gone = self.request(Method::DELETE, &format!("/notebooks/{name}")).send().await?;
        if gone.status() != StatusCode::NO_CONTENT {
            bail!("{name} is not deleted: {}", gone.status());
        }
        Ok(())
    }
}
