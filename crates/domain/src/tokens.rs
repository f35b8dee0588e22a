//! API tokens: shown once, stored hashed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{PersonId, TokenId};

crate::words! {
    /// What a token may do; its owner's role limits it further.
    pub enum Scope ("scope") {
        /// Every GET.
        Read = "read",
        /// Reservations and sessions: book, change, use, end.
        Use = "use",
        /// Everything that its owner's role may do.
        All = "all",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub person: PersonId,
    pub name: String,
    pub scope: Scope,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}
