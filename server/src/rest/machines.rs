//! `/machines`.

use api::machines::{Booking, FreeMachine, FreeMachines, Machine, MachineChange, MachineDetail};
use axum::{Json, extract::State};
use domain::{ids::HostId, interval::Interval, labels::Labels};
use jiff::SignedDuration;
use serde::Deserialize;
use services::{Error, machines, page::PageAsk};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::window;
use crate::{
    caller::Caller,
    extract::{Ask, Body, Named},
    failure::Failure,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(free)).routes(routes!(get, change))
}

/// `k=v,k=v`, or nothing.
fn labels(text: Option<&str>) -> Result<Labels, Error> {
    text.unwrap_or_default().parse().map_err(|bad: domain::labels::BadLabels| Error::invalid("labels", bad.to_string()))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct MachinesQuery {
    /// `os=debian12,gpu=a100`: machines that carry them all.
    labels: Option<String>,
    /// `free`, `held`, `in-use`, `reverting`, `quarantined`, `offline` or `in-maintenance`.
    #[param(value_type = Option<domain::machines::MachineState>, inline)]
    state: Option<String>,
    /// Part of the name.
    q: Option<String>,
    /// Id of a host.
    host: Option<uuid::Uuid>,
    /// 1 to 500; 100 where it is left away.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Machines, by name: who has them and until when, and what comes next.
#[utoipa::path(
    get, path = "/machines", tag = "machines", operation_id = "list_machines", params(MachinesQuery),
    responses((status = 200, body = api::Page<Machine>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<MachinesQuery>,
) -> Result<Json<api::Page<Machine>>, Failure> {
    let ask = machines::ListAsk {
        labels: labels(query.labels.as_deref())?,
        state: super::word("state", query.state.as_deref())?,
        q: query.q.filter(|q| !q.is_empty()),
        host: query.host.map(HostId::from_uuid),
        page: PageAsk { limit: query.limit, cursor: query.cursor },
    };
    let page = machines::list(&state.services, &call, &ask).await?;
    Ok(Json(page.map(|live| Machine::new(live, &call.actor)).into()))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct FreeQuery {
    /// `os=debian12,gpu=a100`: machines that carry them all.
    labels: Option<String>,
    /// For how long.
    #[param(minimum = 1)]
    duration_s: u64,
}

/// Machines that fit and when they are next free for so long, the soonest first.
#[utoipa::path(
    get, path = "/machines/free", tag = "machines", operation_id = "find_free_machines", params(FreeQuery),
    responses((status = 200, body = FreeMachines))
)]
async fn free(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<FreeQuery>,
) -> Result<Json<FreeMachines>, Failure> {
    let seconds = i64::try_from(query.duration_s).map_err(|_| Error::invalid("duration_s", "is too long"))?;
    let labels = labels(query.labels.as_deref())?;
    let answer = machines::free(&state.services, &call, &labels, SignedDuration::from_secs(seconds)).await?;
    let item = |free: machines::Free| FreeMachine {
        id: free.machine.id.uuid(),
        name: free.machine.name,
        labels: free.machine.labels.into(),
        free: free.slots.into_iter().map(Into::into).collect(),
    };
    Ok(Json(FreeMachines { items: answer.machines.into_iter().map(item).collect(), why_none: answer.why_none }))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct WindowQuery {
    /// RFC 3339; bookings that end after it. Yesterday if not given.
    #[param(format = DateTime)]
    from: Option<String>,
    /// RFC 3339; bookings that begin before it.
    #[param(format = DateTime)]
    to: Option<String>,
}

/// One machine by id or name, with its bookings in a window and its history.
#[utoipa::path(
    get, path = "/machines/{machine}", tag = "machines", operation_id = "get_machine",
    params(("machine" = String, Path, description = "Id, or name (with %2F for each /)"), WindowQuery),
    responses((status = 200, body = MachineDetail))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(machine): Named<String>,
    Ask(query): Ask<WindowQuery>,
) -> Result<Json<MachineDetail>, Failure> {
    let window: Option<Interval> = window(query.from.as_deref(), query.to.as_deref())?;
    let detail = machines::get(&state.services, &call, &machine, window).await?;
    Ok(Json(MachineDetail {
        machine: Machine::new(detail.live, &call.actor),
        bookings: detail.bookings.into_iter().map(Booking::from).collect(),
        history: detail.history.into_iter().map(Booking::from).collect(),
    }))
}

/// Quarantine, verify, release: an admin's decision.
#[utoipa::path(
    patch, path = "/machines/{machine}", tag = "machines", operation_id = "change_machine",
    params(("machine" = String, Path, description = "Id, or name (with %2F for each /)")),
    request_body = MachineChange, responses((status = 200, body = Machine), (status = 409, body = api::Problem))
)]
async fn change(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(machine): Named<String>,
    Body(body): Body<MachineChange>,
) -> Result<Json<Machine>, Failure> {
    let change = machines::Change::try_from(body)?;
    let live = machines::change(&state.services, &call, &machine, change).await?;
    Ok(Json(Machine::new(live, &call.actor)))
}
