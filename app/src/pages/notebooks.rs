//! Notebooks: launch one, and those that there are; what they can be made from.

use api::Page as Items;
use api::notebooks::{Notebook, NotebookEnvironment, NotebookSize, NotebookVolume};
use domain::access::Action;
use domain::events::EventKind;
use domain::notebooks::BASE;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::notebook_shares::SharedWithMe;
use crate::Failure;
use crate::components::empty::Empty;
use crate::components::field::{SelectField, TextArea, TextField};
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Time, at};
use crate::components::units::{bytes, cores};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;
use crate::viewer::use_viewer;

/// Notebooks, what others can be made from and in which sizes, and the files of those who look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    notebooks: Items<Notebook>,
    environments: Vec<NotebookEnvironment>,
    sizes: Vec<NotebookSize>,
    volumes: Vec<NotebookVolume>,
}

#[server(prefix = "/fn", endpoint = "notebooks-list", input = leptos::server_fn::codec::Json)]
async fn list(all: bool, cursor: Option<String>) -> Result<Shown, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let whose = if all { services::reservations::Whose::Everybodys } else { services::reservations::Whose::Mine };
    let page = services::page::PageAsk { limit: None, cursor };
    let ask = services::notebooks::ListAsk { whose, state: None, page };
    let page = services::notebooks::list(&services, &call, &ask).await.map_err(refuse)?;
    let ask = services::page::PageAsk { limit: Some(services::page::MAX_LIMIT), cursor: None };
    let environments = services::notebooks::environments(&services, &call, &ask).await.map_err(refuse)?;
    let mine = services::reservations::Whose::Mine;
    let volumes = services::notebooks::volumes(&services, &call, mine, &ask).await.map_err(refuse)?;
    let (policy, generation) = services::notebooks::policy(&services, &call).await.map_err(refuse)?;
    let policy = api::notebooks::NotebookPolicy::new(policy, generation);
    let actor = &call.actor;
    Ok(Shown {
        notebooks: crate::server::page(page, |notebook| Notebook::new(notebook, actor)),
        environments: crate::server::page(environments, NotebookEnvironment::from).items,
        sizes: policy.sizes,
        volumes: crate::server::page(volumes, NotebookVolume::from).items,
    })
}

#[server(prefix = "/fn", endpoint = "notebooks-launch")]
async fn launch(
    name: Option<String>,
    environment: Option<String>,
    size: Option<String>,
    labels: Option<String>,
) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let labels = labels.unwrap_or_default().parse();
    let labels = labels.map_err(|bad: domain::labels::BadLabels| {
        crate::server::failure(services::Error::invalid("labels", bad.to_string()))
    })?;
    let ask = services::notebooks::Ask { name, environment, size, labels };
    let launched = services::notebooks::launch(&services, &call, &ask).await.map_err(crate::server::failure)?;
    // From there into JupyterLab, as soon as it runs.
    leptos_axum::redirect(&format!("/notebooks/{}?{}", launched.name, super::notebook::OPENS));
    Ok(())
}

#[server(prefix = "/fn", endpoint = "notebook-environments-create")]
async fn make_environment(
    environment_name: String,
    requirements: Option<String>,
    image: Option<String>,
) -> Result<String, Failure> {
    let (services, call) = crate::server::asked()?;
    let software = services::notebooks::software(requirements.as_deref(), image.as_deref());
    let software = software.map_err(crate::server::failure)?;
    let made = services::notebooks::create_environment(&services, &call, &environment_name, software).await;
    made.map(|made| made.name).map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "notebook-environments-delete")]
async fn delete_environment(environment: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    services::notebooks::delete_environment(&services, &call, &environment).await.map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "notebook-volumes-delete")]
pub async fn delete_volume(volume: Uuid, confirm: String, host: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    if confirm.trim() != host {
        let error = services::Error::invalid("confirm", format!("type the host's name, {host}"));
        return Err(crate::server::failure(error));
    }
    services::notebooks::remove_volume(&services, &call, volume.into()).await.map_err(crate::server::failure)
}

/// What a line has room for: of output, the last of its lines.
pub(super) fn brief(cause: &str) -> String {
    cause.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// Fields of the form to launch beside which a refusal is said.
const FIELDS: &[&str] = &["name", "labels", "size", "environment"];

/// To choose from, as `(name, words)`.
pub(super) fn size_options(sizes: &[NotebookSize]) -> Vec<(String, String)> {
    let word = |size: &NotebookSize| {
        let text = format!("{}: {}, {}", size.name, cores(size.cpu_millis), bytes(size.memory_bytes));
        (size.name.clone(), text)
    };
    sizes.iter().map(word).collect()
}

#[component]
pub fn Notebooks() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Notebook]);
    let launching = Submission::<Launch>::new();
    let making = Submission::<MakeEnvironment>::new();
    let deleting = Submission::<DeleteEnvironment>::new();
    let removing = Submission::<DeleteVolume>::new();
    let all = Memo::new(move |_| query.with(|query| query.get("whose").as_deref() == Some("all")));
    let shown = Data::new(
        move || List { all: all.get(), cursor: query.with(|query| query.get("cursor")) },
        move || live.get() + launching.answered() + making.answered() + deleting.answered() + removing.answered(),
    );
    let sees_all = use_viewer().is_some_and(|viewer| viewer.may_for_all(Action::NotebooksRead));
    let sets = use_viewer().is_some_and(|viewer| viewer.may(Action::NotebooksSet));
    view! {
        <Page title="Notebooks" needs=Action::NotebooksRead
            lede="A JupyterLab of your own on a host that has room for it. Your files outlive it.">
            {sees_all.then(|| view! {
                <nav class="button-group" aria-label="Whose">
                    <a class="button small" href="/notebooks" aria-current=move || (!all.get()).then_some("page")>"Mine"</a>
                    <a class="button small" href="/notebooks?whose=all" aria-current=move || all.get().then_some("page")>"Everybody's"</a>
                </nav>
            })}
            {sets.then(|| view! {
                <p class="soft"><a href="/notebooks/settings">"Sizes, limits, idle times and what waits warm"</a></p>
            })}
            {follow(shown, move |shown| view! { <Shown shown all launching making deleting removing/> }.into_any())}
            {move || (!all.get()).then(|| view! { <SharedWithMe/> })}
        </Page>
    }
}

#[component]
fn Shown(
    shown: Signal<Shown>,
    all: Memo<bool>,
    launching: Submission<Launch>,
    making: Submission<MakeEnvironment>,
    deleting: Submission<DeleteEnvironment>,
    removing: Submission<DeleteVolume>,
) -> impl IntoView {
    let environments = Memo::new(move |_| shown.with(|shown| shown.environments.clone()));
    let notebooks = Memo::new(move |_| shown.with(|shown| shown.notebooks.clone()));
    let sizes = Memo::new(move |_| shown.with(|shown| shown.sizes.clone()));
    let volumes = Memo::new(move |_| shown.with(|shown| shown.volumes.clone()));
    view! {
        {move || (!all.get()).then(|| view! { <LaunchForm environments sizes launching/> })}
        {move || view! { <Table notebooks=notebooks.get() all=all.get()/> }}
        {failure_of(move || removing.failure_beside(&["confirm"]))}
        {move || {
            let volumes = volumes.get();
            (!all.get() && !volumes.is_empty()).then(|| view! { <Volumes volumes removing whose="Your files"/> })
        }}
        <Environments environments making deleting/>
    }
}

#[component]
fn LaunchForm(
    environments: Memo<Vec<NotebookEnvironment>>,
    sizes: Memo<Vec<NotebookSize>>,
    launching: Submission<Launch>,
) -> impl IntoView {
    let options = move || {
        let mut names: Vec<String> = environments.with(|all| all.iter().map(|one| one.name.clone()).collect());
        names.sort_by_key(|name| (name != BASE, name.clone()));
        names.into_iter().map(|name| (name.clone(), name)).collect::<Vec<_>>()
    };
    view! {
        <section class="card" aria-labelledby="launch">
            <h2 id="launch">"Launch"</h2>
            <SubmitForm to=launching class="form">
                <div class="form-row">
                    {move || view! { <SelectField name="environment" label="Environment" options=options() selected=BASE/> }}
                    {move || view! { <SelectField name="size" label="Size" options=sizes.with(|sizes| size_options(sizes))/> }}
                    <TextField name="name" label="Name" optional=true max_length=40 mono=true autocomplete="off" placeholder="made up" hint="Part of its address." error=launching.error_of(&["name"])/>
                    <TextField name="labels" label="Labels of the host" optional=true mono=true autocomplete="off" placeholder="gpu=a100" error=launching.error_of(&["labels"])/>
                </div>
                <div class="form-actions">
                    <button type="submit" class="button primary" disabled=move || launching.pending().get()><Icon name="play"/>"Launch"</button>
                </div>
            </SubmitForm>
            {failure_of(move || launching.failure_beside(FIELDS))}
        </section>
    }
}

#[component]
fn Table(notebooks: Items<Notebook>, all: bool) -> impl IntoView {
    let Items { items, next_cursor } = notebooks;
    if items.is_empty() {
        return view! {
            <Empty icon="notebooks" title="No notebooks yet">
                <p>"Choose an environment and a size above, and launch the first one."</p>
            </Empty>
        }
        .into_any();
    }
    let mut headings = vec![Heading::text("Name"), Heading::text("State")];
    if all {
        headings.push(Heading::text("Who"));
    }
    headings.extend([Heading::text("Environment"), Heading::text("Size"), Heading::text("Host")]);
    let row = move |notebook: Notebook| {
        let Notebook { name, state, since, cause, person, environment, size, host, .. } = notebook;
        view! {
            <tr>
                <th scope="row"><a class="main-link" href=format!("/notebooks/{name}")>{name.clone()}</a></th>
                <td data-label="State"><Status badge=state since=at(&since) why=cause.as_deref().map(brief)/></td>
                {all.then(|| view! { <td data-label="Who">{person}</td> })}
                <td data-label="Environment">{environment}</td>
                <td data-label="Size">{size}</td>
                <td data-label="Host">{host}</td>
            </tr>
        }
    };
    let shown = items.len();
    let whose = if all { "whose=all&" } else { "" };
    let next = next_cursor.map(|cursor| format!("/notebooks?{whose}cursor={}", query_part(&cursor)));
    view! {
        <DataTable caption="Notebooks" headings>{items.into_iter().map(row).collect_view()}</DataTable>
        <Pager next shown/>
    }
    .into_any()
}

/// People's files, each deleted by typing where they are.
#[component]
pub fn Volumes(
    volumes: Vec<NotebookVolume>,
    removing: Submission<DeleteVolume>,
    whose: &'static str,
    #[prop(optional)] with_person: bool,
) -> impl IntoView {
    let mut headings = vec![Heading::text("Host")];
    if with_person {
        headings.push(Heading::text("Who"));
    }
    headings.extend([Heading::number("Room"), Heading::text("Made"), Heading::text("State"), Heading::actions()]);
    let row = move |volume: NotebookVolume| {
        let NotebookVolume { id, person, host, size_bytes, created_at, is_leaving, cause, .. } = volume;
        let (field, word, state) = (id.to_string(), host.clone(), if is_leaving { "being deleted" } else { "kept" });
        let act = format!("Delete the files of {person} on {host}");
        view! {
            <tr>
                <th scope="row">{host.clone()}</th>
                {with_person.then(|| view! { <td data-label="Who">{person}</td> })}
                <td class="num" data-label="Room">{bytes(size_bytes)}</td>
                <td data-label="Made">{at(&created_at).map(|at| view! { <Time at/> })}</td>
                <td data-label="State">{state}{cause.map(|cause| format!("; could not be deleted: {cause}"))}</td>
                <td class="actions">
                    {(!is_leaving).then(|| view! {
                        <details class="confirm">
                            <summary class="button small danger" aria-label=act><Icon name="trash"/>"Delete"</summary>
                            <SubmitForm to=removing class="form">
                                <input type="hidden" name="volume" value=field.clone()/>
                                <input type="hidden" name="host" value=word.clone()/>
                                <p>"All files of all notebooks on this host are deleted for good."</p>
                                <TextField name="confirm" id=format!("delete-{field}") label=format!("Type {word} to confirm")
                                    mono=true autocomplete="off" error=removing.error_of(&["confirm"])/>
                                <button type="submit" class="button danger primary">"Delete the files"</button>
                            </SubmitForm>
                        </details>
                    })}
                </td>
            </tr>
        }
    };
    view! {
        <section class="column" aria-labelledby="volumes">
            <h2 id="volumes">{whose}</h2>
            <p class="soft">"The home directory of all notebooks of one person on a host. It stays when notebooks are stopped and deleted."</p>
            <DataTable caption="Home directories" headings>{volumes.into_iter().map(row).collect_view()}</DataTable>
        </section>
    }
}

/// What notebooks can be made from, and a form for one's own list of packages or image.
#[component]
fn Environments(
    environments: Memo<Vec<NotebookEnvironment>>,
    making: Submission<MakeEnvironment>,
    deleting: Submission<DeleteEnvironment>,
) -> impl IntoView {
    let item = move |environment: NotebookEnvironment| {
        let NotebookEnvironment { name, requirements, image, pool, created_by, .. } = environment;
        let (field, act) = (name.clone(), format!("Delete the environment {name}"));
        let label = if image.is_some() { format!("Image of {name}") } else { format!("Packages of {name}") };
        let made_of = image.or(requirements).unwrap_or_default();
        let waits = pool.map(|pool| format!("{} of size {} wait warm", pool.count, pool.size));
        view! {
            <li class="column">
                <div class="row between">
                    <span class="row"><strong>{name}</strong>{waits.map(|waits| view! { <span class="soft">{waits}</span> })}</span>
                    {created_by.is_some().then(|| view! {
                        <SubmitForm to=deleting>
                            <input type="hidden" name="environment" value=field/>
                            <button type="submit" class="button small danger" aria-label=act><Icon name="trash"/>"Delete"</button>
                        </SubmitForm>
                    })}
                </div>
                <pre class="output" tabindex="0" role="region" aria-label=label>{made_of}</pre>
            </li>
        }
    };
    view! {
        <section class="card" aria-labelledby="environments">
            <h2 id="environments">"Environments"</h2>
            <p class="soft">"Lists of Python packages, or container images. A host makes one when a notebook first needs it, and keeps it."</p>
            {failure_of(move || deleting.failure())}
            <ul class="column" role="list">{move || environments.get().into_iter().map(item).collect_view()}</ul>
            <details>
                <summary>"New environment"</summary>
                <SubmitForm to=making class="form">
                    <TextField name="environment_name" label="Name" max_length=63 mono=true autocomplete="off" placeholder="forecast" error=making.error_of(&["name"])/>
                    <TextArea name="requirements" label="requirements.txt" rows=6 optional=true placeholder="scikit-learn==1.7.*" hint="A package a line. JupyterLab and ipykernel are added." error=making.error_of(&["requirements"])/>
                    <TextField name="image" label="Or a container image" optional=true max_length=255 mono=true autocomplete="off" placeholder="registry.example/team/lab:2026-11" hint="It has JupyterLab in it." error=making.error_of(&["image"])/>
                    <div class="form-actions">
                        <button type="submit" class="button" disabled=move || making.pending().get()>"Make environment"</button>
                    </div>
                </SubmitForm>
                {failure_of(move || making.failure_beside(&["name", "requirements", "image"]))}
            </details>
        </section>
    }
}
