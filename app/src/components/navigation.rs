//! The places of the portal, by what a role may do.

use domain::access::Action;
use leptos::prelude::*;
use leptos_router::hooks::use_location;

use super::icon::Icon;
use crate::DEPLOY;
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

/// Pages whose addresses are not below that of the place they belong to.
const ELSEWHERE: [(&str, &str); 1] = [(DEPLOY, "/deployments")];

/// Where the page at `path` is, as `aria-current` says it of the link to `place`: it is that page, or belongs to it.
fn current(place: &str, path: &str) -> Option<&'static str> {
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    if path == place {
        return Some("page");
    }
    let elsewhere = ELSEWHERE.iter().any(|(page, of)| *of == place && is_below(page, path));
    (elsewhere || is_below(place, path)).then_some("true")
}

/// Whether `path` is `place` or below it. Below the first page is nothing but itself.
fn is_below(place: &str, path: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || (place != "/" && rest.starts_with('/')))
}

/// The places that `viewer` may go to.
pub fn places(viewer: &Viewer) -> impl Iterator<Item = Place> {
    PLACES.into_iter().filter(|place| viewer.may(place.action))
}

/// The list of places.
#[component]
pub fn Navigation(viewer: Viewer) -> impl IntoView {
    let path = use_location().pathname;
    let group = |group: Group| {
        places(&viewer)
            .filter(move |place| place.group == group)
            .map(|place| {
                view! {
                    <li>
                        <a href=place.href aria-current=move || path.with(|path| current(place.href, path))>
                            <Icon name=place.icon/>
                            {place.name}
                        </a>
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_of_one_place() {
        let check = |path, expected: &[(&str, &str)]| {
            let marked = PLACES.iter().filter_map(|place| Some((place.name, current(place.href, path)?)));
            assert_eq!(marked.collect::<Vec<_>>(), expected, "{path}");
        };
        check("/", &[("Home", "page")]);
        check("/deployments", &[("Deployments", "page")]);
        check("/deployments/", &[("Deployments", "page")]);
        check("/deployments/chat/objects/Room/0f", &[("Deployments", "true")]);
        check("/deploy", &[("Deployments", "true")]);
        check("/deploy/files", &[("Deployments", "true")]);
        check("/deployed", &[]);
        check("/hosts/certificates", &[("Hosts", "true")]);
        check("/account", &[]);
    }
}
