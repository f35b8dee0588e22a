//! Zero certificates: the enrolment credential of a tenant, good for many hosts, a limited time and number of uses (D4).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{PersonId, TenantId, ZeroCertificateId};

/// Clocks of hosts may be this far off.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// The most uses of one zero certificate.
pub const MAX_USES: u32 = 100_000;
/// The longest life of a zero certificate.
pub const MAX_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);

crate::words! {
    pub enum ZeroCertificateState ("state of a zero certificate") {
        Valid = "valid",
        UsedUp = "used-up",
        Expired = "expired",
        Revoked = "revoked",
    }
}

crate::words! {
    pub enum JoinPolicy ("join policy") {
        /// A host joins at once.
        Open = "open",
        /// A host waits until an admin approves it.
        Approval = "approval",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZeroCertificate {
    pub id: ZeroCertificateId,
    pub tenant: TenantId,
    pub name: String,
    pub join: JoinPolicy,
    pub max_uses: u32,
    pub uses: u32,
    pub created_by: Option<PersonId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

impl ZeroCertificate {
    pub fn state(&self, now: Timestamp) -> ZeroCertificateState {
        if self.revoked_at.is_some() {
            ZeroCertificateState::Revoked
        } else if now >= self.expires_at {
            ZeroCertificateState::Expired
        } else if self.uses >= self.max_uses {
            ZeroCertificateState::UsedUp
        } else {
            ZeroCertificateState::Valid
        }
    }
}
