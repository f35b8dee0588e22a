//! `/hosts`.

use api::{
    Page,
    hosts::{ChangeHost, DeleteHost, Host, HostReadings, ListHosts},
};
use axum::{Json, extract::State, http::StatusCode};
use domain::{ids::HostId, labels::Labels};
use services::{Error, Services, hosts, page::PageAsk};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::Caller,
    extract::{Ask, Body, Named},
    failure::Failure,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, change, delete))
        .routes(routes!(approve))
        .routes(routes!(revoke))
        .routes(routes!(readings))
}

fn present(services: &Services, host: domain::hosts::Host) -> Host {
    let newest = services.links().newest_reading(host.id);
    Host::new(host, newest)
}

/// The tenant's hosts, by name.
#[utoipa::path(
    get, path = "/hosts", tag = "hosts", operation_id = "list_hosts", params(ListHosts),
    responses((status = 200, body = Page<Host>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(ask): Ask<ListHosts>,
) -> Result<Json<Page<Host>>, Failure> {
    let labels: Labels = match &ask.labels {
        None => Labels::default(),
        Some(text) => text.parse().map_err(|e: domain::labels::BadLabels| Error::invalid("labels", e.to_string()))?,
    };
    let wanted = hosts::Wanted { name: ask.name, labels, intent: ask.intent, link: ask.link };
    let page = PageAsk { limit: ask.limit, cursor: ask.cursor };
    let page = hosts::list(&state.services, &call, &wanted, &page).await?;
    let page = page.map(|host| present(&state.services, host));
    Ok(Json(page.into()))
}

/// One host.
#[utoipa::path(
    get, path = "/hosts/{id}", tag = "hosts", operation_id = "get_host", params(("id" = Uuid, Path)),
    responses((status = 200, body = Host))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<Host>, Failure> {
    let host = hosts::get(&state.services, &call, HostId::from_uuid(id)).await?;
    Ok(Json(present(&state.services, host)))
}

/// Puts the host in service, into maintenance, or drains it.
#[utoipa::path(
    patch, path = "/hosts/{id}", tag = "hosts", operation_id = "change_host", params(("id" = Uuid, Path)),
    request_body = ChangeHost, responses((status = 200, body = Host))
)]
async fn change(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
    Body(ask): Body<ChangeHost>,
) -> Result<Json<Host>, Failure> {
    let id = HostId::from_uuid(id);
    let host = match ask.intent {
        Some(intent) => hosts::change_intent(&state.services, &call, id, intent).await?,
        None => hosts::get(&state.services, &call, id).await?,
    };
    Ok(Json(present(&state.services, host)))
}

/// Lets a host in that waits for its approval.
#[utoipa::path(
    post, path = "/hosts/{id}/approve", tag = "hosts", operation_id = "approve_host", params(("id" = Uuid, Path)),
    responses((status = 200, body = Host))
)]
async fn approve(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<Host>, Failure> {
    let host = hosts::approve(&state.services, &call, HostId::from_uuid(id)).await?;
    Ok(Json(present(&state.services, host)))
}

/// Makes the host's certificates worthless; its link is cut within 2 s.
#[utoipa::path(
    post, path = "/hosts/{id}/revoke", tag = "hosts", operation_id = "revoke_host", params(("id" = Uuid, Path)),
    responses((status = 200, body = Host))
)]
async fn revoke(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<Host>, Failure> {
    let host = hosts::revoke(&state.services, &call, HostId::from_uuid(id)).await?;
    Ok(Json(present(&state.services, host)))
}

/// Deletes the host with its machines. What joins under its name later inherits nothing. Objects that it has are lost with it: how
/// many deployments that concerns has to be said.
#[utoipa::path(
    delete, path = "/hosts/{id}", tag = "hosts", operation_id = "delete_host", params(("id" = Uuid, Path), DeleteHost),
    responses((status = 204))
)]
async fn delete(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
    Ask(DeleteHost { lose_objects_of }): Ask<DeleteHost>,
) -> Result<StatusCode, Failure> {
    hosts::delete(&state.services, &call, HostId::from_uuid(id), lose_objects_of.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The readings of the last ten minutes.
#[utoipa::path(
    get, path = "/hosts/{id}/metrics", tag = "hosts", operation_id = "host_metrics", params(("id" = Uuid, Path)),
    responses((status = 200, body = HostReadings))
)]
async fn readings(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<HostReadings>, Failure> {
    let items = hosts::readings(&state.services, &call, HostId::from_uuid(id)).await?;
    Ok(Json(HostReadings { items: items.into_iter().map(Into::into).collect() }))
}
