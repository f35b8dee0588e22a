//! Use of notebooks, as their visitors' bytes show it, and their idle end. What is decided is in [`domain::notebooks::idle`];
//! whoever can reach a notebook's JupyterLab asks it in between ([`look`], [`answered`]).

use std::collections::{HashMap, hash_map::Entry};

use domain::{
    access::{Action, Denied, Permit},
    events::EventKind,
    ids::{HostId, NotebookId, RunId, TenantId},
    notebooks::{
        Access, Asked, Facts, IDLE_CAUSE, Idle, IdleRule, Notebook, NotebookAct, NotebookIntent, NotebookPolicy,
        NotebookState, Warned, idle,
    },
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use store::{notebooks::activity::Noted, sessions::Written};

use super::{Visitor, entry, find, refuse, token, visits};
use crate::{Call, Result, Services, audit};

/// A server writes down the use of one run no more often than this.
const NOTE_EVERY: SignedDuration = SignedDuration::from_secs(15);
/// Runs of which is known when that was last.
const MAX_NOTED: usize = 4_096;
/// Notebooks read in one go.
const BATCH: u64 = 500;
/// Notebooks that are asked about in one pass; the next asks the others.
const MAX_ASKED: usize = 256;
/// When it is looked again, at the latest: a policy may be another by then.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// After one that could not be asked, or was asked late.
const LOOK_SOON: SignedDuration = SignedDuration::from_secs(10);

/// When this server last wrote down the use of a run.
#[derive(Default)]
pub(crate) struct NotedUse(Mutex<HashMap<RunId, Timestamp>>);

impl NotedUse {
    /// Whether it is to be written down now; then it counts as written.
    fn is_due(&self, run: RunId, now: Timestamp) -> bool {
        let is_fresh = |at: &Timestamp| now.duration_since(*at) < NOTE_EVERY;
        let mut noted = self.0.lock();
        if noted.get(&run).is_some_and(is_fresh) {
            return false;
        }
        if noted.len() >= MAX_NOTED {
            noted.retain(|_, at| is_fresh(at));
        }
        if noted.len() < MAX_NOTED {
            noted.insert(run, now);
        }
        true
    }
    fn forget(&self, run: RunId) {
        self.0.lock().remove(&run);
    }
}

/// Work passed between a visitor and the notebook: it is in use.
pub async fn note_work(services: &Services, visitor: &Visitor) {
    let now = services.clock().now();
    if !services.noted_use().is_due(visitor.run, now) {
        return;
    }
    if let Err(error) = note(services, visitor.tenant, visitor.notebook, visitor.run, now).await {
        // The next message tries again; and nothing stops before JupyterLab itself was asked.
        services.noted_use().forget(visitor.run);
        tracing::warn!(%error, notebook = %visitor.notebook, "cannot note that a notebook is in use");
    }
}

async fn note(services: &Services, tenant: TenantId, notebook: NotebookId, run: RunId, at: Timestamp) -> Result<Noted> {
    let permit = Permit::system(tenant);
    let tx = services.store().begin().await?;
    let noted = store::notebooks::activity::note(&tx, &permit, notebook, run, at).await?;
    if noted == Noted::Kept {
        store::events::append(&tx, &permit, EventKind::Notebook, notebook, "kept", services.clock().now()).await?;
    }
    tx.commit().await?;
    if noted == Noted::Kept {
        services.live().nudge();
    }
    Ok(noted)
}

/// Its owner, or who has full access, says that it is still needed: as good as use.
pub async fn keep(services: &Services, call: &Call, which: &str) -> Result<Notebook> {
    let permit = call.permit(Action::NotebooksOpen)?;
    let notebook = find(services, &permit, which).await?;
    if notebook.access(&call.actor) != Some(Access::Full) {
        return Err(Denied::NotOwn { action: Action::NotebooksOpen }.into());
    }
    keep_it(services, call, &permit, &notebook).await?;
    find(services, &permit, which).await
}

/// The same, in the notebook's own page, by its visitor's cookie.
pub async fn keep_here(services: &Services, name: &str, cookie: &str) -> Result<()> {
    let known = visits::come(services, name, cookie).await?;
    let permit = known.call.permit(Action::NotebooksOpen)?;
    match known.access {
        Access::Full => keep_it(services, &known.call, &permit, &known.notebook).await,
        Access::Read => Err(Denied::NotOwn { action: Action::NotebooksOpen }.into()),
    }
}

async fn keep_it(services: &Services, call: &Call, permit: &Permit, notebook: &Notebook) -> Result<()> {
    let is_up = notebook.state == NotebookState::Running && notebook.intent == NotebookIntent::Run;
    let Some(run) = notebook.run.filter(|_| is_up) else { return Err(refuse(notebook, NotebookAct::Keep)) };
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    store::notebooks::activity::note(&tx, permit, notebook.id, run, now).await?;
    audit::record(services, call, permit, &tx, entry("notebook.keep", notebook.id, format!("'{}'", notebook.name)))
        .await?;
    store::events::append(&tx, permit, EventKind::Notebook, notebook.id, "kept", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

/// A notebook that JupyterLab itself has to be asked about, and how it is reached.
pub struct Quiet {
    pub tenant: TenantId,
    pub notebook: NotebookId,
    pub host: HostId,
    pub run: RunId,
    /// JupyterLab's own.
    pub token: String,
}

/// What one look came to.
pub struct Looked {
    pub ask: Vec<Quiet>,
    /// When to look again.
    pub again: Timestamp,
}

/// Looks at the notebooks that run on hosts that are linked here, and says which are to be asked. Safe to repeat.
pub async fn look(services: &Services) -> Result<Looked> {
    let now = services.clock().now();
    let mut looked = Looked { ask: Vec::new(), again: now.saturating_add(LOOK_EVERY).unwrap_or(Timestamp::MAX) };
    let mut policies = HashMap::new();
    let mut after = None;
    loop {
        let found = store::notebooks::activity::running(services.store().read(), after, BATCH).await?;
        after = found.last().map(|notebook| notebook.id);
        for notebook in &found {
            let is_here = notebook.host.is_some_and(|host| services.links().is_online(host));
            // One notebook's trouble does not hold up the others; the next pass tries again.
            if is_here && let Err(error) = look_at(services, notebook, &mut policies, &mut looked, now).await {
                tracing::warn!(%error, notebook = %notebook.id, "cannot see whether a notebook is idle");
            }
        }
        if u64::try_from(found.len()).unwrap_or(0) < BATCH {
            return Ok(looked);
        }
    }
}

async fn look_at(
    services: &Services,
    notebook: &Notebook,
    policies: &mut HashMap<TenantId, NotebookPolicy>,
    looked: &mut Looked,
    now: Timestamp,
) -> Result<()> {
    let permit = Permit::system(notebook.tenant);
    let policy = match policies.entry(notebook.tenant) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(free) => {
            let (policy, _) = store::notebooks::policy::get(services.store().read(), &permit).await?;
            free.insert(policy)
        }
    };
    let rule = IdleRule::of(policy);
    match idle(rule, &facts(notebook, Asked::NotYet, now)) {
        Idle::Wait { until } => looked.again = looked.again.min(until.unwrap_or(Timestamp::MAX)),
        Idle::Ask => {
            let soon = now.saturating_add(LOOK_SOON).unwrap_or(Timestamp::MAX);
            looked.again = looked.again.min(soon);
            if let (Some(host), Some(run)) = (notebook.host, notebook.run)
                && looked.ask.len() < MAX_ASKED
            {
                let token = token(services, run)?;
                looked.ask.push(Quiet { tenant: notebook.tenant, notebook: notebook.id, host, run, token });
            }
        }
        Idle::Used { at } => used(services, &permit, notebook, at).await?,
        // Nobody has been asked.
        Idle::Warn { .. } | Idle::Stop { .. } => {}
    }
    Ok(())
}

fn facts(notebook: &Notebook, asked: Asked, now: Timestamp) -> Facts {
    let warned = notebook.warned_at.zip(notebook.stops_at).map(|(at, stops_at)| Warned { at, stops_at });
    Facts { now, running_since: notebook.since, active_at: notebook.active_at, warned, asked }
}

async fn used(services: &Services, permit: &Permit, notebook: &Notebook, at: Timestamp) -> Result<()> {
    if let Some(run) = notebook.run {
        note(services, permit.tenant(), notebook.id, run, at).await?;
    }
    Ok(())
}

/// Acts on what JupyterLab said, as the notebook is now: it may have been used, kept or stopped meanwhile.
pub async fn answered(services: &Services, quiet: &Quiet, asked: Asked) -> Result<()> {
    let permit = Permit::system(quiet.tenant);
    let now = services.clock().now();
    let conn = services.store().read();
    let Some(notebook) = store::notebooks::get(conn, &permit, quiet.notebook).await? else { return Ok(()) };
    let is_up = notebook.state == NotebookState::Running && notebook.intent == NotebookIntent::Run;
    if notebook.run != Some(quiet.run) || !is_up {
        return Ok(());
    }
    let (policy, _) = store::notebooks::policy::get(conn, &permit).await?;
    match idle(IdleRule::of(&policy), &facts(&notebook, asked, now)) {
        Idle::Wait { .. } | Idle::Ask => Ok(()),
        Idle::Used { at } => used(services, &permit, &notebook, at).await,
        Idle::Warn { stops_at } => {
            let tx = services.store().begin().await?;
            let written = store::notebooks::activity::warn(&tx, &permit, &notebook, now, stops_at).await?;
            told(services, tx, &permit, &notebook, written, "idle-warning", now).await
        }
        Idle::Stop { idle_since } => {
            let cause = format!("{IDLE_CAUSE} {idle_since}");
            let tx = services.store().begin().await?;
            let written = store::notebooks::activity::stop(&tx, &permit, &notebook, &cause).await?;
            told(services, tx, &permit, &notebook, written, "idle-stop", now).await
        }
    }
}

async fn told(
    services: &Services,
    tx: store::Tx,
    permit: &Permit,
    notebook: &Notebook,
    written: Written,
    word: &str,
    now: Timestamp,
) -> Result<()> {
    match written {
        Written::Done => {
            store::events::append(&tx, permit, EventKind::Notebook, notebook.id, word, now).await?;
            tx.commit().await?;
            services.live().nudge();
        }
        // It was used in between.
        Written::Stale => tx.rollback().await?,
    }
    Ok(())
}
