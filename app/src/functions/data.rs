//! What a page reads from the server and follows.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::server::codee::{Decoder, Encoder};
use leptos::server_fn::ServerFn;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, read};
use crate::Failure;

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a server function says, asked anew whenever its arguments or `changes` change. The function's `input` is JSON.
/// Made at the top of a page, shown with [`follow`](crate::components::load::follow):
///
/// ```text
/// let live = use_live(&[EventKind::Machine, EventKind::Session]);
/// let machines = Data::new(move || List { wanted: wanted.get() }, move || live.get());
/// ```
pub struct Data<T> {
    answer: Answered,
    value: PhantomData<fn() -> T>,
}

/// The resource behind every [`Data`].
pub(crate) type Answered = Resource<Answer, AnswerText>;

impl<T> Clone for Data<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Data<T> {}

impl<T: DeserializeOwned> Data<T> {
    pub fn new<F>(
        ask: impl Fn() -> F + Send + Sync + 'static,
        changes: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self
    where
        F: ServerFn<Output = T, Error = Failure> + Serialize + DeserializeOwned + 'static,
        T: Serialize,
    {
        // Arguments are plain structs of text and numbers, which always have a JSON.
        let ask = move || Asked { arguments: serde_json::to_string(&ask()).unwrap_or_default(), changes: changes() };
        Data { answer: resource(Box::new(ask), answer::<F>), value: PhantomData }
    }

    /// What is there now.
    pub fn get(self) -> Option<Result<T, Failure>> {
        self.answer.get().map(|answer| read(&answer?))
    }

    pub(crate) fn answer(self) -> Answered {
        self.answer
    }
}

/// What the server is asked: the same twice is asked once.
#[derive(Clone, PartialEq)]
struct Asked {
    arguments: String,
    changes: u64,
}

fn resource(ask: Box<dyn Fn() -> Asked + Send + Sync>, answer: fn(String) -> Answering) -> Answered {
    Resource::new_with_options(ask, move |asked: Asked| answer(asked.arguments), true)
}

/// The document is made where the functions are: no request.
#[cfg(feature = "ssr")]
fn answer<F>(arguments: String) -> Answering
where
    F: ServerFn<Error = Failure> + DeserializeOwned + 'static,
    F::Output: Serialize,
{
    Box::pin(async move {
        let said = read::<F>(&arguments)?.run_body().await?;
        serde_json::to_string(&said).map(Arc::from).map_err(|cause| Failure::misunderstood(&cause.to_string()))
    })
}

#[cfg(not(feature = "ssr"))]
fn answer<F: ServerFn>(arguments: String) -> Answering {
    ask_server(F::PATH, arguments)
}

#[cfg(not(feature = "ssr"))]
fn ask_server(path: &'static str, arguments: String) -> Answering {
    use super::send::{JSON, send};
    // JavaScript's objects stay on their thread; a browser has one.
    Box::pin(send_wrapper::SendWrapper::new(async move { send(path, JSON, &arguments).await.answer }))
}

/// How an answer is written into the document that the server makes: `+` and its JSON, or `-` and that of its refusal.
pub struct AnswerText;

impl Encoder<Answer> for AnswerText {
    type Error = Infallible;
    type Encoded = String;

    fn encode(answer: &Answer) -> Result<String, Infallible> {
        Ok(match answer {
            Ok(text) => format!("+{text}"),
            Err(failure) => format!("-{}", serde_json::to_string(failure).unwrap_or_default()),
        })
    }
}

impl Decoder<Answer> for AnswerText {
    type Error = Infallible;
    type Encoded = str;

    fn decode(text: &str) -> Result<Answer, Infallible> {
        Ok(match text.split_at_checked(1) {
            Some(("+", text)) => Ok(Arc::from(text)),
            Some((_, refusal)) => Err(read(refusal).unwrap_or_else(|misunderstood| misunderstood)),
            None => Err(Failure::misunderstood("no answer")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &Answer) {
        let Ok(text) = AnswerText::encode(answer);
        let Ok(back) = AnswerText::decode(&text);
        assert_eq!(&back, answer);
    }

    #[test]
    fn an_answer_comes_through_the_document() {
        check(&Ok(Arc::from(r#"{"name":"ä"}"#)));
        check(&Ok(Arc::from("")));
        check(&Err(Failure::unreachable()));
        let Ok(nothing) = AnswerText::decode("");
        assert_eq!(nothing.unwrap_err().0.status, 502);
    }
}
