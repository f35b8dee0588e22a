//! Environments: what a session starts from.

use serde::{Deserialize, Serialize};

/// The longest set-up script, bytes.
pub const MAX_SETUP_BYTES: usize = 64 * 1024;

/// What a reservation asks its sessions to start from; empty means the machine's own default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentSpec {
    /// A container image, for machines of kind `container`.
    pub image: Option<String>,
    /// Run by `/bin/sh` in the environment before the session becomes active.
    pub setup: Option<String>,
    /// Seconds that the set-up script may take; 600 if not given.
    pub setup_timeout_s: Option<u32>,
}
