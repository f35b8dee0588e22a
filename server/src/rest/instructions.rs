//! `/instructions`.

use api::{
    Page,
    instructions::{AskOutput, Instruction, InstructionDetail, Output, OutputPiece, RunInstruction, Transaction},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::ids::{InstructionId, TransactionId};
use services::{
    Call, Error,
    instructions::{self, Detail, Summary, Targets},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    caller::Caller,
    extract::{Ask, Body, Named, PageQuery},
    failure::Failure,
    state::AppState,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, run)).routes(routes!(get)).routes(routes!(cancel)).routes(routes!(output))
}

fn summary(summary: Summary) -> Instruction {
    Instruction::new(summary.instruction, summary.states)
}

fn detail(detail: Detail) -> InstructionDetail {
    let transactions = detail
        .shares
        .into_iter()
        .map(|share| Transaction::new(share.transaction, share.host_name, share.cancelling))
        .collect();
    InstructionDetail { instruction: summary(detail.summary), transactions }
}

/// What people asked of hosts, newest first.
#[utoipa::path(
    get, path = "/instructions", tag = "instructions", operation_id = "list_instructions", params(PageQuery),
    responses((status = 200, body = Page<Instruction>))
)]
async fn list(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(ask): Ask<PageQuery>,
) -> Result<Json<Page<Instruction>>, Failure> {
    Ok(Json(instructions::list(&state.services, &call, &ask.into()).await?.map(summary).into()))
}

/// As a new one is presented: where it is, besides.
fn created(done: Detail) -> Response {
    let location = format!("/api/v1/instructions/{}", done.summary.instruction.id);
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(detail(done))).into_response()
}

/// The answer to an instruction that was made before.
pub(super) async fn made(state: &AppState, call: &Call, id: InstructionId) -> Result<Response, Error> {
    Ok(created(instructions::get(&state.services, call, id).await?))
}

/// Runs a command on hosts, chosen by names or by labels.
#[utoipa::path(
    post, path = "/instructions", tag = "instructions", operation_id = "run_instruction",
    request_body = RunInstruction, responses((status = 201, body = InstructionDetail))
)]
async fn run(
    State(state): State<AppState>,
    Caller(call): Caller,
    Body(ask): Body<RunInstruction>,
) -> Result<Response, Failure> {
    let on = match (ask.hosts, ask.labels) {
        (Some(names), None) => Targets::Names(names),
        (None, Some(labels)) => Targets::Labels(
            labels.parse().map_err(|e: domain::labels::BadLabels| Error::invalid("labels", e.to_string()))?,
        ),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Error::invalid("hosts", "choose hosts by names or by labels, one of the two").into());
        }
    };
    let done = instructions::run_on(&state.services, &call, &on, ask.argv, ask.timeout_s).await?;
    Ok(created(done))
}

/// One, with what became of it on each host.
#[utoipa::path(
    get, path = "/instructions/{id}", tag = "instructions", operation_id = "get_instruction",
    params(("id" = Uuid, Path)), responses((status = 200, body = InstructionDetail))
)]
async fn get(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<InstructionDetail>, Failure> {
    Ok(Json(detail(instructions::get(&state.services, &call, InstructionId::from_uuid(id)).await?)))
}

/// Cancels what is left of it; hosts that run it are asked to stop it.
#[utoipa::path(
    post, path = "/instructions/{id}/cancel", tag = "instructions", operation_id = "cancel_instruction",
    params(("id" = Uuid, Path)), responses((status = 200, body = InstructionDetail))
)]
async fn cancel(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named(id): Named<Uuid>,
) -> Result<Json<InstructionDetail>, Failure> {
    Ok(Json(detail(instructions::cancel(&state.services, &call, InstructionId::from_uuid(id)).await?)))
}

/// What a host wrote: its first 256 KiB.
#[utoipa::path(
    get, path = "/instructions/{id}/transactions/{transaction}/output", tag = "instructions",
    operation_id = "instruction_output", params(("id" = Uuid, Path), ("transaction" = Uuid, Path), AskOutput),
    responses((status = 200, body = Output))
)]
async fn output(
    State(state): State<AppState>,
    Caller(call): Caller,
    Named((id, transaction)): Named<(Uuid, Uuid)>,
    Ask(ask): Ask<AskOutput>,
) -> Result<Json<Output>, Failure> {
    let (id, transaction) = (InstructionId::from_uuid(id), TransactionId::from_uuid(transaction));
    let (pieces, complete) = instructions::output(&state.services, &call, id, transaction, ask.after).await?;
    let items = pieces
        .into_iter()
        .map(|piece| OutputPiece {
            seq: piece.seq,
            channel: piece.channel.word().to_owned(),
            base64: STANDARD.encode(piece.content),
        })
        .collect();
    Ok(Json(Output { items, complete }))
}
