//! The pages, a file a capability, and the addresses that lead to them.

mod account;
mod audit;
mod book;
mod certificates;
mod deploy;
mod deployment;
mod deployment_stats;
mod deployments;
mod home;
mod host;
mod hosts;
mod instruction;
mod instructions;
mod load;
mod machine;
mod machines;
mod not_found;
mod notebook;
mod notebook_settings;
mod notebook_shares;
mod notebooks;
mod object;
mod objects;
mod people;
mod reserve;
mod reserve_form;
mod session;
mod sessions;
mod sign_in;
mod team;
mod tokens;

use leptos::prelude::*;
use leptos_router::components::{FlatRoutes, Route};
use leptos_router::{SsrMode, path};

use not_found::NotFound;

/// Each document leaves the server whole. In `PartiallyBlocked` whatever is not there at the first look comes later, in a
/// `<template>` that only a script puts in place: leptos 0.8 does not replace what blocks, so that without JavaScript a
/// list was there or not by chance. It is also what lets a page answer with the right status.
const WHOLE: SsrMode = SsrMode::Async;

/// Every page and its address.
#[component]
pub fn Pages() -> impl IntoView {
    view! {
        <FlatRoutes fallback=NotFound>
            <Route path=path!("/sign-in") view=sign_in::SignIn ssr=WHOLE/>
            <Route path=path!("/sign-in/link") view=sign_in::SignInLink ssr=WHOLE/>
            <Route path=path!("/") view=home::Home ssr=WHOLE/>
            <Route path=path!("/hosts") view=hosts::Hosts ssr=WHOLE/>
            <Route path=path!("/hosts/certificates") view=certificates::Certificates ssr=WHOLE/>
            <Route path=path!("/hosts/:id") view=host::HostPage ssr=WHOLE/>
            <Route path=path!("/instructions") view=instructions::Instructions ssr=WHOLE/>
            <Route path=path!("/instructions/:id") view=instruction::InstructionPage ssr=WHOLE/>
            <Route path=path!("/machines") view=machines::Machines ssr=WHOLE/>
            <Route path=path!("/machines/:id") view=machine::MachinePage ssr=WHOLE/>
            <Route path=path!("/reserve") view=reserve::Reserve ssr=WHOLE/>
            <Route path=path!("/sessions") view=sessions::Sessions ssr=WHOLE/>
            <Route path=path!("/sessions/:id") view=session::SessionPage ssr=WHOLE/>
            <Route path=path!("/notebooks") view=notebooks::Notebooks ssr=WHOLE/>
            <Route path=path!("/notebooks/settings") view=notebook_settings::NotebookSettings ssr=WHOLE/>
            <Route path=path!("/notebooks/:id") view=notebook::NotebookPage ssr=WHOLE/>
            <Route path=path!("/deployments") view=deployments::Deployments ssr=WHOLE/>
            <Route path=path!("/deployments/:id") view=deployment::DeploymentPage ssr=WHOLE/>
            <Route path=path!("/deployments/:id/versions") view=deployment::VersionsPage ssr=WHOLE/>
            <Route path=path!("/deployments/:id/objects") view=objects::ObjectsPage ssr=WHOLE/>
            <Route path=path!("/deployments/:id/objects/:class/:object") view=object::ObjectPage ssr=WHOLE/>
            <Route path=path!("/deployments/:id/console") view=objects::ConsolePage ssr=WHOLE/>
            <Route path=path!("/deployments/:id/settings") view=deployment::SettingsPage ssr=WHOLE/>
            <Route path=path!("/deploy") view=deploy::Deploy ssr=WHOLE/>
            <Route path=path!("/people") view=people::People ssr=WHOLE/>
            <Route path=path!("/tokens") view=tokens::Tokens ssr=WHOLE/>
            <Route path=path!("/audit") view=audit::Audit ssr=WHOLE/>
            <Route path=path!("/account") view=account::Account ssr=WHOLE/>
            <Route path=path!("/not-found") view=NotFound ssr=WHOLE/>
        </FlatRoutes>
    }
}
