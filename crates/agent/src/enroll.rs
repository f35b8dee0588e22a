//! Enrolment (DESIGN D4): from a zero certificate file to this host's own certificate.

use std::{io, path::PathBuf, time::Duration};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use protocol::enroll::{EnrollRequest, EnrollResponse, ZeroCertificateFile};

use crate::{
    dial::{DialError, Dialer, Trust},
    identity::{Identity, IdentityError, StateDir, Validity, make_csr},
};

const MAX_ANSWER_BYTES: usize = 256 * 1024;
const MAX_FILE_BYTES: u64 = 256 * 1024;
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    #[error("cannot read the zero certificate file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is no zero certificate file: {what}")]
    BadFile { path: PathBuf, what: String },
    #[error(
        "this host is already enrolled as '{name}' with {server}; to enrol it with another server, run again with --replace"
    )]
    OtherServer { name: String, server: String },
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the connection broke before the answer came: {0}; run the command again, it costs no second use")]
    Broken(String),
    #[error("the server refused: {words} (HTTP {status})")]
    Refused { status: u16, words: String },
    #[error("the server's answer cannot be read: {0}")]
    BadAnswer(String),
}

/// Reads the file that an admin carried here.
pub fn read_file(path: &std::path::Path) -> Result<ZeroCertificateFile, EnrollError> {
    let file = |source| EnrollError::File { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(file)?.len();
    if size > MAX_FILE_BYTES {
        return Err(EnrollError::BadFile { path: path.to_owned(), what: format!("{size} bytes is too long") });
    }
    let text = std::fs::read_to_string(path).map_err(file)?;
    toml::from_str(&text).map_err(|error: toml::de::Error| EnrollError::BadFile {
        path: path.to_owned(),
        // The message alone: the error's own rendering quotes lines, and the private key is among them.
        what: error.message().to_owned(),
    })
}

/// The host's certificate for the key, from the server. Asking again with the same key gives the same one.
pub async fn ask(
    file: &ZeroCertificateFile,
    trust: &Trust,
    name: &str,
    key_pem: &str,
) -> Result<EnrollResponse, EnrollError> {
    let tls = trust.client(&file.certificate_pem, &file.key_pem)?;
    let dialer = Dialer::new(&file.server, tls)?;
    let body = serde_json::to_vec(&EnrollRequest {
        name: name.to_owned(),
        csr: base64::engine::general_purpose::STANDARD.encode(make_csr(key_pem)?),
    })
    .map_err(|error| EnrollError::BadAnswer(error.to_string()))?;
    match tokio::time::timeout(ANSWER_LIMIT, post(&dialer, body)).await {
        Ok(answer) => answer,
        Err(_) => Err(EnrollError::Broken(format!("no answer within {} s", ANSWER_LIMIT.as_secs()))),
    }
}

async fn post(dialer: &Dialer, body: Vec<u8>) -> Result<EnrollResponse, EnrollError> {
    let broken = |error: hyper::Error| EnrollError::Broken(error.to_string());
    let stream = dialer.connect().await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(broken)?;
    let request = http::Request::post("/enroll")
        .header(http::header::HOST, dialer.address().to_string())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| EnrollError::Broken(error.to_string()))?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| EnrollError::Broken(error.to_string()))?
            .to_bytes();
        if status.is_success() {
            serde_json::from_slice(&bytes).map_err(|error| EnrollError::BadAnswer(error.to_string()))
        } else {
            Err(EnrollError::Refused { status: status.as_u16(), words: words(&bytes) })
        }
    };
    tokio::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        ended = connection => match ended {
            // The answer may have been read whole before the connection ended.
            Ok(()) => talk.await,
            Err(error) => Err(broken(error)),
        },
    }
}

/// What a person should read of a refusal: the problem document's detail, or the text itself.
fn words(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(document) => ["detail", "title", "error", "message"]
            .iter()
            .find_map(|key| document.get(key).and_then(|value| value.as_str()).map(str::to_owned)),
        Err(_) => None,
    };
    text.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()).chars().take(500).collect()
}

/// What `berth-agent enroll` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    Now { name: String, pending_approval: bool },
    Already { name: String },
}

/// Whether an identity that is already there is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Replace,
}

/// Enrols this host and stores its identity. Safe to repeat at any point.
pub async fn enroll(
    file: &ZeroCertificateFile,
    state: &StateDir,
    name: &str,
    existing: Existing,
) -> Result<Enrolled, EnrollError> {
    if existing == Existing::Replace {
        state.forget_identity()?;
    }
    if let Some(identity) = state.identity()? {
        return if identity.server == file.server && identity.ca_pem.trim() == file.ca_pem.trim() {
            Ok(Enrolled::Already { name: identity.name })
        } else {
            Err(EnrollError::OtherServer { name: identity.name, server: identity.server })
        };
    }
    let trust = Trust::new(&file.ca_pem)?;
    let key_pem = state.enroll_key()?;
    let answer = ask(file, &trust, name, &key_pem).await?;
    trust.client(&answer.certificate_pem, &key_pem)?;
    Validity::of(&answer.certificate_pem)?;
    state.store_identity(&Identity {
        server: file.server.clone(),
        host: answer.host,
        name: answer.name.clone(),
        ca_pem: answer.ca_pem,
        certificate_pem: answer.certificate_pem,
        key_pem,
    })?;
    Ok(Enrolled::Now { name: answer.name, pending_approval: answer.pending_approval })
}
