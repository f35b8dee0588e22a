//! One deployment: how it does, its versions, and its end. Its objects and its console have a file of their own.

use api::Page as Items;
use api::deployments::{Deployment, DeploymentVersion};
use api::objects::{Rollout, RolloutStanding};
use domain::access::Action;
use domain::events::EventKind;
use leptos::prelude::*;
use leptos_router::hooks::{use_params_map, use_query_map};

use super::deployment_stats::{FetchStats, StatsSection};
use super::deployments::Address;
use crate::Failure;
use crate::clock::{use_beat, use_quick_beat};
use crate::components::confirm::{Confirm, ConfirmWord};
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Ago, Time, at};
use crate::components::units::{bytes, count, grouped};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

/// What is shown of a deployment, each under an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Overview,
    Versions,
    Objects,
    Console,
    Settings,
}

impl Part {
    const ALL: [Part; 5] = [Part::Overview, Part::Versions, Part::Objects, Part::Console, Part::Settings];

    fn name(self) -> &'static str {
        match self {
            Part::Overview => "Overview",
            Part::Versions => "Versions",
            Part::Objects => "Objects",
            Part::Console => "Console",
            Part::Settings => "Settings",
        }
    }

    fn address(self, deployment: &str) -> String {
        match self {
            Part::Overview => format!("/deployments/{deployment}"),
            Part::Versions => format!("/deployments/{deployment}/versions"),
            Part::Objects => format!("/deployments/{deployment}/objects"),
            Part::Console => format!("/deployments/{deployment}/console"),
            Part::Settings => format!("/deployments/{deployment}/settings"),
        }
    }
}

/// The name or id in the address.
pub(super) fn named() -> Memo<String> {
    let params = use_params_map();
    Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()))
}

/// The name of what a page shows, once that is known, or why it cannot be shown.
pub(super) type About = Signal<Option<Result<String, Failure>>>;

/// The page around one part of the deployment that is in the address. What is not there has no parts.
#[component]
pub(super) fn Parts(part: Part, about: About, children: Children) -> impl IntoView {
    let id = named();
    let links = move || {
        let link = move |other: Part| {
            let current = (other == part).then_some("page");
            view! { <a class="button small" href=move || other.address(&id.get()) aria-current=current>{other.name()}</a> }
        };
        view! { <nav class="button-group" aria-label="Parts of the deployment">{Part::ALL.map(link).collect_view()}</nav> }
    };
    let name = Signal::derive(move || about.get()?.ok());
    let is_missing = move || about.with(|about| matches!(about, Some(Err(failure)) if failure.0.status == 404));
    view! {
        <Page title="Deployment" about=name needs=Action::DeploymentsRead up=("/deployments", "Deployments")>
            <Transition fallback=links>{move || (!is_missing()).then(links)}</Transition>
            {children()}
        </Page>
    }
}

/// The deployment, and the version that runs.
pub(super) type Shown = (Deployment, DeploymentVersion);

#[server(prefix = "/fn", endpoint = "deployments-get", input = leptos::server_fn::codec::Json)]
pub(super) async fn fetch(deployment: String) -> Result<Shown, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let found = services::deployments::get(&services, &call, &deployment).await.map_err(refuse)?;
    let version = services::deployments::version(&services, &call, &deployment, found.version).await.map_err(refuse)?;
    Ok((services::deployments::seen(&services, &call, found), version.into()))
}

#[component]
pub fn DeploymentPage() -> impl IntoView {
    let live = use_live(&[EventKind::Deployment]);
    let id = named();
    let shown = Data::new(move || Fetch { deployment: id.get() }, move || live.get());
    let beat = use_beat();
    let starting = RwSignal::new(false);
    let soon = use_quick_beat(starting.into());
    let stats = Data::new(move || FetchStats { deployment: id.get() }, move || live.get() + beat.get() + soon.get());
    let about = Signal::derive(move || Some(shown.get()?.map(|(deployment, _)| deployment.name)));
    view! {
        <Parts part=Part::Overview about>
            {follow(shown, move |shown| view! {
                <Overview shown/>
                {follow(stats, move |stats| {
                    Effect::new(move || starting.set(stats.with(|stats| stats.standing == RolloutStanding::Starting)));
                    view! { <StatsSection stats/> }.into_any()
                })}
            }.into_any())}
        </Parts>
    }
}

#[component]
fn Overview(shown: Signal<Shown>) -> impl IntoView {
    view! {
        <section class="card" aria-labelledby="about">
            <h2 id="about">"What runs"</h2>
            {move || {
                let (deployment, version) = shown.get();
                view! { <Facts deployment version/> }
            }}
        </section>
    }
}

#[component]
fn Facts(deployment: Deployment, version: DeploymentVersion) -> impl IntoView {
    let Deployment { address, person, created_at, changed_at, .. } = deployment;
    let DeploymentVersion { number, main, modules, bytes: size, vars, bindings, note, .. } = version;
    let bindings = bindings.into_iter().map(|binding| format!("env.{}: {}", binding.name, binding.class));
    let bindings: Vec<String> = bindings.collect();
    let vars: Vec<String> = vars.into_keys().map(|name| format!("env.{name}")).collect();
    view! {
        <dl class="facts two">
            <dt>"Address"</dt><dd><Address address/></dd>
            <dt>"Version"</dt>
            <dd>{number}{(!note.is_empty()).then(|| format!(": {note}"))}</dd>
            <dt>"Entry"</dt><dd class="mono">{main}</dd>
            <dt>"Code"</dt><dd>{count(modules.len(), "module", "modules")}", "{bytes(size)}</dd>
            {(!bindings.is_empty()).then(|| view! { <dt>"Objects"</dt><dd class="mono">{bindings.join(", ")}</dd> })}
            {(!vars.is_empty()).then(|| view! { <dt>"Variables"</dt><dd class="mono">{vars.join(", ")}</dd> })}
            <dt>"Who"</dt><dd>{person}</dd>
            <dt>"Deployed"</dt><dd>{at(&created_at).map(|at| view! { <Time at/> })}</dd>
            <dt>"Changed"</dt><dd>{at(&changed_at).map(|at| view! { <Ago at/> })}</dd>
        </dl>
    }
}

/// The deployment, and a page of its versions.
type ShownVersions = (Deployment, Items<DeploymentVersion>);

#[server(prefix = "/fn", endpoint = "deployments-versions", input = leptos::server_fn::codec::Json)]
async fn fetch_versions(deployment: String, cursor: Option<String>) -> Result<ShownVersions, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let found = services::deployments::get(&services, &call, &deployment).await.map_err(refuse)?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let page = services::deployments::versions(&services, &call, &deployment, &ask).await.map_err(refuse)?;
    let page = crate::server::page(page, DeploymentVersion::from);
    Ok((services::deployments::seen(&services, &call, found), page))
}

/// How far hosts are with the version that is to run.
#[server(prefix = "/fn", endpoint = "deployments-rollout", input = leptos::server_fn::codec::Json)]
async fn fetch_rollout(deployment: String) -> Result<Rollout, Failure> {
    let (services, call) = crate::server::asked()?;
    let told = services::objects::rollout(&services, &call, &deployment).await;
    let (deployment, told) = told.map_err(crate::server::failure)?;
    Ok(Rollout::of_briefs(deployment.version, &told.of(deployment.id)))
}

#[server(prefix = "/fn", endpoint = "deployments-run")]
async fn run_version(deployment: String, version: u32) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let ran = services::deployments::run_version(&services, &call, &deployment, version).await;
    ran.map(|_| ()).map_err(crate::server::failure)
}

#[component]
pub fn VersionsPage() -> impl IntoView {
    let live = use_live(&[EventKind::Deployment]);
    let query = use_query_map();
    let id = named();
    let running = Submission::<RunVersion>::new();
    let shown = Data::new(
        move || FetchVersions { deployment: id.get(), cursor: query.with(|query| query.get("cursor")) },
        move || live.get() + running.answered(),
    );
    let (beat, starting) = (use_beat(), RwSignal::new(false));
    let soon = use_quick_beat(starting.into());
    let rollout = Data::new(
        move || FetchRollout { deployment: id.get() },
        move || live.get() + running.answered() + beat.get() + soon.get(),
    );
    let about = Signal::derive(move || Some(shown.get()?.map(|(deployment, _)| deployment.name)));
    view! {
        <Parts part=Part::Versions about>
            <p class="soft">"Another version runs within a moment, and requests that are under way are answered. What objects hold stays as it is."</p>
            {failure_of(move || running.failure())}
            {follow(shown, move |shown| view! { <Versions shown rollout starting running/> }.into_any())}
        </Parts>
    }
}

#[component]
fn Versions(
    shown: Signal<ShownVersions>,
    rollout: Data<Rollout>,
    /// Whether hosts are about to run another one.
    starting: RwSignal<bool>,
    running: Submission<RunVersion>,
) -> impl IntoView {
    // While it is asked for anew, and where hosts cannot be asked, what was told last.
    let reached = Memo::new(move |before: Option<&Option<Reached>>| match rollout.get() {
        Some(Ok(rollout)) => Some(Reached::from(rollout)),
        Some(Err(_)) | None => before.cloned().flatten(),
    });
    Effect::new(move || {
        starting
            .set(reached.with(|reached| reached.as_ref().is_some_and(|of| of.standing == RolloutStanding::Starting)));
    });
    let headings = || {
        vec![
            Heading::number("Version"),
            Heading::text("Note"),
            Heading::text("Made"),
            Heading::text("Who"),
            Heading::text("Code"),
            Heading::actions(),
        ]
    };
    move || {
        let (deployment, Items { items, next_cursor }) = shown.get();
        let of = deployment.name.clone();
        let next = next_cursor.map(|cursor| format!("{}?cursor={}", Part::Versions.address(&of), query_part(&cursor)));
        let shown = items.len();
        let row = |version| view! { <VersionRow version deployment=deployment.clone() reached running/> };
        let rows = items.into_iter().map(row).collect_view();
        view! {
            <DataTable caption="Versions" headings=headings()>{rows}</DataTable>
            <Pager next shown/>
        }
    }
}

/// How far hosts are, in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reached {
    version: u32,
    standing: RolloutStanding,
    why: Option<String>,
}

impl From<Rollout> for Reached {
    fn from(rollout: Rollout) -> Self {
        let of_host = rollout.failed().next();
        let of_host = of_host.and_then(|host| Some(format!("{}: {}", host.host, host.problem.as_ref()?)));
        Self { version: rollout.version, standing: rollout.standing, why: of_host.or(rollout.problem) }
    }
}

#[component]
fn VersionRow(
    version: DeploymentVersion,
    deployment: Deployment,
    reached: Memo<Option<Reached>>,
    running: Submission<RunVersion>,
) -> impl IntoView {
    let DeploymentVersion { number, modules, bytes: size, note, person, created_at, .. } = version;
    let is_wanted = number == deployment.version;
    let reached = move || match reached.get().filter(|reached| reached.version == number) {
        Some(Reached { standing, why, .. }) => view! { <Status badge=standing why/> }.into_any(),
        None => view! { <span class="pill"><Icon name="play"/>"wanted"</span> }.into_any(),
    };
    let act = match (is_wanted, deployment.can_manage) {
        (true, _) => reached.into_any(),
        (false, true) => view! {
            <SubmitForm to=running>
                <input type="hidden" name="deployment" value=deployment.name/>
                <input type="hidden" name="version" value=number.to_string()/>
                <button type="submit" class="button small" disabled=move || running.pending().get()
                    aria-label=format!("Run version {number}")>
                    <Icon name=if number < deployment.version { "undo" } else { "play" }/>
                    {if number < deployment.version { "Roll back" } else { "Run this" }}
                </button>
            </SubmitForm>
        }
        .into_any(),
        (false, false) => ().into_any(),
    };
    view! {
        <tr>
            <th scope="row" class="num">{grouped(number.into())}</th>
            <td data-label="Note" class="wrap">{note}</td>
            <td data-label="Made" class="nowrap">{at(&created_at).map(|at| view! { <Ago at/> })}</td>
            <td data-label="Who">{person}</td>
            <td data-label="Code" class="nowrap">{count(modules.len(), "module", "modules")}", "{bytes(size)}</td>
            <td class="actions">{act}</td>
        </tr>
    }
}

#[server(prefix = "/fn", endpoint = "deployments-delete")]
async fn delete(deployment: String, confirm: String) -> Result<(), Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let found = services::deployments::get(&services, &call, &deployment).await.map_err(refuse)?;
    if confirm.trim() != found.name {
        let why = format!("type the deployment's name, {}", found.name);
        return Err(refuse(services::Error::invalid("confirm", why)));
    }
    services::deployments::delete(&services, &call, &found.id.to_string()).await.map_err(refuse)?;
    leptos_axum::redirect("/deployments");
    Ok(())
}

#[component]
pub fn SettingsPage() -> impl IntoView {
    let live = use_live(&[EventKind::Deployment]);
    let id = named();
    let deleting = Submission::<Delete>::new();
    // Whoever deletes it is led away from a page of which nothing is left.
    let changes =
        Memo::new(move |before: Option<&u64>| match (before, deleting.pending().get() || deleting.led_away()) {
            (Some(before), true) => *before,
            (Some(_), false) | (None, _) => live.get() + deleting.answered(),
        });
    let shown = Data::new(move || Fetch { deployment: id.get() }, move || changes.get());
    let about = Signal::derive(move || Some(shown.get()?.map(|(deployment, _)| deployment.name)));
    view! {
        <Parts part=Part::Settings about>
            {failure_of(move || deleting.failure_beside(&["confirm"]))}
            {follow(shown, move |shown| {
                let kept = Memo::new(move |_| shown.with(|(deployment, _)| (deployment.name.clone(), deployment.can_manage)));
                view! { {move || {
                    let (name, can_manage) = kept.get();
                    view! { <Settings name can_manage deleting/> }
                }} }.into_any()
            })}
        </Parts>
    }
}

#[component]
fn Settings(name: String, can_manage: bool, deleting: Submission<Delete>) -> impl IntoView {
    if !can_manage {
        return view! { <p class="soft">"Only whoever deployed it, or an admin, changes it."</p> }.into_any();
    }
    view! {
        <section class="card" aria-labelledby="anew">
            <h2 id="anew">"A new version"</h2>
            <p class="soft">"Deployed under the same name it takes over from the one that runs."</p>
            <div><a class="button" href=format!("{}?name={}", crate::DEPLOY, query_part(&name))><Icon name="plus"/>"Deploy a new version"</a></div>
        </section>
        <section class="card" aria-labelledby="end">
            <h2 id="end">"Delete"</h2>
            <p class="soft">"Its address answers no more. All versions, and all that its objects hold, are lost."</p>
            <div>
                <Confirm id="delete" label="Delete" icon="trash" title=format!("Delete {name}?")>
                    <SubmitForm to=deleting class="form">
                        <input type="hidden" name="deployment" value=name.clone()/>
                        <p>"All versions, and all that its objects hold, are lost for ever."</p>
                        <ConfirmWord id="delete" label="Delete" word=name.clone() error=deleting.error_of(&["confirm"])/>
                    </SubmitForm>
                </Confirm>
            </div>
        </section>
    }
    .into_any()
}
