//! `berth notebooks`.

use std::process::{Command, Stdio};

use api::notebooks::{
    LaunchNotebook, Notebook, NotebookLogs, NotebookShare, NotebookShares, ShareNotebook, StartNotebook,
};
use domain::notebooks::{Access, NotebookState};
use serde::Serialize;

use crate::{
    args::{self, ListNotebooks, Notebooks},
    client::Client,
    events::Changes,
    fault::Fault,
    progress::{self, Progress},
    table::{self, Output, Table, print_text, printable, printable_lines},
    times,
};

const PATH: &str = "notebooks";
/// What opens an address in a browser, by system.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

pub async fn command(client: &Client, ask: &Notebooks) -> Result<(), Fault> {
    match ask {
        Notebooks::Launch(ask) => launch(client, ask).await,
        Notebooks::List(ask) => list(client, ask).await,
        Notebooks::Start { notebook, size } => {
            let body = StartNotebook { size: size.clone() };
            act(client, notebook, "start", &body, "is being started").await
        }
        Notebooks::Stop { notebook } => {
            act(client, notebook, "stop", &serde_json::json!({}), "is being stopped; its files stay").await
        }
        Notebooks::Keep { notebook } => act(client, notebook, "keep", &serde_json::json!({}), "is kept running").await,
        Notebooks::Share(ask) => share(client, ask).await,
        Notebooks::Unshare { notebook, person } => {
            client.delete(&[PATH, notebook, "shares", person]).await?;
            eprintln!("{} is not shared with {} any more.", printable(notebook), printable(person));
            Ok(())
        }
        Notebooks::Shares { notebook, json } => shares(client, notebook, json.output()).await,
        Notebooks::Delete { notebook } => {
            client.delete(&[PATH, notebook]).await?;
            eprintln!("{} is deleted; its files stay.", printable(notebook));
            Ok(())
        }
        Notebooks::Logs { notebook } => logs(client, notebook).await,
    }
}

async fn act<B: Serialize + Sync>(
    client: &Client,
    notebook: &str,
    act: &str,
    body: &B,
    said: &str,
) -> Result<(), Fault> {
    let changed: Notebook = client.post(&[PATH, notebook, act], body).await?;
    eprintln!("{} {said}.", printable(&changed.name));
    Ok(())
}

async fn launch(client: &Client, ask: &args::LaunchNotebook) -> Result<(), Fault> {
    let body = LaunchNotebook {
        name: ask.name.clone(),
        environment: ask.env.clone(),
        size: ask.size.clone(),
        labels: ask.labels.clone(),
    };
    let (mut changes, wanted) = Changes::watch(client).await;
    let mut notebook: Notebook = client.post(&[PATH], &body).await?;
    wanted.send_replace(Some(notebook.id));
    if ask.wait || ask.open {
        notebook = running(client, &mut changes, &notebook).await?;
    }
    let address = client.url(&[]).join(&format!("/notebooks/{}/open", notebook.name));
    let address = address.map_err(|error| Fault::Failed(error.to_string()))?.to_string();
    if ask.open && !opened(&address) {
        eprintln!("berth: no browser could be started here; open {address}");
    }
    match ask.json.output() {
        Output::Json => table::print_json(&notebook),
        Output::People => print_text(&format!("{address}\n")),
    }
}

async fn running(client: &Client, changes: &mut Changes, notebook: &Notebook) -> Result<Notebook, Fault> {
    let mut progress = Progress::new(false);
    let mut said = None;
    let id = notebook.id.to_string();
    let what = [PATH, &id];
    let found = progress::until(client, changes, &what, |notebook: &Notebook| {
        let news = (notebook.state, notebook.cause.clone());
        if said.as_ref() != Some(&news) {
            let cause = notebook.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
            progress.say(&format!("{} {}{cause}", notebook.name, notebook.state));
            said = Some(news);
        }
        progress.show_steps(notebook.id, &notebook.steps);
        match notebook.state {
            NotebookState::Waiting | NotebookState::Starting => None,
            NotebookState::Running => Some(Ok(notebook.clone())),
            NotebookState::Stopping | NotebookState::Stopped | NotebookState::Failed => {
                let cause = notebook.cause.as_deref().map(printable_lines).unwrap_or_default();
                Some(Err(Fault::Failed(format!(
                    "{} is {}: {cause}. See: berth notebooks logs {}",
                    notebook.name, notebook.state, notebook.name
                ))))
            }
        }
    });
    found.await?
}

fn opened(address: &str) -> bool {
    OPENERS.iter().any(|opener| {
        let mut command = Command::new(opener);
        command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

async fn list(client: &Client, ask: &ListNotebooks) -> Result<(), Fault> {
    let whose = match (ask.shared, ask.everybody) {
        (true, _) => "shared",
        (false, true) => "all",
        (false, false) => "mine",
    };
    let notebooks: Vec<Notebook> = client.list(&[PATH], &[("whose", whose.to_owned())]).await?;
    table::print(ask.json.output(), &notebooks, "No notebooks.", || {
        let now = times::here();
        let mut table = Table::new(&["NAME", "STATE", "SINCE", "WHO", "ENVIRONMENT", "SIZE", "HOST", "USED", "WHY"]);
        for notebook in &notebooks {
            let since = notebook.since.parse();
            table.row([
                notebook.name.clone(),
                notebook.state.to_string(),
                since.map_or_else(|_| notebook.since.clone(), |at| times::relative(at, now.timestamp())),
                notebook.person.clone(),
                notebook.environment.clone(),
                notebook.size.clone(),
                notebook.host.clone().unwrap_or_default(),
                notebook.active_at.as_deref().map(times::relative_text).unwrap_or_default(),
                why(notebook),
            ]);
        }
        table
    })
}

/// Why it is as it is; of one that runs, that it is about to stop.
fn why(notebook: &Notebook) -> String {
    match &notebook.stops_at {
        Some(at) => format!("idle, stops {}", times::relative_text(at)),
        None => notebook.cause.clone().unwrap_or_default(),
    }
}

async fn share(client: &Client, ask: &args::ShareNotebook) -> Result<(), Fault> {
    let access = if ask.full { Access::Full } else { Access::Read };
    let shared: NotebookShare =
        client.put(&[PATH, &ask.notebook, "shares", &ask.person], &ShareNotebook { access }).await?;
    let what = match access {
        Access::Read => "can look at it, and at all files in your home",
        Access::Full => "can do in it what you can, with all files in your home",
    };
    eprintln!("{} {what}.", printable(&shared.person));
    Ok(())
}

async fn shares(client: &Client, notebook: &str, output: Output) -> Result<(), Fault> {
    let shares: NotebookShares = client.get(&[PATH, notebook, "shares"]).await?;
    table::print(output, &shares.items, "Shared with nobody.", || {
        let mut table = Table::new(&["WHO", "ADDRESS", "ACCESS", "SINCE"]);
        for share in &shares.items {
            table.row([
                share.person.clone(),
                share.email.clone(),
                share.access.to_string(),
                times::relative_text(&share.created_at),
            ]);
        }
        table
    })
}

async fn logs(client: &Client, notebook: &str) -> Result<(), Fault> {
    let logs: NotebookLogs = client.get(&[PATH, notebook, "logs"]).await?;
    let text: String = logs.items.iter().map(|piece| piece.content.as_str()).collect();
    print_text(&printable_lines(&text))
}
