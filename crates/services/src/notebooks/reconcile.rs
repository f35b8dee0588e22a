//! Brings notebooks to what is wanted of them (D2): reads what is not at rest, and acts. Safe to repeat.

use domain::{
    access::Permit,
    events::EventKind,
    ids::RunId,
    instructions::Work as Order,
    notebooks::{
        BASE, NEEDED_REQUIREMENTS, Next, Notebook, NotebookEnvironment, NotebookState, Placed, RunSpec, Software, next,
        place,
    },
};
use jiff::Timestamp;
use store::{
    Tx,
    notebooks::{Due, Turn, places::Wanted},
    sessions::Written,
};

use super::{settle, volumes, warm};
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
            break;
        }
    }
    volumes::pass(services, now).await?;
    warm::pass(services, now).await
}

async fn act(services: &Services, Due { notebook, work }: &Due, now: Timestamp) -> Result<()> {
    let permit = Permit::system(notebook.tenant);
    match next(notebook, work.as_ref()) {
        Next::Wait => {}
        Next::Place => place_run(services, &permit, notebook, now).await?,
        Next::Run => {
            let new = Turn {
                state: NotebookState::Running,
                since: now,
                cause: None,
                active: Some(now),
                warned: None,
                ..Turn::of(notebook)
            };
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
                active: None,
                warned: None,
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

/// Chooses a host and sends it the run, or has it give one that waits there; or notes why there is none.
async fn place_run(services: &Services, permit: &Permit, notebook: &Notebook, now: Timestamp) -> Result<()> {
    let read = services.store().read();
    let found = store::notebooks::environments::get(read, permit, notebook.environment).await?;
    let environment = found.ok_or_else(|| Error::Internal("a notebook's environment is not there".to_owned()))?;
    let (policy, _) = store::notebooks::policy::get(read, permit).await?;
    let tx = services.store().begin().await?;
    let wanted = Wanted { person: Some(notebook.person), environment: notebook.environment, size: &notebook.size };
    let places = store::notebooks::places::of(&tx, permit, &wanted).await?;
    let (place, warm) = match place(&places, &notebook.labels, &notebook.size, &environment.software) {
        Ok(Placed::Cold(place)) => (place, None),
        Ok(Placed::Warm(place, run)) => (place, Some(run)),
        Ok(Placed::After(_, run)) => {
            tx.rollback().await?;
            return warm::give_way(services, permit, run, now).await;
        }
        Err(why) => return wait(services, tx, permit, notebook, &why, now).await,
    };
    let volume =
        store::notebooks::volumes::ensure(&tx, permit, notebook.person, place.host, policy.volume_bytes, now).await?;
    let Some((volume, volume_bytes)) = volume else {
        return wait(services, tx, permit, notebook, "waits until your files on its host are deleted", now).await;
    };
    let (run, order) = match warm {
        Some(run) => {
            if !store::notebooks::warm::take(&tx, permit, run).await? {
                // Somebody else was first; the next pass looks again.
                return Ok(tx.rollback().await?);
            }
            let (notebook, name) = (notebook.id, notebook.name.clone());
            (run, Order::GiveNotebook { run, notebook, name, volume, volume_bytes })
        }
        None => {
            let run = RunId::new();
            let spec = RunSpec {
                notebook: notebook.id,
                run,
                name: notebook.name.clone(),
                software: whole_software(&environment),
                limits: notebook.size.limits(),
                volume,
                volume_bytes,
            };
            (run, Order::StartNotebook { spec })
        }
    };
    let transaction = instructions::dispatch(&tx, permit, place.host, None, order, now).await?;
    let new = Turn {
        state: NotebookState::Starting,
        since: now,
        cause: None,
        run: Some(run),
        host: Some(place.host),
        transaction: Some(transaction),
        start: Some(transaction),
        is_given: warm.is_some(),
        active: None,
        warned: None,
        clears_steps: true,
        ..Turn::of(notebook)
    };
    let written = store::notebooks::turn(&tx, permit, notebook, &new).await?;
    if commit(services, tx, permit, notebook, &new, written, now).await? == Written::Done {
        instructions::wake(services, place.host);
    }
    Ok(())
}

/// Notes why there is no place for it now.
async fn wait(
    services: &Services,
    tx: Tx,
    permit: &Permit,
    notebook: &Notebook,
    why: &str,
    now: Timestamp,
) -> Result<()> {
    if notebook.cause.as_deref() == Some(why) {
        return Ok(tx.rollback().await?);
    }
    let new = Turn { cause: Some(why), ..Turn::of(notebook) };
    let written = store::notebooks::turn(&tx, permit, notebook, &new).await?;
    commit(services, tx, permit, notebook, &new, written, now).await?;
    Ok(())
}

/// What the host makes: what is asked for, and what a notebook needs besides.
pub(super) fn whole_software(environment: &NotebookEnvironment) -> Software {
    match &environment.software {
        Software::Packages { requirements } if environment.name != BASE || environment.created_by.is_some() => {
            Software::Packages { requirements: format!("{NEEDED_REQUIREMENTS}{requirements}") }
        }
        software @ (Software::Packages { .. } | Software::Image { .. }) => software.clone(),
    }
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
    let new = Turn {
        state: NotebookState::Stopping,
        since,
        transaction: Some(transaction),
        clears_steps: notebook.state != NotebookState::Stopping,
        ..Turn::of(notebook)
    };
    let written = store::notebooks::turn(&tx, permit, notebook, &new).await?;
    if commit(services, tx, permit, notebook, &new, written, now).await? == Written::Done {
        instructions::wake(services, host);
    }
    Ok(())
}
