//! Labels.

use std::collections::BTreeMap;

use leptos::prelude::*;

/// `key=value`, one beside the other. With `link`, each leads to the list of what has the label.
#[component]
pub fn Tags(
    labels: BTreeMap<String, String>,
    /// The list's address, to which `?labels=key=value` is added.
    #[prop(optional)]
    link: Option<&'static str>,
) -> impl IntoView {
    let tags = labels.into_iter().map(|(key, value)| {
        let text = format!("{key}={value}");
        match link {
            Some(list) => {
                view! { <a class="tag" href=format!("{list}?labels={}", query_part(&text))>{text.clone()}</a> }
                    .into_any()
            }
            None => view! { <span class="tag">{text}</span> }.into_any(),
        }
    });
    view! { <span class="tags">{tags.collect_view()}</span> }
}

/// A text as part of a query: all but letters, digits and `-._~` in percent form.
pub fn query_part(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::query_part;

    #[test]
    fn queries_keep_what_is_plain() {
        assert_eq!(query_part("os=debian12, a/b"), "os%3Ddebian12%2C%20a%2Fb");
    }
}
