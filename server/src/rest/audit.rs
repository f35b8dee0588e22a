//! The audit log.

use api::audit::AuditLine;
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    extract::{Ask, PageQuery},
    failure::Failure,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Who did what, newest first.
#[utoipa::path(
    get, path = "/audit", tag = "audit", operation_id = "list_audit", params(PageQuery),
    responses((status = 200, body = api::Page<AuditLine>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<api::Page<AuditLine>>, Failure> {
    let page = services::audit::list(&state.services, &call, &query.into()).await?.map(services::audit::line);
    Ok(Json(page.into()))
}
