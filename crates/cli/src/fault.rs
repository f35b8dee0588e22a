//! Why a command failed, what to do about it, and its exit code.

use std::{io, process::ExitCode};

use api::Problem;

/// Exit codes of every command but `run`, `shell` and `exec`, which pass on the program's (docs/cli.md).
pub mod code {
    pub const FAILED: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const NOT_SIGNED_IN: u8 = 3;
    pub const NOT_FOUND: u8 = 4;
    pub const CONFLICT: u8 = 5;
    pub const UNREACHABLE: u8 = 6;
    /// `run` and `shell`: Berth itself failed, not the program. As docker's.
    pub const BERTH: u8 = 125;
}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The server refused, and said why.
    #[error("{}", problem_text(.0))]
    Refused(Box<Problem>),
    #[error(
        "cannot reach {server}: {why}. Is the address right (berth login --server URL, or BERTH_SERVER) and the server up?"
    )]
    Unreachable { server: String, why: String },
    /// The server is there, and cannot do it now.
    #[error("{0}")]
    Later(String),
    #[error("not signed in: run berth login, or set BERTH_TOKEN")]
    NotSignedIn,
    #[error("{0}")]
    Usage(String),
    /// What was named is not there, as far as this side can tell.
    #[error("{0}")]
    NotFound(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The server answered what this program does not understand.
    #[error("{server} answered {what}: is it a Berth server of this version?")]
    Answer { server: String, what: String },
    /// It began and did not end well; says how it stands now.
    #[error("{0}")]
    Failed(String),
}

impl Fault {
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Fault {
        let what = what.into();
        move |source| Fault::Io { what, source }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Fault::Refused(problem) => match problem.status {
                401 | 403 => code::NOT_SIGNED_IN,
                404 => code::NOT_FOUND,
                409 => code::CONFLICT,
                502..=504 => code::UNREACHABLE,
                _ => code::FAILED,
            },
            Fault::Unreachable { .. } | Fault::Later(_) => code::UNREACHABLE,
            Fault::NotSignedIn => code::NOT_SIGNED_IN,
            Fault::Usage(_) => code::USAGE,
            Fault::NotFound(_) => code::NOT_FOUND,
            Fault::Io { .. } | Fault::Answer { .. } | Fault::Failed(_) => code::FAILED,
        }
    }

    /// Whether the same request may succeed in a moment: the connection broke or the server is busy or restarting.
    pub fn is_passing(&self) -> bool {
        match self {
            Fault::Unreachable { .. } | Fault::Later(_) => true,
            Fault::Refused(problem) => matches!(problem.status, 429 | 502..=504),
            Fault::NotSignedIn
            | Fault::Usage(_)
            | Fault::NotFound(_)
            | Fault::Io { .. }
            | Fault::Answer { .. }
            | Fault::Failed(_) => false,
        }
    }
}

impl From<&Fault> for ExitCode {
    fn from(fault: &Fault) -> Self {
        ExitCode::from(fault.exit_code())
    }
}

/// The detail, who holds it, when it is free, and the request's id on lines of their own.
fn problem_text(problem: &Problem) -> String {
    let mut text = match &problem.field {
        // A service names the field itself at the beginning of its text.
        Some(field) if !problem.detail.starts_with(field.as_str()) => format!("{field}: {}", problem.detail),
        Some(_) | None => problem.detail.clone(),
    };
    if problem.status == 401 {
        text.push_str("\n  run berth login, or set BERTH_TOKEN");
    }
    let local = |at: &str| crate::times::local_text(at);
    for held in problem.held_by.iter().flatten() {
        text.push_str(&format!(
            "\n  {} is {}'s from {} to {}",
            held.machine,
            held.person,
            local(&held.start),
            local(&held.end)
        ));
    }
    for free in problem.next_free.iter().flatten() {
        text.push_str(&format!("\n  free from {} to {}", local(&free.start), local(&free.end)));
    }
    if let Some(id) = &problem.request_id {
        text.push_str(&format!("\n  request {id}"));
    }
    crate::table::printable_lines(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, detail: &str) -> Problem {
        Problem {
            kind: "urn:berth:problem:test".to_owned(),
            title: "Test".to_owned(),
            status,
            detail: detail.to_owned(),
            request_id: Some("r-1".to_owned()),
            field: None,
            held_by: None,
            next_free: None,
        }
    }

    #[test]
    fn a_refusal_says_what_and_names_the_request() {
        let fault = Fault::Refused(Box::new(problem(409, "taken in that time")));
        assert_eq!(fault.to_string(), "taken in that time\n  request r-1");
        assert_eq!(fault.exit_code(), code::CONFLICT);
    }

    #[test]
    fn a_servers_text_cannot_steer_the_terminal() {
        let fault = Fault::Refused(Box::new(problem(404, "no \u{1b}[2Jmachine")));
        assert!(!fault.to_string().contains('\u{1b}'));
        assert_eq!(fault.exit_code(), code::NOT_FOUND);
    }
}
