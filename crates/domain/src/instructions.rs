//! Instructions and their transactions: one instruction for many hosts is one transaction for each (D3).

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{
        HostId, InstructionId, MachineId, NotebookId, PersonId, RunId, SessionId, TenantId, TransactionId, VolumeId,
    },
    notebooks::{RunSpec, WarmSpec},
};

/// An offer that was not claimed in this time has expired.
pub const DEFAULT_CLAIM_WINDOW: SignedDuration = SignedDuration::from_mins(2);
/// The most bytes of output that are kept of one transaction.
pub const MAX_OUTPUT_BYTES: usize = 256 * 1024;

crate::words! {
    pub enum TransactionState ("state of a transaction") {
        /// Stored; the host is not reachable or not available yet.
        Waiting = "waiting",
        /// The id went to the host.
        Offered = "offered",
        /// The host came for it and got the instructions.
        Claimed = "claimed",
        /// The host said that it started.
        Running = "running",
        Done = "done",
        Failed = "failed",
        Cancelled = "cancelled",
        /// Offered, but not claimed in time.
        Expired = "expired",
        /// The host was never there to be offered it.
        NeverDelivered = "never-delivered",
        /// Claimed, and the host can no longer say what came of it.
        Unknown = "unknown",
    }
}

impl TransactionState {
    pub fn is_final(self) -> bool {
        match self {
            Self::Waiting | Self::Offered | Self::Claimed | Self::Running => false,
            Self::Done | Self::Failed | Self::Cancelled | Self::Expired | Self::NeverDelivered | Self::Unknown => true,
        }
    }
    /// Whether `next` may follow. The server ignores a report that would break this.
    pub fn may_become(self, next: TransactionState) -> bool {
        use TransactionState::{
            Cancelled, Claimed, Done, Expired, Failed, NeverDelivered, Offered, Running, Unknown, Waiting,
        };
        match self {
            Waiting => matches!(next, Offered | Cancelled | NeverDelivered),
            Offered => matches!(next, Waiting | Claimed | Cancelled | Expired),
            // Back to waiting only what is idempotent, and only if the host says that it has it no longer.
            Claimed => matches!(next, Waiting | Running | Done | Failed | Cancelled | Unknown),
            Running => matches!(next, Waiting | Done | Failed | Cancelled | Unknown),
            // A host that was written off and comes back with the result in its journal is believed.
            Unknown => matches!(next, Done | Failed | Cancelled),
            Done | Failed | Cancelled | Expired | NeverDelivered => false,
        }
    }
}

crate::words! {
    /// Where a piece of output came from.
    pub enum OutputChannel ("channel of output") {
        Stdout = "stdout",
        Stderr = "stderr",
    }
}

/// What the host is to do. What the agent gets on its claim; the secrets in it are made for that claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Work {
    /// Run a command on the host itself (an admin's instruction).
    Run { argv: Vec<String>, timeout_s: u32 },
    /// Prepare the session's environment on a machine.
    Prepare {
        session: SessionId,
        machine: MachineId,
        machine_name: String,
        environment: crate::environments::EnvironmentSpec,
    },
    /// Destroy the session's environment and verify the machine.
    Revert { session: SessionId, machine: MachineId, machine_name: String },
    /// Verify a quarantined machine again.
    Verify { machine: MachineId, machine_name: String },
    /// Start a notebook's run.
    StartNotebook { spec: RunSpec },
    /// Start a run that waits for whoever asks next, with nobody's files.
    WarmNotebook { spec: WarmSpec },
    /// Put a person's files into a run that waits, which is the notebook's from then on. Where that fails the run is ended.
    GiveNotebook { run: RunId, notebook: NotebookId, name: String, volume: VolumeId, volume_bytes: u64 },
    /// End a notebook's run and whatever is left of it; its person's files stay.
    StopNotebook { notebook: NotebookId, run: RunId, name: String },
    /// Delete a person's files. Fails while a run has them.
    RemoveVolume { volume: VolumeId, name: String },
}

impl Work {
    /// Whether it may be sent again after a claim whose outcome is not known.
    pub fn is_idempotent(&self) -> bool {
        match self {
            Work::Run { .. } => false,
            // The agent keys them by session: preparing or reverting the same one twice comes to the same.
            Work::Prepare { .. }
            | Work::Revert { .. }
            | Work::Verify { .. }
            | Work::GiveNotebook { .. }
            | Work::StopNotebook { .. }
            | Work::RemoveVolume { .. } => true,
            // Its token goes with the claim alone and is not there for a second one.
            Work::StartNotebook { .. } | Work::WarmNotebook { .. } => false,
        }
    }
    /// What a page calls it.
    pub fn title(&self) -> String {
        match self {
            Work::Run { argv, .. } => argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
            Work::Prepare { machine_name, .. } => format!("prepare {machine_name}"),
            Work::Revert { machine_name, .. } => format!("revert {machine_name}"),
            Work::Verify { machine_name, .. } => format!("verify {machine_name}"),
            Work::StartNotebook { spec } => format!("start notebook {}", spec.name),
            Work::WarmNotebook { spec } => format!("start a warm notebook of {}", spec.name),
            Work::GiveNotebook { name, .. } => format!("give a warm notebook to {name}"),
            Work::StopNotebook { name, .. } => format!("stop notebook {name}"),
            Work::RemoveVolume { name, .. } => format!("delete the files of {name}"),
        }
    }
}

/// A word as a shell reads it back: what a page shows is what ran, and can be copied.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./=:,@%+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    pub id: InstructionId,
    pub tenant: TenantId,
    /// `None` for what the server itself asks (prepare, revert).
    pub created_by: Option<PersonId>,
    pub created_at: Timestamp,
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    pub id: TransactionId,
    pub instruction: InstructionId,
    pub tenant: TenantId,
    pub host: HostId,
    pub session: Option<SessionId>,
    pub work: Work,
    pub state: TransactionState,
    pub created_at: Timestamp,
    pub offered_at: Option<Timestamp>,
    pub claimed_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Not to be offered or claimed after this.
    pub expires_at: Timestamp,
    pub exit_code: Option<i32>,
    /// Why it failed, expired, or is unknown.
    pub cause: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_reads_it() {
        let check = |argv: &[&str], title: &str| {
            let argv = argv.iter().map(|word| (*word).to_owned()).collect();
            let run = Work::Run { argv, timeout_s: 1 };
            assert_eq!(run.title(), title);
        };
        check(&["uname", "-a"], "uname -a");
        check(&["sh", "-c", "echo 'a b' >&2; exit 3"], r"sh -c 'echo '\''a b'\'' >&2; exit 3'");
        check(&["env", "", "PATH=/bin:/sbin", "ü"], "env '' PATH=/bin:/sbin ü");
    }
}
