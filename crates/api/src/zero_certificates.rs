//! Zero certificates: with which hosts join.

use domain::certificates::{JoinPolicy, ZeroCertificateState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ZeroCertificate {
    pub id: Uuid,
    pub name: String,
    /// `open` (hosts join at once) or `approval` (they wait for an admin).
    pub join: JoinPolicy,
    /// `valid`, `used-up`, `expired` or `revoked`.
    pub state: ZeroCertificateState,
    pub max_uses: u32,
    pub uses: u32,
    pub created_by: Option<Uuid>,
    /// RFC 3339.
    pub created_at: String,
    pub expires_at: String,
    pub revoked_at: Option<String>,
}

/// `POST /zero-certificates`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateZeroCertificate {
    /// For people: what it was made for.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 80))]
    pub name: String,
    /// How many hosts may join with it, 1 to 100,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub max_uses: u32,
    /// How long it is good for, 1 to 2,160 hours.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_160))]
    pub lifetime_hours: u32,
    pub join: JoinPolicy,
}

/// The answer to creating one: the file is shown this once and kept nowhere.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedZeroCertificate {
    pub zero_certificate: ZeroCertificate,
    /// What to save it as.
    pub file_name: String,
    /// The file's contents (TOML). Whoever holds it can enrol hosts.
    pub file: String,
}

impl std::fmt::Debug for CreatedZeroCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedZeroCertificate")
            .field("zero_certificate", &self.zero_certificate)
            .finish_non_exhaustive()
    }
}

impl ZeroCertificate {
    /// As it stands at `now`.
    pub fn at(zero: domain::certificates::ZeroCertificate, now: jiff::Timestamp) -> Self {
        ZeroCertificate {
            id: zero.id.uuid(),
            state: zero.state(now),
            name: zero.name,
            join: zero.join,
            max_uses: zero.max_uses,
            uses: zero.uses,
            created_by: zero.created_by.map(domain::ids::PersonId::uuid),
            created_at: zero.created_at.to_string(),
            expires_at: zero.expires_at.to_string(),
            revoked_at: zero.revoked_at.map(|at| at.to_string()),
        }
    }
}
