//! People of the tenant.

use api::{
    Problem,
    people::{ChangePerson, InvitePerson, InvitedPerson, Me, OneTimeLink, Person, RemovedPerson},
};
use axum::{Json, extract::State, http::StatusCode};
use domain::ids::PersonId;
use services::people::{self, ChangeAsk};
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
    OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(list, invite))
        .routes(routes!(get, change, remove))
        .routes(routes!(link))
}

fn shown(link: people::OneTimeLink) -> OneTimeLink {
    OneTimeLink { url: link.url, expires_at: link.expires_at }
}

/// Who the token or browser belongs to.
#[utoipa::path(get, path = "/me", tag = "people", operation_id = "get_me", responses((status = 200, body = Me)))]
async fn me(State(state): State<AppState>, Caller(call): Caller) -> Result<Json<Me>, Failure> {
    let person = people::me(&state.services, &call).await?;
    Ok(Json(Me { person: person.into(), scope: call.actor.scope }))
}

/// The people of the tenant, by address.
#[utoipa::path(
    get, path = "/people", tag = "people", operation_id = "list_people", params(PageQuery),
    responses((status = 200, body = api::Page<Person>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<PageQuery>,
) -> Result<Json<api::Page<Person>>, Failure> {
    let page = people::list(&state.services, &call, &query.into()).await?.map(Person::from);
    Ok(Json(page.into()))
}

/// Invite a person: makes them, and a one-time link for you to hand over. The link is shown this once.
#[utoipa::path(
    post, path = "/people", tag = "people", operation_id = "invite_person", request_body = InvitePerson,
    responses(
        (status = 201, body = InvitedPerson),
        (status = 409, body = Problem, description = "The tenant has somebody with this address")
    )
)]
async fn invite(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<InvitePerson>,
) -> Result<ShownOnce<InvitedPerson>, Failure> {
    let (person, link) = people::invite(&state.services, &call, &ask.email, ask.name.as_deref(), ask.role).await?;
    Ok(ShownOnce(StatusCode::CREATED, InvitedPerson { person: person.into(), link: shown(link) }))
}

/// One person.
#[utoipa::path(
    get, path = "/people/{id}", tag = "people", operation_id = "get_person", params(("id" = Uuid, Path)),
    responses((status = 200, body = Person))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<Person>, Failure> {
    Ok(Json(people::get(&state.services, &call, PersonId::from_uuid(id)).await?.into()))
}

/// Change a person's name, role or lock.
///
/// A lock ends all their sign-ins and open streams within a second; their tokens stop working until it is undone. The
/// last admin can be neither locked nor given another role.
#[utoipa::path(
    patch, path = "/people/{id}", tag = "people", operation_id = "change_person", params(("id" = Uuid, Path)),
    request_body = ChangePerson, responses((status = 200, body = Person), (status = 409, body = Problem))
)]
async fn change(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
    Body(ask): Body<ChangePerson>,
) -> Result<Json<Person>, Failure> {
    let ask = ChangeAsk { name: ask.name, role: ask.role, locked: ask.locked };
    Ok(Json(people::change(&state.services, &call, PersonId::from_uuid(id), &ask).await?.into()))
}

/// Remove a person. If bookings or instructions name them, only their name and address go and the history stays.
#[utoipa::path(
    delete, path = "/people/{id}", tag = "people", operation_id = "remove_person", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = RemovedPerson),
        (status = 409, body = Problem, description = "The last admin, or machines are booked")
    )
)]
async fn remove(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<RemovedPerson>, Failure> {
    let removal = match people::remove(&state.services, &call, PersonId::from_uuid(id)).await? {
        people::Removal::Deleted => api::people::Removal::Deleted,
        people::Removal::Anonymised => api::people::Removal::Anonymised,
    };
    Ok(Json(RemovedPerson { removal }))
}

/// Make a new one-time link for a person who has lost theirs or their password. The links before it are void.
#[utoipa::path(
    post, path = "/people/{id}/link", tag = "people", operation_id = "make_sign_in_link",
    params(("id" = Uuid, Path)),
    responses(
        (status = 201, body = OneTimeLink), (status = 409, body = Problem, description = "The person is locked")
    )
)]
async fn link(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<ShownOnce<OneTimeLink>, Failure> {
    let link = people::link(&state.services, &call, PersonId::from_uuid(id)).await?;
    Ok(ShownOnce(StatusCode::CREATED, shown(link)))
}
