//! Asks the JupyterLab of notebooks in which nothing seems to happen whether that is so: a cell may run with the tab closed.
//! Of several servers the one asks that holds the host's link. What comes of it the services decide.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode, header},
};
use domain::notebooks::Asked;
use futures_util::StreamExt;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use services::notebooks::{self, Quiet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::proxy;
use crate::state::AppState;

/// Notebooks that are asked at a time.
const AT_A_TIME: usize = 8;
/// Both questions together, the way to the host included.
const ASK_LIMIT: Duration = Duration::from_secs(20);
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Looks and asks until `stop`.
pub async fn run(state: AppState, stop: CancellationToken) {
    loop {
        let pause = tokio::select! {
            () = stop.cancelled() => return,
            pause = pass(&state) => pause,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Looks once; says how long until the next time.
async fn pass(state: &AppState) -> Duration {
    let looked = match notebooks::look(&state.services).await {
        Ok(looked) => looked,
        Err(error) => {
            tracing::warn!(%error, "cannot see which notebooks are idle; trying again");
            return LONGEST_PAUSE;
        }
    };
    futures_util::stream::iter(looked.ask).for_each_concurrent(AT_A_TIME, |quiet| one(state, quiet)).await;
    let pause = looked.again.duration_since(state.services.clock().now());
    Duration::try_from(pause).unwrap_or_default().clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

async fn one(state: &AppState, quiet: Quiet) {
    let asked = match timeout(ASK_LIMIT, ask(state, &quiet)).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) => {
            tracing::debug!(%error, notebook = %quiet.notebook, "an idle notebook could not be asked; it is left alone");
            Asked::Silent
        }
        Err(_) => Asked::Silent,
    };
    if let Err(error) = notebooks::answered(&state.services, &quiet, asked).await {
        tracing::warn!(%error, notebook = %quiet.notebook, "cannot act on an idle notebook; trying again");
    }
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Way(#[from] services::Error),
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the question cannot be put: {0}")]
    Request(#[from] axum::http::Error),
    #[error("it answered with {0}")]
    Refused(StatusCode),
    #[error("its answer is too long or broken off: {0}")]
    Body(#[from] axum::Error),
    #[error("its answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Of `GET /api/kernels`, jupyter_server 2.
#[derive(Deserialize)]
struct Kernel {
    execution_state: String,
    #[serde(default)]
    last_activity: Option<Timestamp>,
}

/// Of `GET /api/terminals`.
#[derive(Deserialize)]
struct Terminal {
    #[serde(default)]
    last_activity: Option<Timestamp>,
}

async fn ask(state: &AppState, quiet: &Quiet) -> Result<Asked, AskError> {
    let stream = proxy::connect(state, quiet.tenant, quiet.host, quiet.run).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let asked = async {
        let kernels = get::<Vec<Kernel>>(&mut sender, quiet, "/api/kernels").await?;
        let terminals = match get::<Vec<Terminal>>(&mut sender, quiet, "/api/terminals").await {
            // They can be switched off.
            Err(AskError::Refused(StatusCode::NOT_FOUND)) => Vec::new(),
            answered => answered?,
        };
        Ok(told(&kernels, &terminals))
    };
    tokio::select! {
        asked = asked => asked,
        // It ends with the last answer, or broken.
        Err(error) = connection => Err(error.into()),
    }
}

/// Whatever a kernel does that is not nothing is work.
fn told(kernels: &[Kernel], terminals: &[Terminal]) -> Asked {
    if kernels.iter().any(|kernel| !matches!(kernel.execution_state.as_str(), "idle" | "dead")) {
        return Asked::Busy;
    }
    let kernels = kernels.iter().filter_map(|kernel| kernel.last_activity);
    Asked::Quiet { last: kernels.chain(terminals.iter().filter_map(|terminal| terminal.last_activity)).max() }
}

async fn get<T: DeserializeOwned>(sender: &mut SendRequest<Body>, quiet: &Quiet, path: &str) -> Result<T, AskError> {
    let mut token = header::HeaderValue::try_from(format!("token {}", quiet.token)).map_err(axum::http::Error::from)?;
    token.set_sensitive(true);
    let request = Request::get(path).header(header::HOST, "localhost").header(header::AUTHORIZATION, token);
    sender.ready().await?;
    let answer = sender.send_request(request.body(Body::empty())?).await?;
    if answer.status() != StatusCode::OK {
        return Err(AskError::Refused(answer.status()));
    }
    let body: Bytes = axum::body::to_bytes(Body::new(answer.into_body()), MAX_ANSWER_BYTES).await?;
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jupyterlab_says_is_understood() {
        let check = |kernels: &str, terminals: &str, expected: Asked| {
            let (kernels, terminals) =
                (serde_json::from_str::<Vec<_>>(kernels), serde_json::from_str::<Vec<_>>(terminals));
            assert_eq!(told(&kernels.unwrap(), &terminals.unwrap()), expected);
        };
        let at = |text: &str| Some(text.parse().unwrap());
        let idle = r#"{"id":"1","name":"python3","last_activity":"2026-03-02T09:00:00.123456Z","execution_state":"idle","connections":1}"#;
        let (early, late) = ("2026-03-02T09:00:00.123456Z", "2026-03-02T10:00:00Z");
        check("[]", "[]", Asked::Quiet { last: None });
        check(&format!("[{idle}]"), "[]", Asked::Quiet { last: at(early) });
        let terminal = format!(r#"[{{"name":"1","last_activity":"{late}"}}]"#);
        check(&format!("[{idle}]"), &terminal, Asked::Quiet { last: at(late) });
        for state in ["busy", "starting", "restarting", "unknown"] {
            check(&format!("[{idle},{}]", idle.replace("\"idle\"", &format!("\"{state}\""))), "[]", Asked::Busy);
        }
        check(&format!("[{}]", idle.replace("\"idle\"", "\"dead\"")), "[]", Asked::Quiet { last: at(early) });
    }
}
