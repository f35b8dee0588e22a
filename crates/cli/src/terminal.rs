//! The person's own terminal: raw while a remote one is shown, and as it was afterwards.

use std::{
    io,
    io::{IsTerminal, Write},
    os::fd::AsFd,
};

use api::streams::TerminalSize;
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::fault::Fault;

/// Standard input as a raw terminal. Dropping it restores what was.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    pub fn enter() -> Result<Self, Fault> {
        let stdin = io::stdin();
        let what = "cannot use standard input as a terminal";
        let before = tcgetattr(&stdin).map_err(|error| Fault::io(what)(error.into()))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(|error| Fault::io(what)(error.into()))?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}

/// Tells the person something beside a program's output, on a line of its own even where a line break alone does not return.
pub fn say(text: &str) {
    let is_raw = tcgetattr(io::stdin()).is_ok_and(|now| !now.output_modes.contains(OutputModes::OPOST));
    let mut stderr = io::stderr().lock();
    let said = if is_raw { write!(stderr, "\r\nberth: {text}\r\n") } else { writeln!(stderr, "berth: {text}") };
    // Nobody is there to be told that nobody is there.
    drop(said.and_then(|()| stderr.flush()));
}

/// The size of the terminal at standard output or input.
pub fn size() -> TerminalSize {
    let of = |fd: &dyn AsFd| tcgetwinsize(fd.as_fd()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    of(&io::stdout())
        .or_else(|| of(&io::stdin()))
        .map_or(TerminalSize { cols: 80, rows: 24 }, |size| TerminalSize { cols: size.ws_col, rows: size.ws_row })
}

pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Reads one line without showing it.
pub fn read_secret(prompt: &str) -> Result<String, Fault> {
    use rustix::termios::LocalModes;
    let stdin = io::stdin();
    let what = "cannot read from the terminal";
    let before = tcgetattr(&stdin).map_err(|error| Fault::io(what)(error.into()))?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    eprint!("{prompt}");
    tcsetattr(&stdin, OptionalActions::Flush, &quiet).map_err(|error| Fault::io(what)(error.into()))?;
    let restore = Raw { before };
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    drop(restore);
    eprintln!();
    read.map_err(Fault::io(what))?;
    Ok(line)
}

/// What to do about a piece of typed input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// What goes on to the remote terminal.
    pub pass: Vec<u8>,
    pub act: Option<Act>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `~.`: leave the terminal running and go.
    Detach,
    /// `~?`: say what can be typed.
    Help,
}

/// Finds `~.` and `~?` at the beginning of a line; `~~` passes one tilde.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Escape {
    #[default]
    LineStart,
    Tilde,
    Inside,
}

impl Escape {
    /// The next state and what to do. What follows a detach in the same piece is dropped.
    pub fn typed(&mut self, piece: &[u8]) -> Typed {
        let mut typed = Typed { pass: Vec::with_capacity(piece.len() + 1), act: None };
        for &byte in piece {
            let was = *self;
            *self = match (was, byte) {
                (Escape::LineStart, b'~') => Escape::Tilde,
                (_, b'\r' | b'\n') => Escape::LineStart,
                (Escape::LineStart | Escape::Inside | Escape::Tilde, _) => Escape::Inside,
            };
            match (was, byte) {
                (Escape::LineStart, b'~') => {}
                (Escape::Tilde, b'.') => {
                    typed.act = Some(Act::Detach);
                    return typed;
                }
                (Escape::Tilde, b'?') => {
                    typed.act = Some(Act::Help);
                    *self = Escape::LineStart;
                }
                (Escape::Tilde, b'~') => typed.pass.push(b'~'),
                (Escape::Tilde, _) => typed.pass.extend([b'~', byte]),
                (Escape::LineStart | Escape::Inside, _) => typed.pass.push(byte),
            }
        }
        typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &str, act: Option<Act>) {
        let mut escape = Escape::default();
        let mut all = String::new();
        let mut seen = None;
        for piece in pieces {
            let typed = escape.typed(piece.as_bytes());
            all.push_str(&String::from_utf8_lossy(&typed.pass));
            seen = seen.or(typed.act);
        }
        assert_eq!((all.as_str(), seen), (expected, act), "{pieces:?}");
    }

    #[test]
    fn the_detach_key_works_at_the_beginning_of_a_line_only() {
        check(&["~."], "", Some(Act::Detach));
        check(&["ls\r", "~", "."], "ls\r", Some(Act::Detach));
        check(&["ls ~."], "ls ~.", None);
        check(&["~~."], "~.", None);
        check(&["~/bin\r"], "~/bin\r", None);
        check(&["~\r~."], "~\r", Some(Act::Detach));
        check(&["~?", "~."], "", Some(Act::Help));
        check(&["~?x"], "x", Some(Act::Help));
        check(&["cd ~\r"], "cd ~\r", None);
    }
}
