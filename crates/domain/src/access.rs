//! Authorisation as a value: an [`Actor`] asks for an [`Action`] and gets a [`Permit`], without which no call of the
//! store can be made. The table of who may do what is [`Action::rule`], and a test walks every route against it.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{PersonId, TenantId},
    people::Role,
    tokens::Scope,
};

crate::words! {
    /// One thing that can be asked for. A route names exactly one.
    pub enum Action ("action") {
        MachinesRead = "machines:read",
        MachinesManage = "machines:manage",
        ReservationsRead = "reservations:read",
        ReservationsCreate = "reservations:create",
        ReservationsChange = "reservations:change",
        SessionsRead = "sessions:read",
        SessionsUse = "sessions:use",
        SessionsEnd = "sessions:end",
        NotebooksRead = "notebooks:read",
        NotebooksManage = "notebooks:manage",
        NotebooksOpen = "notebooks:open",
        NotebooksSet = "notebooks:set",
        DeploymentsRead = "deployments:read",
        DeploymentsManage = "deployments:manage",
        ObjectsLook = "objects:look",
        HostsRead = "hosts:read",
        HostsManage = "hosts:manage",
        ZeroCertificatesManage = "zero-certificates:manage",
        InstructionsRead = "instructions:read",
        InstructionsRun = "instructions:run",
        PeopleRead = "people:read",
        PeopleManage = "people:manage",
        TokensOwn = "tokens:own",
        AccountOwn = "account:own",
        AuditRead = "audit:read",
        EventsRead = "events:read",
        MetricsRead = "metrics:read",
    }
}

/// Whose things a permit covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only things that belong to the actor.
    Own,
    /// Everything in the tenant.
    Tenant,
}

/// Who may do it to their own things, and who to everybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The least role that may do it to what is its own; `None` where nothing of the kind belongs to one person.
    pub own: Option<Role>,
    /// The least role that may do it to everything in the tenant; `None` where nobody may.
    pub tenant: Option<Role>,
    /// The least scope that a token needs.
    pub scope: Scope,
}

impl Action {
    pub fn rule(self) -> Rule {
        use Role::{Admin, Engineer, Manager};
        let rule = |own, tenant, scope| Rule { own, tenant, scope };
        match self {
            Action::MachinesRead | Action::ReservationsRead | Action::EventsRead | Action::PeopleRead => {
                rule(None, Some(Engineer), Scope::Read)
            }
            Action::MachinesManage => rule(None, Some(Admin), Scope::All),
            Action::ReservationsCreate => rule(Some(Engineer), Some(Manager), Scope::Use),
            Action::ReservationsChange => rule(Some(Engineer), Some(Manager), Scope::Use),
            Action::SessionsRead => rule(Some(Engineer), Some(Manager), Scope::Read),
            // A terminal shows what its owner does: not even an admin enters another person's session.
            Action::SessionsUse => rule(Some(Engineer), None, Scope::Use),
            Action::SessionsEnd => rule(Some(Engineer), Some(Manager), Scope::Use),
            Action::NotebooksRead => rule(Some(Engineer), Some(Manager), Scope::Read),
            Action::NotebooksManage => rule(Some(Engineer), Some(Admin), Scope::Use),
            // What is in it is its owner's, as in a terminal.
            Action::NotebooksOpen => rule(Some(Engineer), None, Scope::Use),
            // What holds for everybody: sizes, limits, what waits warm.
            Action::NotebooksSet => rule(None, Some(Admin), Scope::All),
            // Colleagues call each other's objects, and see what they call; what is in them is for who deploys them.
            Action::DeploymentsRead => rule(None, Some(Engineer), Scope::Read),
            Action::DeploymentsManage => rule(Some(Engineer), Some(Admin), Scope::Use),
            // What objects hold and say is their deployment's owner's.
            Action::ObjectsLook => rule(Some(Engineer), Some(Admin), Scope::Read),
            Action::HostsRead => rule(None, Some(Engineer), Scope::Read),
            Action::HostsManage | Action::ZeroCertificatesManage | Action::InstructionsRun | Action::PeopleManage => {
                rule(None, Some(Admin), Scope::All)
            }
            Action::InstructionsRead => rule(None, Some(Admin), Scope::Read),
            Action::TokensOwn | Action::AccountOwn => rule(Some(Engineer), None, Scope::All),
            Action::AuditRead => rule(None, Some(Manager), Scope::Read),
            Action::MetricsRead => rule(None, Some(Admin), Scope::Read),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub tenant: TenantId,
    pub person: PersonId,
    pub role: Role,
    /// [`Scope::All`] for a browser's session.
    pub scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this needs the role {need} ({action}); yours is {have}. Ask an admin of your tenant.")]
    Role { action: Action, need: Role, have: Role },
    #[error("this token's scope is '{have}', and {action} needs '{need}'. Make a token with that scope.")]
    Scope { action: Action, need: Scope, have: Scope },
    #[error("{action} is only for what is your own")]
    NotOwn { action: Action },
}

/// The right to do one thing in one tenant. Made by [`Actor::permit`] or, for what the server itself does, by
/// [`Permit::system`]; every call of the store takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    tenant: TenantId,
    person: Option<PersonId>,
    action: Option<Action>,
    reach: Reach,
}

impl Actor {
    /// The permit for `action`, or why not.
    pub fn permit(&self, action: Action) -> Result<Permit, Denied> {
        let rule = action.rule();
        if self.scope < rule.scope {
            return Err(Denied::Scope { action, need: rule.scope, have: self.scope });
        }
        let may = |least: Option<Role>| least.is_some_and(|least| self.role >= least);
        let reach = if may(rule.tenant) {
            Reach::Tenant
        } else if may(rule.own) {
            Reach::Own
        } else {
            let need = rule.own.or(rule.tenant).unwrap_or(Role::Admin);
            return Err(Denied::Role { action, need, have: self.role });
        };
        Ok(Permit { tenant: self.tenant, person: Some(self.person), action: Some(action), reach })
    }
}

impl Permit {
    /// What the server does of itself in a tenant: reconcilers, agents' reports.
    pub fn system(tenant: TenantId) -> Self {
        Permit { tenant, person: None, action: None, reach: Reach::Tenant }
    }
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }
    /// Who acts; `None` is the server itself.
    pub fn person(&self) -> Option<PersonId> {
        self.person
    }
    pub fn reach(&self) -> Reach {
        self.reach
    }
    /// Refuses if the thing is `owner`'s and the permit covers only the actor's own.
    pub fn check_owner(&self, owner: PersonId) -> Result<(), Denied> {
        match (self.reach, self.action) {
            (Reach::Tenant, _) => Ok(()),
            (Reach::Own, _) if self.person == Some(owner) => Ok(()),
            (Reach::Own, Some(action)) => Err(Denied::NotOwn { action }),
            (Reach::Own, None) => Err(Denied::NotOwn { action: Action::AccountOwn }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an engineer, a manager and an admin may do (to nothing, their own, all of the tenant's), and the least scope of a
    /// token. Every route's test asks the rules themselves; this one says them a second time, so that none changes unnoticed.
    const TABLE: &str = "
        machines:read             all all all  read
        machines:manage           -   -   all  all
        reservations:read         all all all  read
        reservations:create       own all all  use
        reservations:change       own all all  use
        sessions:read             own all all  read
        sessions:use              own own own  use
        sessions:end              own all all  use
        notebooks:read            own all all  read
        notebooks:manage          own own all  use
        notebooks:open            own own own  use
        notebooks:set             -   -   all  all
        deployments:read          all all all  read
        deployments:manage        own own all  use
        objects:look              own own all  read
        hosts:read                all all all  read
        hosts:manage              -   -   all  all
        zero-certificates:manage  -   -   all  all
        instructions:read         -   -   all  read
        instructions:run          -   -   all  all
        people:read               all all all  read
        people:manage             -   -   all  all
        tokens:own                own own own  all
        account:own               own own own  all
        audit:read                -   all all  read
        events:read               all all all  read
        metrics:read              -   -   all  read";

    fn actor(role: Role, scope: Scope) -> Actor {
        Actor { tenant: TenantId::new(), person: PersonId::new(), role, scope }
    }

    /// Whose things they may do it to, by what their permit lets pass.
    fn reach(actor: &Actor, action: Action) -> &'static str {
        let Ok(permit) = actor.permit(action) else { return "-" };
        assert_eq!((permit.tenant(), permit.person()), (actor.tenant, Some(actor.person)));
        match (permit.check_owner(actor.person).is_ok(), permit.check_owner(PersonId::new()).is_ok()) {
            (true, true) => "all",
            (true, false) => "own",
            (false, _) => "not even their own",
        }
    }

    #[test]
    fn who_may_do_what() {
        let rows: Vec<Vec<&str>> = TABLE
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|row: &Vec<_>| !row.is_empty())
            .collect();
        assert_eq!(rows.len(), Action::ALL.len());
        for (row, action) in rows.iter().zip(Action::ALL) {
            assert_eq!(row[0], action.word());
            for (role, expected) in [Role::Engineer, Role::Manager, Role::Admin].into_iter().zip(&row[1..4]) {
                for scope in Scope::ALL {
                    let least: Scope = row[4].parse().unwrap();
                    let expected = if *scope < least { "-" } else { *expected };
                    assert_eq!(reach(&actor(role, *scope), *action), expected, "{action} by {role} with {scope}");
                }
            }
        }
    }
}
