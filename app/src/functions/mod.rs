//! Server functions, as pages use them: [`Data`] reads and follows, [`Submission`] and [`SubmitForm`] send a form.
//!
//! What is asked and answered is text here, and gets its type where it is shown. So the browser has one resource, one form
//! and one way to ask for all functions; leptos' own make a copy of each for every function, which was a quarter
//! of what a browser had to fetch (docs/decisions/0003-functions-as-text.md).

mod data;
mod send;
mod submission;

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::Failure;

pub(crate) use data::Answered;
pub use data::Data;
pub use submission::{Submission, SubmitForm, SubmitFormProps};

/// What a server function answered: the JSON of its value, or its refusal.
pub(crate) type Answer = Result<Arc<str>, Failure>;

/// The value that an answer's text stands for.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|cause| Failure::misunderstood(&cause.to_string()))
}
