//! Between rows and the domain's types.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

/// A value in the database that this build cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {column} that cannot be read: {why}")]
pub struct Corrupt {
    pub column: &'static str,
    pub why: String,
}

pub(crate) fn time(column: &'static str, ms: i64) -> Result<Timestamp, Corrupt> {
    Timestamp::from_millisecond(ms).map_err(|e| Corrupt { column, why: e.to_string() })
}

pub(crate) fn time_opt(column: &'static str, ms: Option<i64>) -> Result<Option<Timestamp>, Corrupt> {
    ms.map(|ms| time(column, ms)).transpose()
}

/// A count that was stored.
pub(crate) fn whole(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count as the database has it.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn word<T>(column: &'static str, text: &str) -> Result<T, Corrupt>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| Corrupt { column, why: e.to_string() })
}

pub(crate) fn json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, Corrupt> {
    serde_json::from_str(text).map_err(|e| Corrupt { column, why: e.to_string() })
}

/// Plain data of ours always serialises; a failure is a bug that the type's own tests find.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("plain data serialises: {error}"))
}
