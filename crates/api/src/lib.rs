//! The API's own types: what REST v1 sends and takes, what the command line reads, what pages get. Conversions from the
//! domain's types are total; rows of the database never come here. With the feature `openapi`, each has its schema.
//!
//! One file a capability. Times are RFC 3339 in UTC; ids are UUIDs; states are the domain's words.

pub mod audit;
pub mod deployments;
pub mod hosts;
pub mod instructions;
pub mod machines;
pub mod notebooks;
pub mod objects;
pub mod people;
mod problem;
pub mod reservations;
pub mod sessions;
pub mod streams;
pub mod times;
pub mod tokens;
pub mod zero_certificates;

pub use problem::{HeldBy, Problem, Slot};
use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
}
