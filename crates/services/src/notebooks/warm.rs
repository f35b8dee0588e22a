//! Keeps as many started JupyterLabs waiting as admins want of each environment.

use std::collections::BTreeSet;

use domain::{
    access::{Action, Permit},
    events::EventKind,
    ids::{HostId, NotebookId, RunId, TenantId},
    instructions::{TransactionState, Work as Order},
    notebooks::{BUILD_PAUSE, NotebookEnvironment, NotebookState, WarmRun, WarmSpec, WarmState, plan_warm},
};
use jiff::Timestamp;
use store::{
    Tx,
    notebooks::{
        Filter,
        places::Wanted,
        warm::{Turn, Warm},
    },
    sessions::Written,
};

use super::reconcile::whole_software;
use crate::{Call, Result, Services, instructions};

/// Environments with a pool, of all tenants, and warm runs of one tenant.
const MAX_POOLS: u64 = 10_000;
const MAX_RUNS: u64 = 10_000;

/// What waits, for those who see everybody's notebooks; nothing for others.
pub async fn list(services: &Services, call: &Call) -> Result<Vec<WarmRun>> {
    let permit = call.permit(Action::NotebooksRead)?;
    if store::notebooks::reach(&permit).is_some() {
        return Ok(Vec::new());
    }
    let runs = store::notebooks::warm::list(services.store().read(), &permit, MAX_RUNS).await?;
    Ok(runs.into_iter().map(|warm| warm.run).collect())
}

/// Looks at everything once and acts.
pub(super) async fn pass(services: &Services, now: Timestamp) -> Result<()> {
    let read = services.store().read();
    let environments = store::notebooks::environments::pooled(read, MAX_POOLS).await?;
    let mut tenants: BTreeSet<TenantId> = store::notebooks::warm::tenants(read, MAX_POOLS).await?.into_iter().collect();
    tenants.extend(environments.iter().map(|environment| environment.tenant));
    for tenant in tenants {
        let permit = Permit::system(tenant);
        let of_it: Vec<NotebookEnvironment> =
            environments.iter().filter(|environment| environment.tenant == tenant).cloned().collect();
        // One tenant's trouble does not hold up the others; the next pass tries again.
        if let Err(error) = pass_of(services, &permit, &of_it, now).await {
            tracing::warn!(%error, %tenant, "cannot keep warm notebooks");
        }
    }
    Ok(())
}

async fn pass_of(
    services: &Services,
    permit: &Permit,
    environments: &[NotebookEnvironment],
    now: Timestamp,
) -> Result<()> {
    let read = services.store().read();
    for warm in store::notebooks::warm::list(read, permit, MAX_RUNS).await? {
        advance(services, permit, &warm, now).await?;
    }
    let (policy, _) = store::notebooks::policy::get(read, permit).await?;
    let (Some(any), Some(size)) = (environments.first(), policy.sizes.first()) else {
        return stop_all(services, permit, now).await;
    };
    let tx = services.store().begin().await?;
    let wanted = Wanted { person: None, environment: any.id, size };
    let places = store::notebooks::places::of(&tx, permit, &wanted).await?;
    let runs: Vec<WarmRun> =
        store::notebooks::warm::list(tx.conn(), permit, MAX_RUNS).await?.into_iter().map(|warm| warm.run).collect();
    let waiting = Filter { state: Some(NotebookState::Waiting), ..Filter::default() };
    let waiting = store::notebooks::list(tx.conn(), permit, &waiting, MAX_RUNS).await?;
    let plan = plan_warm(environments, &runs, &waiting, &policy, &places, now);
    let mut hosts = Vec::new();
    for (id, size, host) in &plan.start {
        let Some(environment) = environments.iter().find(|environment| environment.id == *id) else { continue };
        let run = RunId::new();
        let spec = WarmSpec {
            run,
            name: environment.name.clone(),
            software: whole_software(environment),
            limits: size.limits(),
        };
        let order = Order::WarmNotebook { spec };
        let transaction = instructions::dispatch(&tx, permit, *host, None, order, now).await?;
        let new = WarmRun {
            run,
            tenant: permit.tenant(),
            environment: *id,
            size: size.clone(),
            host: *host,
            host_name: String::new(),
            state: WarmState::Starting,
            since: now,
            cause: None,
            transaction: Some(transaction),
        };
        store::notebooks::warm::insert(&tx, &new).await?;
        store::events::append(&tx, permit, EventKind::Notebook, *id, "warm", now).await?;
        hosts.push(*host);
    }
    if plan.start.is_empty() {
        tx.rollback().await?;
    } else {
        tx.commit().await?;
        services.live().nudge();
    }
    for host in hosts {
        instructions::wake(services, host);
    }
    for run in runs.iter().filter(|run| plan.stop.contains(&run.run)) {
        send_stop(services, permit, run, now).await?;
    }
    Ok(())
}

async fn stop_all(services: &Services, permit: &Permit, now: Timestamp) -> Result<()> {
    for warm in store::notebooks::warm::list(services.store().read(), permit, MAX_RUNS).await? {
        if matches!(warm.run.state, WarmState::Starting | WarmState::Ready) {
            send_stop(services, permit, &warm.run, now).await?;
        }
    }
    Ok(())
}

/// Takes up what has become of its instruction.
async fn advance(services: &Services, permit: &Permit, Warm { run, work }: &Warm, now: Timestamp) -> Result<()> {
    use TransactionState as T;
    let ended = work.as_ref().map(|work| work.state);
    match (run.state, ended) {
        (WarmState::Ready, _)
        | (WarmState::Starting | WarmState::Stopping, Some(T::Waiting | T::Offered | T::Claimed | T::Running)) => {
            Ok(())
        }
        (WarmState::Starting, Some(T::Done)) => turn(services, permit, run, WarmState::Ready, None, now).await,
        (WarmState::Starting, Some(T::Failed | T::Cancelled)) => {
            let cause = work.as_ref().and_then(|work| work.cause.as_deref());
            turn(services, permit, run, WarmState::Failed, cause, now).await
        }
        // What may be left of it there is ended.
        (WarmState::Starting, None | Some(T::Unknown)) => send_stop(services, permit, run, now).await,
        (WarmState::Starting, Some(T::Expired | T::NeverDelivered))
        | (WarmState::Stopping, Some(T::Done | T::Failed | T::Cancelled)) => forget(services, permit, run, now).await,
        (WarmState::Stopping, None | Some(T::Expired | T::NeverDelivered | T::Unknown)) => {
            send_stop(services, permit, run, now).await
        }
        (WarmState::Failed, _) if now.duration_since(run.since) < BUILD_PAUSE => Ok(()),
        (WarmState::Failed, _) => forget(services, permit, run, now).await,
    }
}

async fn turn(
    services: &Services,
    permit: &Permit,
    run: &WarmRun,
    state: WarmState,
    cause: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let tx = services.store().begin().await?;
    let new = Turn { state, since: now, cause, transaction: None };
    let written = store::notebooks::warm::turn(&tx, permit, run, &new).await?;
    commit(services, tx, permit, run, written, now).await.map(drop)
}

/// Commits with its event, if the run was still what was read.
async fn commit(
    services: &Services,
    tx: Tx,
    permit: &Permit,
    run: &WarmRun,
    written: Written,
    now: Timestamp,
) -> Result<Written> {
    match written {
        Written::Done => {
            store::events::append(&tx, permit, EventKind::Notebook, run.environment, "warm", now).await?;
            tx.commit().await?;
            services.live().nudge();
        }
        Written::Stale => tx.rollback().await?,
    }
    Ok(written)
}

async fn forget(services: &Services, permit: &Permit, run: &WarmRun, now: Timestamp) -> Result<()> {
    let tx = services.store().begin().await?;
    let written = store::notebooks::warm::forget(&tx, permit, run.run).await?;
    commit(services, tx, permit, run, written, now).await.map(drop)
}

async fn send_stop(services: &Services, permit: &Permit, run: &WarmRun, now: Timestamp) -> Result<()> {
    let tx = services.store().begin().await?;
    if let (WarmState::Starting, Some(start)) = (run.state, run.transaction) {
        instructions::cancel_in(&tx, permit, start, now).await?;
    }
    let order =
        Order::StopNotebook { notebook: NotebookId::from_uuid(run.run.uuid()), run: run.run, name: "warm".to_owned() };
    let transaction = instructions::dispatch(&tx, permit, run.host, None, order, now).await?;
    let since = if run.state == WarmState::Stopping { run.since } else { now };
    let new = Turn { state: WarmState::Stopping, since, cause: None, transaction: Some(transaction) };
    let written = store::notebooks::warm::turn(&tx, permit, run, &new).await?;
    if commit(services, tx, permit, run, written, now).await? == Written::Done {
        instructions::wake(services, run.host);
    }
    Ok(())
}

/// Ends one that waits, for a notebook that needs its room.
pub(super) async fn give_way(services: &Services, permit: &Permit, id: RunId, now: Timestamp) -> Result<()> {
    for warm in store::notebooks::warm::list(services.store().read(), permit, MAX_RUNS).await? {
        if warm.run.run == id && warm.run.state == WarmState::Ready {
            tracing::info!(run = %id, "a warm notebook gives way");
            send_stop(services, permit, &warm.run, now).await?;
        }
    }
    Ok(())
}

/// A host links, and says which runs are up there: those that should wait there and do not are forgotten.
pub(super) async fn on_link(
    services: &Services,
    permit: &Permit,
    host: HostId,
    runs: &[RunId],
    now: Timestamp,
) -> Result<()> {
    for warm in store::notebooks::warm::list(services.store().read(), permit, MAX_RUNS).await? {
        let Warm { run, .. } = warm;
        if run.host == host && run.state == WarmState::Ready && !runs.contains(&run.run) {
            forget(services, permit, &run, now).await?;
        }
    }
    Ok(())
}

/// One that waited ended by itself; the host has destroyed what was left of it.
pub(super) async fn on_run_ended(
    services: &Services,
    permit: &Permit,
    host: HostId,
    id: RunId,
    why: &str,
    now: Timestamp,
) -> Result<()> {
    for warm in store::notebooks::warm::list(services.store().read(), permit, MAX_RUNS).await? {
        if warm.run.run == id && warm.run.host == host && warm.run.state == WarmState::Ready {
            turn(services, permit, &warm.run, WarmState::Failed, Some(why), now).await?;
        }
    }
    Ok(())
}
