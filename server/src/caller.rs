//! Who asks: put into the request by the authenticating layer of [`crate::security`], taken out by handlers.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use services::{Call, Error};

use crate::failure::Failure;

/// What the authenticating layer leaves in the request's extensions; `None` inside is somebody not signed in.
#[derive(Debug, Clone, Default)]
pub struct Authenticated(pub Option<Call>);

/// Extracts the [`Call`]; refuses with 401 if nobody is signed in.
#[derive(Debug, Clone)]
pub struct Caller(pub Call);

/// The request's id, as the log and the problem details name it.
#[derive(Debug, Clone)]
pub struct RequestId(pub Option<String>);

impl RequestId {
    pub fn of(parts: &Parts) -> Self {
        Self(parts.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<Authenticated>() {
            Some(Authenticated(Some(call))) => Ok(Caller(call.clone())),
            Some(Authenticated(None)) | None => {
                Err(Failure::from(Error::NotSignedIn).in_request(RequestId::of(parts).0))
            }
        }
    }
}
