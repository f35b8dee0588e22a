//! Reading of times. Where jiff's own reading says what is wrong with a text, it brings the words of all its errors into the
//! browser's half, a thirtieth of what a browser fetches; the API's own answers are never wrong in that.

use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};

const WRONG: &str = "no time as RFC 3339 writes it";

/// A time or a day: `#[serde(deserialize_with = "api::times::read")]`.
pub fn read<'de, D: Deserializer<'de>, T: FromStr>(from: D) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| D::Error::custom(WRONG))
}

/// As [`read`], where there may be none. The field needs `#[serde(default)]` besides, if it may be left out.
pub fn read_option<'de, D: Deserializer<'de>, T: FromStr>(from: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| text.parse().map_err(|_| D::Error::custom(WRONG))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[derive(serde::Deserialize)]
    struct Times {
        #[serde(deserialize_with = "read")]
        at: Timestamp,
        #[serde(deserialize_with = "read_option")]
        maybe: Option<Timestamp>,
    }

    #[test]
    fn times_are_read_as_jiff_writes_them() {
        let at: Timestamp = "2026-11-21T10:05:00.25Z".parse().unwrap();
        let text = |maybe: &str| format!(r#"{{"at":{},"maybe":{maybe}}}"#, serde_json::to_string(&at).unwrap());
        let read: Times = serde_json::from_str(&text("null")).unwrap();
        assert_eq!((read.at, read.maybe), (at, None));
        let read: Times = serde_json::from_str(&text(&serde_json::to_string(&at).unwrap())).unwrap();
        assert_eq!(read.maybe, Some(at));
        assert!(serde_json::from_str::<Times>(&text("\"yesterday\"")).is_err());
    }
}
