//! The servers that share a database, among themselves, over the agents' port with certificates of the servers' own
//! authority: a stream to a host whose tunnel another server holds goes through that one ([`Relay`]), and each
//! follows the readings of the hosts that are linked to the others ([`follow`]).

mod call;
mod port;
mod readings;
mod relay;

use std::sync::Arc;

use async_trait::async_trait;
use domain::ids::{HostId, TenantId};
pub(crate) use port::router;
use protocol::tunnel::Open;
pub use readings::follow;
use services::{
    Error, Services,
    links::{Relay, Relayed},
    replicas::Replica,
};

/// Streams to the hosts of other servers go through those from now on.
pub(crate) fn join(services: &Services) {
    services.relay_through(Arc::new(Others));
}

struct Others;

#[async_trait]
impl Relay for Others {
    async fn open(
        &self,
        services: &Services,
        through: &Replica,
        tenant: TenantId,
        host: HostId,
        open: &Open,
    ) -> Result<Relayed, Error> {
        relay::open(services, through, tenant, host, open).await.map_err(|error| {
            tracing::warn!(%error, address = through.address, "cannot reach another server");
            Error::Unavailable("the host is linked to another server, which does not answer; try again".to_owned())
        })
    }
}
