//! Brings notebooks to what is wanted of them (D2): reads what is not at rest, and acts. Safe to repeat.

use domain::{
    access::Permit,
    events::EventKind,
    ids::RunId,
    instructions::Work as Order,
    notebooks::{BASE, NEEDED_REQUIREMENTS, Next, Notebook, NotebookState, RunSpec, VOLUME_BYTES, next, place},
};
use jiff::Timestamp;
use store::{
    Tx,
    notebooks::{Due, Turn},
    sessions::Written,
};

use super::settle;
use crate::{Error, Result, Services, instructions};

/// Notebooks read in one go.
const BATCH: u64 = 500;

/// Looks at everything once and acts.
pub(crate) async fn pass(services: &Services, now: Timestamp) -> Result<()> {
    let mut after = None;
    loop {
        let due = store::notebooks::due(services.store().read(), after, BATCH).await?;
        after = due.last().map(|due| due.notebook.id);
        for due in &due {
            // One notebook's trouble does not hold up the others; the next pass tries again.
            if let Err(error) = act(services, due, now).await {
                tracing::warn!(%error, notebook = %due.notebook.id, "cannot bring a notebook further");
            }
        }
        if u64::try_from(due.len()).unwrap_or(0) < BATCH {
            return Ok(());
        }
    }
}

async fn act(services: &Services, Due { notebook, work }: &Due, now: Timestamp) -> Result<()> {
    let permit = Permit::system(notebook.tenant);
    match next(notebook, work.as_ref()) {
        Next::Wait => {}
        Next::Place => place_run(services, &permit, notebook, now).await?,
        Next::Run => {
            let new = Turn { state: NotebookState::Running, since: now, cause: None, ..Turn::of(notebook) };
            write(services, &permit, notebook, &new, now).await?;
        }
        Next::Stop => send_stop(services, &permit, notebook, now).await?,
        Next::Stopped => {
            let cause = notebook.cause.as_deref();
            settle(services, &permit, notebook, NotebookState::Stopped, cause, now).await?;
        }
        Next::Fail { cause } => {
            settle(services, &permit, notebook, NotebookState::Failed, Some(&cause), now).await?;
        }
        Next::Again { cause } => {
            let new = Turn {
                state: NotebookState::Waiting,
                since: now,
                cause: Some(&cause),
                transaction: None,
                ..Turn::of(notebook)
            };
            write(services, &permit, notebook, &new, now).await?;
        }
    }
    Ok(())
}

/// Writes a change with its event, if the notebook is still what was read.
pub(super) async fn write(
    services: &Services,
    permit: &Permit,
    notebook: &Notebook,
    new: &Turn<'_>,
    now: Timestamp,
) -> Result<Written> {
    let tx = services.store().begin().await?;
    let written = store::notebooks::turn(&tx, permit, notebook, new).await?;
    commit(services, tx, permit, notebook, new, written, now).await
}

async fn commit(
    services: &Services,
    tx: Tx,
    permit: &Permit,
    notebook: &Notebook,
    new: &Turn<'_>,
    written: Written,
    now: Timestamp,
) -> Result<Written> {
    match written {
        Written::Done => {
            store::events::append(&tx, permit, EventKind::Notebook, notebook.id, new.state.word(), now).await?;
            tx.commit().await?;
            services.live().nudge();
        }
        Written::Stale => tx.rollback().await?,
    }
    Ok(written)
}

/// Chooses a host and sends it the run; or notes why there is none.
async fn place_run(services: &Services, permit: &Permit, notebook: &Notebook, now: Timestamp) -> Result<()> {
    let found = store::notebooks::environment(services.store().read(), permit, notebook.environment).await?;
    let environment = found.ok_or_else(|| Error::Internal("a notebook's environment is not there".to_owned()))?;
    let tx = services.store().begin().await?;
    let places = store::notebooks::places(&tx, permit, notebook.person).await?;
    let chosen = match place(&places, &notebook.labels, notebook.size) {
        Ok(chosen) => chosen,
        Err(why) if notebook.cause.as_deref() == Some(&why) => return Ok(tx.rollback().await?),
        Err(why) => {
            let new = Turn { cause: Some(&why), ..Turn::of(notebook) };
            let written = store::notebooks::turn(&tx, permit, notebook, &new).await?;
            commit(services, tx, permit, notebook, &new, written, now).await?;
            return Ok(());
        }
    };
    let (volume, volume_bytes) =
        store::notebooks::volume(&tx, permit, notebook.person, chosen.host, VOLUME_BYTES, now).await?;
    let requirements = if environment.name == BASE && environment.created_by.is_none() {
        environment.requirements
    } else {
        format!("{NEEDED_REQUIREMENTS}{}", environment.requirements)
    };
    let run = RunId::new();
    let spec = RunSpec {
        notebook: notebook.id,
        run,
        name: notebook.name.clone(),
        requirements,
        limits: notebook.size.limits(),
        volume,
        volume_bytes,
    };
    let order = Order::StartNotebook { spec };
    let transaction = instructions::dispatch(&tx, permit, chosen.host, None, order, now).await?;
    let new = Turn {
        state: NotebookState::Starting,
        since: now,
        cause: None,
        run: Some(run),
        host: Some(chosen.host),
        transaction: Some(transaction),
        start: Some(transaction),
        is_new_run: true,
        ..Turn::of(notebook)
    };
    let written = store::notebooks::turn(&tx, permit, notebook, &new).await?;
    if commit(services, tx, permit, notebook, &new, written, now).await? == Written::Done {
        instructions::wake(services, chosen.host);
    }
    Ok(())
}

/// Sends the end of the run. One that its host did not come for costs nothing to send again: it waits for the host.
async fn send_stop(services: &Services, permit: &Permit, notebook: &Notebook, now: Timestamp) -> Result<()> {
    let (Some(run), Some(host)) = (notebook.run, notebook.host) else {
        settle(services, permit, notebook, NotebookState::Stopped, notebook.cause.as_deref(), now).await?;
        return Ok(());
    };
    let tx = services.store().begin().await?;
    if let (NotebookState::Starting, Some(start)) = (notebook.state, notebook.transaction) {
        instructions::cancel_in(&tx, permit, start, now).await?;
    }
    let order = Order::StopNotebook { notebook: notebook.id, run, name: notebook.name.clone() };
    let transaction = instructions::dispatch(&tx, permit, host, None, order, now).await?;
    let since = if notebook.state == NotebookState::Stopping { notebook.since } else { now };
    let new = Turn { state: NotebookState::Stopping, since, transaction: Some(transaction), ..Turn::of(notebook) };
    let written = store::notebooks::turn(&tx, permit, notebook, &new).await?;
    if commit(services, tx, permit, notebook, &new, written, now).await? == Written::Done {
        instructions::wake(services, host);
    }
    Ok(())
}
