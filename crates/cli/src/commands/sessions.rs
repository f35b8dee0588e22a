//! `berth sessions`, `end`, and how the others name a session.

use api::sessions::Session;
use domain::sessions::SessionState;
use jiff::Zoned;

use crate::{
    args::{End, Sessions},
    client::Client,
    commands::by_id,
    events::Changes,
    fault::Fault,
    progress,
    table::{self, Table, printable},
    times,
};

const PATH: &[&str] = &["sessions"];

/// Those that are not over, the ones that can be used first.
async fn open(client: &Client, whose: &str) -> Result<Vec<Session>, Fault> {
    let mut sessions = Vec::new();
    let states = [SessionState::Active, SessionState::Preparing, SessionState::Scheduled, SessionState::Reverting];
    for state in states {
        let query = [("whose", whose.to_owned()), ("state", state.to_string())];
        sessions.extend(client.list::<Session>(PATH, &query).await?);
    }
    Ok(sessions)
}

pub async fn list(client: &Client, ask: &Sessions) -> Result<(), Fault> {
    let whose = if ask.everybody { "all" } else { "mine" };
    let sessions =
        if ask.all { client.list(PATH, &[("whose", whose.to_owned())]).await? } else { open(client, whose).await? };
    table::print(ask.json.output(), &sessions, "No sessions.", || present(&sessions, &times::here()))
}

fn present(sessions: &[Session], now: &Zoned) -> Table {
    let mut table = Table::new(&["ID", "MACHINE", "WHO", "STATE", "SINCE", "UNTIL", "WHY"]);
    for session in sessions {
        let why = session.cause_detail.clone().or_else(|| session.cause.map(|cause| cause.to_string()));
        table.row([
            session.id.to_string(),
            session.machine.clone(),
            session.person.clone(),
            session.state.to_string(),
            session.since.parse().map_or_else(|_| session.since.clone(), |at| times::relative(at, now.timestamp())),
            session.end.parse().map_or_else(|_| session.end.clone(), |at| times::local(at, now)),
            why.unwrap_or_default(),
        ]);
    }
    table
}

/// A session of the caller's that is not over: by its id, part of it, or its machine's name.
pub async fn find(client: &Client, text: &str) -> Result<Session, Fault> {
    if text.parse::<uuid::Uuid>().is_ok() {
        return client.get(&["sessions", text]).await;
    }
    pick(&open(client, "mine").await?, text).cloned()
}

/// By machine's name first, where the one that can be used counts before those that wait.
fn pick<'a>(sessions: &'a [Session], text: &str) -> Result<&'a Session, Fault> {
    let on_machine = || sessions.iter().filter(|session| session.machine == text);
    let usable = on_machine().find(|session| session.state == SessionState::Active);
    match usable.or_else(|| on_machine().next()) {
        Some(session) => Ok(session),
        None => by_id(sessions, "session of yours", text, |session| session.id),
    }
}

pub async fn end(client: &Client, ask: &End) -> Result<(), Fault> {
    let session = find(client, &ask.session).await?;
    let (mut changes, wanted) = Changes::watch(client).await;
    wanted.send_replace(Some(session.id));
    client.tell(&["sessions", &session.id.to_string(), "end"], &serde_json::json!({})).await?;
    if !ask.wait {
        eprintln!("The session on {} is being ended.", printable(&session.machine));
        return Ok(());
    }
    let id = session.id.to_string();
    let what = ["sessions", &id];
    let last = progress::until(client, &mut changes, &what, |session: &Session| {
        session.state.is_final().then(|| session.clone())
    });
    let last = last.await?;
    match last.state {
        SessionState::Failed => Err(Fault::Failed(format!(
            "{} could not be reverted: {}",
            printable(&last.machine),
            progress::ending(&last)
        ))),
        SessionState::Scheduled
        | SessionState::Preparing
        | SessionState::Active
        | SessionState::Reverting
        | SessionState::Ended => {
            eprintln!("The session on {} has ended.", printable(&last.machine));
            Ok(())
        }
    }
}
