//! The pages, a file a capability, and the addresses that lead to them.

mod account;
mod audit;
mod book;
mod certificates;
mod home;
mod host;
mod hosts;
mod instruction;
mod instructions;
mod machine;
mod machines;
mod not_found;
mod people;
mod reserve;
mod reserve_form;
mod session;
mod sessions;
mod sign_in;
mod tokens;

use leptos::prelude::*;
use leptos_router::components::{FlatRoutes, Route};
use leptos_router::{SsrMode, path};

use not_found::NotFound;

/// Every page and its address. Lists are `SsrMode::PartiallyBlocked`, details `SsrMode::Async`.
#[component]
pub fn Pages() -> impl IntoView {
    view! {
        <FlatRoutes fallback=NotFound>
            <Route path=path!("/sign-in") view=sign_in::SignIn/>
            <Route path=path!("/sign-in/link") view=sign_in::SignInLink/>
            <Route path=path!("/") view=home::Home ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/hosts") view=hosts::Hosts ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/hosts/certificates") view=certificates::Certificates ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/hosts/:id") view=host::HostPage ssr=SsrMode::Async/>
            <Route path=path!("/instructions") view=instructions::Instructions ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/instructions/:id") view=instruction::InstructionPage ssr=SsrMode::Async/>
            <Route path=path!("/machines") view=machines::Machines ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/machines/:id") view=machine::MachinePage ssr=SsrMode::Async/>
            <Route path=path!("/reserve") view=reserve::Reserve ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/sessions") view=sessions::Sessions ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/sessions/:id") view=session::SessionPage ssr=SsrMode::Async/>
            <Route path=path!("/people") view=people::People ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/tokens") view=tokens::Tokens ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/audit") view=audit::Audit ssr=SsrMode::PartiallyBlocked/>
            <Route path=path!("/account") view=account::Account ssr=SsrMode::Async/>
            <Route path=path!("/not-found") view=NotFound/>
        </FlatRoutes>
    }
}
