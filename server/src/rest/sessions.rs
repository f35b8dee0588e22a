//! `/sessions`.

use api::sessions::{KeptAlive, Session, SessionLogLine};
use axum::{Json, extract::State};
use domain::{ids::SessionId, sessions::KEEPALIVE_PERIOD};
use serde::Deserialize;
use services::{
    page::{Page, PageAsk},
    sessions,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{reservations::whose, word};
use crate::{
    caller::Caller,
    extract::{Ask, Named},
    failure::Failure,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(logs))
        .routes(routes!(keepalive))
        .routes(routes!(end))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct SessionsQuery {
    /// `mine` (the default), `all`, or a person's id.
    whose: Option<String>,
    /// Id or name.
    machine: Option<String>,
    /// `scheduled`, `preparing`, `active`, `reverting`, `ended` or `failed`.
    state: Option<String>,
    limit: Option<u64>,
    cursor: Option<String>,
}

/// Sessions, the newest start first.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(SessionsQuery), responses(
    (status = 200, body = api::Page<Session>), (status = 401, body = api::Problem), (status = 403, body = api::Problem),
    (status = 422, body = api::Problem)
))]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<SessionsQuery>,
) -> Result<Json<api::Page<Session>>, Failure> {
    let ask = sessions::ListAsk {
        whose: whose(query.whose.as_deref())?,
        machine: query.machine,
        state: word("state", query.state.as_deref())?,
        page: PageAsk { limit: query.limit, cursor: query.cursor },
    };
    let Page { items, next_cursor } = sessions::list(&state.services, &call, &ask).await?;
    let items = items.into_iter().map(|session| Session::new(session, &call.actor)).collect();
    Ok(Json(api::Page { items, next_cursor }))
}

/// One session, with its steps.
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions", params(("id" = uuid::Uuid, Path)), responses(
    (status = 200, body = Session), (status = 401, body = api::Problem), (status = 403, body = api::Problem),
    (status = 404, body = api::Problem)
))]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
) -> Result<Json<Session>, Failure> {
    Ok(Json(Session::new(sessions::get(&state.services, &call, id).await?, &call.actor)))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    limit: Option<u64>,
    cursor: Option<String>,
}

/// What the set-up script and the checks said; kept after the session's end.
#[utoipa::path(get, path = "/sessions/{id}/logs", tag = "sessions", params(("id" = uuid::Uuid, Path), LogsQuery), responses(
    (status = 200, body = api::Page<SessionLogLine>), (status = 401, body = api::Problem),
    (status = 403, body = api::Problem), (status = 404, body = api::Problem)
))]
async fn logs(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
    Ask(query): Ask<LogsQuery>,
) -> Result<Json<api::Page<SessionLogLine>>, Failure> {
    let ask = PageAsk { limit: query.limit, cursor: query.cursor };
    let Page { items, next_cursor } = sessions::logs(&state.services, &call, id, &ask).await?;
    Ok(Json(api::Page { items: items.into_iter().map(SessionLogLine::from).collect(), next_cursor }))
}

/// The client's sign that the session is in use.
#[utoipa::path(post, path = "/sessions/{id}/keepalive", tag = "sessions", params(("id" = uuid::Uuid, Path)), responses(
    (status = 200, body = KeptAlive), (status = 401, body = api::Problem), (status = 403, body = api::Problem),
    (status = 404, body = api::Problem), (status = 409, body = api::Problem)
))]
async fn keepalive(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
) -> Result<Json<KeptAlive>, Failure> {
    let session = sessions::keepalive(&state.services, &call, id).await?;
    Ok(Json(KeptAlive {
        state: session.state,
        end: session.interval.end().to_string(),
        again_in_s: u32::try_from(KEEPALIVE_PERIOD.as_secs()).unwrap_or(u32::MAX),
    }))
}

/// Notice of completion: the session ends, and the machine is reverted.
#[utoipa::path(post, path = "/sessions/{id}/end", tag = "sessions", params(("id" = uuid::Uuid, Path)), responses(
    (status = 200, body = Session), (status = 401, body = api::Problem), (status = 403, body = api::Problem),
    (status = 404, body = api::Problem), (status = 409, body = api::Problem)
))]
async fn end(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
) -> Result<Json<Session>, Failure> {
    Ok(Json(Session::new(sessions::end(&state.services, &call, id).await?, &call.actor)))
}
