//! `/notebooks` and `/notebook-environments`.

use api::{
    Page, Problem,
    notebooks::{
        CreateNotebookEnvironment, LaunchNotebook, Notebook, NotebookEnvironment, NotebookLogPiece, NotebookLogs,
        NotebookPolicy, NotebookPool, NotebookShare, NotebookShares, NotebookVolume, ShareNotebook, StartNotebook,
        WarmNotebook, WarmNotebooks,
    },
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use domain::ids::{NotebookId, VolumeId};
use serde::Deserialize;
use services::{Call, Error, notebooks, page::PageAsk};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{reservations::whose, word};
use crate::{
    caller::Caller,
    extract::{Ask, Body, Named, PageQuery},
    failure::Failure,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, launch))
        .routes(routes!(get, delete))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(keep))
        .routes(routes!(shares))
        .routes(routes!(share, unshare))
        .routes(routes!(logs))
        .routes(routes!(environments, create_environment))
        .routes(routes!(delete_environment))
        .routes(routes!(set_pool))
        .routes(routes!(policy, set_policy))
        .routes(routes!(warm))
        .routes(routes!(volumes))
        .routes(routes!(delete_volume))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct NotebooksQuery {
    /// `mine` (the default), `all`, `shared` (what others share with you, in whatever state), or a person's id.
    whose: Option<String>,
    /// `waiting`, `starting`, `running`, `stopping`, `stopped` or `failed`.
    #[param(value_type = Option<domain::notebooks::NotebookState>, inline)]
    state: Option<String>,
    /// 1 to 500; 100 where it is left away.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// Notebooks, newest first.
#[utoipa::path(
    get, path = "/notebooks", tag = "notebooks", operation_id = "list_notebooks", params(NotebooksQuery),
    responses((status = 200, body = Page<Notebook>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<NotebooksQuery>,
) -> Result<Json<Page<Notebook>>, Failure> {
    let page = PageAsk { limit: query.limit, cursor: query.cursor };
    if query.whose.as_deref() == Some("shared") {
        let page = notebooks::shared(&state.services, &call, &page).await?;
        return Ok(Json(page.map(|notebook| Notebook::new(notebook, &call.actor)).into()));
    }
    let ask = notebooks::ListAsk {
        whose: whose(query.whose.as_deref())?,
        state: word("state", query.state.as_deref())?,
        page,
    };
    let page = notebooks::list(&state.services, &call, &ask).await?;
    Ok(Json(page.map(|notebook| Notebook::new(notebook, &call.actor)).into()))
}

fn created(notebook: domain::notebooks::Notebook, call: &Call) -> Response {
    (StatusCode::CREATED, Json(Notebook::new(notebook, &call.actor))).into_response()
}

/// The answer to a launch that was made before.
pub(super) async fn made(state: &AppState, call: &Call, id: NotebookId) -> Result<Response, Error> {
    Ok(created(notebooks::get(&state.services, call, &id.to_string()).await?, call))
}

/// Launches one: it waits for room on a host, starts and runs. Its events (`notebook`) tell.
#[utoipa::path(
    post, path = "/notebooks", tag = "notebooks", operation_id = "launch_notebook", request_body = LaunchNotebook,
    responses(
        (status = 201, body = Notebook),
        (status = 409, body = Problem, description = "The name is taken, or you have as many as one can have")
    )
)]
async fn launch(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<LaunchNotebook>,
) -> Result<Response, Failure> {
    let labels = ask.labels.unwrap_or_default().parse();
    let labels = labels.map_err(|bad: domain::labels::BadLabels| Error::invalid("labels", bad.to_string()))?;
    let ask = notebooks::Ask { name: ask.name, environment: ask.environment, size: ask.size, labels };
    Ok(created(notebooks::launch(&state.services, &call, &ask).await?, &call))
}

/// One of them, with the steps of its latest start.
#[utoipa::path(
    get, path = "/notebooks/{id}", tag = "notebooks", operation_id = "get_notebook",
    params(("id" = String, Path, description = "Id or name")), responses((status = 200, body = Notebook))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Json<Notebook>, Failure> {
    Ok(Json(Notebook::new(notebooks::get(&state.services, &call, &which).await?, &call.actor)))
}

/// Starts one that is stopped or failed, in another size if one is given. Its files are as they were.
#[utoipa::path(
    post, path = "/notebooks/{id}/start", tag = "notebooks", operation_id = "start_notebook",
    params(("id" = String, Path, description = "Id or name")), request_body = Option<StartNotebook>,
    responses((status = 200, body = Notebook), (status = 409, body = Problem))
)]
async fn start(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
    body: Option<Body<StartNotebook>>,
) -> Result<Json<Notebook>, Failure> {
    let size = body.and_then(|Body(ask)| ask.size);
    let started = notebooks::start(&state.services, &call, &which, size.as_deref()).await?;
    Ok(Json(Notebook::new(started, &call.actor)))
}

/// Stops one, or gives up its start. Its files stay.
#[utoipa::path(
    post, path = "/notebooks/{id}/stop", tag = "notebooks", operation_id = "stop_notebook",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = Notebook), (status = 409, body = Problem))
)]
async fn stop(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Json<Notebook>, Failure> {
    Ok(Json(Notebook::new(notebooks::stop(&state.services, &call, &which).await?, &call.actor)))
}

/// Says that one is still needed that seems idle: as good as use.
#[utoipa::path(
    post, path = "/notebooks/{id}/keep", tag = "notebooks", operation_id = "keep_notebook",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 200, body = Notebook), (status = 409, body = Problem, description = "It does not run"))
)]
async fn keep(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Json<Notebook>, Failure> {
    Ok(Json(Notebook::new(notebooks::keep(&state.services, &call, &which).await?, &call.actor)))
}

/// With whom one of yours is shared, by name.
#[utoipa::path(
    get, path = "/notebooks/{id}/shares", tag = "notebooks", operation_id = "list_notebook_shares",
    params(("id" = String, Path, description = "Id or name")), responses((status = 200, body = NotebookShares))
)]
async fn shares(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Json<NotebookShares>, Failure> {
    let found = notebooks::shares(&state.services, &call, &which).await?;
    Ok(Json(NotebookShares { items: found.into_iter().map(NotebookShare::from).collect() }))
}

/// Shares one of yours with a colleague, or changes how far.
#[utoipa::path(
    put, path = "/notebooks/{id}/shares/{person}", tag = "notebooks", operation_id = "share_notebook",
    params(
        ("id" = String, Path, description = "Id or name"),
        ("person" = String, Path, description = "Id or address of the colleague")
    ),
    request_body = ShareNotebook, responses((status = 200, body = NotebookShare), (status = 409, body = Problem))
)]
async fn share(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named((which, who)): Named<(String, String)>,
    Body(ask): Body<ShareNotebook>,
) -> Result<Json<NotebookShare>, Failure> {
    Ok(Json(notebooks::share(&state.services, &call, &which, &who, ask.access).await?.into()))
}

/// Takes it back: what they have open of it is cut within a second.
#[utoipa::path(
    delete, path = "/notebooks/{id}/shares/{person}", tag = "notebooks", operation_id = "unshare_notebook",
    params(
        ("id" = String, Path, description = "Id or name"),
        ("person" = String, Path, description = "Id or address of the colleague")
    ),
    responses((status = 204))
)]
async fn unshare(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named((which, who)): Named<(String, String)>,
) -> Result<StatusCode, Failure> {
    notebooks::unshare(&state.services, &call, &which, &who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes one that does not run; its person's files stay.
#[utoipa::path(
    delete, path = "/notebooks/{id}", tag = "notebooks", operation_id = "delete_notebook",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 409, body = Problem))
)]
async fn delete(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<StatusCode, Failure> {
    notebooks::delete(&state.services, &call, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    /// Only pieces after this `seq`.
    after: Option<i64>,
}

/// What the latest run wrote: the building of its environment, its start and its end.
#[utoipa::path(
    get, path = "/notebooks/{id}/logs", tag = "notebooks", operation_id = "notebook_logs",
    params(("id" = String, Path, description = "Id or name"), LogsQuery), responses((status = 200, body = NotebookLogs))
)]
async fn logs(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
    Ask(query): Ask<LogsQuery>,
) -> Result<Json<NotebookLogs>, Failure> {
    let (pieces, complete) = notebooks::logs(&state.services, &call, &which, query.after).await?;
    let piece = |piece: services::instructions::Piece| NotebookLogPiece {
        seq: piece.seq,
        content: String::from_utf8_lossy(&piece.content).into_owned(),
    };
    Ok(Json(NotebookLogs { items: pieces.into_iter().map(piece).collect(), complete }))
}

/// What notebooks can be made from, by name.
#[utoipa::path(
    get, path = "/notebook-environments", tag = "notebooks", operation_id = "list_notebook_environments",
    params(PageQuery), responses((status = 200, body = Page<NotebookEnvironment>))
)]
async fn environments(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(ask): Ask<PageQuery>,
) -> Result<Json<Page<NotebookEnvironment>>, Failure> {
    let page = notebooks::environments(&state.services, &call, &ask.into()).await?;
    Ok(Json(page.map(NotebookEnvironment::from).into()))
}

/// Makes an environment from a list of packages or an image. Hosts build it when a notebook first needs it.
#[utoipa::path(
    post, path = "/notebook-environments", tag = "notebooks", operation_id = "create_notebook_environment",
    request_body = CreateNotebookEnvironment,
    responses((status = 201, body = NotebookEnvironment), (status = 409, body = Problem))
)]
async fn create_environment(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<CreateNotebookEnvironment>,
) -> Result<(StatusCode, Json<NotebookEnvironment>), Failure> {
    let software = notebooks::software(ask.requirements.as_deref(), ask.image.as_deref())?;
    let made = notebooks::create_environment(&state.services, &call, &ask.name, software).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Deletes one that no notebook uses.
#[utoipa::path(
    delete, path = "/notebook-environments/{id}", tag = "notebooks", operation_id = "delete_notebook_environment",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 409, body = Problem))
)]
async fn delete_environment(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<StatusCode, Failure> {
    notebooks::delete_environment(&state.services, &call, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets how many started notebooks of an environment wait for whoever asks next, so that they open at once; 0 for none.
#[utoipa::path(
    put, path = "/notebook-environments/{id}/pool", tag = "notebooks", operation_id = "set_notebook_pool",
    params(("id" = String, Path, description = "Id or name")), request_body = NotebookPool,
    responses((status = 200, body = NotebookEnvironment))
)]
async fn set_pool(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
    Body(ask): Body<NotebookPool>,
) -> Result<Json<NotebookEnvironment>, Failure> {
    let pool = domain::notebooks::Pool { count: ask.count, size: ask.size };
    Ok(Json(notebooks::set_pool(&state.services, &call, &which, Some(pool)).await?.into()))
}

/// What waits, for admins and managers; nobody else sees any.
#[utoipa::path(
    get, path = "/notebook-warm", tag = "notebooks", operation_id = "list_warm_notebooks",
    responses((status = 200, body = WarmNotebooks))
)]
async fn warm(State(state): State<AppState>, Caller(call): Caller) -> Result<Json<WarmNotebooks>, Failure> {
    let runs = notebooks::warm_runs(&state.services, &call).await?;
    Ok(Json(WarmNotebooks { items: runs.into_iter().map(WarmNotebook::from).collect() }))
}

/// Sizes to choose from, limits for each person, and when idle notebooks stop.
#[utoipa::path(
    get, path = "/notebook-policy", tag = "notebooks", operation_id = "get_notebook_policy",
    responses((status = 200, body = NotebookPolicy))
)]
async fn policy(State(state): State<AppState>, Caller(call): Caller) -> Result<Json<NotebookPolicy>, Failure> {
    let (policy, generation) = notebooks::policy(&state.services, &call).await?;
    Ok(Json(NotebookPolicy::new(policy, generation)))
}

/// Sets all of it. What runs goes on in its size; idle times hold at once.
#[utoipa::path(
    put, path = "/notebook-policy", tag = "notebooks", operation_id = "set_notebook_policy",
    request_body = NotebookPolicy,
    responses(
        (status = 200, body = NotebookPolicy),
        (status = 409, body = Problem, description = "It is not of the given generation any more")
    )
)]
async fn set_policy(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<NotebookPolicy>,
) -> Result<Json<NotebookPolicy>, Failure> {
    let (read, policy) = (ask.generation, domain::notebooks::NotebookPolicy::from(ask));
    let generation = notebooks::set_policy(&state.services, &call, read, &policy).await?;
    Ok(Json(NotebookPolicy::new(policy, generation)))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct VolumesQuery {
    /// `mine` (the default), `all`, or a person's id.
    whose: Option<String>,
    /// 1 to 500; 100 where it is left away.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u64>,
    #[param(min_length = 1)]
    cursor: Option<String>,
}

/// People's files on hosts: one volume for all notebooks of a person on a host.
#[utoipa::path(
    get, path = "/notebook-volumes", tag = "notebooks", operation_id = "list_notebook_volumes", params(VolumesQuery),
    responses((status = 200, body = Page<NotebookVolume>))
)]
async fn volumes(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<VolumesQuery>,
) -> Result<Json<Page<NotebookVolume>>, Failure> {
    let ask = PageAsk { limit: query.limit, cursor: query.cursor };
    let page = notebooks::volumes(&state.services, &call, whose(query.whose.as_deref())?, &ask).await?;
    Ok(Json(page.map(NotebookVolume::from).into()))
}

/// Deletes files for good. They are listed until their host has deleted them.
#[utoipa::path(
    delete, path = "/notebook-volumes/{id}", tag = "notebooks", operation_id = "delete_notebook_volume",
    params(("id" = uuid::Uuid, Path, description = "Id")),
    responses(
        (status = 202, description = "The host is told to"),
        (status = 409, body = Problem, description = "A notebook with these files runs")
    )
)]
async fn delete_volume(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<VolumeId>,
) -> Result<StatusCode, Failure> {
    notebooks::remove_volume(&state.services, &call, which).await?;
    Ok(StatusCode::ACCEPTED)
}
