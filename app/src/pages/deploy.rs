//! Deploy: a project's folder, dropped or chosen. The script public/deploy.js sends it with its progress; without one the
//! browser sends the form itself.

use domain::access::Action;
use leptos::attr::custom::custom_attribute;
use leptos::prelude::*;
use leptos::server::ServerActionError;
use leptos::server_fn::error::ServerFnUrlError;
use leptos_meta::Script;
use leptos_router::hooks::use_query_map;

use crate::components::field::TextField;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::problem::FailurePanel;
use crate::{Failure, UPLOAD};

/// Fields beside which a refusal is said.
const FIELDS: [&str; 2] = ["name", "note"];

/// Why the browser was led back here, if it was.
fn refusal() -> Option<Failure> {
    let refused = use_context::<ServerActionError>().filter(|refused| refused.path() == UPLOAD)?;
    Some(ServerFnUrlError::<Failure>::decode_err(refused.err()))
}

#[component]
pub fn Deploy() -> impl IntoView {
    let query = use_query_map();
    let name = query.with_untracked(|query| query.get("name")).unwrap_or_default();
    let refused = refusal();
    let of_field = |field: &str| Signal::stored(refused.as_ref().and_then(|failure| failure.of_field(field)));
    let (bad_name, bad_note) = (of_field("name"), of_field("note"));
    let is_beside = |failure: &Failure| failure.0.field.as_deref().is_some_and(|field| FIELDS.contains(&field));
    let refused = refused.filter(|failure| !is_beside(failure));
    view! {
        <Page title="Deploy" needs=Action::DeploymentsManage up=("/deployments", "Deployments")
            lede="The folder of a project: wrangler.toml, wrangler.json or wrangler.jsonc, and the code that it names.">
            <Script type_="module" src="/deploy.js"/>
            {refused.map(|failure| view! { <FailurePanel failure/> })}
            <berth-deploy class="deploy">
                <form class="form card" method="post" action=UPLOAD enctype="multipart/form-data">
                    <div class="drop" data-drop="">
                        <Icon name="deployments"/>
                        <p class="drop-title" data-drop-title="">"Drop a folder here"</p>
                        <p class="soft" data-chosen="" role="status">"or choose it below."</p>
                    </div>
                    <div class="form-row">
                        <div class="field">
                            <label for="folder">"A folder"</label>
                            <input class="input" id="folder" type="file" name="files" multiple=true {custom_attribute("webkitdirectory", "")} aria-describedby="folder-hint"/>
                            <span class="hint" id="folder-hint">"All that its code imports, node_modules too; .git and hidden folders stay here."</span>
                        </div>
                        <div class="field">
                            <label for="loose">"Or single files"</label>
                            <input class="input" id="loose" type="file" name="files" multiple=true aria-describedby="loose-hint"/>
                            <span class="hint" id="loose-hint">"wrangler.toml and modules beside it."</span>
                        </div>
                    </div>
                    <div class="form-row">
                        <TextField name="name" label="Name" optional=true max_length=40 mono=true autocomplete="off" value=name placeholder="the one in the file" hint="The first part of its address. One of yours gets a new version." error=bad_name/>
                        <TextField name="note" label="Note" optional=true max_length=500 autocomplete="off" placeholder="what is new in this version" error=bad_note/>
                    </div>
                    <div class="problem" data-problem="" role="alert" hidden=true>
                        <Icon name="error"/>
                        <div class="body"><strong data-problem-title=""></strong><p class="wrap" data-problem-text=""></p></div>
                    </div>
                    <div class="form-actions">
                        <button type="submit" class="button primary" data-send=""><Icon name="play"/>"Deploy"</button>
                        <button type="button" class="button" data-cancel="" hidden=true><Icon name="close"/>"Cancel"</button>
                        <progress class="progress" max="100" value="0" aria-label="Sent" data-progress="" hidden=true></progress>
                        <span class="soft" role="status" tabindex="-1" data-state=""></span>
                    </div>
                </form>
                <section class="card" data-result="" hidden=true aria-labelledby="deployed">
                    <div class="card-head">
                        <h2 id="deployed" tabindex="-1" data-result-text="">"Deployed"</h2>
                        <span class="status" role="status" data-standing=""><Icon name="progress"/><span data-standing-text=""></span></span>
                    </div>
                    <p class="soft" data-warnings="" hidden=true></p>
                    <ol class="steps" aria-label="Hosts" data-hosts="" hidden=true></ol>
                    <div class="form-actions">
                        <a class="button primary" data-result-address="" href="/deployments" rel="external noopener" target="_blank"><span data-result-host="">"Open it"</span><Icon name="external"/></a>
                        <a class="button" data-result-link="" href="/deployments">"Show it"</a>
                    </div>
                </section>
            </berth-deploy>
            <p class="soft">"The same on the command line: " <code>"berth objects deploy DIR"</code> ", and " <code>"berth objects dev DIR"</code> " runs it on your own computer first."</p>
        </Page>
    }
}
