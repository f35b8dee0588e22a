//! Reverting a container: remove it with its volumes, ask the engine whether they are gone, compare the host.

use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    errors::Error,
    query_parameters::{InspectContainerOptions, RemoveContainerOptionsBuilder, RemoveVolumeOptions},
};
use domain::ids::SessionId;
use tokio::time::timeout;

use super::{
    super::{
        Check, RevertReport,
        baseline::Identity,
        process,
        steps::{blocking, within},
        verify::{FORGET_LIMIT, compare, disk, forget},
    },
    Container, is_missing, name,
};

const REMOVE_LIMIT: Duration = Duration::from_secs(20);
const VOLUMES_LIMIT: Duration = Duration::from_secs(10);
const ASK_LIMIT: Duration = Duration::from_secs(5);
const DISK_LIMIT: Duration = Duration::from_secs(3);

pub(super) async fn revert(container: &Container, session: SessionId) -> RevertReport {
    let began = Instant::now();
    let scratch = container.scratch(session);
    let path = scratch.path().to_owned();
    let mut record = scratch.read();
    let mut identity = match &record {
        Ok(record) => record.identity.clone(),
        Err(_) => Identity { session: session.to_string(), ..Identity::default() },
    };
    let volumes = record.as_ref().map(|record| record.volumes.clone()).unwrap_or_default();

    let mut checks = match container.engine() {
        Ok(engine) => vec![
            limited("destroy", REMOVE_LIMIT, destroy(&engine, &name(session))).await,
            limited("volumes", VOLUMES_LIMIT, remove_volumes(&engine, &volumes)).await,
        ],
        // Never begun and no engine: there is nothing that could be dirty.
        Err(_) if container.socket.is_none() && record.is_err() => vec![],
        Err(why) => vec![Check::new("destroy", false, why)],
    };
    if checks.iter().all(|check| check.ok) && identity.ended_ticks.is_none() {
        identity.ended_ticks = Some(process::now_ticks());
        if let Ok(record) = &mut record {
            record.identity = identity.clone();
            if let Err(error) = scratch.write(record) {
                checks.push(Check::new("record", false, format!("cannot be written: {error}")));
            }
        }
    }
    match record {
        Ok(record) => checks.extend(compare(Some(record.baseline), identity).await),
        // Reverted before, or never begun.
        Err(error) if error.kind() == io::ErrorKind::NotFound => checks.extend(compare(None, identity).await),
        Err(error) => {
            checks.push(Check::new("baseline", false, format!("cannot be read, so nothing can be compared: {error}")));
        }
    }
    let at = container.records.clone();
    checks.push(within("disk", DISK_LIMIT, move || disk(&at)).await);
    // The record goes last, and only when all is well: a repeated revert needs its baseline.
    if checks.iter().all(|check| check.ok)
        && let Some(Err(error)) = blocking(FORGET_LIMIT, move || forget(&path)).await
    {
        checks.push(Check::new("record", false, error.to_string()));
    }
    RevertReport { checks, took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

async fn limited(name: &str, limit: Duration, work: impl Future<Output = Result<String, String>>) -> Check {
    match timeout(limit, work).await {
        Ok(Ok(detail)) => Check::new(name, true, detail),
        Ok(Err(detail)) => Check::new(name, false, detail),
        Err(_elapsed) => Check::new(name, false, format!("hangs: not done after {} s", limit.as_secs())),
    }
}

/// Removes the container, running or not, with the volumes that it alone has, and makes sure that it is gone.
async fn destroy(engine: &Docker, name: &str) -> Result<String, String> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match engine.remove_container(name, Some(options)).await {
        Ok(()) => {}
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(format!("the engine does not remove the container: {error}")),
    }
    let asked = timeout(ASK_LIMIT, engine.inspect_container(name, None::<InspectContainerOptions>)).await;
    match asked.map_err(|_| "the engine does not answer")? {
        Err(error) if is_missing(&error) => Ok("the container is removed".to_owned()),
        Err(error) => Err(format!("the engine does not say whether the container is gone: {error}")),
        Ok(_) => Err("the container is still there".to_owned()),
    }
}

async fn remove_volumes(engine: &Docker, volumes: &[String]) -> Result<String, String> {
    for volume in volumes {
        let removed: Result<(), Error> = engine.remove_volume(volume, None::<RemoveVolumeOptions>).await;
        match removed {
            Ok(()) => {}
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(format!("the engine does not remove the volume {volume}: {error}")),
        }
        match engine.inspect_volume(volume).await {
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error.to_string()),
            Ok(_) => return Err(format!("the volume {volume} is still there")),
        }
    }
    Ok(if volumes.is_empty() { "there were none".to_owned() } else { format!("{} removed", volumes.len()) })
}
