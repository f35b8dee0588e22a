//! Pages of a list: `{items, next_cursor}`, the cursor opaque to the caller.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

pub const DEFAULT_LIMIT: u64 = 100;
pub const MAX_LIMIT: u64 = 500;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default)]
pub struct PageAsk {
    pub limit: Option<u64>,
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// `None` at the end.
    pub next_cursor: Option<String>,
}

impl<T> From<Page<T>> for api::Page<T> {
    fn from(Page { items, next_cursor }: Page<T>) -> Self {
        api::Page { items, next_cursor }
    }
}

impl PageAsk {
    pub fn limit(&self) -> Result<u64> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
            Some(limit) => Err(Error::invalid("limit", format!("{limit} is not from 1 to {MAX_LIMIT}"))),
        }
    }
    /// What the cursor says, as the list that made it wrote it.
    pub fn after<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bad =
            || Error::invalid("cursor", "is none that this list gave out; leave it away to start at the beginning");
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
        serde_json::from_slice(&bytes).map(Some).map_err(|_| bad())
    }
}

impl<T> Page<T> {
    /// Of `limit + 1` fetched rows: the page, and the cursor made from its last item if there are more.
    pub fn cut<C: Serialize>(mut rows: Vec<T>, limit: u64, cursor: impl Fn(&T) -> C) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Self::with_next(rows, next)
    }
    /// A page and what its cursor is to say, if there are more.
    pub fn with_next<C: Serialize>(items: Vec<T>, next: Option<C>) -> Self {
        let next = next.and_then(|next| serde_json::to_vec(&next).ok());
        Page { items, next_cursor: next.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)) }
    }
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next_cursor: self.next_cursor }
    }
}
