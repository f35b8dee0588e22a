//! `/deployments`.

use api::{
    Page, Problem,
    deployments::{Deploy, Deployed, Deployment, DeploymentVersion, Module, RunVersion},
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use domain::ids::DeploymentId;
use services::{Call, Error, deployments};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    extract::{Ask, Body, Named, PageQuery},
    failure::Failure,
    state::AppState,
};

/// Where a body may be as large as a version's modules.
pub const PATH: &str = "/api/v1/deployments";
/// The modules of a version, in base64, and what is said of them.
pub const MAX_BODY_BYTES: usize = 15 * 1024 * 1024;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, deploy))
        .routes(routes!(get, delete))
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(run))
}

/// Deployments, by name.
#[utoipa::path(
    get, path = "/deployments", tag = "deployments", operation_id = "list_deployments", params(PageQuery),
    responses((status = 200, body = Page<Deployment>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(ask): Ask<PageQuery>,
) -> Result<Json<Page<Deployment>>, Failure> {
    let page = deployments::list(&state.services, &call, &ask.into()).await?;
    Ok(Json(page.map(|deployment| deployments::seen(&state.services, &call, deployment)).into()))
}

fn content(module: Module) -> Result<protocol::bundle::Module, Error> {
    let Module { name, kind, text, base64 } = module;
    let bad = |why: &str| Error::invalid("modules", format!("'{name}' {why}"));
    let body = match (text, base64) {
        (Some(text), None) => Bytes::from(text),
        (None, Some(base64)) => STANDARD.decode(base64).map_err(|_| bad("is no base64"))?.into(),
        (None, None) => return Err(bad("has neither text nor base64")),
        (Some(_), Some(_)) => return Err(bad("has text and base64; give one of them")),
    };
    Ok(protocol::bundle::Module { name, kind, body })
}

/// What is asked of the service.
pub(crate) fn ask_of(ask: Deploy) -> Result<deployments::Ask, Error> {
    Ok(deployments::Ask {
        name: ask.name,
        main: ask.main,
        modules: ask.modules.into_iter().map(content).collect::<Result<_, _>>()?,
        vars: ask.vars.into_iter().collect(),
        bindings: ask.bindings.into_iter().map(Into::into).collect(),
        services: ask.services.into_iter().map(Into::into).collect(),
        limits: ask.limits.into(),
        migrations: ask.migrations.into_iter().map(Into::into).collect(),
        note: ask.note,
    })
}

/// Makes a version and has it run, under a new name or one of the caller's. What runs already makes no version.
#[utoipa::path(
    post, path = "/deployments", tag = "deployments", operation_id = "create_deployment", request_body = Deploy,
    responses((status = 201, body = Deployed), (status = 200, body = Deployed), (status = 409, body = Problem))
)]
async fn deploy(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<Deploy>,
) -> Result<(StatusCode, Json<Deployed>), Failure> {
    let ask = ask_of(ask)?;
    Ok(told(&state, &call, deployments::deploy(&state.services, &call, &ask).await?))
}

fn told(state: &AppState, call: &Call, deployed: deployments::Deployed) -> (StatusCode, Json<Deployed>) {
    let status = match &deployed {
        deployments::Deployed::Created(..) => StatusCode::CREATED,
        deployments::Deployed::Changed(..) | deployments::Deployed::Same(..) => StatusCode::OK,
    };
    (status, Json(deployments::seen_deployed(&state.services, call, deployed)))
}

/// The answer to a deployment that was made before.
pub(super) async fn made(state: &AppState, call: &Call, id: DeploymentId) -> Result<Response, Error> {
    let which = id.to_string();
    let deployment = deployments::get(&state.services, call, &which).await?;
    let version = deployments::version(&state.services, call, &which, deployment.version).await?;
    let is_first = version.number == 1;
    let deployed = if is_first { deployments::Deployed::Created } else { deployments::Deployed::Changed };
    Ok(told(state, call, deployed(deployment, version)).into_response())
}

#[utoipa::path(
    get, path = "/deployments/{id}", tag = "deployments", operation_id = "get_deployment",
    params(("id" = String, Path, description = "Id or name")), responses((status = 200, body = Deployment))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<Json<Deployment>, Failure> {
    let deployment = deployments::get(&state.services, &call, &which).await?;
    Ok(Json(deployments::seen(&state.services, &call, deployment)))
}

/// Its versions that are kept, newest first.
#[utoipa::path(
    get, path = "/deployments/{id}/versions", tag = "deployments", operation_id = "list_deployment_versions",
    params(("id" = String, Path, description = "Id or name"), PageQuery),
    responses((status = 200, body = Page<DeploymentVersion>))
)]
async fn versions(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
    Ask(ask): Ask<PageQuery>,
) -> Result<Json<Page<DeploymentVersion>>, Failure> {
    let page = deployments::versions(&state.services, &call, &which, &ask.into()).await?;
    Ok(Json(page.map(DeploymentVersion::from).into()))
}

#[utoipa::path(
    get, path = "/deployments/{id}/versions/{number}", tag = "deployments", operation_id = "get_deployment_version",
    params(("id" = String, Path, description = "Id or name"), ("number" = u32, Path, description = "1 is the first")),
    responses((status = 200, body = DeploymentVersion))
)]
async fn version(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named((which, number)): Named<(String, u32)>,
) -> Result<Json<DeploymentVersion>, Failure> {
    Ok(Json(deployments::version(&state.services, &call, &which, number).await?.into()))
}

/// Has another version run: back to an earlier one, or forward again. What its objects hold stays as it is.
#[utoipa::path(
    post, path = "/deployments/{id}/run", tag = "deployments", operation_id = "run_deployment_version",
    params(("id" = String, Path, description = "Id or name")), request_body = RunVersion,
    responses((status = 200, body = Deployment), (status = 409, body = Problem))
)]
async fn run(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
    Body(ask): Body<RunVersion>,
) -> Result<Json<Deployment>, Failure> {
    let deployment = deployments::run_version(&state.services, &call, &which, ask.version).await?;
    Ok(Json(deployments::seen(&state.services, &call, deployment)))
}

/// Deletes it with all its versions, and all that its objects hold.
#[utoipa::path(
    delete, path = "/deployments/{id}", tag = "deployments", operation_id = "delete_deployment",
    params(("id" = String, Path, description = "Id or name")),
    responses((status = 204), (status = 409, body = Problem))
)]
async fn delete(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(which): Named<String>,
) -> Result<StatusCode, Failure> {
    deployments::delete(&state.services, &call, &which).await?;
    Ok(StatusCode::NO_CONTENT)
}
