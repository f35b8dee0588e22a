//! Who looks at the page.

use domain::access::Action;
use domain::people::Role;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

/// The person who is signed in. It goes to the browser with the document, so that the frame needs no request of its own;
/// signing in or out loads a new document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewer {
    pub name: String,
    pub role: Role,
}

impl Viewer {
    /// Whether pages should offer `action`, at least on what is the viewer's own. The server decides again.
    pub fn may(&self, action: Action) -> bool {
        let rule = action.rule();
        [rule.own, rule.tenant].into_iter().flatten().any(|least| self.role >= least)
    }

    /// Whether pages should offer `action` on what belongs to others.
    pub fn may_for_all(&self, action: Action) -> bool {
        action.rule().tenant.is_some_and(|least| self.role >= least)
    }
}

/// Who is signed in; `None` on the pages that need nobody (sign-in).
pub fn use_viewer() -> Option<Viewer> {
    use_context::<Viewer>()
}

/// The person whose request this is, from the call that the server left in the context.
#[cfg(feature = "ssr")]
pub(crate) fn from_request() -> Option<Viewer> {
    let call = use_context::<Option<services::Call>>().flatten()?;
    Some(Viewer { name: call.person_name, role: call.actor.role })
}

/// The name of the `<meta>` that carries the viewer into the browser.
pub(crate) const META: &str = "berth-viewer";

/// Reads the viewer from the document.
pub(crate) fn from_document() -> Option<Viewer> {
    let meta = document().query_selector(&format!("meta[name={META}]")).ok().flatten()?;
    serde_json::from_str(&meta.get_attribute("content")?).ok()
}
