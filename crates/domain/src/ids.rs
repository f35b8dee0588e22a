//! Typed ids: a `MachineId` is no `HostId`. UUIDv7, so that an index on them grows at its end.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is no UUID where an id was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {kind} id (a UUID such as 0198c0de-0000-7000-8000-000000000000)")]
pub struct BadId {
    pub kind: &'static str,
    pub text: String,
}

macro_rules! id {
    ($($(#[$meta:meta])* $name:ident $kind:literal;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);
        impl $name {
            /// A new id, ordered by its time of making (UUIDv7).
            pub fn new() -> Self { Self(Uuid::now_v7()) }
            pub fn from_uuid(uuid: Uuid) -> Self { Self(uuid) }
            pub fn uuid(self) -> Uuid { self.0 }
        }
        impl Default for $name { fn default() -> Self { Self::new() } }
        impl From<Uuid> for $name { fn from(uuid: Uuid) -> Self { Self(uuid) } }
        impl From<$name> for Uuid { fn from(id: $name) -> Uuid { id.0 } }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($kind, ":{}"), self.0) } }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::parse_str(text).map(Self).map_err(|_| BadId { kind: $kind, text: text.chars().take(64).collect() })
            }
        }
    )+};
}

id! {
    TenantId "tenant";
    PersonId "person";
    HostId "host";
    MachineId "machine";
    ReservationId "reservation";
    SessionId "session";
    /// One machine's share of an instruction; what the agent claims (DESIGN D3).
    TransactionId "transaction";
    InstructionId "instruction";
    ZeroCertificateId "zero certificate";
    TokenId "token";
    /// One browser's signed-in session.
    SignInId "sign-in";
    /// One open byte stream between server and agent (terminal, copy).
    StreamId "stream";
    RequestId "request";
    NotebookId "notebook";
    NotebookEnvironmentId "notebook environment";
    /// One start of a notebook: an environment on a host.
    RunId "run of a notebook";
    /// One person's files on one host.
    VolumeId "volume";
    DeploymentId "deployment";
    /// The objects of one class of a deployment.
    NamespaceId "namespace";
}
