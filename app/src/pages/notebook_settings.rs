//! What an admin sets for notebooks: sizes, limits for each person, idle times, what waits warm; and everybody's files.

use api::notebooks::{NotebookEnvironment, NotebookPolicy, NotebookSize, NotebookVolume, WarmNotebook};
use domain::access::Action;
use domain::events::EventKind;
use domain::notebooks::{MAX_SIZES, WarmState};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::notebooks::{DeleteVolume, Volumes, brief, size_options};
use crate::Failure;
use crate::components::field::{SelectField, TextField};
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::table::{DataTable, Heading};
use crate::components::time::{Time, at};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

const GIB: f64 = 1_073_741_824.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    policy: NotebookPolicy,
    environments: Vec<NotebookEnvironment>,
    warm: Vec<WarmNotebook>,
    volumes: Vec<NotebookVolume>,
}

#[server(prefix = "/fn", endpoint = "notebook-settings", input = leptos::server_fn::codec::Json)]
async fn fetch() -> Result<Shown, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let (policy, generation) = services::notebooks::policy(&services, &call).await.map_err(refuse)?;
    let all = services::page::PageAsk { limit: Some(services::page::MAX_LIMIT), cursor: None };
    let environments = services::notebooks::environments(&services, &call, &all).await.map_err(refuse)?;
    let warm = services::notebooks::warm_runs(&services, &call).await.map_err(refuse)?;
    let everybodys = services::reservations::Whose::Everybodys;
    let volumes = services::notebooks::volumes(&services, &call, everybodys, &all).await.map_err(refuse)?;
    Ok(Shown {
        policy: NotebookPolicy::new(policy, generation),
        environments: crate::server::page(environments, NotebookEnvironment::from).items,
        warm: warm.into_iter().map(WarmNotebook::from).collect(),
        volumes: crate::server::page(volumes, NotebookVolume::from).items,
    })
}

/// A size as it is typed; a row without a name is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TypedSize {
    name: String,
    cpus: String,
    memory_gib: String,
    disk_gib: String,
}

#[cfg(feature = "ssr")]
fn number(field: &'static str, text: &str) -> Result<f64, Failure> {
    let number = text.trim().parse::<f64>().ok().filter(|number| (0.0..=1e9).contains(number));
    number.ok_or_else(|| {
        crate::server::failure(services::Error::invalid(field, format!("'{}' is no number", text.trim())))
    })
}

/// Rounded to whole ones.
#[cfg(feature = "ssr")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be between 0 and 1e9, by 2^30 at most"
)]
fn units(field: &'static str, text: &str, unit: f64) -> Result<u64, Failure> {
    Ok((number(field, text)? * unit).round() as u64)
}

#[cfg(feature = "ssr")]
fn millis(field: &'static str, text: &str) -> Result<u32, Failure> {
    Ok(u32::try_from(units(field, text, 1_000.0)?).unwrap_or(u32::MAX))
}

/// Limits and times as they are typed; what is left empty is no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypedLimits {
    max_notebooks: u32,
    max_running: u32,
    #[serde(default)]
    max_cpus: String,
    #[serde(default)]
    max_memory_gib: String,
    volume_gib: String,
    #[serde(default)]
    idle_after_min: String,
    warn_before_min: u32,
}

#[server(prefix = "/fn", endpoint = "notebook-policy-set")]
async fn set(generation: i64, #[server(default)] sizes: Vec<TypedSize>, limits: TypedLimits) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let given = |text: String| Some(text).filter(|text| !text.trim().is_empty());
    let size = |size: TypedSize| {
        Ok::<_, Failure>(domain::notebooks::NotebookSize {
            name: size.name.trim().to_owned(),
            cpu_millis: millis("sizes", &size.cpus)?,
            memory_bytes: units("sizes", &size.memory_gib, GIB)?,
            disk_bytes: units("sizes", &size.disk_gib, GIB)?,
        })
    };
    let idle = given(limits.idle_after_min).map(|text| units("idle_after_min", &text, 1.0)).transpose()?;
    let policy = domain::notebooks::NotebookPolicy {
        sizes: sizes.into_iter().filter(|size| !size.name.trim().is_empty()).map(size).collect::<Result<_, _>>()?,
        max_notebooks: limits.max_notebooks,
        max_running: limits.max_running,
        max_cpu_millis: given(limits.max_cpus).map(|text| millis("max_cpu_millis", &text)).transpose()?,
        max_memory_bytes: given(limits.max_memory_gib).map(|text| units("max_memory_bytes", &text, GIB)).transpose()?,
        volume_bytes: units("volume_bytes", &limits.volume_gib, GIB)?,
        idle_after_min: idle.map(|minutes| u32::try_from(minutes).unwrap_or(u32::MAX)),
        warn_before_min: limits.warn_before_min,
    };
    let set = services::notebooks::set_policy(&services, &call, Some(generation), &policy).await;
    set.map(drop).map_err(crate::server::failure)
}

#[server(prefix = "/fn", endpoint = "notebook-pool-set")]
async fn set_pool(environment: String, count: u32, size: String) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let pool = domain::notebooks::Pool { count, size };
    let set = services::notebooks::set_pool(&services, &call, &environment, Some(pool)).await;
    set.map(drop).map_err(crate::server::failure)
}

/// Fields beside which a refusal is said.
const FIELDS: &[&str] = &[
    "sizes",
    "max_notebooks",
    "max_running",
    "max_cpu_millis",
    "max_memory_bytes",
    "volume_bytes",
    "idle_after_min",
    "warn_before_min",
];

#[component]
pub fn NotebookSettings() -> impl IntoView {
    let live = use_live(&[EventKind::Notebook]);
    let setting = Submission::<Set>::new();
    let pooling = Submission::<SetPool>::new();
    let removing = Submission::<DeleteVolume>::new();
    let shown =
        Data::new(move || Fetch {}, move || live.get() + setting.answered() + pooling.answered() + removing.answered());
    view! {
        <Page title="Notebook settings" needs=Action::NotebooksSet up=("/notebooks", "Notebooks")
            lede="What holds for everybody's notebooks. What runs goes on in its size; idle times hold at once.">
            {follow(shown, move |shown| view! { <Shown shown setting pooling removing/> }.into_any())}
        </Page>
    }
}

#[component]
fn Shown(
    shown: Signal<Shown>,
    setting: Submission<Set>,
    pooling: Submission<SetPool>,
    removing: Submission<DeleteVolume>,
) -> impl IntoView {
    let policy = Memo::new(move |_| shown.with(|shown| shown.policy.clone()));
    let environments = Memo::new(move |_| shown.with(|shown| shown.environments.clone()));
    let warm = Memo::new(move |_| shown.with(|shown| shown.warm.clone()));
    let volumes = Memo::new(move |_| shown.with(|shown| shown.volumes.clone()));
    view! {
        <section class="card" aria-labelledby="policy">
            <h2 id="policy">"Sizes, limits and idle times"</h2>
            {failure_of(move || setting.failure_beside(FIELDS))}
            {move || view! { <PolicyForm policy=policy.get() setting/> }}
            <p role="status">{move || setting.done().map(|()| "Saved.")}</p>
        </section>
        <section class="card" aria-labelledby="warm">
            <h2 id="warm">"What waits warm"</h2>
            <p class="soft">"Started notebooks without anybody's files. Whoever launches one of that environment and size gets it at once, and the next is started."</p>
            {failure_of(move || pooling.failure_beside(&["count", "size", "environment"]))}
            {move || view! { <Pools environments=environments.get() policy=policy.get() warm=warm.get() pooling/> }}
        </section>
        {failure_of(move || removing.failure_beside(&["confirm"]))}
        {move || {
            let volumes = volumes.get();
            (!volumes.is_empty()).then(|| view! { <Volumes volumes removing whose="Everybody's files" with_person=true/> })
        }}
    }
}

#[expect(clippy::cast_precision_loss, reason = "of sizes that people type")]
fn gib(bytes: u64) -> String {
    (bytes as f64 / GIB).to_string()
}

fn cpus(millis: u32) -> String {
    (f64::from(millis) / 1_000.0).to_string()
}

#[component]
fn PolicyForm(policy: NotebookPolicy, setting: Submission<Set>) -> impl IntoView {
    let spare = policy.sizes.len() < MAX_SIZES;
    let typed = |size: NotebookSize| TypedSize {
        cpus: cpus(size.cpu_millis),
        memory_gib: gib(size.memory_bytes),
        disk_gib: gib(size.disk_bytes),
        name: size.name,
    };
    let rows: Vec<TypedSize> = policy.sizes.into_iter().map(typed).chain(spare.then(TypedSize::default)).collect();
    let headings =
        vec![Heading::text("Name"), Heading::text("CPUs"), Heading::text("Memory, GiB"), Heading::text("Disk, GiB")];
    let cell = |at: usize, field: &'static str, label: &'static str, value: String| {
        view! {
            <td data-label=label>
                <input class="input" name=format!("sizes[{at}][{field}]") value=value autocomplete="off"
                    aria-label=format!("{label} of size {}", at + 1)/>
            </td>
        }
    };
    let row = move |(at, size): (usize, TypedSize)| {
        view! {
            <tr>
                {cell(at, "name", "Name", size.name)}
                {cell(at, "cpus", "CPUs", size.cpus)}
                {cell(at, "memory_gib", "Memory, GiB", size.memory_gib)}
                {cell(at, "disk_gib", "Disk, GiB", size.disk_gib)}
            </tr>
        }
    };
    let refused = setting.error_of(&["sizes"]);
    view! {
        <SubmitForm to=setting class="form">
            <input type="hidden" name="generation" value=policy.generation.unwrap_or_default().to_string()/>
            <DataTable caption="Sizes" headings>{rows.into_iter().enumerate().map(row).collect_view()}</DataTable>
            <p class="soft">"The first is taken where none is named. Empty a name to remove its size; disk is for what is written outside of the home directory."</p>
            <p class="field-error" role="alert" hidden=move || refused.get().is_none()>{move || refused.get()}</p>
            <div class="form-row">
                <TextField name="limits[max_running]" label="Running at a time, each person" kind="number" min="1" max="1000" value=policy.max_running.to_string() error=setting.error_of(&["max_running"])/>
                <TextField name="limits[max_cpus]" label="CPUs at a time, each person" optional=true value=policy.max_cpu_millis.map(cpus).unwrap_or_default() placeholder="no limit" autocomplete="off" error=setting.error_of(&["max_cpu_millis"])/>
                <TextField name="limits[max_memory_gib]" label="Memory at a time, each person, GiB" optional=true value=policy.max_memory_bytes.map(gib).unwrap_or_default() placeholder="no limit" autocomplete="off" error=setting.error_of(&["max_memory_bytes"])/>
                <TextField name="limits[max_notebooks]" label="Notebooks, each person" kind="number" min="1" max="1000" value=policy.max_notebooks.to_string() hint="Stopped ones included." error=setting.error_of(&["max_notebooks"])/>
                <TextField name="limits[volume_gib]" label="Files, each person and host, GiB" value=gib(policy.volume_bytes) autocomplete="off" hint="More holds from the next start; less changes nothing that is there." error=setting.error_of(&["volume_bytes"])/>
                <TextField name="limits[idle_after_min]" label="Stops when idle, minutes" optional=true value=policy.idle_after_min.map(|minutes| minutes.to_string()).unwrap_or_default() placeholder="never" autocomplete="off" hint="A running cell is never stopped." error=setting.error_of(&["idle_after_min"])/>
                <TextField name="limits[warn_before_min]" label="Told before, minutes" kind="number" min="0" max="10080" value=policy.warn_before_min.to_string() error=setting.error_of(&["warn_before_min"])/>
            </div>
            <div class="form-actions">
                <button type="submit" class="button primary" disabled=move || setting.pending().get()>"Save"</button>
            </div>
        </SubmitForm>
    }
}

#[component]
fn Pools(
    environments: Vec<NotebookEnvironment>,
    policy: NotebookPolicy,
    warm: Vec<WarmNotebook>,
    pooling: Submission<SetPool>,
) -> impl IntoView {
    let sizes = size_options(&policy.sizes);
    let names: Vec<(String, String)> =
        environments.iter().filter(|one| one.image.is_none()).map(|one| (one.name.clone(), one.name.clone())).collect();
    let row = |environment: &NotebookEnvironment| {
        let pool = environment.pool.clone()?;
        let of_it: Vec<&WarmNotebook> = warm.iter().filter(|run| run.environment_id == environment.id).collect();
        let count = |state: WarmState| of_it.iter().filter(|run| run.state == state).count();
        let failed = of_it.iter().find(|run| run.state == WarmState::Failed).map(|run| {
            let why = run.cause.as_deref().map(brief).unwrap_or_default();
            let (host, since) = (run.host.clone(), at(&run.since).map(|at| view! { <Time at/> }));
            view! { <span>{format!("failed on {host}: {why}, ")}{since}</span> }
        });
        let hosts: Vec<String> =
            of_it.iter().filter(|run| run.state == WarmState::Ready).map(|run| run.host.clone()).collect();
        Some(view! {
            <tr>
                <th scope="row">{environment.name.clone()}</th>
                <td data-label="Size">{pool.size}</td>
                <td class="num" data-label="Wanted">{pool.count}</td>
                <td class="num" data-label="Ready">{count(WarmState::Ready)}</td>
                <td class="num" data-label="Starting">{count(WarmState::Starting)}</td>
                <td data-label="Where">{hosts.join(", ")}{failed}</td>
            </tr>
        })
    };
    let rows: Vec<_> = environments.iter().filter_map(row).collect();
    let headings = vec![
        Heading::text("Environment"),
        Heading::text("Size"),
        Heading::number("Wanted"),
        Heading::number("Ready"),
        Heading::number("Starting"),
        Heading::text("Where"),
    ];
    let table = (!rows.is_empty()).then(|| view! { <DataTable caption="Warm notebooks" headings>{rows}</DataTable> });
    view! {
        {table}
        <SubmitForm to=pooling class="form">
            <div class="form-row">
                <SelectField name="environment" label="Environment" options=names error=pooling.error_of(&["environment"])/>
                <TextField name="count" label="How many wait" kind="number" min="0" max="50" value="1" error=pooling.error_of(&["count"])/>
                <SelectField name="size" label="Size" options=sizes error=pooling.error_of(&["size"])/>
            </div>
            <div class="form-actions">
                <button type="submit" class="button" disabled=move || pooling.pending().get()>"Set"</button>
            </div>
        </SubmitForm>
    }
}
