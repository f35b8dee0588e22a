//! Events: every change of state, with a revision, written in the transaction that makes the change (D6).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::TenantId;

crate::words! {
    /// What changed. A page subscribes to those that it shows.
    pub enum EventKind ("kind of event") {
        Machine = "machine",
        Host = "host",
        HostMetrics = "host-metrics",
        Reservation = "reservation",
        Session = "session",
        Notebook = "notebook",
        Deployment = "deployment",
        Instruction = "instruction",
        ZeroCertificate = "zero-certificate",
        Person = "person",
        Token = "token",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises within the tenant in the order of commits.
    pub revision: i64,
    pub tenant: TenantId,
    pub kind: EventKind,
    pub subject: Uuid,
    /// The subject's new state, a word of its own enum, or what was done (`created`, `deleted`).
    pub word: String,
    pub at: Timestamp,
}
