//! `berth reserve`, `reservations`, `cancel`, `extend`.

use std::{fs, path::Path};

use api::{
    reservations::{Environment, LabelsAsk, NewReservation, Reservation, ReservationChange},
    sessions::Session,
};
use domain::reservations::ReservationState;
use jiff::{Timestamp, Zoned};
use uuid::Uuid;

use crate::{
    args::{Cancel, EnvironmentArgs, Extend, Reservations, Reserve},
    client::Client,
    commands::by_id,
    events::Changes,
    fault::Fault,
    progress::{self, Progress},
    table::{self, Output, Table, print_json, print_text, printable},
    times::{self, BadTime},
};

const PATH: &[&str] = &["reservations"];
/// Booked if neither --for nor --until is given, in seconds.
const DEFAULT_LENGTH_S: u64 = 3_600;

impl From<BadTime> for Fault {
    fn from(bad: BadTime) -> Self {
        Fault::Usage(bad.to_string())
    }
}

/// A length of time in whole seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, Fault> {
    Ok(u64::try_from(times::length(text)?.as_secs()).unwrap_or(0))
}

/// What the environment starts from; none where nothing was asked.
pub(crate) fn environment(ask: &EnvironmentArgs) -> Result<Option<Environment>, Fault> {
    let setup = ask.setup.as_deref().map(read_script).transpose()?;
    if ask.env_image.is_none() && setup.is_none() {
        return Ok(None);
    }
    Ok(Some(Environment { image: ask.env_image.clone(), setup, setup_timeout_s: None }))
}

fn read_script(file: &Path) -> Result<String, Fault> {
    let name = file.display();
    let script = fs::read(file).map_err(Fault::io(format!("cannot read {name}")))?;
    if script.len() > domain::environments::MAX_SETUP_BYTES {
        let most = domain::environments::MAX_SETUP_BYTES;
        return Err(Fault::Usage(format!("{name} has {} bytes; a set-up script has at most {most}", script.len())));
    }
    String::from_utf8(script).map_err(|_| Fault::Usage(format!("{name} is no text (UTF-8)")))
}

/// The body of the request, seen from `now`.
fn new_reservation(ask: &Reserve, now: &Zoned) -> Result<NewReservation, Fault> {
    let moment = |text: &String| times::moment(text, now).map(|at| at.to_string());
    let (mut machine, mut machines) = (None, None);
    match ask.machine.as_slice() {
        [] => {}
        [one] => machine = Some(one.clone()),
        several => machines = Some(several.to_vec()),
    }
    let duration_s = match (&ask.until.length, &ask.until.until) {
        (Some(length), _) => Some(seconds(length)?),
        (None, None) => Some(DEFAULT_LENGTH_S),
        (None, Some(_)) => None,
    };
    Ok(NewReservation {
        count: ask.labels.is_some().then_some(ask.count),
        machine,
        machines,
        labels: ask.labels.clone().map(LabelsAsk::Text),
        start: ask.start.as_ref().filter(|start| *start != "now").map(moment).transpose()?,
        end: ask.until.until.as_ref().map(moment).transpose()?,
        duration_s,
        environment: environment(&ask.environment)?,
        purpose: ask.purpose.clone(),
        keep: None,
    })
}

pub async fn reserve(client: &Client, ask: &Reserve) -> Result<(), Fault> {
    let body = new_reservation(ask, &times::here())?;
    let watch = if ask.wait { Some(Changes::watch(client).await) } else { None };
    let mut reservation: Reservation = client.post_once(PATH, &body, Uuid::new_v4()).await?;
    if let Some((mut changes, wanted)) = watch {
        let mut progress = Progress::new(ask.json.json);
        for session in &mut reservation.sessions {
            wanted.send_replace(Some(session.id));
            *session = progress::ready(client, &mut changes, session.id, &mut progress).await?;
        }
    }
    match ask.json.output() {
        Output::Json => print_json(&reservation),
        Output::People => print_text(&booked(&reservation, &times::here())),
    }
}

/// What was booked, and what to type next.
fn booked(reservation: &Reservation, now: &Zoned) -> String {
    let local = |at: &str| at.parse().map_or_else(|_| at.to_owned(), |at| times::local(at, now));
    let mut text = format!(
        "Reservation {}: {} from {} to {}\n",
        reservation.id,
        printable(&reservation.machines.join(", ")),
        local(&reservation.start),
        local(&reservation.end)
    );
    for Session { machine, state, .. } in &reservation.sessions {
        text.push_str(&format!("  {}  {state}  berth shell {}\n", printable(machine), printable(machine)));
    }
    text
}

pub async fn list(client: &Client, ask: &Reservations) -> Result<(), Fault> {
    let reservations = fetch(client, ask.everybody, ask.all).await?;
    table::print(ask.json.output(), &reservations, "No reservations.", || present(&reservations, &times::here()))
}

async fn fetch(client: &Client, everybody: bool, all: bool) -> Result<Vec<Reservation>, Fault> {
    let mut query = vec![("whose", if everybody { "all" } else { "mine" }.to_owned())];
    if !all {
        query.push(("state", ReservationState::Confirmed.to_string()));
    }
    client.list(PATH, &query).await
}

fn present(reservations: &[Reservation], now: &Zoned) -> Table {
    let mut table = Table::new(&["ID", "STATE", "START", "END", "", "WHO", "MACHINES", "PURPOSE"]);
    for reservation in reservations {
        let (start, end) = (reservation.start.parse::<Timestamp>(), reservation.end.parse::<Timestamp>());
        let local = |at: &Result<Timestamp, _>, raw: &str| {
            at.as_ref().map_or_else(|_| raw.to_owned(), |at| times::local(*at, now))
        };
        let now = now.timestamp();
        let when = match (&start, &end) {
            (Ok(start), _) if *start > now => format!("begins {}", times::relative(*start, now)),
            (_, Ok(end)) if *end > now => format!("ends {}", times::relative(*end, now)),
            (_, Ok(end)) => format!("ended {}", times::relative(*end, now)),
            (_, Err(_)) => String::new(),
        };
        table.row([
            reservation.id.to_string(),
            reservation.state.to_string(),
            local(&start, &reservation.start),
            local(&end, &reservation.end),
            when,
            reservation.person.clone(),
            reservation.machines.join(","),
            reservation.purpose.clone().unwrap_or_default(),
        ]);
    }
    table
}

async fn find(client: &Client, text: &str) -> Result<Reservation, Fault> {
    if text.parse::<Uuid>().is_ok() {
        return client.get(&["reservations", text]).await;
    }
    let reservations = fetch(client, false, false).await?;
    by_id(&reservations, "reservation of yours", text, |reservation| reservation.id).cloned()
}

pub async fn cancel(client: &Client, ask: &Cancel) -> Result<(), Fault> {
    let reservation = find(client, &ask.reservation).await?;
    client.delete(&["reservations", &reservation.id.to_string()]).await?;
    eprintln!("The reservation of {} is cancelled.", printable(&reservation.machines.join(", ")));
    Ok(())
}

pub async fn extend(client: &Client, ask: &Extend) -> Result<(), Fault> {
    let reservation = find(client, &ask.reservation).await?;
    let end = match (&ask.length, &ask.until) {
        (Some(length), _) => {
            let now: Timestamp = reservation
                .end
                .parse()
                .map_err(|_| Fault::Failed(format!("the server sent '{}' as an end", printable(&reservation.end))))?;
            now.checked_add(times::length(length)?).map_err(|_| BadTime::Length(length.clone()))?
        }
        (None, Some(until)) => times::moment(until, &times::here())?,
        (None, None) => return Err(Fault::Usage("say --for or --until".to_owned())),
    };
    let change = ReservationChange { end: Some(end.to_string()), ..ReservationChange::default() };
    let changed: Reservation = client.patch(&["reservations", &reservation.id.to_string()], &change).await?;
    match ask.json.output() {
        Output::Json => print_json(&changed),
        Output::People => {
            let machines = printable(&changed.machines.join(", "));
            print_text(&format!("{machines} until {} now.\n", times::local_text(&changed.end)))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn asked(line: &str) -> Result<NewReservation, Fault> {
        let now: Zoned = "2026-03-10T13:30:00+01:00[Europe/Berlin]".parse().unwrap_or_else(|error| panic!("{error}"));
        let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        let Command::Reserve(ask) = cli.command else { panic!("{line}") };
        new_reservation(&ask, &now)
    }

    #[test]
    fn the_request_says_what_the_line_says() {
        let check = |line: &str, expected: serde_json::Value| {
            let body = asked(line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
            assert_eq!(serde_json::to_value(body).unwrap_or_default(), expected, "{line}");
        };
        check("berth reserve --machine lab-1/a", serde_json::json!({"machine": "lab-1/a", "duration_s": 3600}));
        check(
            "berth reserve --machine a --machine b --start 14:00 --until 18:00 --purpose build",
            serde_json::json!({
                "machines": ["a", "b"], "start": "2026-03-10T13:00:00Z", "end": "2026-03-10T17:00:00Z", "purpose": "build"
            }),
        );
        check(
            "berth reserve --labels gpu=a100 --count 4 --for 2h --start now --env-image ubuntu:24.04",
            serde_json::json!({
                "labels": "gpu=a100", "count": 4, "duration_s": 7200,
                "environment": {"image": "ubuntu:24.04", "setup": null, "setup_timeout_s": null}
            }),
        );
        assert!(matches!(asked("berth reserve --machine a --for soon"), Err(Fault::Usage(_))));
        assert!(matches!(asked("berth reserve --machine a --setup /nonexistent/x"), Err(Fault::Io { .. })));
    }
}
