//! `berth tokens`.

use api::tokens::{CreateToken, CreatedToken, Token};
use domain::tokens::Scope;

use crate::{
    args::{self, ScopeArg, Tokens},
    client::Client,
    commands::by_id,
    fault::Fault,
    table::{self, Output, Table, print_text},
    times,
};

pub async fn command(client: &Client, ask: &Tokens) -> Result<(), Fault> {
    match ask {
        Tokens::Create(ask) => create(client, ask).await,
        Tokens::List(json) => list(client, json.output()).await,
        Tokens::Revoke { id } => revoke(client, id).await,
    }
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Read => Scope::Read,
            ScopeArg::Use => Scope::Use,
            ScopeArg::All => Scope::All,
        }
    }
}

async fn create(client: &Client, ask: &args::CreateToken) -> Result<(), Fault> {
    let body = CreateToken { name: ask.name.clone(), scope: ask.scope.into(), expires_in_days: Some(ask.days) };
    let created: CreatedToken = client.post(&["tokens"], &body).await?;
    let expires = times::local(created.token.expires_at, &times::here());
    eprintln!("The token '{}' ({}) is good until {expires}. It is shown this once:", ask.name, created.token.scope);
    print_text(&format!("{}\n", created.secret))
}

async fn list(client: &Client, output: Output) -> Result<(), Fault> {
    let tokens: Vec<Token> = client.list(&["tokens"], &[]).await?;
    table::print(output, &tokens, "No tokens.", || {
        let now = times::here();
        let mut table = Table::new(&["ID", "NAME", "SCOPE", "EXPIRES", "LAST USED"]);
        for token in &tokens {
            table.row([
                token.id.to_string(),
                token.name.clone(),
                token.scope.to_string(),
                times::relative(token.expires_at, now.timestamp()),
                token.last_used_at.map_or_else(|| "never".to_owned(), |at| times::relative(at, now.timestamp())),
            ]);
        }
        table
    })
}

async fn revoke(client: &Client, id: &str) -> Result<(), Fault> {
    let tokens: Vec<Token> = client.list(&["tokens"], &[]).await?;
    let token = by_id(&tokens, "token", id, |token| token.id)?;
    client.delete(&["tokens", &token.id.to_string()]).await?;
    eprintln!("The token '{}' is worthless now.", table::printable(&token.name));
    Ok(())
}
