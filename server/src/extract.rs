//! Bodies, queries and paths whose faults are problems as all others: with a field, and what to do.

use std::{fmt, marker::PhantomData};

use axum::{
    Json,
    body::HttpBody,
    extract::{
        FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request, rejection::JsonRejection,
        ws::WebSocketUpgrade,
    },
    http::{StatusCode, request::Parts},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use services::{Error, page::PageAsk};

use crate::{caller::RequestId, failure::Failure};

/// A JSON body.
#[derive(Debug, Clone, Copy)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        match <Json<Object<T>> as FromRequest<S>>::from_request(request, state).await {
            Ok(Json(Object(body))) => Ok(Body(body)),
            Err(rejection) => Err(Failure::from(fault(&rejection)).in_request(id)),
        }
    }
}

/// A body that may be left away.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Body<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Failure> {
        if HttpBody::is_end_stream(request.body()) {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// A JSON object. serde would fill a struct's fields from an array as well, in an order that is nobody's promise.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Object)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

fn fault(rejection: &JsonRejection) -> Error {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Error::invalid("body", "is too large");
    }
    let text = rejection.body_text();
    // What the parser found comes after axum's own words.
    let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
    Error::invalid("body", why.chars().take(300).collect::<String>())
}

/// The query of the address.
#[derive(Debug, Clone, Copy)]
pub struct Ask<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Ask<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Ask(query)),
            Err(rejection) => {
                let text = rejection.body_text();
                let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
                let why: String = why.chars().take(300).collect();
                Err(Failure::from(Error::invalid("query", why)).in_request(RequestId::of(parts).0))
            }
        }
    }
}

/// A part of the path that names one thing; what is no such name is not found.
#[derive(Debug, Clone, Copy)]
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Named(name)),
            Err(_) => {
                let what = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
                Err(Failure::from(Error::not_found("thing with the id", what)).in_request(RequestId::of(parts).0))
            }
        }
    }
}

/// A request to go on as a WebSocket.
#[derive(Debug)]
pub struct Upgrade(pub WebSocketUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match WebSocketUpgrade::from_request_parts(parts, state).await {
            Ok(upgrade) => Ok(Upgrade(upgrade)),
            Err(rejection) => {
                let why = format!("connect with a WebSocket client ({})", rejection.body_text());
                Err(Failure::from(Error::invalid("upgrade", why)).in_request(RequestId::of(parts).0))
            }
        }
    }
}

/// Which part of a list is wanted, where the list has no other query.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// 1 to 500; 100 where it is left away.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u64>,
    /// `next_cursor` of the page before.
    #[param(min_length = 1)]
    pub cursor: Option<String>,
}

impl From<PageQuery> for PageAsk {
    fn from(query: PageQuery) -> Self {
        PageAsk { limit: query.limit, cursor: query.cursor }
    }
}
