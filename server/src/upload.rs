//! What the page for deploying sends: the files of a project's folder, from its script or, without one, from the browser itself.

use std::sync::Arc;

use api::{Problem, deployments::Deployed};
use axum::{
    Extension, Json, Router,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartError},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::post,
};
use domain::access::Action;
use leptos::server_fn::error::ServerFnUrlError;
use serde::Serialize;
use services::{Call, Error, deployments};

use crate::{
    caller::{Caller, RequestId},
    failure,
    projects::{File, MAX_BYTES, MAX_FILES, Readers},
    rest,
    state::AppState,
};

/// Where a body may be as large as a project.
pub const PATH: &str = app::UPLOAD;
/// The files, and what stands around each.
pub const MAX_BODY_BYTES: usize = MAX_BYTES + 1024 * 1024;
/// A name, a note.
const MAX_TEXT_BYTES: usize = 4096;

pub fn router() -> Router<AppState> {
    Router::new().route(PATH, post(upload)).layer(Extension(Arc::new(Readers::default())))
}

/// What the page's script is told.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    deployed: Deployed,
    warnings: Vec<String>,
}

/// What was sent.
#[derive(Debug, Default)]
struct Form {
    name: String,
    note: String,
    files: Vec<File>,
}

async fn upload(
    State(state): State<AppState>,
    Extension(readers): Extension<Arc<Readers>>,
    RequestId(id): RequestId,
    Caller(call): Caller,
    headers: HeaderMap,
    form: Multipart,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_plain_form = accept.contains("text/html");
    match deploy(&state, &readers, &call, form).await {
        Ok(told) if is_plain_form => {
            Redirect::to(&format!("/deployments/{}", told.deployed.deployment.name)).into_response()
        }
        Ok(told) => Json(told).into_response(),
        Err(error) => {
            let problem = failure::told(error, id);
            if is_plain_form { led_back(problem) } else { refused(problem) }
        }
    }
}

fn refused(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(problem)).into_response()
}

/// To the page, which says what was wrong: as a form of a server function is.
fn led_back(problem: Problem) -> Response {
    let refusal = ServerFnUrlError::new(PATH, app::Failure(problem.clone()));
    // The host is left away again: the browser knows where it is.
    match refusal.to_url(&format!("http://localhost{}", app::DEPLOY)) {
        Ok(page) => Redirect::to(&format!("{}?{}", page.path(), page.query().unwrap_or_default())).into_response(),
        Err(_) => refused(problem),
    }
}

async fn deploy(state: &AppState, readers: &Readers, call: &Call, form: Multipart) -> Result<Told, Error> {
    call.permit(Action::DeploymentsManage)?;
    let Form { name, note, files } = received(form).await?;
    if files.is_empty() {
        return Err(Error::invalid("files", "choose the project's folder, or its files"));
    }
    let reading = readers.read(&files).await?;
    let mut ask = rest::deployments::ask_of(reading.deploy)?;
    ask.note = note;
    if !name.is_empty() {
        ask.name = name;
    }
    let deployed = deployments::deploy(&state.services, call, &ask).await?;
    let deployed = deployments::seen_deployed(&state.services, call, deployed);
    Ok(Told { deployed, warnings: reading.warnings })
}

fn broken(error: &MultipartError) -> Error {
    Error::invalid("files", error.body_text())
}

async fn received(mut form: Multipart) -> Result<Form, Error> {
    let mut received = Form::default();
    let mut bytes = 0;
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        match field.name() {
            Some("name") => received.name = text(field, "name").await?,
            Some("note") => received.note = text(field, "note").await?,
            Some("files") => {
                let name = field.file_name().unwrap_or_default().to_owned();
                let content = field.bytes().await.map_err(|error| broken(&error))?;
                // What a browser sends of a field in which nothing was chosen.
                if name.is_empty() && content.is_empty() {
                    continue;
                }
                bytes += name.len() + content.len();
                if bytes > MAX_BYTES || received.files.len() >= MAX_FILES {
                    let why = "they are too large or too many: at most 5000 files and 32 MiB. “berth objects deploy” sends what is imported alone";
                    return Err(Error::invalid("files", why));
                }
                received.files.push((name, content.to_vec()));
            }
            Some(_) | None => return Err(Error::invalid("files", "a field that is not known here")),
        }
    }
    Ok(received)
}

async fn text(field: Field<'_>, name: &'static str) -> Result<String, Error> {
    let text = field.text().await.map_err(|error| broken(&error))?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::invalid(name, format!("is longer than {MAX_TEXT_BYTES} bytes")));
    }
    Ok(text.trim().to_owned())
}
