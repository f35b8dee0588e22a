//! `/sessions`.

use api::sessions::{KeptAlive, Session, SessionLogLine};
use axum::{Json, extract::State};
use domain::{ids::SessionId, sessions::KEEPALIVE_PERIOD};
use serde::Deserialize;
use services::{page::PageAsk, sessions};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{reservations::whose, word};
use crate::{
    caller::Caller,
    extract::{Ask, Named, PageQuery},
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
    #[param(value_type = Option<domain::sessions::SessionState>, inline)]
    state: Option<String>,
    /// 1 to 500; 100 where it is left away.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Sessions: what runs and what comes next, in the order of its start; then what is over, the newest start first.
#[utoipa::path(
    get, path = "/sessions", tag = "sessions", operation_id = "list_sessions", params(SessionsQuery),
    responses((status = 200, body = api::Page<Session>))
)]
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
    let page = sessions::list(&state.services, &call, &ask).await?;
    Ok(Json(page.map(|session| Session::new(session, &call.actor)).into()))
}

/// One session, with its steps.
#[utoipa::path(
    get, path = "/sessions/{id}", tag = "sessions", operation_id = "get_session", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, body = Session))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
) -> Result<Json<Session>, Failure> {
    Ok(Json(Session::new(sessions::get(&state.services, &call, id).await?, &call.actor)))
}

/// What the set-up script and the checks said; kept after the session's end.
#[utoipa::path(
    get, path = "/sessions/{id}/logs", tag = "sessions", operation_id = "session_logs",
    params(("id" = uuid::Uuid, Path), PageQuery), responses((status = 200, body = api::Page<SessionLogLine>))
)]
async fn logs(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<api::Page<SessionLogLine>>, Failure> {
    Ok(Json(sessions::logs(&state.services, &call, id, &query.into()).await?.map(SessionLogLine::from).into()))
}

/// The client's sign that the session is in use.
#[utoipa::path(
    post, path = "/sessions/{id}/keepalive", tag = "sessions", operation_id = "keep_session_alive",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, body = KeptAlive), (status = 409, body = api::Problem))
)]
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
#[utoipa::path(
    post, path = "/sessions/{id}/end", tag = "sessions", operation_id = "end_session",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, body = Session), (status = 409, body = api::Problem))
)]
async fn end(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<SessionId>,
) -> Result<Json<Session>, Failure> {
    Ok(Json(Session::new(sessions::end(&state.services, &call, id).await?, &call.actor)))
}
