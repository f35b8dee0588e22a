//! Byte streams of a session over WebSocket: `GET /api/v1/sessions/{id}/terminal` and `…/exec`.
//!
//! Text frames are the JSON of [`ClientFrame`] and [`ServerFrame`]. Binary frames are bytes: of a terminal as they are,
//! of a process with one byte before them that names the channel ([`STDIN`], [`STDOUT`], [`STDERR`]).
//!
//! The first text frame on `exec` is an [`ExecAsk`]; on `terminal` the query says all. A process's standard input goes
//! by credit: a client may have at most [`INPUT_CREDIT_BYTES`] outstanding and sends more as [`ServerFrame::Credit`]
//! says, so that a process that does not read cannot hold up the signal that is to end it.
//!
//! A process whose [`ExecAsk`] names it ([`Lasting`]) outlives a connection that breaks, for [`AWAY_LIMIT_S`]: a client
//! that comes back with its [`Position`] gets the output from there on, and is told from where to send its input again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// First byte of a binary frame on `exec`, from the client: standard input.
pub const STDIN: u8 = 0;
/// First byte of a binary frame on `exec`, from the server: standard output.
pub const STDOUT: u8 = 1;
/// First byte of a binary frame on `exec`, from the server: standard error.
pub const STDERR: u8 = 2;

/// Bytes of standard input that a client may send on `exec` before the first [`ServerFrame::Credit`].
pub const INPUT_CREDIT_BYTES: u32 = 256 * 1024;
/// The largest WebSocket message in either direction, bytes.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// What is kept of each output of a lasting process until the client says [`ClientFrame::Received`], bytes. At this much
/// the process waits.
pub const KEPT_BYTES: u32 = 1024 * 1024;
/// A client that gets a lasting process's output says [`ClientFrame::Received`] at least this often, bytes.
pub const RECEIPT_BYTES: u32 = KEPT_BYTES / 8;
/// A lasting process that nobody has come back to for this long is hung up, seconds.
pub const AWAY_LIMIT_S: u64 = 120;
/// A client sends a WebSocket ping this often, in seconds; one that was not heard of for three of them is gone.
pub const PING_PERIOD_S: u64 = 10;

/// The close code of a terminal that the session's state does not allow: HTTP's 409, among the codes that RFC 6455 leaves to
/// applications.
pub const CLOSE_CONFLICT: u16 = 4409;

/// A program to run in the session's environment: the first text frame on `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExecAsk {
    /// Program and arguments; the program is looked up in the environment's PATH.
    pub argv: Vec<String>,
    /// Added to the environment's own variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The environment's home directory if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// A pseudo-terminal of this size instead of three pipes; all output is then on the channel of standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<TerminalSize>,
    /// Instead of a program: a copy, by the host's agent, as the session's user. Needs nothing of the environment; `argv` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyAsk>,
    /// The process is to outlive a connection that breaks. One that is closed with a close frame hangs it up all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Lasting>,
}

/// A file or directory out of the environment or into it. A relative path begins at the home directory. It ends with code 0, or
/// with 1 and the reason on standard error; what did not come whole changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "direction", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CopyAsk {
    /// To standard output: a line `f MODE SIZE` and the file's bytes, or a line `d` and an archive of the directory.
    Out { path: String },
    /// From standard input, as many bytes as `size` says. Goes to `path`, or into it by `name` if that is a directory.
    FileIn { path: String, name: String, mode: u32, size: u64 },
    /// An archive from standard input. Goes to `path`, or into it by `name` if that is a directory.
    TreeIn { path: String, name: String },
}

/// The name of a process that outlives a connection that breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Lasting {
    /// Chosen by the client. Asking once more with the same id starts nothing twice.
    pub id: Uuid,
    /// To come back to a process that was started: the output goes on from here, and nothing is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Position>,
}

/// So many bytes of each output were received, from the process's start on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Position {
    pub stdout: u64,
    pub stderr: u64,
}

/// Where a lasting process stands when a connection comes to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Standing {
    /// Bytes of standard input that have arrived, from the process's start on: what follows is to be sent.
    pub received: u64,
    /// Bytes of standard input that the process has taken; credit counts from here.
    pub taken: u64,
    /// It had to wait, for as much output as is kept was waiting.
    pub was_held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TerminalSize {
    pub cols: u16,
    pub rows: u16,
}

/// Text frames from the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientFrame {
    Resize {
        cols: u16,
        rows: u16,
    },
    /// Signal number for the process.
    Signal {
        number: i32,
    },
    /// No more standard input.
    Eof,
    /// So much of a lasting process's output is safe with the client and need not be kept.
    Received(Position),
}

/// Text frames from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerFrame {
    /// The terminal is open. It outlives the connection: give its id as `attach` to come back to it.
    Attached { terminal: Uuid },
    /// The process runs; a lasting one says where it stands.
    Started {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        standing: Option<Standing>,
    },
    /// So many bytes of standard input were taken; the client may send as many more.
    Credit { bytes: u32 },
    /// The process ended; last on its connection. `code` is 128 + the signal's number if a signal ended it.
    Exit {
        code: i32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// It cannot go on, in words for the person; last on its connection.
    Error { message: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_what_the_page_speaks() {
        let text = |frame: &ServerFrame| serde_json::to_string(frame).unwrap_or_default();
        assert_eq!(
            text(&ServerFrame::Attached { terminal: Uuid::nil() }),
            r#"{"type":"attached","terminal":"00000000-0000-0000-0000-000000000000"}"#
        );
        assert_eq!(text(&ServerFrame::Exit { code: 3, signal: None }), r#"{"type":"exit","code":3}"#);
        assert_eq!(
            serde_json::from_str::<ClientFrame>(r#"{"type":"resize","cols":80,"rows":24}"#).ok(),
            Some(ClientFrame::Resize { cols: 80, rows: 24 })
        );
        assert_eq!(text(&ServerFrame::Started { standing: None }), r#"{"type":"started"}"#);
        assert_eq!(
            serde_json::from_str::<ClientFrame>(r#"{"type":"received","stdout":7,"stderr":0}"#).ok(),
            Some(ClientFrame::Received(Position { stdout: 7, stderr: 0 }))
        );
        assert!(serde_json::from_str::<ClientFrame>(r#"{"type":"reboot"}"#).is_err());
        assert!(serde_json::from_str::<ExecAsk>(r#"{"argv":["sh"],"user":"root"}"#).is_err());
    }
}
