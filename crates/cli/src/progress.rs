//! Waiting for a session: its state, and each step as it is done, on standard error of a person.

use std::{collections::HashMap, io::IsTerminal};

use api::sessions::{Session, Step};
use domain::sessions::{SessionState, StepState};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{
    client::Client,
    events::Changes,
    fault::Fault,
    table::{printable, printable_lines},
    times,
};

/// How long a server that cannot be reached is waited for.
const PATIENCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Says what is new since the last time.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    state: HashMap<uuid::Uuid, SessionState>,
    steps: HashMap<(uuid::Uuid, String), StepState>,
}

impl Progress {
    /// On a terminal, unless `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { shown: !quiet && std::io::stderr().is_terminal(), state: HashMap::new(), steps: HashMap::new() }
    }

    pub fn say(&self, text: &str) {
        if self.shown {
            eprintln!("berth: {}", printable(text));
        }
    }

    pub fn show(&mut self, session: &Session) {
        for line in self.news(session) {
            if self.shown {
                eprintln!("{line}");
            }
        }
    }

    /// As [`Progress::show`], of something else that has steps.
    pub fn show_steps(&mut self, of: uuid::Uuid, steps: &[Step]) {
        for line in self.steps_news(of, steps) {
            if self.shown {
                eprintln!("{line}");
            }
        }
    }

    fn news(&mut self, session: &Session) -> Vec<String> {
        let mut lines = Vec::new();
        if self.state.insert(session.id, session.state) != Some(session.state) {
            let detail = session.cause_detail.as_ref().map(|detail| format!(": {}", printable(detail)));
            lines.push(format!(
                "berth: {} {}{}",
                printable(&session.machine),
                session.state,
                detail.unwrap_or_default()
            ));
        }
        lines.extend(self.steps_news(session.id, &session.steps));
        lines
    }

    fn steps_news(&mut self, of: uuid::Uuid, steps: &[Step]) -> Vec<String> {
        let mut lines = Vec::new();
        for step in steps {
            let known = self.steps.insert((of, step.name.clone()), step.state);
            let told = match step.state {
                StepState::Pending | StepState::Skipped => false,
                StepState::Running | StepState::Done | StepState::Failed => known != Some(step.state),
            };
            if told {
                lines.push(format!("berth:   {}", step_text(step)));
            }
        }
        lines
    }
}

fn step_text(step: &Step) -> String {
    let took = step
        .started_at
        .as_ref()
        .zip(step.ended_at.as_ref())
        .and_then(|(from, to)| Some(to.parse::<Timestamp>().ok()?.duration_since(from.parse::<Timestamp>().ok()?)))
        .map(|took| format!(" ({} ms)", took.as_millis()))
        .unwrap_or_default();
    let detail = match step.state {
        StepState::Failed => step.detail.as_ref().map(|detail| format!("\n{}", printable_lines(detail))),
        StepState::Pending | StepState::Running | StepState::Done | StepState::Skipped => None,
    };
    format!("{} {}{took}{}", printable(&step.name), step.state, detail.unwrap_or_default())
}

/// Why a session is over, in words.
pub fn ending(session: &Session) -> String {
    let cause = session.cause.map_or_else(|| session.state.to_string(), |cause| cause.to_string());
    let detail = session.cause_detail.as_ref().map(|detail| format!(": {}", printable_lines(detail)));
    let failed: Vec<String> =
        session.steps.iter().filter(|step| step.state == StepState::Failed).map(step_text).collect();
    let steps = if failed.is_empty() { String::new() } else { format!("\n  {}", failed.join("\n  ")) };
    format!("{cause}{}{steps}", detail.unwrap_or_default())
}

/// Asks for `what` (the parts of its path) again and again, as things change, until `done` says so. A server that is away for a moment is waited for.
pub async fn until<S: DeserializeOwned, T>(
    client: &Client,
    changes: &mut Changes,
    what: &[&str],
    mut done: impl FnMut(&S) -> Option<T>,
) -> Result<T, Fault> {
    let mut away_since: Option<Timestamp> = None;
    loop {
        match client.get::<S>(what).await {
            Ok(found) => {
                away_since = None;
                if let Some(result) = done(&found) {
                    return Ok(result);
                }
            }
            Err(fault) if fault.is_passing() => {
                let now = times::now();
                if now.duration_since(*away_since.get_or_insert(now)) > PATIENCE {
                    return Err(fault);
                }
            }
            Err(fault) => return Err(fault),
        }
        changes.next().await;
    }
}

/// Waits until the session is active.
pub async fn ready(
    client: &Client,
    changes: &mut Changes,
    id: uuid::Uuid,
    progress: &mut Progress,
) -> Result<Session, Fault> {
    let id = id.to_string();
    let what = ["sessions", &id];
    let found = until(client, changes, &what, |session: &Session| {
        progress.show(session);
        match session.state {
            SessionState::Scheduled | SessionState::Preparing => None,
            SessionState::Active => Some(Ok(session.clone())),
            SessionState::Reverting | SessionState::Ended | SessionState::Failed => Some(Err(Fault::Failed(format!(
                "the session on {} ended before it was ready: {}",
                printable(&session.machine),
                ending(session)
            )))),
        }
    });
    found.await?
}

#[cfg(test)]
mod tests {
    use domain::sessions::Keep;
    use uuid::Uuid;

    use super::*;

    fn session(state: SessionState, steps: &[(&str, StepState)]) -> Session {
        let at = "2026-03-10T12:00:00Z".to_owned();
        Session {
            id: Uuid::nil(),
            reservation: Uuid::nil(),
            machine: "lab-1/a".to_owned(),
            machine_id: Uuid::nil(),
            host_id: Uuid::nil(),
            person: "Ada".to_owned(),
            person_id: Uuid::nil(),
            state,
            since: at.clone(),
            cause: None,
            cause_detail: None,
            start: at.clone(),
            end: at.clone(),
            keep: Keep::Keepalive,
            last_keepalive_at: None,
            taken_up: false,
            steps: steps
                .iter()
                .map(|(name, state)| Step {
                    name: (*name).to_owned(),
                    state: *state,
                    started_at: Some(at.clone()),
                    ended_at: (*state == StepState::Done).then(|| "2026-03-10T12:00:00.120Z".to_owned()),
                    detail: None,
                })
                .collect(),
            generation: 1,
            actions: vec![],
        }
    }

    #[test]
    fn each_thing_is_said_once() {
        let mut progress = Progress { shown: false, state: HashMap::new(), steps: HashMap::new() };
        let first = session(SessionState::Preparing, &[("root", StepState::Running), ("start", StepState::Pending)]);
        assert_eq!(progress.news(&first), ["berth: lab-1/a preparing", "berth:   root running"]);
        assert!(progress.news(&first).is_empty());
        let second = session(SessionState::Active, &[("root", StepState::Done), ("set-up", StepState::Skipped)]);
        assert_eq!(progress.news(&second), ["berth: lab-1/a active", "berth:   root done (120 ms)"]);
    }
}
