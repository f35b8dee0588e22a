//! Errors at the edge: [`services::Error`] as problem+json (RFC 9457), logged once, here.

use std::future::Future;

use api::Problem;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use services::Error;

/// What a REST handler fails with.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    request_id: Option<String>,
    /// Where the error's own status says too little.
    status: Option<StatusCode>,
}

tokio::task_local! {
    /// The id of the request that is being answered, so that each failure can name it.
    static REQUEST: Option<String>;
}

/// Answers within a request of this id.
pub async fn within<T>(request_id: Option<String>, answer: impl Future<Output = T>) -> T {
    REQUEST.scope(request_id, answer).await
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, request_id: None, status: None }
    }
}

impl Failure {
    /// Names the request, so that a person can quote it and an operator find it.
    pub fn in_request(mut self, request_id: Option<String>) -> Self {
        self.request_id = request_id;
        self
    }

    /// Answers with `status` instead of the error's own.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
}

/// The status and the name of the problem's type.
fn kind(error: &Error) -> (StatusCode, &'static str, &'static str) {
    match error {
        Error::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found", "Not found"),
        Error::NotSignedIn => (StatusCode::UNAUTHORIZED, "not-signed-in", "Not signed in"),
        Error::Denied(_) => (StatusCode::FORBIDDEN, "denied", "Not allowed"),
        Error::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid input"),
        Error::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Not possible in its state"),
        Error::Overlap { .. } => (StatusCode::CONFLICT, "overlap", "Taken in that time"),
        Error::NothingFits { .. } => (StatusCode::CONFLICT, "nothing-fits", "Nothing fits"),
        Error::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many attempts"),
        Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
        Error::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "database", "Database not available"),
        Error::MaybeDone(_) => (StatusCode::SERVICE_UNAVAILABLE, "outcome-unknown", "Database lost meanwhile"),
        Error::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "Disk full"),
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
    }
}

/// The problem that a person or program outside sees.
pub fn problem(error: Error, request_id: Option<String>) -> Problem {
    let (status, name, title) = kind(&error);
    let detail = error.to_string();
    let (field, held_by, next_free) = match error {
        Error::Invalid { field, .. } => (Some(field.to_owned()), None, None),
        Error::Overlap { held_by, next_free } => (
            None,
            Some(held_by.into_iter().map(Into::into).collect()),
            Some(next_free.into_iter().map(Into::into).collect()),
        ),
        Error::NothingFits { next_free, .. } => (None, None, Some(next_free.into_iter().map(Into::into).collect())),
        Error::NotFound { .. }
        | Error::NotSignedIn
        | Error::Denied(_)
        | Error::Conflict(_)
        | Error::TooMany { .. }
        | Error::Unavailable(_)
        | Error::Store(_)
        | Error::MaybeDone(_)
        | Error::Full(_)
        | Error::Internal(_) => (None, None, None),
    };
    Problem {
        kind: format!("urn:berth:problem:{name}"),
        title: title.to_owned(),
        status: status.as_u16(),
        detail,
        request_id,
        field,
        held_by,
        next_free,
    }
}

/// Logs what goes to the operator alone.
fn log(error: &Error, request_id: Option<&str>) {
    match error {
        Error::Store(cause) | Error::MaybeDone(cause) | Error::Full(cause) => {
            tracing::error!(request_id, error = %cause, "the database failed a request");
        }
        Error::Internal(cause) => {
            tracing::error!(request_id, error = %cause, "a request failed inside");
        }
        Error::NotFound { .. }
        | Error::NotSignedIn
        | Error::Denied(_)
        | Error::Invalid { .. }
        | Error::Conflict(_)
        | Error::Overlap { .. }
        | Error::NothingFits { .. }
        | Error::TooMany { .. }
        | Error::Unavailable(_) => {}
    }
}

/// As [`problem`], logged: how pages tell a refusal.
pub fn told(error: Error, request_id: Option<String>) -> Problem {
    log(&error, request_id.as_deref());
    problem(error, request_id)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure { error, request_id, status } = self;
        let request_id = request_id.or_else(|| REQUEST.try_with(Clone::clone).ok().flatten());
        log(&error, request_id.as_deref());
        let retry = match &error {
            Error::TooMany { retry_after_s } => Some(*retry_after_s),
            Error::Unavailable(_) | Error::Store(_) | Error::MaybeDone(_) => Some(2),
            // A person has to make room.
            Error::Full(_) => Some(30),
            Error::NotFound { .. }
            | Error::NotSignedIn
            | Error::Denied(_)
            | Error::Invalid { .. }
            | Error::Conflict(_)
            | Error::Overlap { .. }
            | Error::NothingFits { .. }
            | Error::Internal(_) => None,
        };
        let unauthorised = matches!(error, Error::NotSignedIn);
        let mut problem = problem(error, request_id);
        if let Some(status) = status {
            problem.status = status.as_u16();
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if unauthorised {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// 403 for what another site made a browser send.
pub fn cross_site(request_id: Option<String>) -> Response {
    let problem = Problem {
        kind: "urn:berth:problem:cross-site".to_owned(),
        title: "From another site".to_owned(),
        status: StatusCode::FORBIDDEN.as_u16(),
        detail: "this request came from another site, or from a program that sent a cookie without Origin; open the \
                 portal itself, or send a token without cookies"
            .to_owned(),
        request_id,
        field: None,
        held_by: None,
        next_free: None,
    };
    let mut response = (StatusCode::FORBIDDEN, Json(problem)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
