//! `Idempotency-Key` on every POST of REST v1: the same key with the same content gets the same answer, once done.
//!
//! A refusal (4xx) is an answer like any other and is repeated; a fault (5xx) gives the key back. What is shown once
//! ([`ShownOnce`]) is not kept: whoever repeats that request learns that it was done.

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use services::{
    Call, Error,
    idempotency::{self, Claim, Decision, MAX_ANSWER_BYTES},
};

use crate::{caller::Authenticated, failure::Failure, state::AppState};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is the repeated one.
const REPEATED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// As [`crate::security`] allows; the body was cut there already.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// An answer with a secret in it, which is shown this once and kept nowhere.
#[derive(Debug)]
pub struct ShownOnce<T>(pub StatusCode, pub T);

#[derive(Debug, Clone, Copy)]
struct HoldsSecret;

impl<T: Serialize> IntoResponse for ShownOnce<T> {
    fn into_response(self) -> Response {
        let mut response = (self.0, axum::Json(self.1)).into_response();
        response.extensions_mut().insert(HoldsSecret);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The layer; inside the authenticating one.
pub async fn layer(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let key = request.headers().get(KEY).cloned();
    let call = request.extensions().get::<Authenticated>().and_then(|authenticated| authenticated.0.clone());
    let concerned = request.method() == Method::POST && request.uri().path().starts_with("/api/v1/");
    let (Some(key), Some(call), true) = (key, call, concerned) else { return next.run(request).await };
    match repeatable(&state, &call, &key, request, next).await {
        Ok(response) => response,
        Err(error) => Failure::from(error).into_response(),
    }
}

async fn repeatable(
    state: &AppState,
    call: &Call,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let key = key.to_str().map_err(|_| Error::invalid("Idempotency-Key", "use visible ASCII characters"))?;
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|error| Error::invalid("body", format!("cannot be read: {error}")))?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let content = format!("{} {target}\n{}", parts.method, String::from_utf8_lossy(&body));
    match idempotency::claim(&state.services, call, key, &content).await? {
        Decision::Work(claim) => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            keep(claim, response).await
        }
        Decision::Repeat { status, body } => Ok(repeated(status, body)),
    }
}

/// Keeps the answer under its key, or gives the key back where there is nothing to repeat.
async fn keep(claim: Claim, response: Response) -> Result<Response, Error> {
    let status = response.status();
    if status.is_server_error() {
        claim.release().await?;
        return Ok(response);
    }
    if response.extensions().get::<HoldsSecret>().is_some() {
        let problem = api::Problem {
            kind: "urn:berth:problem:shown-once".to_owned(),
            title: "Done before".to_owned(),
            status: StatusCode::CONFLICT.as_u16(),
            detail: "this request was done; its answer held a secret, which is shown only once. If it was lost, take \
                     the thing back and make a new one with a new Idempotency-Key."
                .to_owned(),
            request_id: None,
            field: None,
            held_by: None,
            next_free: None,
        };
        let body = serde_json::to_string(&problem).map_err(|error| Error::Internal(error.to_string()))?;
        claim.answer(StatusCode::CONFLICT.as_u16(), body).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER_BYTES)
        .await
        .map_err(|error| Error::Internal(format!("an answer that is too long to be repeated: {error}")))?;
    match String::from_utf8(body.to_vec()) {
        Ok(text) => claim.answer(status.as_u16(), text).await?,
        Err(_) => claim.release().await?,
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn repeated(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = if status.is_client_error() { "application/problem+json" } else { "application/json" };
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    response
}
