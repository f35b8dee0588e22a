//! One notebook: its steps as it starts, the way in, its end, and what its latest run wrote.

use api::notebooks::{Notebook, NotebookSize};
use domain::events::EventKind;
use domain::notebooks::{NotebookAct, NotebookState};
use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::notebook_shares::{SharesSection, Whose};
use super::notebooks::{brief, size_options};
use crate::Failure;
use crate::components::confirm::{Confirm, ConfirmButtons};
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::notices::{IdleNotice, Keep};
use crate::components::status::Status;
use crate::components::steps::Steps;
use crate::components::time::{Time, at};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

/// The query of this page's address that asks to be led into JupyterLab as soon as it runs.
pub(super) const OPENS: &str = "open";

/// The notebook, what its latest run wrote, and the sizes in which it can be started.
type Shown = (Notebook, String, Vec<NotebookSize>);

#[server(prefix = "/fn", endpoint = "notebooks-get", input = leptos::server_fn::codec::Json)]
async fn fetch(notebook: String) -> Result<Shown, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let found = services::notebooks::get(&services, &call, &notebook).await.map_err(refuse)?;
    let (pieces, _) = services::notebooks::logs(&services, &call, &notebook, None).await.map_err(refuse)?;
    let log: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.content).collect();
    let (policy, generation) = services::notebooks::policy(&services, &call).await.map_err(refuse)?;
    let sizes = api::notebooks::NotebookPolicy::new(policy, generation).sizes;
    Ok((Notebook::new(found, &call.actor), String::from_utf8_lossy(&log).into_owned(), sizes))
}

#[server(prefix = "/fn", endpoint = "notebooks-start")]
async fn start(notebook: String, size: Option<String>) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::notebooks::start(&services, &call, &notebook, size.as_deref())
        .await
        .map(|_| ())
        .map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "notebooks-stop")]
async fn stop(notebook: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::notebooks::stop(&services, &call, &notebook).await.map(|_| ()).map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "notebooks-delete")]
async fn delete(notebook: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::notebooks::delete(&services, &call, &notebook).await.map_err(crate::server::failure)?;
    leptos_axum::redirect("/notebooks");
    Ok(())
}

/// What the state means, and what comes next.
fn next(state: NotebookState) -> &'static str {
    match state {
        NotebookState::Waiting => "It starts as soon as a host has room for it.",
        NotebookState::Starting => "Its environment is made ready on its host. A new environment takes a minute.",
        NotebookState::Running => "It goes on when you close its tab, and when the portal is restarted.",
        NotebookState::Stopping => "What runs in it ends. Your files stay.",
        NotebookState::Stopped => "Your files are there when you start it again.",
        NotebookState::Failed => "Steps and log say why. Your files are there when you start it again.",
    }
}

#[component]
pub fn NotebookPage() -> impl IntoView {
    let params = use_params_map();
    let live = use_live(&[EventKind::Notebook]);
    let starting = Submission::<Start>::new();
    let stopping = Submission::<Stop>::new();
    let deleting = Submission::<Delete>::new();
    let keeping = Submission::<Keep>::new();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let shown = Data::new(
        move || Fetch { notebook: id.get() },
        move || live.get() + starting.answered() + stopping.answered() + keeping.answered(),
    );
    lead_in(shown);
    let about = Signal::derive(move || Some(shown.get()?.ok()?.0.name));
    view! {
        <Page title="Notebook" about up=("/notebooks", "Notebooks")>
            {failure_of(move || starting.failure())}
            {failure_of(move || stopping.failure())}
            {failure_of(move || deleting.failure())}
            {failure_of(move || keeping.failure())}
            {move || (!deleting.led_away()).then(|| {
                follow(shown, move |shown| view! { <Shown shown starting stopping deleting keeping/> }.into_any())
            })}
        </Page>
    }
}

/// Leads whoever has just launched it into JupyterLab. They do not come back here by going back.
fn lead_in(shown: Data<Shown>) {
    let query = use_query_map();
    Effect::new(move |_| {
        let Some(Ok((notebook, ..))) = shown.get() else { return };
        let is_asked = query.with(|query| query.get(OPENS).is_some());
        if is_asked && notebook.actions.contains(&NotebookAct::Open) {
            // A browser that does not go has the button.
            drop(window().location().replace(&format!("/notebooks/{}/open", notebook.name)));
        }
    });
}

#[component]
fn Shown(
    shown: Signal<Shown>,
    starting: Submission<Start>,
    stopping: Submission<Stop>,
    deleting: Submission<Delete>,
    keeping: Submission<Keep>,
) -> impl IntoView {
    let notebook = Memo::new(move |_| shown.with(|(notebook, ..)| notebook.clone()));
    let log = Memo::new(move |_| shown.with(|(_, log, _)| log.clone()));
    let sizes = Memo::new(move |_| shown.with(|(_, _, sizes)| sizes.clone()));
    let acts = Memo::new(move |_| {
        notebook.with(|notebook| (notebook.name.clone(), notebook.size.clone(), notebook.actions.clone()))
    });
    let steps = Memo::new(move |_| notebook.with(|notebook| notebook.steps.clone()));
    let own = Memo::new(move |_| notebook.with(|notebook| notebook.is_own.then(|| notebook.name.clone())));
    view! {
        {move || view! { <Whose notebook=notebook.get()/> }}
        <div role="status">{move || view! { <IdleNotice notebook=notebook.get() keeping/> }}</div>
        <section class="card" aria-labelledby="state">
            <div class="card-head">
                <h2 id="state" class="visually-hidden">"State"</h2>
                <div aria-live="polite">
                    {move || {
                        let Notebook { state, since, cause, .. } = notebook.get();
                        view! { <Status badge=state since=at(&since) why=cause.as_deref().map(brief)/> }
                    }}
                </div>
                {move || {
                    let (name, size, actions) = acts.get();
                    view! { <Acts name size sizes=sizes.get() actions starting stopping deleting/> }
                }}
            </div>
            <p class="soft">{move || notebook.with(|notebook| next(notebook.state))}</p>
            {move || view! { <Facts notebook=notebook.get()/> }}
        </section>
        {move || {
            let steps = steps.get();
            (!steps.is_empty()).then(|| view! {
                <section class="card" aria-labelledby="steps">
                    <h2 id="steps">"Steps"</h2>
                    <Steps steps label="Steps of its start or end"/>
                </section>
            })
        }}
        {move || {
            let log = log.get();
            (!log.is_empty()).then(|| view! {
                <section class="card" aria-labelledby="log">
                    <h2 id="log">"Log"</h2>
                    <pre class="output" tabindex="0" aria-label="What its latest run wrote">{log}</pre>
                </section>
            })
        }}
        {move || own.get().map(|notebook| view! { <SharesSection notebook/> })}
    }
}

#[component]
fn Facts(notebook: Notebook) -> impl IntoView {
    let active_at = notebook.active_at.as_deref().and_then(at);
    let labels = Some(notebook.labels).filter(|labels| !labels.is_empty());
    view! {
        <dl class="facts two">
            <dt>"Environment"</dt><dd>{notebook.environment}</dd>
            <dt>"Size"</dt><dd>{notebook.size}</dd>
            <dt>"Host"</dt><dd>{notebook.host.unwrap_or_else(|| "none yet".to_owned())}</dd>
            <dt>"Who"</dt><dd>{notebook.person}</dd>
            {active_at.map(|at| view! { <dt>"Last used"</dt><dd><Time at/></dd> })}
            {labels.map(|labels| view! { <dt>"Labels"</dt><dd class="mono">{labels}</dd> })}
            <dt>"Launched"</dt><dd>{at(&notebook.created_at).map(|at| view! { <Time at/> })}</dd>
        </dl>
    }
}

#[component]
fn Acts(
    name: String,
    size: String,
    sizes: Vec<NotebookSize>,
    actions: Vec<NotebookAct>,
    starting: Submission<Start>,
    stopping: Submission<Stop>,
    deleting: Submission<Delete>,
) -> impl IntoView {
    let (name, size, sizes) = (StoredValue::new(name), StoredValue::new(size), StoredValue::new(sizes));
    let button = move |act: NotebookAct| {
        match act {
        NotebookAct::Open => view! {
            <a class="button primary" href=format!("/notebooks/{}/open", name.get_value()) rel="external" target="_blank"><Icon name="external"/>"Open JupyterLab"</a>
        }.into_any(),
        // Its notice has the button.
        NotebookAct::Keep => ().into_any(),
        NotebookAct::Start => view! {
            <SubmitForm to=starting class="row">
                <input type="hidden" name="notebook" value=name.get_value()/>
                <select class="select compact" name="size" aria-label="Size">
                    {size_options(&sizes.get_value()).into_iter().map(|(value, word)| {
                        let chosen = value == size.get_value();
                        view! { <option value=value selected=chosen>{word}</option> }
                    }).collect_view()}
                </select>
                <button type="submit" class="button primary" disabled=move || starting.pending().get()><Icon name="play"/>"Start"</button>
            </SubmitForm>
        }.into_any(),
        NotebookAct::Stop => view! {
            <Confirm id="stop" label="Stop" icon="stop" title="Stop this notebook?">
                <SubmitForm to=stopping class="form">
                    <input type="hidden" name="notebook" value=name.get_value()/>
                    <p>"Kernels and terminals in it end. Your files stay."</p>
                    <ConfirmButtons id="stop" label="Stop"/>
                </SubmitForm>
            </Confirm>
        }.into_any(),
        NotebookAct::Delete => view! {
            <Confirm id="delete" label="Delete" icon="trash" title="Delete this notebook?">
                <SubmitForm to=deleting class="form">
                    <input type="hidden" name="notebook" value=name.get_value()/>
                    <p>"Its name and its log go. Your files stay, for your other notebooks too."</p>
                    <ConfirmButtons id="delete" label="Delete"/>
                </SubmitForm>
            </Confirm>
        }.into_any(),
    }
    };
    view! { <div class="row">{actions.into_iter().map(button).collect_view()}</div> }
}
