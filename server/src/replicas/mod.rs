//! The servers that share a database, among themselves, over the agents' port with certificates of the servers' own
//! authority: a stream to a host whose tunnel another server holds goes through that one ([`open_stream`]), and each
//! follows the readings of the hosts that are linked to the others ([`follow`]).

mod call;
mod port;
mod readings;
mod relay;

use domain::ids::{HostId, TenantId};
pub(crate) use port::router;
use protocol::tunnel::Open;
pub use readings::follow;
use services::{
    Error, Services,
    links::{self, ByteStream, Way},
    replicas::Replica,
};

/// A tunnel that comes in elsewhere meanwhile is looked for so often.
const MAX_HOPS: usize = 3;

/// Opens a byte stream to something on the host, whichever server holds its tunnel. Its first chunk says whether it was
/// opened or refused. The caller has asked whether it may.
pub async fn open_stream(services: &Services, tenant: TenantId, host: HostId, open: Open) -> Result<ByteStream, Error> {
    let mut way = links::way(services, tenant, host).await?;
    for _ in 0..MAX_HOPS {
        let through = match way {
            Way::Here(tunnel) => return tunnel.open(open).map_err(|error| Error::Unavailable(error.to_string())),
            Way::Through(replica) => replica,
        };
        match relay::open(services, &through, tenant, host, &open).await {
            Ok(relay::Opened::Stream(stream)) => return Ok(stream),
            Ok(relay::Opened::Elsewhere) => way = links::way(services, tenant, host).await?,
            Err(error) => return Err(unreachable(&through, &error)),
        }
    }
    Err(Error::Unavailable("the host keeps changing servers; try again".to_owned()))
}

fn unreachable(replica: &Replica, error: &call::CallError) -> Error {
    tracing::warn!(%error, address = replica.address, "cannot reach another server");
    Error::Unavailable("the host is linked to another server, which does not answer; try again".to_owned())
}
