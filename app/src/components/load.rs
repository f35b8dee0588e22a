//! What waits for the server: grey lines until it is there, the failure where it is not.

use std::sync::Arc;

use leptos::prelude::*;
use serde::de::DeserializeOwned;

use super::problem::{FailurePage, FailurePanel};
use super::skeleton::Skeleton;
use crate::Failure;
use crate::functions::{Answered, Data, read};

/// What a page has of its data.
#[derive(Clone, PartialEq)]
enum Loaded {
    Not,
    Failed(Failure),
    There,
}

/// Makes the view of what the answer's text stands for; it is told the first text, and follows the others.
type Show = Arc<dyn Fn(&str, Memo<Arc<str>>) -> Result<AnyView, Failure> + Send + Sync>;

/// Shows `data` once it is there. `show` runs once and gets a signal that follows every refetch, so that what a person
/// has open or typed in the page stays when something else changed:
///
/// ```text
/// let host = Data::new(move || Get { id: id.get() }, move || live.get());
/// view! { <Page title="Host">{follow(host, |host| view! { ... }.into_any())}</Page> }
/// ```
pub fn follow<T>(data: Data<T>, show: impl Fn(Signal<T>) -> AnyView + Send + Sync + 'static) -> AnyView
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    follow_text(
        data.answer(),
        Arc::new(move |first, text| {
            let first = read::<T>(first)?;
            // Another text is another value: nothing has to be compared.
            let value = Memo::new_with_compare(
                move |before: Option<&T>| {
                    let now = text.get();
                    match before {
                        None => first.clone(),
                        Some(before) => read(&now).unwrap_or_else(|_| before.clone()),
                    }
                },
                |_, _| true,
            );
            Ok(show(value.into()))
        }),
    )
}

/// The part of [`follow`] that is the same for all that is shown.
fn follow_text(data: Answered, show: Show) -> AnyView {
    view! {
        <Transition fallback=|| view! { <Skeleton/> }>
            {
                let show = show.clone();
                move || {
                    let state = Memo::new(move |before: Option<&Loaded>| match (data.get(), before) {
                        (Some(Ok(_)), _) => Loaded::There,
                        // The server is away for a moment: what was seen stays, and a banner says how old it is.
                        (Some(Err(failure)), Some(Loaded::There)) if failure.0.status >= 500 => Loaded::There,
                        (Some(Err(failure)), _) => Loaded::Failed(failure),
                        (None, _) => Loaded::Not,
                    });
                    let show = show.clone();
                    // `get_untracked` alone tracks under a Suspense, where it waits for the data: with each refetch
                    // all that is shown would be made anew, terminals and open menus too.
                    move || match (state.get(), untrack(|| data.get_untracked())) {
                        (Loaded::There, Some(Ok(first))) => {
                            let kept = first.clone();
                            let text = Memo::new(move |before: Option<&Arc<str>>| match (data.get(), before) {
                                (Some(Ok(now)), _) => now,
                                (Some(Err(_)) | None, Some(before)) => before.clone(),
                                (Some(Err(_)) | None, None) => kept.clone(),
                            });
                            show(&first, text).unwrap_or_else(|failure| view! { <FailurePage failure/> }.into_any())
                        }
                        (Loaded::Failed(failure), _) => view! { <FailurePage failure/> }.into_any(),
                        (Loaded::Not | Loaded::There, _) => ().into_any(),
                    }
                }
            }
        </Transition>
    }
    .into_any()
}

/// The failure of a form, beside what sent it; nothing while there is none.
pub fn failure_of(failure: impl Fn() -> Option<Failure> + Send + Sync + 'static) -> AnyView {
    shown_failure(Signal::derive(failure))
}

fn shown_failure(failure: Signal<Option<Failure>>) -> AnyView {
    view! { {move || failure.get().map(|failure| view! { <FailurePanel failure/> })} }.into_any()
}
