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
    /// The token with which it was made: it ends with that one.
    pub parent: Option<TokenId>,
}

/// What every token begins with, so that scanners of leaked secrets can tell one.
pub const PREFIX: &str = "berth_";
/// Random bytes in a token.
pub const SECRET_BYTES: usize = 32;
/// The whole length of a token, in bytes: the prefix and the secret in URL-safe base64 without padding.
pub const TOKEN_BYTES: usize = PREFIX.len() + 43;
/// The longest life of a token, in days.
pub const MAX_DAYS: u32 = 365;
/// The life of a token where nobody says otherwise, in days.
pub const DEFAULT_DAYS: u32 = 90;
/// Longest name, in characters.
pub const MAX_NAME_CHARS: usize = 80;
/// The most tokens that a person can have at a time.
pub const MAX_TOKENS: u64 = 50;

/// Whether `text` has the form of a token; a cheap look before the database is asked.
pub fn is_well_formed(text: &str) -> bool {
    text.len() == TOKEN_BYTES
        && text
            .strip_prefix(PREFIX)
            .is_some_and(|secret| secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_token_is_looked_up() {
        let good = format!("{PREFIX}{}", "a".repeat(43));
        assert!(is_well_formed(&good));
        for bad in ["", "berth_", &good[1..], &format!("{good}a"), &good.replace('a', "é"), &"x".repeat(1_000_000)] {
            assert!(!is_well_formed(bad));
        }
    }
}
