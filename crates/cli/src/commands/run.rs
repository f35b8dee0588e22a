//! `berth run`, the client daemon: asks for a machine, waits, runs the command there as if it were here, keeps the
//! session alive beside it, and gives the machine back.

use std::{collections::BTreeMap, env, io, os::fd::AsFd, time::Duration};

use api::{
    reservations::{LabelsAsk, NewReservation, Reservation},
    streams::{ClientFrame, ExecAsk, Lasting},
};
use domain::sessions::Keep;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    args::Run,
    client::Client,
    commands::reservations::{environment, seconds},
    events::Changes,
    exec::{Ends, Exec},
    fault::Fault,
    keeper::Keeper,
    progress::{self, Progress},
    signals::{self, Signals},
    terminal,
};

/// So many requests to stop, and the program is left to the revert.
const STOPS_UNTIL_FORCED: u32 = 3;
/// Tries to start the program and to end the session while the server cannot be reached.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How long to wait for the stream's own last word after the session was seen to be over.
const LAST_WORD: Duration = Duration::from_secs(3);

/// The program's exit code.
pub async fn run(client: &Client, ask: &Run) -> Result<u8, Fault> {
    if ask.tty && !terminal::is_interactive() {
        return Err(Fault::Usage("--tty needs a terminal here; leave it away to use pipes".to_owned()));
    }
    let body = NewReservation {
        machine: ask.machine.clone(),
        labels: ask.labels.clone().map(LabelsAsk::Text),
        count: ask.labels.is_some().then_some(1),
        duration_s: Some(seconds(&ask.length)?),
        environment: environment(&ask.environment)?,
        keep: Some(Keep::Keepalive),
        ..NewReservation::default()
    };
    let exec = ExecAsk {
        argv: ask.command.clone(),
        env: variables(&ask.env, |name| env::var(name).ok())?,
        cwd: ask.cwd.clone(),
        tty: ask.tty.then(terminal::size),
        copy: None,
        lasting: Some(Lasting { id: Uuid::new_v4(), resume: None }),
    };
    // From here on a signal ends the session before it ends this program.
    let mut signals = Signals::listen()?;
    let (mut changes, wanted) = Changes::watch(client).await;
    let reservation: Reservation = client.post_once(&["reservations"], &body, Uuid::new_v4()).await?;
    let Some(session) = reservation.sessions.first().map(|session| session.id) else {
        return Err(client.strange("a reservation without a session"));
    };
    wanted.send_replace(Some(session));
    let mut keeper = Keeper::start(client, session, |text| eprintln!("berth: {text}"));
    let mut progress = Progress::new(ask.quiet);
    let result = tokio::select! {
        ready = progress::ready(client, &mut changes, session, &mut progress) => ready.map(|_| None),
        number = signals.stop() => Ok(Some(number)),
    };
    drop(changes);
    let result = match result {
        Ok(None) => stream(client, session, &exec, &mut keeper, &mut signals).await,
        Ok(Some(number)) => Ok(signals::exit_code(number)),
        Err(fault) => Err(fault),
    };
    drop(keeper);
    end(client, session).await;
    result
}

/// Starts the program and passes everything both ways until it ends.
async fn stream(
    client: &Client,
    session: Uuid,
    ask: &ExecAsk,
    keeper: &mut Keeper,
    signals: &mut Signals,
) -> Result<u8, Fault> {
    let exec = tokio::select! {
        exec = start(client, session, ask) => exec?,
        number = signals.stop() => return Ok(signals::exit_code(number)),
    };
    let raw = ask.tty.map(|_| terminal::Raw::enter()).transpose()?;
    let (controls_sender, controls) = mpsc::channel(16);
    let ends = Ends {
        stdin: tokio::io::stdin(),
        stdout: unbuffered(io::stdout().as_fd())?,
        stderr: unbuffered(io::stderr().as_fd())?,
        controls,
        tell: terminal::say,
    };
    let program = exec.run(ends);
    tokio::pin!(program);
    let mut stops = 0;
    let result = loop {
        let number = tokio::select! {
            ended = &mut program => break ended,
            number = signals.next() => number,
            why = keeper.over() => match timeout(LAST_WORD, &mut program).await {
                Ok(ended) => break ended,
                Err(_) => break Err(Fault::Failed(why)),
            },
        };
        let frame = if number == signals::WINCH {
            let size = terminal::size();
            ClientFrame::Resize { cols: size.cols, rows: size.rows }
        } else {
            if matches!(number, signals::INT | signals::TERM) {
                stops += 1;
            }
            if stops >= STOPS_UNTIL_FORCED {
                break Ok(signals::exit_code(number));
            }
            ClientFrame::Signal { number }
        };
        // So many that none can be sent: the connection is broken, and these would come too late.
        if controls_sender.try_send(frame).is_err() {
            continue;
        }
    };
    drop(raw);
    result
}

async fn start(client: &Client, session: Uuid, ask: &ExecAsk) -> Result<Exec, Fault> {
    let session = session.to_string();
    for _ in 1..TRIES {
        match Exec::start(client, &session, ask).await {
            Err(fault) if fault.is_passing() => sleep(TRY_AGAIN).await,
            result => return result,
        }
    }
    Exec::start(client, &session, ask).await
}

/// Gives the machine back. If that cannot be said, the lapse of the keepalives will say it.
async fn end(client: &Client, session: Uuid) {
    let id = session.to_string();
    for last in (1..=TRIES).map(|attempt| attempt == TRIES) {
        match client.tell(&["sessions", &id, "end"], &serde_json::json!({})).await {
            Ok(()) => return,
            // It is over already.
            Err(Fault::Refused(problem)) if matches!(problem.status, 404 | 409) => return,
            Err(fault) if fault.is_passing() && !last => sleep(TRY_AGAIN).await,
            Err(fault) => {
                eprintln!("berth: the session could not be ended and will end when its keepalives lapse: {fault}");
                return;
            }
        }
    }
}

/// The same file without the standard library's line buffer, which would cut a program's output into lines.
fn unbuffered(fd: std::os::fd::BorrowedFd<'_>) -> Result<tokio::fs::File, Fault> {
    let owned = fd.try_clone_to_owned().map_err(Fault::io("cannot write to standard output"))?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(owned)))
}

/// `NAME=VALUE`, or `NAME` for the value that `here` has.
fn variables(given: &[String], here: impl Fn(&str) -> Option<String>) -> Result<BTreeMap<String, String>, Fault> {
    let mut variables = BTreeMap::new();
    for text in given {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let missing = || Fault::Usage(format!("--env {text}: it is not set here, or is no text"));
                (text.as_str(), here(text).ok_or_else(missing)?)
            }
        };
        if name.is_empty() {
            return Err(Fault::Usage(format!("--env {text}: a variable needs a name")));
        }
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_given_or_taken_over() {
        let here = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
        let check = |given: &[&str]| variables(&given.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), here);
        let expected = [("A", "1=2"), ("EMPTY", ""), ("HOME", "/home/ada")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(check(&["A=1=2", "EMPTY=", "HOME"]).ok(), Some(BTreeMap::from(expected)));
        assert!(check(&["MISSING"]).is_err());
        assert!(check(&["=x"]).is_err());
    }
}
