//! Byte streams to hosts, whichever server holds a host's tunnel.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use domain::ids::{HostId, TenantId};
use protocol::tunnel::{Control, Open};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use super::{ByteStream, Chunk, Way, way};
use crate::{Error, Result, Services, replicas::Replica};

/// A tunnel that comes in elsewhere meanwhile is looked for so often.
const MAX_HOPS: usize = 3;
/// The longest until a host says whether a stream leads somewhere.
const OPEN_LIMIT: Duration = Duration::from_secs(15);
const PIPE_BYTES: usize = 64 * 1024;
const PIECE_BYTES: usize = 16 * 1024;

/// What a stream through another server came to.
pub enum Relayed {
    Stream(ByteStream),
    /// The tunnel is at another server by now.
    Elsewhere,
}

/// The way to the other servers.
#[async_trait]
pub trait Relay: Send + Sync {
    async fn open(
        &self,
        services: &Services,
        through: &Replica,
        tenant: TenantId,
        host: HostId,
        open: &Open,
    ) -> Result<Relayed>;
}

/// Opens a byte stream to something on the host. Its first chunk says whether it was opened or refused. The caller has asked
/// whether it may.
pub async fn open_stream(services: &Services, tenant: TenantId, host: HostId, open: Open) -> Result<ByteStream> {
    for _ in 0..MAX_HOPS {
        let through = match way(services, tenant, host).await? {
            Way::Here(tunnel) => return tunnel.open(open).map_err(|error| Error::Unavailable(error.to_string())),
            Way::Through(replica) => replica,
        };
        let relay = services.relay().ok_or_else(|| Error::Internal("there is no way to other servers".to_owned()))?;
        if let Relayed::Stream(stream) = relay.open(services, &through, tenant, host, &open).await? {
            return Ok(stream);
        }
    }
    Err(Error::Unavailable("the host keeps changing servers; try again".to_owned()))
}

/// As [`open_stream`], for what listens there: once it leads somewhere, as bytes both ways.
pub async fn connect(services: &Services, tenant: TenantId, host: HostId, open: Open) -> Result<DuplexStream> {
    let mut stream = open_stream(services, tenant, host, open).await?;
    let first = timeout(OPEN_LIMIT, stream.next()).await;
    match first.map_err(|_| Error::Unavailable("the host does not answer in time".to_owned()))? {
        Some(Chunk::Control(Control::Opened { .. })) => {}
        // A reset is another server's word, through which the stream was to go.
        Some(Chunk::Control(Control::Refused { why } | Control::Reset { why })) => {
            return Err(Error::Unavailable(why));
        }
        Some(Chunk::Control(_) | Chunk::Stdout(_) | Chunk::Stderr(_)) | None => {
            return Err(Error::Unavailable("the host broke the stream off".to_owned()));
        }
    }
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    // Ends with either side.
    tokio::spawn(pump(stream, far));
    Ok(near)
}

/// Carries bytes between the tunnel's stream and the pipe until either side ends.
async fn pump(stream: ByteStream, pipe: DuplexStream) {
    let (mut reader, writer) = stream.split();
    let (mut from_client, mut to_client) = tokio::io::split(pipe);
    let up = async {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match from_client.read(&mut piece).await {
                Ok(0) | Err(_) => {
                    // The other direction may still have its answer to give.
                    return writer.control(Control::EndOfInput).is_ok();
                }
                Ok(length) => {
                    if writer.write(Bytes::copy_from_slice(&piece[..length])).await.is_err() {
                        return false;
                    }
                }
            }
        }
    };
    let down = async {
        while let Some(chunk) = reader.next().await {
            match chunk {
                Chunk::Stdout(data) => {
                    if to_client.write_all(&data).await.is_err() {
                        return;
                    }
                }
                Chunk::Stderr(_) => {}
                Chunk::Control(Control::Exited { .. } | Control::Reset { .. }) => break,
                Chunk::Control(_) => {}
            }
        }
        if let Err(error) = to_client.shutdown().await {
            tracing::debug!(%error, "who read from a host had gone before its end");
        }
    };
    tokio::pin!(down);
    tokio::select! {
        is_half_open = up => if is_half_open { down.await },
        () = &mut down => {}
    }
}

/// Set once, by the server that knows how.
pub(crate) type RelaySlot = std::sync::OnceLock<Arc<dyn Relay>>;
