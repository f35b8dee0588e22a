//! Reverting a container: remove it with its volumes, ask the engine whether they are gone, compare the host.

use std::{fs, future::Future, io, path::Path, time::Duration};

use bollard::{
    Docker,
    errors::Error,
    query_parameters::{InspectContainerOptions, RemoveContainerOptionsBuilder, RemoveVolumeOptions},
};
use domain::ids::SessionId;
use tokio::time::timeout;

use super::{
    super::{
        Check, RevertReport, Told,
        baseline::{Identity, RECORD},
        verify::Reverting,
    },
    Container,
    error::EngineError,
    is_missing, name,
};

const REMOVE_LIMIT: Duration = Duration::from_secs(20);
const VOLUMES_LIMIT: Duration = Duration::from_secs(10);
const ASK_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn revert(container: &Container, session: SessionId, told: Told<'_>) -> RevertReport {
    let unrecorded = || Identity { session: session.to_string(), ..Identity::default() };
    let scratch = container.scratch(session).path().to_owned();
    let mut reverting = Reverting::begin(container.scratch(session), told, unrecorded);
    let volumes = reverting.record().map(|record| record.volumes.clone()).unwrap_or_default();
    match container.engine() {
        Ok(engine) => {
            reverting.note(limited("destroy", REMOVE_LIMIT, destroy(&engine, &name(session))).await);
            reverting.note(limited("volumes", VOLUMES_LIMIT, remove_volumes(&engine, &volumes)).await);
        }
        // Never begun and no engine: there is nothing that could be dirty.
        Err(EngineError::NotConfigured) if reverting.record().is_none() => {}
        Err(error) => reverting.note(Check::new("destroy", false, error.to_string())),
    }
    if reverting.is_clean()
        && let Err(error) = empty(&scratch)
    {
        reverting.note(Check::new("remove", false, format!("cannot remove the container's files: {error}")));
    }
    reverting.killed();
    reverting.conclude(container.records.clone()).await
}

/// Removes what the agent has put beside the record. Some small files: they do not hang what the record does not.
fn empty(scratch: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !path.ends_with(RECORD) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
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
