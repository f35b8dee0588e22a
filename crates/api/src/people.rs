//! People, their account, and how they get in.

use domain::people::Role;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A person of the tenant, as lists and the account page show them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Person {
    pub id: Uuid,
    /// Lower case.
    pub email: String,
    pub name: String,
    /// `engineer`, `manager` or `admin`.
    pub role: Role,
    /// A locked person can neither sign in nor use a token.
    pub locked: bool,
    /// False until an invited person has chosen a password.
    pub has_password: bool,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    #[serde(deserialize_with = "crate::times::read")]
    pub created_at: Timestamp,
}

/// Who the caller is: `GET /me`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Me {
    pub person: Person,
    /// What this token may do (`read`, `use`, `all`); `all` for a browser.
    pub scope: domain::tokens::Scope,
}

/// `POST /people`: makes the person and a one-time link with which they choose a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InvitePerson {
    #[cfg_attr(feature = "openapi", schema(format = "email", min_length = 3))]
    pub email: String,
    /// The part of the address before the @ where it is left away.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 120))]
    pub name: Option<String>,
    pub role: Role,
}

/// An invited person and the link to hand over to them. The link is shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitedPerson {
    pub person: Person,
    pub link: OneTimeLink,
}

/// A link that signs a person in once and lets them choose a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OneTimeLink {
    /// The whole address, `…/sign-in/link?token=…`. Opening it uses nothing up (mail scanners open links); the button on
    /// that page does, once.
    pub url: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    #[serde(deserialize_with = "crate::times::read")]
    pub expires_at: Timestamp,
}

/// `PATCH /people/{id}`: what is left away stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangePerson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 120))]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
}

/// What became of a removed person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// Nothing in the history named them: they are gone.
    Deleted,
    /// Name and address are gone; their bookings and audit lines stay.
    Anonymised,
}

/// `DELETE /people/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RemovedPerson {
    pub removal: Removal,
}

impl From<domain::people::Person> for Person {
    fn from(person: domain::people::Person) -> Self {
        Person {
            id: person.id.uuid(),
            email: person.email,
            name: person.name,
            role: person.role,
            locked: person.locked,
            has_password: person.has_password,
            created_at: person.created_at,
        }
    }
}
