//! People of a tenant and what they are to it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{PersonId, TenantId};

crate::words! {
    /// Each role can do all that the ones before it can.
    pub enum Role ("role") {
        Engineer = "engineer",
        Manager = "manager",
        Admin = "admin",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub id: PersonId,
    pub tenant: TenantId,
    /// Lower case; unique within the tenant.
    pub email: String,
    pub name: String,
    pub role: Role,
    /// A locked person can neither sign in nor use a token, and their open streams are cut.
    pub locked: bool,
    pub has_password: bool,
    pub created_at: Timestamp,
}
