//! The frame around every page, and the page within it.

use domain::access::Action;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_location;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement};

use super::icon::Icon;
use super::keys::KeysSheet;
use super::navigation::Navigation;
use super::notices::Notices;
use super::palette::Palette;
use super::problem::Denied;
use super::stale::StaleBanner;
use super::theme::ThemeSwitch;
use crate::preferences::use_preferences;
use crate::viewer::{Viewer, use_viewer};

/// How many frames to wait for the new page's heading; its data may be on the way.
const HEADING_FRAMES: u16 = 180;
const NAVIGATION: &str = "navigation";

/// Navigation, top bar and the page; nothing but the page when nobody is signed in.
#[component]
pub fn Frame(children: Children) -> impl IntoView {
    focus_heading_after_navigation();
    match use_viewer() {
        Some(viewer) => view! { <SignedIn viewer>{children()}</SignedIn> }.into_any(),
        None => view! { <div class="alone"><main id="main" class="card">{children()}</main></div> }.into_any(),
    }
}

#[component]
fn SignedIn(viewer: Viewer, children: Children) -> impl IntoView {
    let palette = RwSignal::new(false);
    let keys = RwSignal::new(false);
    super::keys::listen(palette, keys);
    let zone = use_preferences().zone.name;
    view! {
        <a class="skip" href="#main">"Skip to content"</a>
        <div class="frame">
            <nav class="side" id=NAVIGATION popover="auto" aria-label="Main">
                <a class="brand" href="/"><img src="/logo.svg" alt="" width="24" height="24"/>"Berth"</a>
                <Navigation viewer=viewer.clone()/>
                <div class="side-foot">
                    <span class="pill"><Icon name="clock"/>"Times in "{zone}</span>
                </div>
            </nav>
            <div class="main">
                <header class="top">
                    <button type="button" class="button quiet square menu-button" popovertarget=NAVIGATION aria-label="Navigation"><Icon name="menu"/></button>
                    <button type="button" class="palette-button" aria-haspopup="dialog" on:click=move |_| palette.set(true)>
                        <Icon name="search"/>
                        <span class="label">"Go to or find"</span>
                        <kbd>"Ctrl K"</kbd>
                        <span class="visually-hidden">"Commands"</span>
                    </button>
                    <span class="grow"></span>
                    <button type="button" class="button quiet square wide-only" aria-label="Keys" aria-haspopup="dialog" on:click=move |_| keys.set(true)><Icon name="keyboard"/></button>
                    <AccountMenu viewer=viewer.clone()/>
                </header>
                <StaleBanner/>
                <Notices/>
                <main id="main" tabindex="-1">{children()}</main>
            </div>
        </div>
        <Palette open=palette viewer/>
        <KeysSheet open=keys/>
    }
}

#[component]
fn AccountMenu(viewer: Viewer) -> impl IntoView {
    view! {
        <details class="menu" name="top-menu">
            <summary class="button quiet who">
                <Icon name="user"/>
                <span class="label">{viewer.name.clone()}</span>
                <Icon name="chevron-down"/>
                <span class="visually-hidden">"Account"</span>
            </summary>
            <div class="menu-items">
                <div class="menu-note">{viewer.name}", "{viewer.role.word()}</div>
                <hr/>
                <ThemeSwitch/>
                <hr/>
                <a href="/account"><Icon name="user"/>"Account"</a>
                <form method="post" action="/sign-out">
                    <button type="submit"><Icon name="sign-out"/>"Sign out"</button>
                </form>
            </div>
        </details>
    }
}

/// Where the way back leads, and what that is called.
#[derive(Debug, Clone, Copy)]
pub struct Up(pub Signal<(String, String)>);

impl From<(&str, &str)> for Up {
    fn from((address, name): (&str, &str)) -> Self {
        Up(Signal::stored((address.to_owned(), name.to_owned())))
    }
}

/// A page: its title (also the document's), what it is for, and its actions:
///
/// ```text
/// <Page title="Machines" lede="What you can book, and who has it now."
///     actions=|| view! { <a class="button primary" href="/reserve">"Reserve"</a> }>
///     ...
/// </Page>
/// ```
#[component]
pub fn Page(
    #[prop(into)] title: String,
    /// What the page is about, where that is awaited data; `title` stands in until it is there.
    #[prop(optional, into)]
    about: Option<Signal<Option<String>>>,
    /// What one must be allowed to do here; who is not sees so, and nothing else.
    #[prop(optional, into)]
    needs: Option<Action>,
    #[prop(optional, into)] lede: Option<String>,
    /// The way back up, `(address, name)`.
    #[prop(optional, into)]
    up: Option<Up>,
    #[prop(optional, into)] actions: ViewFnOnce,
    /// No limit of width: for timelines.
    #[prop(optional)]
    wide: bool,
    /// For forms and prose.
    #[prop(optional)]
    narrow: bool,
    children: Children,
) -> impl IntoView {
    let class = match (wide, narrow) {
        (true, _) => "page wide",
        (false, true) => "page narrow",
        (false, false) => "page",
    };
    if let Some(action) = needs.filter(|action| !use_viewer().is_some_and(|viewer| viewer.may(*action))) {
        return view! { <div class="page"><Denied title action/></div> }.into_any();
    }
    let named = RwSignal::new(title.clone());
    let heading = match about {
        None => title.into_any(),
        Some(about) => {
            let meanwhile = title.clone();
            let text = move || {
                let text = about.get().unwrap_or_else(|| title.clone());
                named.set(text.clone());
                text
            };
            // Read here as well as in the page's body: in a whole document the heading waits for it too.
            view! { <Transition fallback=move || meanwhile.clone()>{text}</Transition> }.into_any()
        }
    };
    view! {
        <Title text=named/>
        <div class=class>
            <header class="page-head">
                <div>
                    {up.map(|Up(up)| view! {
                        <p class="crumbs"><a href=move || up.get().0><Icon name="chevron-left"/>{move || up.get().1}</a></p>
                    })}
                    <h1 tabindex="-1">{heading}</h1>
                    {lede.map(|lede| view! { <p class="lede">{lede}</p> })}
                </div>
                <div class="page-actions">{actions.run()}</div>
            </header>
            {children()}
        </div>
    }
    .into_any()
}

/// Puts the focus where the new page begins, and closes what lay over the old one.
fn focus_heading_after_navigation() {
    // Nobody navigates on the server, and it may drop what is local to a thread on another: that panics.
    if !cfg!(feature = "hydrate") {
        return;
    }
    let path = use_location().pathname;
    // What was last there: by the time the effect runs, the new page may have replaced it.
    let known = StoredValue::new_local(None::<Heading>);
    Effect::new(move |before: Option<String>| {
        let now = path.get();
        if before.is_none() {
            known.set_value(heading());
        }
        if before.is_some_and(|before| before != now) {
            if let Some(navigation) = document().get_element_by_id(NAVIGATION)
                && navigation.matches(":popover-open").unwrap_or(false)
                && navigation.unchecked_ref::<HtmlElement>().hide_popover().is_err()
            {
                leptos::logging::warn!("the navigation did not close");
            }
            let held = focused();
            request_animation_frame(move || focus_heading(known, held, HEADING_FRAMES));
        }
        now
    });
}

/// A page's heading. Two pages may share the element; then its text tells them apart.
type Heading = (HtmlElement, String);

fn heading() -> Option<Heading> {
    let element: HtmlElement = document().query_selector("h1").ok().flatten()?.dyn_into().ok()?;
    let text = element.text_content().unwrap_or_default();
    Some((element, text))
}

/// What has the focus; `None` where nothing has.
fn focused() -> Option<Element> {
    document().active_element().filter(|element| !element.matches("body, h1").unwrap_or(false))
}

/// Once the new heading is there, it takes the focus, unless the person has put that somewhere else meanwhile.
fn focus_heading(known: StoredValue<Option<Heading>, LocalStorage>, held: Option<Element>, frames: u16) {
    let now = heading();
    let arrived = now.is_some() && now != known.get_value();
    if !arrived && frames > 0 {
        request_animation_frame(move || focus_heading(known, held, frames - 1));
        return;
    }
    let current = focused();
    if let Some((heading, _)) = &now
        && (current.is_none() || current == held)
        && heading.focus().is_err()
    {
        leptos::logging::warn!("the heading takes no focus");
    }
    known.set_value(now);
}
