//! Notebooks: launch, start, stop and delete them; what hosts report of their runs.

mod activity;
mod environments;
mod policy;
mod reconcile;
mod shares;
mod visits;
mod volumes;
mod warm;

use domain::{
    access::{Action, Permit},
    events::EventKind,
    ids::{HostId, NotebookId, RunId, TenantId},
    instructions::Work as Order,
    labels::Labels,
    names::check_address_name,
    notebooks::{Notebook, NotebookAct, NotebookIntent, NotebookPolicy, NotebookSize, NotebookState},
    sessions::Step,
};
use jiff::Timestamp;
use store::{
    Tx,
    audit::Entry,
    notebooks::{Filter, Turn},
    sessions::Written,
};

pub(crate) use activity::NotedUse;
pub use activity::{Looked, Quiet, answered, keep, keep_here, look, note_work};
pub use environments::{
    create as create_environment, delete as delete_environment, list as environments, set_pool, software,
};
pub use policy::{get as policy, set as set_policy};
pub(crate) use reconcile::pass;
pub use shares::{share, shared, shares, unshare};
pub use visits::{Door, Presence, Visitor, enter, may_stay, presence, ticket, visitor};
pub use volumes::{list as volumes, remove as remove_volume};
pub use warm::list as warm_runs;

use crate::{
    Call, Error, Result, Services, audit, idempotency, instructions,
    page::{Page, PageAsk},
    reservations::Whose,
};

const KIND: &str = "notebook";
/// Tries of a write that was overtaken.
const TRIES: usize = 8;
/// What is written at a run's end counts from here, past all that its start can write.
const END_SEQ: i64 = 1 << 32;
/// Notebooks on one host that are looked at when it links.
const MAX_ON_HOST: u64 = 10_000;

/// What is to be launched.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Made up if not given.
    pub name: Option<String>,
    /// Name or id; `base` if not given.
    pub environment: Option<String>,
    /// The policy's first if not given.
    pub size: Option<String>,
    pub labels: Labels,
}

/// Which notebooks are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct ListAsk {
    pub whose: Whose,
    pub state: Option<NotebookState>,
    pub page: PageAsk,
}

/// Newest first.
pub async fn list(services: &Services, call: &Call, ask: &ListAsk) -> Result<Page<Notebook>> {
    let permit = call.permit(Action::NotebooksRead)?;
    let limit = ask.page.limit()?;
    let person = match (store::notebooks::reach(&permit), ask.whose.person(call)) {
        (None, person) => person,
        (Some(_), Some(person)) => {
            permit.check_owner(person)?;
            Some(person)
        }
        // Everybody's, as far as the caller may see: their own.
        (Some(own), None) => Some(own),
    };
    let filter = Filter { person, state: ask.state, host: None, before: ask.page.after::<NotebookId>()? };
    let rows = store::notebooks::list(services.store().read(), &permit, &filter, limit + 1).await?;
    Ok(Page::cut(rows, limit, |notebook| notebook.id))
}

/// By id or name. Another person's is not there for who may not see it.
async fn find(services: &Services, permit: &Permit, which: &str) -> Result<Notebook> {
    let conn = services.store().read();
    let found = match which.parse::<NotebookId>() {
        Ok(id) => store::notebooks::get(conn, permit, id).await?,
        Err(_) => store::notebooks::by_name(conn, permit, which).await?,
    };
    let Some(mut notebook) = found else { return Err(Error::not_found(KIND, which)) };
    notebook.share = shares::of(services, permit, &notebook).await?;
    if permit.check_owner(notebook.person).is_err() && notebook.share.is_none() {
        return Err(Error::not_found(KIND, which));
    }
    Ok(notebook)
}

pub async fn get(services: &Services, call: &Call, which: &str) -> Result<Notebook> {
    find(services, &call.permit(Action::NotebooksRead)?, which).await
}

/// What its latest run wrote after piece `after`: its start, the environment's building included, and at its end JupyterLab's
/// own last words; and whether nothing follows.
pub async fn logs(
    services: &Services,
    call: &Call,
    which: &str,
    after: Option<i64>,
) -> Result<(Vec<instructions::Piece>, bool)> {
    let notebook = get(services, call, which).await?;
    let permit = Permit::system(notebook.tenant);
    let Some(start) = notebook.start else { return Ok((Vec::new(), true)) };
    let mut pieces = store::instructions::output(services.store(), &permit, start, after).await?;
    if let Some(end) = notebook.transaction.filter(|end| *end != start) {
        let after = after.and_then(|after| after.checked_sub(END_SEQ)).filter(|after| *after >= 0);
        let of_end = store::instructions::output(services.store(), &permit, end, after).await?;
        pieces.extend(of_end.into_iter().map(|piece| instructions::Piece { seq: piece.seq + END_SEQ, ..piece }));
    }
    Ok((pieces, matches!(notebook.state, NotebookState::Stopped | NotebookState::Failed)))
}

/// A name that nobody is likely to have: the person's, and a few letters.
fn made_up(person_name: &str, id: NotebookId) -> String {
    let plain: String = person_name
        .chars()
        .take_while(|c| !c.is_whitespace())
        .filter(char::is_ascii_alphabetic)
        .map(|c| c.to_ascii_lowercase())
        .take(20)
        .collect();
    let number = id.uuid().simple().to_string();
    format!("{}-{}", if plain.is_empty() { "notebook" } else { &plain }, &number[number.len() - 6..])
}

/// Asks for a notebook and its first run. Whether a host has room for it, and if not why, its state says.
pub async fn launch(services: &Services, call: &Call, ask: &Ask) -> Result<Notebook> {
    let permit = call.permit(Action::NotebooksManage)?;
    let environment = environments::find(services, &permit, ask.environment.as_deref()).await?;
    let (policy, _) = store::notebooks::policy::get(services.store().read(), &permit).await?;
    let size = find_size(&policy, ask.size.as_deref())?.clone();
    let (id, now) = (NotebookId::new(), services.clock().now());
    let name = match ask.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => made_up(&call.person_name, id),
    };
    check_address_name(&name).map_err(|bad| Error::invalid("name", bad.to_string()))?;
    let notebook = Notebook {
        id,
        tenant: permit.tenant(),
        person: call.actor.person,
        person_name: call.person_name.clone(),
        name,
        environment: environment.id,
        environment_name: environment.name,
        size,
        labels: ask.labels.clone(),
        intent: NotebookIntent::Run,
        state: NotebookState::Waiting,
        since: now,
        cause: None,
        run: None,
        host: None,
        host_name: None,
        transaction: None,
        start: None,
        is_given: false,
        active_at: None,
        warned_at: None,
        stops_at: None,
        share: None,
        steps: Vec::new(),
        created_at: now,
        generation: 1,
    };
    let tx = services.store().begin().await?;
    if !idempotency::holds(&tx, call).await? {
        return Err(idempotency::overtaken());
    }
    idempotency::bind(&tx, call, EventKind::Notebook, id.uuid()).await?;
    let held = store::notebooks::held(&tx, &permit, notebook.person).await?;
    let most = policy.max_notebooks;
    if store::notebooks::count(&tx, &permit, notebook.person).await? >= u64::from(most) {
        let why = format!("you have {most} notebooks, which is the most; delete one that you do not need");
        return Err(Error::Conflict(why));
    }
    policy.admits(held, &notebook.size).map_err(|over| Error::Conflict(over.to_string()))?;
    if !store::notebooks::insert(&tx, &notebook).await? {
        let name = &notebook.name;
        return Err(Error::Conflict(format!(
            "the name '{name}' is taken by a notebook or a deployment; choose another"
        )));
    }
    let detail = format!("'{}', {} of {}", notebook.name, notebook.size.name, notebook.environment_name);
    audit::record(services, call, &permit, &tx, entry("notebook.launch", id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, id, "created", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(notebook)
}

fn entry(action: &'static str, id: NotebookId, detail: String) -> Entry {
    Entry { action, subject_kind: KIND, subject_id: id.to_string(), detail }
}

fn refuse(notebook: &Notebook, act: NotebookAct) -> Error {
    let Notebook { name, state, .. } = notebook;
    Error::Conflict(format!("the notebook '{name}' is {state}; {act} does not go with that"))
}

fn find_size<'a>(policy: &'a NotebookPolicy, name: Option<&str>) -> Result<&'a NotebookSize> {
    let name = name.map(str::trim).filter(|name| !name.is_empty());
    policy.size(name).ok_or_else(|| {
        let sizes: Vec<&str> = policy.sizes.iter().map(|size| size.name.as_str()).collect();
        let name: String = name.unwrap_or_default().chars().take(40).collect();
        Error::invalid("size", format!("there is no size '{name}'; there are {}", sizes.join(", ")))
    })
}

/// Starts it anew, in another size if one is given. Its files are as they were.
pub async fn start(services: &Services, call: &Call, which: &str, size: Option<&str>) -> Result<Notebook> {
    let permit = call.permit(Action::NotebooksManage)?;
    for _ in 0..TRIES {
        let (policy, _) = store::notebooks::policy::get(services.store().read(), &permit).await?;
        let notebook = find(services, &permit, which).await?;
        check_act(call, &notebook, NotebookAct::Start)?;
        // Its size as it is defined now.
        let size = find_size(&policy, Some(size.unwrap_or(&notebook.size.name)))?;
        let tx = services.store().begin().await?;
        let held = store::notebooks::held(&tx, &permit, notebook.person).await?;
        policy.admits(held, size).map_err(|over| Error::Conflict(over.to_string()))?;
        let (intent, state, since) = (NotebookIntent::Run, NotebookState::Waiting, services.clock().now());
        let new = Turn { size, intent, state, since, cause: None, ..Turn::of(&notebook) };
        if let Some(started) = change(services, call, tx, &permit, &notebook, &new).await? {
            return Ok(started);
        }
    }
    Err(keeps_changing())
}

/// Stops it, or gives up its start. Its files stay.
pub async fn stop(services: &Services, call: &Call, which: &str) -> Result<Notebook> {
    let permit = call.permit(Action::NotebooksManage)?;
    for _ in 0..TRIES {
        let notebook = find(services, &permit, which).await?;
        check_act(call, &notebook, NotebookAct::Stop)?;
        let tx = services.store().begin().await?;
        let new = Turn { intent: NotebookIntent::Stop, cause: None, ..Turn::of(&notebook) };
        if let Some(stopping) = change(services, call, tx, &permit, &notebook, &new).await? {
            return Ok(stopping);
        }
    }
    Err(keeps_changing())
}

fn check_act(call: &Call, notebook: &Notebook, act: NotebookAct) -> Result<()> {
    // With whom it is shared, they can see that it is there.
    call.permit(Action::NotebooksManage)?.check_owner(notebook.person)?;
    if notebook.acts(&call.actor).contains(&act) { Ok(()) } else { Err(refuse(notebook, act)) }
}

fn keeps_changing() -> Error {
    Error::Conflict("the notebook keeps changing; look again".to_owned())
}

/// Writes what is wanted of it from now on; `None` if it was changed meanwhile.
async fn change(
    services: &Services,
    call: &Call,
    tx: Tx,
    permit: &Permit,
    notebook: &Notebook,
    new: &Turn<'_>,
) -> Result<Option<Notebook>> {
    let now = services.clock().now();
    if store::notebooks::turn(&tx, permit, notebook, new).await? == Written::Stale {
        tx.rollback().await?;
        return Ok(None);
    }
    let (action, detail) = match new.intent {
        NotebookIntent::Run => ("notebook.start", format!("'{}', {}", notebook.name, new.size.name)),
        NotebookIntent::Stop => ("notebook.stop", format!("'{}'", notebook.name)),
    };
    audit::record(services, call, permit, &tx, entry(action, notebook.id, detail)).await?;
    store::events::append(&tx, permit, EventKind::Notebook, notebook.id, new.intent.word(), now).await?;
    tx.commit().await?;
    services.live().nudge();
    find(services, permit, &notebook.id.to_string()).await.map(Some)
}

/// Deletes one that does not run. The person's files stay: they are shared by all of the person's notebooks.
pub async fn delete(services: &Services, call: &Call, which: &str) -> Result<()> {
    let permit = call.permit(Action::NotebooksManage)?;
    let notebook = find(services, &permit, which).await?;
    check_act(call, &notebook, NotebookAct::Delete)?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    if store::notebooks::delete(&tx, &permit, &notebook).await? == Written::Stale {
        return Err(Error::Conflict("the notebook was changed meanwhile; look again".to_owned()));
    }
    let detail = format!("'{}'", notebook.name);
    audit::record(services, call, &permit, &tx, entry("notebook.delete", notebook.id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, notebook.id, "deleted", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

/// JupyterLab's own token in a run: never stored, as whoever has the server's key can make it anew.
pub(crate) fn token(services: &Services, run: RunId) -> Result<String> {
    let key = services.settings().server_key.as_ref();
    let key = key.ok_or_else(|| Error::Unavailable("this server has no server key (server_key_file)".to_owned()))?;
    Ok(key.derive(&format!("notebook {run}")))
}

/// A host reports a step of a run's start.
pub(crate) async fn on_step(services: &Services, tenant: TenantId, run: RunId, step: Step) -> Result<()> {
    let permit = Permit::system(tenant);
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    match store::notebooks::set_step(&tx, &permit, run, step).await? {
        Some(notebook) => {
            store::events::append(&tx, &permit, EventKind::Notebook, notebook, "step", now).await?;
            tx.commit().await?;
            services.live().nudge();
        }
        None => tx.rollback().await?,
    }
    Ok(())
}

/// A host links, and says which runs are up there. A run that should be there and is not has ended;
/// one that nobody knows (any more) is ended.
pub async fn on_link(services: &Services, tenant: TenantId, host: HostId, runs: &[RunId]) -> Result<()> {
    let permit = Permit::system(tenant);
    let now = services.clock().now();
    let there = Filter { host: Some(host), ..Filter::default() };
    let there = store::notebooks::list(services.store().read(), &permit, &there, MAX_ON_HOST).await?;
    for notebook in &there {
        if let (NotebookState::Running, Some(run)) = (notebook.state, notebook.run)
            && !runs.contains(&run)
        {
            on_run_ended(services, tenant, host, run, "it was not there any more when its host came back").await?;
        }
    }
    warm::on_link(services, &permit, host, runs, now).await?;
    let waiting = store::notebooks::warm::list(services.store().read(), &permit, MAX_ON_HOST).await?;
    for run in runs.iter().filter(|run| !waiting.iter().any(|warm| warm.run.run == **run)) {
        let known = there.iter().find(|notebook| notebook.run == Some(*run));
        let wanted = known.is_some_and(|notebook| notebook.state.is_placed());
        if !wanted {
            tracing::warn!(%run, %host, "a host has a run that nobody wants; it is ended");
            let (notebook, name) = known.map_or((NotebookId::from_uuid(run.uuid()), "deleted".to_owned()), |known| {
                (known.id, known.name.clone())
            });
            let tx = services.store().begin().await?;
            let order = Order::StopNotebook { notebook, run: *run, name };
            instructions::dispatch(&tx, &permit, host, None, order, now).await?;
            tx.commit().await?;
            instructions::wake(services, host);
        }
    }
    Ok(())
}

/// A run ended without having been told to; the host has destroyed what was left of it.
pub async fn on_run_ended(services: &Services, tenant: TenantId, host: HostId, run: RunId, why: &str) -> Result<()> {
    let permit = Permit::system(tenant);
    for _ in 0..TRIES {
        let now = services.clock().now();
        let found = store::notebooks::by_run(services.store().read(), &permit, run).await?;
        let ended = found.filter(|notebook| notebook.host == Some(host) && notebook.state == NotebookState::Running);
        let Some(notebook) = ended else { return warm::on_run_ended(services, &permit, host, run, why, now).await };
        if settle(services, &permit, &notebook, NotebookState::Failed, Some(why), now).await? == Written::Done {
            return Ok(());
        }
    }
    Err(keeps_changing())
}

/// Nothing of the notebook is on a host any more.
async fn settle(
    services: &Services,
    permit: &Permit,
    notebook: &Notebook,
    state: NotebookState,
    cause: Option<&str>,
    now: Timestamp,
) -> Result<Written> {
    // The instruction stays: what it wrote is the end of the log.
    let new = Turn { state, since: now, cause, active: None, warned: None, ..Turn::of(notebook) };
    reconcile::write(services, permit, notebook, &new, now).await
}
