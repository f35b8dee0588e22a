//! Who gets into a notebook besides its owner. Whatever a person may do with one is decided here and in
//! [`Notebook::acts`](super::Notebook::acts).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Notebook;
use crate::{
    access::{Action, Actor},
    ids::PersonId,
};

/// The most people with whom one notebook is shared.
pub const MAX_SHARES: u64 = 50;

crate::words! {
    /// How far somebody gets in. All notebooks of a person on a host have the same files, so both show all of them.
    pub enum Access ("access to a notebook") {
        /// Sees documents, files and what runs; can neither change nor run anything.
        Read = "read",
        /// As its owner: runs code as them, changes and deletes files, opens terminals.
        Full = "full",
    }
}

/// A notebook is shared with this person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub person: PersonId,
    pub person_name: String,
    pub person_email: String,
    pub access: Access,
    pub created_at: Timestamp,
}

impl Notebook {
    /// How far `actor` gets in; `None`: not at all. What is in it is its owner's, so no role lets anybody in.
    pub fn access(&self, actor: &Actor) -> Option<Access> {
        let permit = actor.permit(Action::NotebooksOpen).ok()?;
        if permit.check_owner(self.person).is_ok() { Some(Access::Full) } else { self.share }
    }

    /// Whether `actor` may know of it: whose it is, with whom it is shared, and who sees all of the tenant's.
    pub fn is_visible(&self, actor: &Actor) -> bool {
        let sees = actor.permit(Action::NotebooksRead);
        sees.is_ok_and(|permit| permit.check_owner(self.person).is_ok() || self.share.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::next::tests::notebook, *};
    use crate::{
        notebooks::{NotebookAct, NotebookIntent, NotebookState},
        people::Role,
        tokens::Scope,
    };

    #[test]
    fn who_may_do_what_with_a_notebook_that_runs() {
        use NotebookAct::{Keep, Open, Stop};
        let mut running = notebook(NotebookIntent::Run, NotebookState::Running);
        running.stops_at = Some(Timestamp::UNIX_EPOCH);
        let actor = |person, role, scope| Actor { tenant: running.tenant, person, role, scope };
        let check = |share, actor: &Actor, sees: bool, access: Option<Access>, acts: &[NotebookAct]| {
            let seen = Notebook { share, ..running.clone() };
            assert_eq!((seen.is_visible(actor), seen.access(actor)), (sees, access), "{share:?} {actor:?}");
            assert_eq!(seen.acts(actor), acts, "{share:?} {actor:?}");
        };
        let owner = actor(running.person, Role::Engineer, Scope::All);
        check(None, &owner, true, Some(Access::Full), &[Open, Keep, Stop]);
        check(None, &Actor { scope: Scope::Read, ..owner.clone() }, true, None, &[]);
        let colleague = actor(PersonId::new(), Role::Engineer, Scope::All);
        check(None, &colleague, false, None, &[]);
        check(Some(Access::Read), &colleague, true, Some(Access::Read), &[Open]);
        check(Some(Access::Full), &colleague, true, Some(Access::Full), &[Open, Keep]);
        check(Some(Access::Full), &Actor { scope: Scope::Read, ..colleague.clone() }, true, None, &[]);
        // What is in it is its owner's, whoever sees that it is there.
        check(None, &Actor { role: Role::Manager, ..colleague.clone() }, true, None, &[]);
        check(None, &Actor { role: Role::Admin, ..colleague.clone() }, true, None, &[Stop]);
        check(Some(Access::Read), &Actor { role: Role::Admin, ..colleague }, true, Some(Access::Read), &[Open, Stop]);
    }
}
