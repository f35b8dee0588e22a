//! The error of every server function: a problem, as REST v1 tells it.

use api::Problem;
use leptos::server_fn::{codec::JsonEncoding, error::FromServerFnError, error::ServerFnErrorErr};
use serde::{Deserialize, Serialize};

/// What a server function or resource of a page fails with. Show it with
/// [`ProblemPanel`](crate::components::problem::ProblemPanel), or beside the field that [`Problem::field`] names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Failure(pub Problem);

impl Failure {
    /// What to say beside the field `name`, if this is about it: without that name, which programs get before it.
    pub fn of_field(&self, name: &str) -> Option<String> {
        let detail = self.0.detail.as_str();
        let why = detail.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(detail);
        (self.0.field.as_deref() == Some(name)).then(|| why.to_owned())
    }

    /// No answer came.
    pub(crate) fn unreachable() -> Self {
        let detail = "Nothing was changed as far as this page knows. Check your connection, then try again.";
        on_the_way("unreachable", "The server cannot be reached", 503, detail.to_owned())
    }

    /// An answer that means nothing here.
    pub(crate) fn misunderstood(cause: &str) -> Self {
        let detail = format!("The server may just have been updated: reload the page. ({cause})");
        on_the_way("protocol", "The page and the server did not understand each other", 502, detail)
    }

    /// The refusal that an answer with this status holds; whoever stands between may answer something else.
    pub(crate) fn of_answer(status: u16, text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| match status {
            502..=504 => Failure::unreachable(),
            _ => Failure::misunderstood(&format!("HTTP {status}")),
        })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Failure {}

impl FromServerFnError for Failure {
    type Encoder = JsonEncoding;

    /// What went wrong on the way between browser and server; the causes are no secrets, they are the browser's own.
    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        match error {
            ServerFnErrorErr::Request(_) => Failure::unreachable(),
            ServerFnErrorErr::Args(cause) | ServerFnErrorErr::MissingArg(cause) => {
                on_the_way("bad-input", "The form is not complete", 400, format!("Check what you entered: {cause}."))
            }
            ServerFnErrorErr::Registration(cause)
            | ServerFnErrorErr::UnsupportedRequestMethod(cause)
            | ServerFnErrorErr::ServerError(cause)
            | ServerFnErrorErr::MiddlewareError(cause)
            | ServerFnErrorErr::Deserialization(cause)
            | ServerFnErrorErr::Serialization(cause)
            | ServerFnErrorErr::Response(cause) => Failure::misunderstood(&cause),
        }
    }
}

fn on_the_way(kind: &str, title: &str, status: u16, detail: String) -> Failure {
    Failure(Problem {
        kind: format!("urn:berth:problem:{kind}"),
        title: title.to_owned(),
        status,
        detail,
        request_id: None,
        field: None,
        held_by: None,
        next_free: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_field_its_name_is_not_said_again() {
        let check = |field: Option<&str>, detail: &str, expected: Option<&str>| {
            let mut failure = on_the_way("invalid", "Invalid input", 422, detail.to_owned());
            failure.0.field = field.map(str::to_owned);
            assert_eq!(failure.of_field("name").as_deref(), expected, "{field:?} {detail}");
        };
        check(Some("name"), "name: 'A' cannot be a name here", Some("'A' cannot be a name here"));
        check(Some("name"), "names are short", Some("names are short"));
        check(Some("note"), "note: is too long", None);
        check(None, "name: of nothing", None);
    }
}
