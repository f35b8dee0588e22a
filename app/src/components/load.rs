//! What waits for the server: grey lines until it is there, the failure where it is not.

use leptos::prelude::*;

use super::problem::{FailurePage, FailurePanel};
use super::skeleton::Skeleton;
use crate::Failure;

/// What a page has of its data.
#[derive(Clone, PartialEq)]
enum Loaded {
    Not,
    Failed(Failure),
    There,
}

/// Shows `data` once it is there. `show` runs once and gets a signal that follows every refetch, so that what a person
/// has open or typed in the page stays when something else changed:
///
/// ```ignore
/// let host = Resource::new_blocking(move || (id(), live.get()), |(id, _)| host(id));
/// view! { <Page title="Host">{follow(host, |host| view! { ... }.into_any())}</Page> }
/// ```
pub fn follow<T>(
    data: Resource<Result<T, Failure>>,
    show: impl Fn(Signal<T>) -> AnyView + Clone + Send + Sync + 'static,
) -> impl IntoView
where
    T: Clone + PartialEq + Send + Sync + 'static,
{
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
                            let value = Memo::new(move |before: Option<&T>| match (data.get(), before) {
                                (Some(Ok(now)), _) => now,
                                (Some(Err(_)) | None, Some(before)) => before.clone(),
                                (Some(Err(_)) | None, None) => first.clone(),
                            });
                            show(value.into())
                        }
                        (Loaded::Failed(failure), _) => view! { <FailurePage failure/> }.into_any(),
                        (Loaded::Not | Loaded::There, _) => ().into_any(),
                    }
                }
            }
        </Transition>
    }
}

/// The failure of an action, beside what started it; nothing while there is none.
pub fn failure_of<T: Clone + Send + Sync + 'static>(
    value: impl Fn() -> Option<Result<T, Failure>> + Send + Sync + 'static,
) -> impl IntoView {
    move || value().and_then(Result::err).map(|failure| view! { <FailurePanel failure/> })
}
