//! Instructions that an admin gives to hosts, and what became of them on each.

use domain::instructions::TransactionState;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many transactions are in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateCount {
    pub state: TransactionState,
    pub count: u32,
}

/// One instruction for one or many hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Instruction {
    pub id: Uuid,
    pub title: String,
    /// Null for what the server itself asked (prepare, revert).
    pub created_by: Option<Uuid>,
    /// RFC 3339.
    pub created_at: String,
    /// How many of its transactions are in which state.
    pub states: Vec<StateCount>,
}

/// An instruction with its share for each host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstructionDetail {
    #[serde(flatten)]
    pub instruction: Instruction,
    pub transactions: Vec<Transaction>,
}

/// One host's share of an instruction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Transaction {
    pub id: Uuid,
    pub instruction: Uuid,
    pub host: Uuid,
    pub host_name: String,
    pub session: Option<Uuid>,
    /// `waiting`, `offered`, `claimed`, `running`, `done`, `failed`, `cancelled`, `expired`, `never-delivered` or `unknown`.
    pub state: TransactionState,
    /// RFC 3339, as the others.
    pub created_at: String,
    pub offered_at: Option<String>,
    pub claimed_at: Option<String>,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    /// Not offered or claimed after this.
    pub expires_at: String,
    pub exit_code: Option<i32>,
    /// Why it failed, expired or is unknown.
    pub cause: Option<String>,
    /// Whether somebody asked to cancel it and the host has not answered yet.
    pub cancelling: bool,
}

/// A piece of a transaction's output, in the order in which the host sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputPiece {
    pub seq: i64,
    /// `stdout` or `stderr`.
    pub channel: String,
    /// The bytes in base64.
    pub base64: String,
}

/// `GET /instructions/{id}/transactions/{transaction}/output`: the first 256 KiB that the host wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Output {
    pub items: Vec<OutputPiece>,
    /// Nothing follows: the transaction is in its final state.
    pub complete: bool,
}

/// `GET .../output`: from where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct AskOutput {
    /// Only pieces after this `seq`.
    pub after: Option<i64>,
}

/// `POST /instructions`: hosts by their names, or by labels; exactly one of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunInstruction {
    /// Names of hosts.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// `key=value,key=value`; all have to be there.
    #[serde(default)]
    pub labels: Option<String>,
    /// The program and its arguments; no shell looks at them.
    #[cfg_attr(feature = "openapi", schema(min_items = 1))]
    pub argv: Vec<String>,
    /// Seconds that it may run, 1 to 86,400; 300 if not given.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400))]
    pub timeout_s: Option<u32>,
}

impl Instruction {
    pub fn new(instruction: domain::instructions::Instruction, states: Vec<(TransactionState, u32)>) -> Self {
        Instruction {
            id: instruction.id.uuid(),
            title: instruction.title,
            created_by: instruction.created_by.map(domain::ids::PersonId::uuid),
            created_at: instruction.created_at.to_string(),
            states: states.into_iter().map(|(state, count)| StateCount { state, count }).collect(),
        }
    }
}

impl Transaction {
    /// `host_name` and `cancelling` lie beside the record.
    pub fn new(transaction: domain::instructions::Transaction, host_name: String, cancelling: bool) -> Self {
        let text = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
        Transaction {
            id: transaction.id.uuid(),
            instruction: transaction.instruction.uuid(),
            host: transaction.host.uuid(),
            host_name,
            session: transaction.session.map(domain::ids::SessionId::uuid),
            state: transaction.state,
            created_at: transaction.created_at.to_string(),
            offered_at: text(transaction.offered_at),
            claimed_at: text(transaction.claimed_at),
            started_at: text(transaction.started_at),
            ended_at: text(transaction.ended_at),
            expires_at: transaction.expires_at.to_string(),
            exit_code: transaction.exit_code,
            cause: transaction.cause,
            cancelling: cancelling && !transaction.state.is_final(),
        }
    }
}
