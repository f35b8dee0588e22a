//! `/objects`, and how deployments do: `/deployment-briefs`, `/deployments/{id}/rollout`, `/deployments/{id}/stats` and
//! `/deployments/{id}/console`.

use std::{convert::Infallible, time::Duration};

use api::{
    Page, Problem,
    objects::{
        ConsoleLine, DeploymentBrief, DeploymentStats, KvEntries, ObjectInfo, Objects, Rollout, SqlQuery, SqlResult,
    },
};
use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::sse::{Event as SseEvent, KeepAlive, Sse},
};
use domain::ids::{PersonId, TenantId};
use futures_util::Stream;
use serde::Deserialize;
use services::{Call, Error, live, objects, page::PageAsk};
use tokio::sync::mpsc;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    extract::{Ask, Body, Named, PageQuery},
    failure::Failure,
    seats::{Seat, Seats},
    state::AppState,
};

/// Consoles that are open on this server at a time: each is a question to every host of the tenant that waits for its answer.
const MAX_CONSOLES_OF_TENANT: usize = 64;
const MAX_CONSOLES_OF_PERSON: usize = 16;
/// How often an open console asks whether its reader may still read.
const RECHECK: Duration = Duration::from_millis(900);
/// Keys of one answer, if no other number is asked for, and the most.
const KEYS: u32 = 100;
const MAX_KEYS: u32 = 500;
const MAX_ROWS: u32 = 1_000;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(briefs))
        .routes(routes!(rollout))
        .routes(routes!(stats))
        .routes(routes!(console))
        .routes(routes!(list))
        .routes(routes!(get, delete))
        .routes(routes!(kv))
        .routes(routes!(sql))
        .routes(routes!(object_console))
        .layer(Extension(Consoles::default()))
}

/// The open consoles.
#[derive(Debug, Clone)]
struct Consoles {
    of_tenant: Seats<TenantId>,
    of_person: Seats<PersonId>,
}

impl Default for Consoles {
    fn default() -> Self {
        Self { of_tenant: Seats::of_each(MAX_CONSOLES_OF_TENANT), of_person: Seats::of_each(MAX_CONSOLES_OF_PERSON) }
    }
}

/// One open console's places.
type Places = (Seat<TenantId>, Seat<PersonId>);

impl Consoles {
    fn take(&self, call: &Call) -> Result<Places, Error> {
        let of_person = self.of_person.take(call.actor.person).ok_or_else(|| {
            Error::Conflict(format!("you have {MAX_CONSOLES_OF_PERSON} consoles open; close one first"))
        })?;
        let of_tenant = self.of_tenant.take(call.actor.tenant).ok_or_else(|| {
            let why = format!("{MAX_CONSOLES_OF_TENANT} consoles of deployments are open already; try again later");
            Error::Unavailable(why)
        })?;
        Ok((of_tenant, of_person))
    }
}

/// How the deployments on a page of their list do, by name: what hosts said within the last two seconds.
#[utoipa::path(
    get, path = "/deployment-briefs", tag = "deployments", operation_id = "list_deployment_briefs", params(PageQuery),
    responses((status = 200, body = Page<DeploymentBrief>))
)]
async fn briefs(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(ask): Ask<PageQuery>,
) -> Result<Json<Page<DeploymentBrief>>, Failure> {
    let (page, told) = objects::briefs(&state.services, &call, &ask.into()).await?;
    let now = state.services.clock().now();
    Ok(Json(page.map(|deployment| told.brief(&deployment, now)).into()))
}

/// How far hosts are with the version that is to run: what is to be asked after a deployment, until `standing` is settled.
#[utoipa::path(
    get, path = "/deployments/{id}/rollout", tag = "deployments", operation_id = "get_deployment_rollout",
    params(("id" = String, Path, description = "Id or name")), responses((status = 200, body = Rollout))
)]
async fn rollout(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Json<Rollout>, Failure> {
    let (deployment, told) = objects::rollout(&state.services, &call, &which).await?;
    Ok(Json(Rollout::of_briefs(deployment.version, &told.of(deployment.id))))
}

/// How it does: requests, errors, latency and processor time of the last 15 minutes, and on which hosts it runs.
#[utoipa::path(
    get, path = "/deployments/{id}/stats", tag = "deployments", operation_id = "get_deployment_stats",
    params(("id" = String, Path, description = "Id or name")), responses((status = 200, body = DeploymentStats))
)]
async fn stats(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Json<DeploymentStats>, Failure> {
    let (version, placement, told) = objects::status(&state.services, &call, &which).await?;
    Ok(Json(DeploymentStats::new(version, placement, told, state.services.clock().now())))
}

/// Of which deployment, and which of its objects.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Id or name.
    #[serde(default)]
    #[param(required = true)]
    deployment: String,
    class: Option<String>,
    /// What the id begins with, hexadecimal.
    id: Option<String>,
    /// The whole name.
    name: Option<String>,
    /// Those in memory alone.
    #[serde(default)]
    live: bool,
    /// 1 to 500, 100 if not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Objects of a deployment that hold something or are in memory, in the order of class and id.
#[utoipa::path(
    get, path = "/objects", tag = "objects", operation_id = "list_objects", params(ListQuery),
    responses((status = 200, body = Objects))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<ListQuery>,
) -> Result<Json<Objects>, Failure> {
    let ListQuery { deployment, class, id, name, live, limit, cursor } = query;
    let filter = objects::Filter { class, prefix: id, name, is_live: live };
    let ask = PageAsk { limit, cursor };
    let (page, silent_hosts) = objects::list(&state.services, &call, &deployment, &filter, &ask).await?;
    let page = page.map(ObjectInfo::from);
    Ok(Json(Objects { items: page.items, next_cursor: page.next_cursor, silent_hosts }))
}

/// Deployment, class and id.
type One = (String, String, String);

fn one((deployment, class, id): &One) -> (&str, &str, &str) {
    (deployment, class, id)
}

#[utoipa::path(
    get, path = "/objects/{deployment}/{class}/{id}", tag = "objects", operation_id = "get_object",
    params(
        ("deployment" = String, Path, description = "Id or name"), ("class" = String, Path),
        ("id" = String, Path, description = "64 hexadecimal digits")
    ),
    responses((status = 200, body = ObjectInfo))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<One>,
) -> Result<Json<ObjectInfo>, Failure> {
    Ok(Json(objects::get(&state.services, &call, one(&which)).await?.into()))
}

/// Ends it and deletes all that it holds. The next request to it begins a new, empty life.
#[utoipa::path(
    delete, path = "/objects/{deployment}/{class}/{id}", tag = "objects", operation_id = "delete_object",
    params(
        ("deployment" = String, Path, description = "Id or name"), ("class" = String, Path),
        ("id" = String, Path, description = "64 hexadecimal digits")
    ),
    responses((status = 204), (status = 503, body = Problem))
)]
async fn delete(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<One>,
) -> Result<StatusCode, Failure> {
    objects::delete(&state.services, &call, one(&which)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct KvQuery {
    /// The first key that is wanted, if it is there.
    #[serde(default)]
    start: String,
    /// 1 to 500, 100 if not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Its keys from `start` on, with the beginnings of their values: fewer than asked for where they are long. Its code does not run.
#[utoipa::path(
    get, path = "/objects/{deployment}/{class}/{id}/kv", tag = "objects", operation_id = "list_object_keys",
    params(
        ("deployment" = String, Path, description = "Id or name"), ("class" = String, Path),
        ("id" = String, Path, description = "64 hexadecimal digits"), KvQuery
    ),
    responses((status = 200, body = KvEntries))
)]
async fn kv(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<One>,
    Ask(query): Ask<KvQuery>,
) -> Result<Json<KvEntries>, Failure> {
    let limit = query.limit.unwrap_or(KEYS);
    if !(1..=MAX_KEYS).contains(&limit) {
        return Err(Error::invalid("limit", format!("1 to {MAX_KEYS}")).into());
    }
    Ok(Json(objects::keys(&state.services, &call, one(&which), query.start, limit).await?))
}

/// Asks its database. Only what reads is allowed; its code does not run. At most 1000 rows, fewer where they are long.
#[utoipa::path(
    post, path = "/objects/{deployment}/{class}/{id}/sql", tag = "objects", operation_id = "query_object",
    params(
        ("deployment" = String, Path, description = "Id or name"), ("class" = String, Path),
        ("id" = String, Path, description = "64 hexadecimal digits")
    ),
    request_body = SqlQuery, responses((status = 200, body = SqlResult), (status = 422, body = Problem))
)]
async fn sql(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<One>,
    Body(ask): Body<SqlQuery>,
) -> Result<Json<SqlResult>, Failure> {
    Ok(Json(objects::sql(&state.services, &call, one(&which), ask.query, MAX_ROWS).await?))
}

/// What its workers and objects write to their consoles: what is kept of it, then what comes.
///
/// `event` is `line` with a ConsoleLine, `lost` with `{host, lines}`: so many are kept no more, or `away` with `{host, why}`: the
/// host does not answer for now. It goes on over hosts that come and go. When the deployment is deleted, and for who is signed out,
/// locked, or came with a token that is revoked, it ends with `end` and `{reason}`.
#[utoipa::path(
    get, path = "/deployments/{id}/console", tag = "deployments", operation_id = "stream_deployment_console",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, description = "A stream that ends with `end`, or with the server", content_type = "text/event-stream", body = ConsoleLine))
)]
async fn console(
    State(state): State<AppState>,
    Caller(call): Caller,
    Extension(consoles): Extension<Consoles>,
    Named(which): Named<String>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Failure> {
    let places = consoles.take(&call)?;
    let said = objects::console(&state.services, &call, &which, None).await?;
    Ok(streamed(state, call, places, said))
}

/// What one object writes to its console: as the deployment's.
#[utoipa::path(
    get, path = "/objects/{deployment}/{class}/{id}/console", tag = "objects", operation_id = "stream_object_console",
    params(
        ("deployment" = String, Path, description = "Id or name"), ("class" = String, Path),
        ("id" = String, Path, description = "64 hexadecimal digits")
    ),
    responses((status = 200, description = "A stream that ends with `end`, or with the server", content_type = "text/event-stream", body = ConsoleLine))
)]
async fn object_console(
    State(state): State<AppState>,
    Caller(call): Caller,
    Extension(consoles): Extension<Consoles>,
    Named((deployment, class, id)): Named<One>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Failure> {
    let places = consoles.take(&call)?;
    let said = objects::console(&state.services, &call, &deployment, Some((&class, &id))).await?;
    Ok(streamed(state, call, places, said))
}

struct Reader {
    state: AppState,
    call: Call,
    _places: Places,
    said: mpsc::Receiver<objects::Said>,
    recheck: tokio::time::Interval,
    is_over: bool,
}

fn streamed(
    state: AppState,
    call: Call,
    places: Places,
    said: mpsc::Receiver<objects::Said>,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let mut recheck = tokio::time::interval(RECHECK);
    recheck.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let reader = Reader { state, call, _places: places, said, recheck, is_over: false };
    let events = futures_util::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(10)).text("alive"))
}

impl Reader {
    async fn next(&mut self) -> Option<SseEvent> {
        if self.is_over {
            return None;
        }
        loop {
            tokio::select! {
                () = self.state.stop.cancelled() => return None,
                _ = self.recheck.tick() => {
                    if let Some(why) = live::ousted(&self.state.services, &self.call).await {
                        self.is_over = true;
                        return Some(event("end", &serde_json::json!({ "reason": why.to_string() })));
                    }
                }
                said = self.said.recv() => {
                    self.is_over = matches!(said, Some(objects::Said::Ended { .. }));
                    return said.map(told);
                }
            }
        }
    }
}

fn event(name: &str, data: &serde_json::Value) -> SseEvent {
    SseEvent::default().event(name).data(data.to_string())
}

fn told(said: objects::Said) -> SseEvent {
    match said {
        objects::Said::Line { class, host_name, line } => {
            event("line", &serde_json::json!(ConsoleLine::new(class, host_name, line)))
        }
        objects::Said::Lost { host_name, lines } => {
            event("lost", &serde_json::json!({ "host": host_name, "lines": lines }))
        }
        objects::Said::Away { host_name, why } => event("away", &serde_json::json!({ "host": host_name, "why": why })),
        objects::Said::Ended { why } => event("end", &serde_json::json!({ "reason": why })),
    }
}
