//! The audit log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who did what, newest first in `GET /audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditLine {
    pub id: i64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    #[serde(deserialize_with = "crate::times::read")]
    pub at: Timestamp,
    /// Null where the server itself acted.
    pub person_id: Option<Uuid>,
    /// As they were called then.
    pub person: String,
    /// `people.invite`, `reservations.create`, …
    pub action: String,
    pub subject_kind: String,
    pub subject_id: String,
    pub detail: String,
    pub request_id: Option<String>,
}
