//! The places of the portal, by what a role may do.

use domain::access::Action;
use leptos::prelude::*;
use leptos_router::components::A;

use super::icon::Icon;
use crate::viewer::Viewer;

/// A place that one can go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub href: &'static str,
    pub name: &'static str,
    pub icon: &'static str,
    /// What one must be allowed to do there.
    pub action: Action,
    pub group: Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Work,
    Administer,
}

const fn place(href: &'static str, name: &'static str, icon: &'static str, action: Action, group: Group) -> Place {
    Place { href, name, icon, action, group }
}

pub const PLACES: [Place; 11] = [
    place("/", "Home", "home", Action::MachinesRead, Group::Work),
    place("/machines", "Machines", "machines", Action::MachinesRead, Group::Work),
    place("/reserve", "Reserve", "timeline", Action::ReservationsCreate, Group::Work),
    place("/sessions", "Sessions", "sessions", Action::SessionsRead, Group::Work),
    place("/notebooks", "Notebooks", "notebooks", Action::NotebooksRead, Group::Work),
    place("/deployments", "Deployments", "deployments", Action::DeploymentsRead, Group::Work),
    place("/tokens", "Tokens", "tokens", Action::TokensOwn, Group::Work),
    place("/hosts", "Hosts", "hosts", Action::HostsManage, Group::Administer),
    place("/instructions", "Instructions", "instructions", Action::InstructionsRead, Group::Administer),
    place("/people", "People", "people", Action::PeopleManage, Group::Administer),
    place("/audit", "Audit", "audit", Action::AuditRead, Group::Administer),
];

/// The places that `viewer` may go to.
pub fn places(viewer: &Viewer) -> impl Iterator<Item = Place> {
    PLACES.into_iter().filter(|place| viewer.may(place.action))
}

/// The list of places.
#[component]
pub fn Navigation(viewer: Viewer) -> impl IntoView {
    let group = |group: Group| {
        places(&viewer)
            .filter(move |place| place.group == group)
            .map(|place| {
                view! {
                    <li>
                        <A href=place.href exact=place.href == "/">
                            <Icon name=place.icon/>
                            {place.name}
                        </A>
                    </li>
                }
            })
            .collect::<Vec<_>>()
    };
    let (work, administer) = (group(Group::Work), group(Group::Administer));
    view! {
        <ul class="nav" role="list">{work}</ul>
        {(!administer.is_empty()).then(|| view! {
            <div class="nav-title" id="nav-administer">"Administer"</div>
            <ul class="nav" role="list" aria-labelledby="nav-administer">{administer}</ul>
        })}
    }
}
