//! The caller's own API tokens.

use api::{
    Problem,
    tokens::{CreateToken, CreatedToken, Token},
};
use axum::{Json, extract::State, http::StatusCode};
use domain::ids::TokenId;
use services::tokens;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::Caller,
    extract::{Ask, Body, Named, PageQuery},
    failure::Failure,
    rest::idempotency::ShownOnce,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// Your tokens that are neither revoked nor over, newest first.
#[utoipa::path(
    get, path = "/tokens", tag = "tokens", operation_id = "list_tokens", params(PageQuery),
    responses((status = 200, body = api::Page<Token>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<api::Page<Token>>, Failure> {
    let page = tokens::list(&state.services, &call, &query.into()).await?.map(Token::from);
    Ok(Json(page.into()))
}

/// Make a token. The secret is shown this once.
#[utoipa::path(
    post, path = "/tokens", tag = "tokens", operation_id = "create_token", request_body = CreateToken,
    responses(
        (status = 201, body = CreatedToken),
        (status = 409, body = Problem, description = "You have as many as one can have")
    )
)]
async fn create(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<CreateToken>,
) -> Result<ShownOnce<CreatedToken>, Failure> {
    let (token, secret) = tokens::create(&state.services, &call, &ask.name, ask.scope, ask.expires_in_days).await?;
    Ok(ShownOnce(StatusCode::CREATED, CreatedToken { token: token.into(), secret }))
}

/// Revoke a token: requests with it are refused from now on, and streams that it opened end.
#[utoipa::path(
    delete, path = "/tokens/{id}", tag = "tokens", operation_id = "revoke_token", params(("id" = Uuid, Path)),
    responses((status = 204))
)]
async fn revoke(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<StatusCode, Failure> {
    tokens::revoke(&state.services, &call, TokenId::from_uuid(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
