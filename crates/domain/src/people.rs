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

/// Longest address that mail can carry (RFC 5321), in bytes.
pub const MAX_EMAIL_BYTES: usize = 254;
/// Longest name, in characters.
pub const MAX_NAME_CHARS: usize = 120;
/// Shortest password, in characters (NIST SP 800-63B asks for length, not for kinds of characters).
pub const MIN_PASSWORD_CHARS: usize = 12;
/// Longest password, in bytes: hashing takes the same time for each.
pub const MAX_PASSWORD_BYTES: usize = 1_024;

/// Why an address, name or password cannot be used, for the person who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("write an address such as ana@example.org")]
    Email,
    #[error("is longer than {MAX_EMAIL_BYTES} characters")]
    LongEmail,
    #[error("write 1 to {MAX_NAME_CHARS} characters, without control characters")]
    Name,
    #[error("use at least {MIN_PASSWORD_CHARS} characters; a few words in a row are good")]
    ShortPassword,
    #[error("use at most {MAX_PASSWORD_BYTES} bytes")]
    LongPassword,
    #[error("must not be the address or the name")]
    ObviousPassword,
    #[error("use more than a character or two over and over")]
    MonotonousPassword,
}

/// The address as it is stored and compared: trimmed, lower case.
pub fn email(text: &str) -> Result<String, Unfit> {
    let text = text.trim();
    if text.len() > MAX_EMAIL_BYTES {
        return Err(Unfit::LongEmail);
    }
    let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c));
    match text.split_once('@') {
        Some((local, domain)) if plain && !local.is_empty() && !domain.is_empty() && !domain.contains('@') => {
            Ok(text.to_lowercase())
        }
        Some(_) | None => Err(Unfit::Email),
    }
}

/// The name as it is stored: trimmed.
pub fn name(text: &str) -> Result<String, Unfit> {
    let text = text.trim();
    let chars = text.chars().count();
    if (1..=MAX_NAME_CHARS).contains(&chars) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(Unfit::Name)
    }
}

/// Whether `password` may be chosen by the person with this address and name.
pub fn check_password(password: &str, email: &str, name: &str) -> Result<(), Unfit> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(Unfit::LongPassword);
    }
    if password.chars().count() < MIN_PASSWORD_CHARS {
        return Err(Unfit::ShortPassword);
    }
    let lower = password.to_lowercase();
    if lower == email.to_lowercase() || lower == name.to_lowercase() {
        return Err(Unfit::ObviousPassword);
    }
    if password.chars().collect::<std::collections::BTreeSet<_>>().len() < 4 {
        return Err(Unfit::MonotonousPassword);
    }
    Ok(())
}

/// What is to become of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Role(Role),
    Lock,
    Unlock,
    Remove,
}

/// Why a change of a person is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this is the last admin who can sign in: make another person an admin first")]
    LastAdmin,
    #[error("you cannot lock or remove yourself: ask another admin")]
    Yourself,
}

/// Whether `by` may change `person` so, where `other_admins` others are admins and not locked.
pub fn may_change(person: &Person, change: Change, by: Option<PersonId>, other_admins: u64) -> Result<(), Refused> {
    let loses_admin = match change {
        Change::Role(role) => role < Role::Admin,
        Change::Lock | Change::Remove => true,
        Change::Unlock => false,
    };
    if loses_admin && person.role == Role::Admin && !person.locked && other_admins == 0 {
        return Err(Refused::LastAdmin);
    }
    match change {
        Change::Lock | Change::Remove if by == Some(person.id) => Err(Refused::Yourself),
        Change::Lock | Change::Remove | Change::Role(_) | Change::Unlock => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(role: Role, locked: bool) -> Person {
        Person {
            id: PersonId::new(),
            tenant: TenantId::new(),
            email: "ana@example.org".into(),
            name: "Ana".into(),
            role,
            locked,
            has_password: true,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn addresses_are_compared_in_lower_case() {
        assert_eq!(email("  Ana@Example.ORG "), Ok("ana@example.org".to_owned()));
        for bad in ["", "ana", "@x", "ana@", "a@b@c", "a b@c", "a@b\nc", "<a@b>"] {
            assert_eq!(email(bad), Err(Unfit::Email), "{bad:?}");
        }
        assert_eq!(email(&format!("{}@x", "a".repeat(300))), Err(Unfit::LongEmail));
    }

    #[test]
    fn weak_passwords_are_refused() {
        let check = |password: &str| check_password(password, "ana.lang@example.org", "Ana Maria Lang");
        assert_eq!(check("correct horse battery"), Ok(()));
        assert_eq!(check("short"), Err(Unfit::ShortPassword));
        assert_eq!(check("Ana.Lang@example.org"), Err(Unfit::ObviousPassword));
        assert_eq!(check("ana maria lang"), Err(Unfit::ObviousPassword));
        assert_eq!(check("aaaaaaaaaaaaaaab"), Err(Unfit::MonotonousPassword));
        assert_eq!(check(&"ab cd ef ".repeat(200)), Err(Unfit::LongPassword));
    }

    #[test]
    fn the_last_admin_stays() {
        let admin = person(Role::Admin, false);
        for change in [Change::Lock, Change::Remove, Change::Role(Role::Engineer)] {
            assert_eq!(may_change(&admin, change, None, 0), Err(Refused::LastAdmin), "{change:?}");
            assert_eq!(may_change(&admin, change, None, 1), Ok(()), "{change:?}");
        }
        assert_eq!(may_change(&admin, Change::Lock, Some(admin.id), 1), Err(Refused::Yourself));
        assert_eq!(may_change(&admin, Change::Role(Role::Admin), None, 0), Ok(()));
        // A locked admin is none that counts, so it can go.
        assert_eq!(may_change(&person(Role::Admin, true), Change::Remove, None, 0), Ok(()));
        assert_eq!(may_change(&person(Role::Engineer, false), Change::Lock, None, 0), Ok(()));
    }
}
