//! `/reservations`.

use api::reservations::{NewReservation, Reservation, ReservationChange};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::ids::{PersonId, ReservationId};
use serde::Deserialize;
use services::{
    Call, Error, Services,
    page::PageAsk,
    reservations::{self, Whose},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{window, word};
use crate::{
    caller::Caller,
    extract::{Ask, Body, Named},
    failure::Failure,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get, change, cancel))
}

/// With its generation as ETag, for If-Match.
fn present(
    status: StatusCode,
    services: &Services,
    call: &Call,
    reservation: domain::reservations::Reservation,
) -> Response {
    let tag = format!("\"{}\"", reservation.generation);
    let body = Reservation::new(reservation, &call.actor, services.clock().now());
    (status, [(header::ETAG, tag)], Json(body)).into_response()
}

/// As a new one is presented: where it is, besides.
fn created(services: &Services, call: &Call, reservation: domain::reservations::Reservation) -> Response {
    let location = format!("/api/v1/reservations/{}", reservation.id);
    ([(header::LOCATION, location)], present(StatusCode::CREATED, services, call, reservation)).into_response()
}

/// The answer to a booking that was made before.
pub(super) async fn made(state: &AppState, call: &Call, id: ReservationId) -> Result<Response, Error> {
    Ok(created(&state.services, call, reservations::get(&state.services, call, id).await?))
}

/// Book machines: by name, several as a set (all or none), or any that carry labels.
///
/// A refusal for an overlap is 409 with `held_by` and `next_free`.
#[utoipa::path(
    post, path = "/reservations", tag = "reservations", operation_id = "create_reservation",
    request_body = NewReservation,
    params(
        (
            "Idempotency-Key" = Option<String>, Header,
            description = "The same key with the same body gets the same answer, and books once."
        )
    ),
    responses((status = 201, body = Reservation), (status = 409, body = api::Problem))
)]
async fn create(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(body): Body<NewReservation>,
) -> Result<Response, Failure> {
    let ask = reservations::Ask::try_from(body)?;
    let reservation = reservations::create(&state.services, &call, &ask).await?;
    Ok(created(&state.services, &call, reservation))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ReservationsQuery {
    /// `mine` (the default), `all`, or a person's id.
    whose: Option<String>,
    /// Id or name.
    machine: Option<String>,
    /// `confirmed`, `cancelled`, `ended` or `no-show`.
    #[param(value_type = Option<domain::reservations::ReservationState>, inline)]
    state: Option<String>,
    /// RFC 3339; those that end after it.
    #[param(format = DateTime)]
    from: Option<String>,
    /// RFC 3339; those that begin before it.
    #[param(format = DateTime)]
    to: Option<String>,
    /// 1 to 500; 100 where it is left away.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// `mine`, `all` or a person's id.
pub(super) fn whose(text: Option<&str>) -> Result<Whose, Error> {
    match text {
        None | Some("mine") => Ok(Whose::Mine),
        Some("all") => Ok(Whose::Everybodys),
        Some(person) => {
            let person: Result<PersonId, _> = person.parse();
            person.map(Whose::Of).map_err(|_| Error::invalid("whose", "has to be mine, all or a person's id"))
        }
    }
}

/// Reservations, by start.
#[utoipa::path(
    get, path = "/reservations", tag = "reservations", operation_id = "list_reservations",
    params(ReservationsQuery), responses((status = 200, body = api::Page<Reservation>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<ReservationsQuery>,
) -> Result<Json<api::Page<Reservation>>, Failure> {
    let ask = reservations::ListAsk {
        whose: whose(query.whose.as_deref())?,
        machine: query.machine,
        state: word("state", query.state.as_deref())?,
        window: window(query.from.as_deref(), query.to.as_deref())?,
        page: PageAsk { limit: query.limit, cursor: query.cursor },
    };
    let now = state.services.clock().now();
    let page = reservations::list(&state.services, &call, &ask).await?;
    Ok(Json(page.map(|reservation| Reservation::new(reservation, &call.actor, now)).into()))
}

/// One reservation, with its sessions.
#[utoipa::path(
    get, path = "/reservations/{id}", tag = "reservations", operation_id = "get_reservation",
    params(("id" = uuid::Uuid, Path)), responses((status = 200, body = Reservation))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<ReservationId>,
) -> Result<Response, Failure> {
    let reservation = reservations::get(&state.services, &call, id).await?;
    Ok(present(StatusCode::OK, &state.services, &call, reservation))
}

/// Extend, shorten, move, describe. With If-Match only if nobody changed it meanwhile.
#[utoipa::path(
    patch, path = "/reservations/{id}", tag = "reservations", operation_id = "change_reservation",
    params(
        ("id" = uuid::Uuid, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the reservation as it was read.")
    ),
    request_body = ReservationChange,
    responses((status = 200, body = Reservation), (status = 409, body = api::Problem))
)]
async fn change(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<ReservationId>,
    headers: HeaderMap,
    Body(body): Body<ReservationChange>,
) -> Result<Response, Failure> {
    let generation = match headers.get(header::IF_MATCH) {
        None => None,
        Some(tag) if tag.as_bytes() == b"*" => None,
        Some(tag) => Some(
            tag.to_str()
                .ok()
                .and_then(|tag| tag.trim_matches('"').parse().ok())
                .ok_or_else(|| Error::invalid("If-Match", "is no ETag of a reservation"))?,
        ),
    };
    let ask = reservations::ChangeAsk::try_from(body)?;
    let reservation = reservations::change(&state.services, &call, id, &ask, generation).await?;
    Ok(present(StatusCode::OK, &state.services, &call, reservation))
}

/// Give it back: what has not begun is cancelled, what runs ends.
#[utoipa::path(
    delete, path = "/reservations/{id}", tag = "reservations", operation_id = "cancel_reservation",
    params(("id" = uuid::Uuid, Path)), responses((status = 200, body = Reservation))
)]
async fn cancel(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<ReservationId>,
) -> Result<Response, Failure> {
    let reservation = reservations::cancel(&state.services, &call, id).await?;
    Ok(present(StatusCode::OK, &state.services, &call, reservation))
}
