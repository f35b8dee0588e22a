//! Why an operation was refused or failed: one enum for all doors. The text is for the person; the inside cause of
//! [`Error::Store`] and its kin, and of [`Error::Internal`], is logged where it is handled and never shown.

use domain::{access::Denied, interval::Interval, reservations::HeldBy};
use store::StoreError;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, or not visible to the caller: the two look the same from outside.
    #[error("there is no {kind} '{what}'")]
    NotFound { kind: &'static str, what: String },
    #[error("sign in first, or send a token: Authorization: Bearer …")]
    NotSignedIn,
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Bad input: which field, and what to do about it.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    /// The thing's state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// Somebody holds it in that time (D1).
    #[error("{}", overlap_text(held_by))]
    Overlap { held_by: Vec<HeldBy>, next_free: Vec<Interval> },
    /// Nothing fits what was asked; says why, and the nearest that would.
    #[error("{why}")]
    NothingFits { why: String, next_free: Vec<Interval> },
    #[error("too many attempts; try again in {retry_after_s} s")]
    TooMany { retry_after_s: u64 },
    /// Something that the operation needs is away for now.
    #[error("{0}")]
    Unavailable(String),
    #[error("the database cannot be used now; nothing was changed. Try again in a moment.")]
    Store(#[source] StoreError),
    #[error(
        "the database was lost while it kept the change: whether it was done is not known. Look, or repeat the request \
         with its Idempotency-Key."
    )]
    MaybeDone(#[source] StoreError),
    #[error("the server's disk is full; nothing was changed. An operator has to make room.")]
    Full(#[source] StoreError),
    #[error("something went wrong inside the server; nothing was changed")]
    Internal(String),
}

fn overlap_text(held_by: &[HeldBy]) -> String {
    match held_by.first() {
        None => "taken in that time".to_owned(),
        Some(held) => format!(
            "{} is held by {} from {} to {}{}",
            held.machine_name,
            held.person_name,
            held.interval.start(),
            held.interval.end(),
            if held_by.len() > 1 { format!(", and {} more are taken", held_by.len() - 1) } else { String::new() }
        ),
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            error if error.is_full() => Error::Full(error),
            StoreError::OutcomeUnknown(_) => Error::MaybeDone(error),
            StoreError::Database(_) | StoreError::Corrupt(_) | StoreError::BadUrl(_) => Error::Store(error),
        }
    }
}

impl Error {
    pub fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Error::Invalid { field, why: why.into() }
    }
    #[allow(clippy::needless_pass_by_value, reason = "ids are Copy; a reference would only add a sign at each call")]
    pub fn not_found(kind: &'static str, what: impl ToString) -> Self {
        Error::NotFound { kind, what: what.to_string().chars().take(80).collect() }
    }
}
