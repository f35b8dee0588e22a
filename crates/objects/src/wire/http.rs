//! Requests and responses.

use super::{SocketId, StreamId};
use serde::{Deserialize, Serialize};

/// In order, names in lower case; a name may come several times. Each `char` of a value is one byte of it.
///
/// Kept as one text, `name\nvalue\n` of each: most messages pass without a look at any of them. No part of a header has a
/// line's end in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Headers(String);

impl Headers {
    /// What is no whole header at its end is not seen.
    pub fn from_text(text: String) -> Self {
        Self(text)
    }

    pub fn as_text(&self) -> &str {
        &self.0
    }

    pub fn push(&mut self, name: &str, value: &str) {
        for part in [name, value] {
            self.0.push_str(part);
            self.0.push('\n');
        }
    }

    /// A value as bytes, which need not be ASCII.
    pub fn push_bytes(&mut self, name: &str, value: &[u8]) {
        self.0.push_str(name);
        self.0.push('\n');
        self.0.extend(value.iter().map(|byte| char::from(*byte)));
        self.0.push('\n');
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator('\n');
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Body {
    #[default]
    None,
    Whole(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Chunks follow, as many bytes as there is credit for: [`super::Limits::stream_window_bytes`] at first.
    Stream {
        stream: StreamId,
        length: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Redirect {
    #[default]
    Follow,
    Manual,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: String,
    pub url: String,
    pub headers: Headers,
    pub body: Body,
    /// Counts for [`super::Destination::Internet`].
    pub redirect: Redirect,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    pub status: u16,
    /// Empty: the usual one.
    pub status_text: String,
    pub headers: Headers,
    pub body: Body,
    /// The answer to an upgrade: the end of a WebSocket that goes to whoever asked.
    pub socket: Option<SocketId>,
    /// Where it came from in the end, empty where that is the URL asked for.
    pub url: String,
    pub redirected: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_what_was_pushed_in_order() {
        let mut headers = Headers::default();
        headers.push("a", "1");
        headers.push_bytes("b", &[0xe9]);
        headers.push("a", "");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "\u{e9}"), ("a", "")]);
        assert_eq!(Headers::from_text(headers.as_text().to_owned()), headers);
    }

    #[test]
    fn what_is_no_whole_header_is_not_seen() {
        for text in ["a\n1\nb", "a\n1\nb\n"] {
            let headers = Headers::from_text(text.to_owned());
            assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "1")]);
        }
    }
}
