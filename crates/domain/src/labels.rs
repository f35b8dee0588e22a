//! Labels say what a machine or host is (`os=debian12`); a selector chooses by them (`os=debian12,gpu=a100`).

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The most labels that one machine or selector may carry.
pub const MAX_LABELS: usize = 32;
const MAX_PART_BYTES: usize = 63;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLabels {
    #[error("'{0}' is no label: write key=value, such as os=debian12")]
    NoPair(String),
    #[error(
        "'{0}': keys and values are 1 to {MAX_PART_BYTES} letters, digits, '.', '_', '-' or '/', beginning with a letter or digit"
    )]
    BadPart(String),
    #[error("the key '{0}' is given twice")]
    Twice(String),
    #[error("more than {MAX_LABELS} labels")]
    TooMany,
}

/// Sorted `key=value` pairs. As a selector, all of them have to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

fn part(text: &str) -> Result<(), BadLabels> {
    let fits = !text.is_empty()
        && text.len() <= MAX_PART_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if fits { Ok(()) } else { Err(BadLabels::BadPart(text.chars().take(80).collect())) }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = BadLabels;
    fn try_from(map: BTreeMap<String, String>) -> Result<Self, BadLabels> {
        if map.len() > MAX_LABELS {
            return Err(BadLabels::TooMany);
        }
        for (key, value) in &map {
            part(key)?;
            part(value)?;
        }
        Ok(Self(map))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// True if every pair of `self`, a selector, is among `labels`.
    pub fn select(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.0.get(key) == Some(value))
    }
}

impl FromStr for Labels {
    type Err = BadLabels;
    /// `k=v,k=v`; spaces around pairs are ignored, an empty text selects everything.
    fn from_str(text: &str) -> Result<Self, BadLabels> {
        let mut map = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| BadLabels::NoPair(pair.chars().take(80).collect()))?;
            let (key, value) = (key.trim(), value.trim());
            if map.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(BadLabels::Twice(key.to_owned()));
            }
        }
        Labels::try_from(map)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.0.iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
