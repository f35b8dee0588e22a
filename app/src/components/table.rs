//! Tables of data.

use leptos::prelude::*;

/// A table in a box of its own that scrolls sideways where it must; on small screens each row becomes a card, for
/// which cells carry their heading in `data-label`:
///
/// ```text
/// <DataTable caption="Machines" headings=vec![Heading::text("Name"), Heading::number("CPU"), Heading::actions()]>
///     {rows.into_iter().map(|row| view! {
///         <tr>
///             <th scope="row"><a class="main-link" href=...>{row.name}</a></th>
///             <td class="num" data-label="CPU">{row.cpu}</td>
///             <td class="actions">...</td>
///         </tr>
///     }).collect_view()}
/// </DataTable>
/// ```
#[component]
pub fn DataTable(
    /// What it lists, for a screen reader.
    #[prop(into)]
    caption: String,
    headings: Vec<Heading>,
    children: Children,
) -> impl IntoView {
    let headings = headings.into_iter().map(|heading| match heading {
        Heading::Text(text) => view! { <th scope="col">{text}</th> }.into_any(),
        Heading::Number(text) => view! { <th scope="col" class="num">{text}</th> }.into_any(),
        Heading::Actions => {
            view! { <th scope="col" class="actions"><span class="visually-hidden">"Actions"</span></th> }.into_any()
        }
    });
    let label = caption.clone();
    view! {
        <div class="table-box" role="region" aria-label=label tabindex="0">
            <table class="table stack">
                <caption class="visually-hidden">{caption}</caption>
                <thead><tr>{headings.collect_view()}</tr></thead>
                <tbody>{children()}</tbody>
            </table>
        </div>
    }
}

/// The heading of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heading {
    Text(String),
    /// Its cells have the class `num`.
    Number(String),
    /// Buttons and links; its cells have the class `actions`.
    Actions,
}

impl Heading {
    pub fn text(text: &str) -> Self {
        Heading::Text(text.to_owned())
    }

    pub fn number(text: &str) -> Self {
        Heading::Number(text.to_owned())
    }

    pub fn actions() -> Self {
        Heading::Actions
    }
}

/// The link to the rest of a list; nothing at its end.
#[component]
pub fn Pager(
    /// The address of the next page.
    #[prop(into)]
    next: Option<String>,
    /// How many are shown here.
    shown: usize,
) -> impl IntoView {
    view! {
        <nav class="pager" aria-label="Pages of the list">
            <span>{shown}" shown"</span>
            {next.map(|next| view! { <a class="button small" rel="next" href=next>"Next page"</a> })}
        </nav>
    }
}
