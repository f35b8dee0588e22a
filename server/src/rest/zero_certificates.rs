//! `/zero-certificates`.

use api::{
    Page,
    zero_certificates::{CreateZeroCertificate, CreatedZeroCertificate, ZeroCertificate},
};
use axum::{Json, extract::State, http::StatusCode};
use domain::ids::ZeroCertificateId;
use jiff::SignedDuration;
use services::zero_certificates;
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
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get)).routes(routes!(revoke))
}

/// Newest first.
#[utoipa::path(
    get, path = "/zero-certificates", tag = "zero-certificates", operation_id = "list_zero_certificates",
    params(PageQuery), responses((status = 200, body = Page<ZeroCertificate>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(ask): Ask<PageQuery>,
) -> Result<Json<Page<ZeroCertificate>>, Failure> {
    let page = zero_certificates::list(&state.services, &call, &ask.into()).await?;
    let now = state.services.clock().now();
    let page = page.map(|zero| ZeroCertificate::at(zero, now));
    Ok(Json(page.into()))
}

/// Makes one. The file is in the answer, this once.
#[utoipa::path(
    post, path = "/zero-certificates", tag = "zero-certificates", operation_id = "create_zero_certificate",
    request_body = CreateZeroCertificate, responses((status = 201, body = CreatedZeroCertificate))
)]
async fn create(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<CreateZeroCertificate>,
) -> Result<ShownOnce<CreatedZeroCertificate>, Failure> {
    let ask = services::zero_certificates::Ask {
        name: ask.name,
        max_uses: ask.max_uses,
        lifetime: SignedDuration::from_hours(ask.lifetime_hours.into()),
        join: ask.join,
    };
    let created = zero_certificates::create(&state.services, &call, ask).await?;
    let now = state.services.clock().now();
    let file_name = format!("berth-zero-{}.toml", created.zero_certificate.id);
    let zero_certificate = ZeroCertificate::at(created.zero_certificate, now);
    let created = CreatedZeroCertificate { zero_certificate, file_name, file: created.file };
    // The file holds a private key: it must not stay in the database for a repeated Idempotency-Key.
    Ok(ShownOnce(StatusCode::CREATED, created))
}

/// One of them, without its file.
#[utoipa::path(
    get, path = "/zero-certificates/{id}", tag = "zero-certificates", operation_id = "get_zero_certificate",
    params(("id" = Uuid, Path)), responses((status = 200, body = ZeroCertificate))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<ZeroCertificate>, Failure> {
    let zero = zero_certificates::get(&state.services, &call, ZeroCertificateId::from_uuid(id)).await?;
    Ok(Json(ZeroCertificate::at(zero, state.services.clock().now())))
}

/// No host can join with it any more.
#[utoipa::path(
    post, path = "/zero-certificates/{id}/revoke", tag = "zero-certificates",
    operation_id = "revoke_zero_certificate", params(("id" = Uuid, Path)),
    responses((status = 200, body = ZeroCertificate))
)]
async fn revoke(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<ZeroCertificate>, Failure> {
    let zero = zero_certificates::revoke(&state.services, &call, ZeroCertificateId::from_uuid(id)).await?;
    Ok(Json(ZeroCertificate::at(zero, state.services.clock().now())))
}
