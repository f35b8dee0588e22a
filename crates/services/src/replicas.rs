//! The servers that share the database: each says where the others reach it, and that it is still there.

use std::time::Duration;

pub use store::replicas::Replica;
use tokio_util::sync::CancellationToken;

use crate::{Error, Result, Services, certificates};

/// How often a server says that it is there; after three times without it is gone.
const PERIOD: Duration = Duration::from_secs(5);

async fn heartbeat(services: &Services, address: &str) -> Result<()> {
    let serial = certificates::replica_identity(services).await?.serial.clone();
    let replica = Replica { id: services.settings().replica, address: address.to_owned(), serial };
    let tx = services.store().begin().await?;
    store::replicas::heartbeat(&tx, &replica, services.clock().now()).await?;
    tx.commit().await?;
    Ok(())
}

/// This server is here, and the others reach its agents' port at `address` (`HOST:PORT`). Before it serves anything.
pub async fn join(services: &Services, address: &str) -> Result<()> {
    heartbeat(services, address).await
}

/// Goes on saying so until `stop`, and then that it is gone.
pub async fn run(services: Services, address: String, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(PERIOD) => {}
        }
        if let Err(error) = heartbeat(&services, &address).await {
            if matches!(error, Error::Full(_)) {
                services.note_full();
            }
            tracing::warn!(%error, "cannot tell the other servers that this one is there; trying again");
        } else if let Err(error) = services.look_for_room().await {
            tracing::warn!(%error, "the database's disk is still full");
        }
    }
    if let Err(error) = leave(&services).await {
        tracing::warn!(%error, "the other servers will miss this one only after a while");
    }
}

async fn leave(services: &Services) -> Result<()> {
    let tx = services.store().begin().await?;
    store::replicas::leave(&tx, services.settings().replica).await?;
    tx.commit().await?;
    Ok(())
}

/// The others that are there.
pub async fn others(services: &Services) -> Result<Vec<Replica>> {
    let mut all = store::replicas::list(services.store(), services.clock().now()).await?;
    all.retain(|replica| replica.id != services.settings().replica);
    Ok(all)
}

/// The one that calls with this certificate; `None` if it is no server's.
pub async fn by_serial(services: &Services, serial: &str) -> Result<Option<Replica>> {
    Ok(store::replicas::by_serial(services.store(), serial, services.clock().now()).await?)
}
