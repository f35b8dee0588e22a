//! One's own API tokens: make (the secret is shown once), revoke.

use api::Page as Items;
use api::tokens::{CreatedToken, Token};
use domain::events::EventKind;
use domain::tokens::Scope;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use uuid::Uuid;

use crate::Failure;
use crate::components::copy::Secret;
use crate::components::empty::Empty;
use crate::components::field::{SelectField, TextField};
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Ago, Time};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

#[server(prefix = "/fn", endpoint = "tokens-list", input = leptos::server_fn::codec::Json)]
async fn list(cursor: Option<String>) -> Result<Items<Token>, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let page = services::tokens::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, Token::from))
}

#[server(prefix = "/fn", endpoint = "tokens-create")]
async fn create(name: String, scope: Scope, days: u32) -> Result<CreatedToken, Failure> {
    let (services, call) = crate::server::asked()?;
    let created = services::tokens::create(&services, &call, &name, scope, Some(days)).await;
    let (token, secret) = created.map_err(crate::server::failure)?;
    Ok(CreatedToken { token: token.into(), secret })
}

#[server(prefix = "/fn", endpoint = "tokens-revoke")]
async fn revoke(token: Uuid) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::tokens::revoke(&services, &call, token.into()).await.map_err(crate::server::failure)
}

fn scopes() -> Vec<(String, String)> {
    let meaning = |scope: Scope| match scope {
        Scope::Read => "read: look at everything",
        Scope::Use => "use: book, use and end sessions",
        Scope::All => "all: everything that you may do",
    };
    Scope::ALL.iter().map(|scope| (scope.word().to_owned(), meaning(*scope).to_owned())).collect()
}

/// Fields of the form beside which a refusal is said.
const FIELDS: &[&str] = &["name", "scope", "expires_in_days"];

#[component]
pub fn Tokens() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Token]);
    let creating = Submission::<Create>::new();
    let revoking = Submission::<Revoke>::new();
    let tokens = Data::new(
        move || List { cursor: query.with(|query| query.get("cursor")) },
        move || live.get() + creating.answered() + revoking.answered(),
    );
    view! {
        <Page title="Tokens" lede="For the command line and scripts: each acts as you, within its scope.">
            <section class="card" aria-labelledby="create">
                <h2 id="create">"New token"</h2>
                <SubmitForm to=creating class="form">
                    <div class="form-row">
                        <TextField name="name" label="What for" max_length=80 autocomplete="off" placeholder="nightly build" error=creating.error_of(&["name"])/>
                        <SelectField name="scope" label="Scope" options=scopes() selected="use" error=creating.error_of(&["scope"])/>
                        <TextField name="days" label="Days until it expires" kind="number" value="90" min="1" max="365" error=creating.error_of(&["expires_in_days"])/>
                    </div>
                    <div class="form-actions">
                        <button type="submit" class="button primary" disabled=move || creating.pending().get()>"Make token"</button>
                    </div>
                </SubmitForm>
                {failure_of(move || creating.failure_beside(FIELDS))}
                {move || creating.done().map(|created| view! {
                    <div class="column" role="status">
                        <p>"Copy "<strong>{created.token.name}</strong>" now: it is not shown again."</p>
                        <Secret text=created.secret what="the token"/>
                    </div>
                })}
            </section>
            {failure_of(move || revoking.failure())}
            {follow(tokens, move |tokens| view! { <Table tokens revoking/> }.into_any())}
        </Page>
    }
}

#[component]
fn Table(tokens: Signal<Items<Token>>, revoking: Submission<Revoke>) -> impl IntoView {
    let headings = || {
        vec![
            Heading::text("Name"),
            Heading::text("Scope"),
            Heading::text("Made"),
            Heading::text("Last used"),
            Heading::text("Expires"),
            Heading::actions(),
        ]
    };
    let row = move |token: Token| {
        view! {
            <tr>
                <th scope="row">{token.name.clone()}</th>
                <td data-label="Scope"><span class="tag">{token.scope.word()}</span></td>
                <td data-label="Made"><Time at=token.created_at/></td>
                <td data-label="Last used">{match token.last_used_at {
                    Some(at) => view! { <Ago at/> }.into_any(),
                    None => view! { <span class="soft">"never"</span> }.into_any(),
                }}</td>
                <td data-label="Expires"><Time at=token.expires_at/></td>
                <td class="actions">
                    <SubmitForm to=revoking>
                        <input type="hidden" name="token" value=token.id.to_string()/>
                        <button type="submit" class="button small danger" aria-label=format!("Revoke {}", token.name)><Icon name="trash"/>"Revoke"</button>
                    </SubmitForm>
                </td>
            </tr>
        }
    };
    move || {
        let Items { items, next_cursor } = tokens.get();
        if items.is_empty() {
            return view! {
                <Empty icon="tokens" title="No tokens yet">
                    <p>"A token lets the command line or a script act as you. Make the first one above, or run “berth login”."</p>
                </Empty>
            }.into_any();
        }
        let shown = items.len();
        let next = next_cursor.map(|cursor| format!("/tokens?cursor={}", query_part(&cursor)));
        view! {
            <DataTable caption="Your tokens" headings=headings()>{items.into_iter().map(row).collect_view()}</DataTable>
            <Pager next shown/>
        }
        .into_any()
    }
}
