//! `Idempotency-Key` on every POST of REST v1: the same key with the same content gets the same answer, once done.
//!
//! A refusal (4xx) is an answer like any other and is repeated, with its headers; a fault (5xx) gives the key back. What is
//! shown once ([`ShownOnce`]) is not kept: whoever repeats that request learns that it was done. What a server made that
//! was killed before it answered is presented anew.

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::{
    events::EventKind,
    ids::{DeploymentId, InstructionId, NotebookId, ReservationId},
};
use serde::Serialize;
use services::{
    Call, Error,
    idempotency::{self, Answer, Claim, Decision, MAX_ANSWER_BYTES},
};
use uuid::Uuid;

use crate::{
    caller::Authenticated,
    failure::Failure,
    rest::{deployments, instructions, notebooks, reservations},
    state::AppState,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is the repeated one.
const REPEATED: HeaderName = HeaderName::from_static("idempotency-replayed");

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
    let body = to_bytes(body, crate::security::most(parts.uri.path()))
        .await
        .map_err(|error| Error::invalid("body", format!("cannot be read: {error}")))?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let content = format!("{} {target}\n{}", parts.method, String::from_utf8_lossy(&body));
    match idempotency::claim(&state.services, call, key, &content).await? {
        Decision::Work(claim) => {
            let mut request = Request::from_parts(parts, Body::from(body));
            // What the request writes names its claim.
            request.extensions_mut().insert(Authenticated(Some(claim.call())));
            let response = next.run(request).await;
            keep(claim, response).await
        }
        Decision::Remake { claim, kind, made } => {
            let response = remade(state, &claim.call(), kind, made).await?;
            keep(claim, response).await
        }
        Decision::Repeat(answer) => Ok(repeated(answer)),
    }
}

/// The answer that was to be given for what the request made.
async fn remade(state: &AppState, call: &Call, kind: EventKind, made: Uuid) -> Result<Response, Error> {
    match kind {
        EventKind::Reservation => reservations::made(state, call, ReservationId::from_uuid(made)).await,
        EventKind::Instruction => instructions::made(state, call, InstructionId::from_uuid(made)).await,
        EventKind::Notebook => notebooks::made(state, call, NotebookId::from_uuid(made)).await,
        EventKind::Deployment => deployments::made(state, call, DeploymentId::from_uuid(made)).await,
        EventKind::Machine
        | EventKind::Host
        | EventKind::HostMetrics
        | EventKind::Session
        | EventKind::ZeroCertificate
        | EventKind::Person
        | EventKind::Token => Err(Error::Internal(format!("a request that made a {kind} and cannot be answered anew"))),
    }
}

/// Headers that belong to one connection, or that the layers around this one put on every answer.
const OWN_HEADERS: &[HeaderName] =
    &[header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::DATE, header::SET_COOKIE];

fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let kept = headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(name));
    kept.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
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
        let headers = vec![(header::CONTENT_TYPE.to_string(), "application/problem+json".to_owned())];
        claim.answer(Answer { status: i32::from(StatusCode::CONFLICT.as_u16()), headers, body }).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER_BYTES)
        .await
        .map_err(|error| Error::Internal(format!("an answer that is too long to be repeated: {error}")))?;
    match String::from_utf8(body.to_vec()) {
        Ok(text) => {
            let headers = kept_headers(&parts.headers);
            claim.answer(Answer { status: i32::from(status.as_u16()), headers, body: text }).await?;
        }
        Err(_) => claim.release().await?,
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn repeated(answer: Answer) -> Response {
    let Answer { status, headers, body } = answer;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    response
}
