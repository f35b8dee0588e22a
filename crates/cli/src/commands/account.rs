//! `berth login`, `logout`, `whoami`.

use std::io::{self, IsTerminal, Read};

use api::people::Me;

use crate::{
    args::Login,
    client::Client,
    fault::Fault,
    settings::{self, Given, Secret, Settings},
    table::{Output, print_json, print_text, printable},
    terminal,
};

/// More than any token, bytes.
const MAX_TOKEN_BYTES: u64 = 4_096;

/// Asks for a token, tries it, and keeps it.
pub async fn login(given: &Given, ask: &Login) -> Result<(), Fault> {
    let known = settings::resolve(given)?;
    let token = if ask.token_stdin {
        let mut text = String::new();
        io::stdin()
            .take(MAX_TOKEN_BYTES)
            .read_to_string(&mut text)
            .map_err(Fault::io("cannot read the token from standard input"))?;
        Secret::new(&text)?
    } else if let Some(token) = &given.token {
        Secret::new(token)?
    } else if io::stdin().is_terminal() {
        eprintln!("Make a token at {}tokens (scope use or all).", known.server);
        Secret::new(&terminal::read_secret("Token: ")?)?
    } else {
        return Err(Fault::Usage("give the token on standard input with --token-stdin".to_owned()));
    };
    let settings = Settings { token: Some(token), ..known };
    let client = Client::new(&settings)?;
    let me: Me = client.get(&["me"]).await?;
    let file = settings::remember(&settings)?;
    eprintln!(
        "Signed in to {} as {} ({}). The token is kept in {}.",
        client.name(),
        printable(&me.person.email),
        me.person.role,
        file.display()
    );
    Ok(())
}

pub fn logout(given: &Given) -> Result<(), Fault> {
    let settings = settings::resolve(&Given { token: None, ..given.clone() })?;
    let server = settings.server.as_str().trim_end_matches('/');
    if settings::forget(&settings.server)? {
        eprintln!("The token for {server} is forgotten here. It stays valid: berth tokens revoke makes it worthless.");
    } else {
        eprintln!("There was no token for {server}.");
    }
    Ok(())
}

pub async fn whoami(client: &Client, output: Output) -> Result<(), Fault> {
    let me: Me = client.get(&["me"]).await?;
    match output {
        Output::Json => print_json(&me),
        Output::People => print_text(&format!(
            "{} <{}>, {}, at {} with a token of scope {}\n",
            printable(&me.person.name),
            printable(&me.person.email),
            me.person.role,
            client.name(),
            me.scope
        )),
    }
}
