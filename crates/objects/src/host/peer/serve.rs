//! The end that answers.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{PeerError, PeerFrame, VERSION};
use crate::{
    host::deployment::{Deployment, LinkId},
    wire::{Answer, Body, Frames, ObjectCall, write_frame},
};

/// For the first frame.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// For each of those that ask a host for what it has not.
const STRANGER_LIMIT: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 4 << 10;

/// Tells the deployment when the connection is over, even if nobody waits for its end.
struct Ended {
    deployment: Arc<Deployment>,
    link: LinkId,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.deployment.link_ended(self.link, &PeerError::Closed);
    }
}

/// Answers on a connection until it ends. Dropped, it is cut. `find`: a deployment by its name.
pub async fn serve<C>(mut connection: C, find: impl Fn(&str) -> Option<Arc<Deployment>>)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let ended = async {
        let mut frames = Frames::default();
        let first = timeout(HELLO_LIMIT, next(&mut connection, &mut frames)).await;
        let PeerFrame::Hello { version: VERSION, deployment: name } = first.map_err(|_late| PeerError::Silent)?? else {
            return Err(PeerError::Protocol("it begins as no host of this version does"));
        };
        let (deployment, early) = find_or_refuse(&name, &mut connection, &mut frames, &find).await?;
        let (link, outbox) = deployment.accept_link().ok_or(PeerError::TooMany)?;
        let _ended = Ended { deployment: Arc::clone(&deployment), link };
        deployment.link_said(link, early)?;
        Err(super::run(&deployment, link, connection, frames, &outbox).await)
    };
    let ended: Result<std::convert::Infallible, PeerError> = ended.await;
    match ended {
        Err(PeerError::Closed) => {}
        Err(error) => tracing::debug!(%error, "a connection of another host has ended"),
    }
}

async fn next<C>(connection: &mut C, frames: &mut Frames) -> Result<PeerFrame, PeerError>
where
    C: AsyncRead + Unpin,
{
    let mut buffer = [0; READ_BYTES];
    loop {
        if let Some(frame) = frames.next_message()? {
            return Ok(frame);
        }
        match connection.read(&mut buffer).await {
            Ok(0) => return Err(PeerError::Closed),
            Ok(read) => frames.push(&buffer[..read]),
            Err(error) => return Err(PeerError::Read(error)),
        }
    }
}

/// As long as the deployment is not here, neither are its objects: whoever asks may know better the next time.
async fn find_or_refuse<C>(
    name: &str,
    connection: &mut C,
    frames: &mut Frames,
    find: &impl Fn(&str) -> Option<Arc<Deployment>>,
) -> Result<(Arc<Deployment>, Vec<PeerFrame>), PeerError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(deployment) = find(name) {
        return Ok((deployment, Vec::new()));
    }
    loop {
        let asked = timeout(STRANGER_LIMIT, next(connection, frames)).await.map_err(|_late| PeerError::Silent)??;
        // It may have come meanwhile.
        if let Some(deployment) = find(name) {
            return Ok((deployment, vec![asked]));
        }
        let reply = match asked {
            PeerFrame::Call { call, what, .. } => PeerFrame::Misdirected { call, what: again(what) },
            PeerFrame::Ping => PeerFrame::Pong,
            PeerFrame::Hello { .. } => return Err(PeerError::Protocol("it begins twice")),
            // Of calls that were refused.
            PeerFrame::Cancel { .. }
            | PeerFrame::Misdirected { .. }
            | PeerFrame::Answer { .. }
            | PeerFrame::Chunk { .. }
            | PeerFrame::BodyFailed { .. }
            | PeerFrame::Credit { .. }
            | PeerFrame::BodyCancelled { .. }
            | PeerFrame::SocketMessage { .. }
            | PeerFrame::SocketClosed { .. }
            | PeerFrame::SocketFailed { .. }
            | PeerFrame::SocketOver { .. }
            | PeerFrame::SocketTaken { .. }
            | PeerFrame::SocketSays { .. }
            | PeerFrame::StubCall { .. }
            | PeerFrame::StubDropped { .. }
            | PeerFrame::StubWithdrawn { .. }
            | PeerFrame::Pong => continue,
        };
        let mut bytes = Vec::new();
        write_frame(&reply, &mut bytes)?;
        let written = timeout(STRANGER_LIMIT, async {
            connection.write_all(&bytes).await?;
            connection.flush().await
        });
        written.await.map_err(|_late| PeerError::Silent)?.map_err(PeerError::Write)?;
    }
}

/// The call as it can be made again; `None` if its body came in pieces.
pub fn again(what: ObjectCall) -> Option<ObjectCall> {
    match &what {
        ObjectCall::Fetch(request) if is_streamed(&request.body) => None,
        ObjectCall::Fetch(_) | ObjectCall::Rpc(_) => Some(what),
    }
}

pub fn is_streamed(body: &Body) -> bool {
    match body {
        Body::Stream { .. } => true,
        Body::None | Body::Whole(_) => false,
    }
}

/// The body that comes with an answer in pieces.
pub fn streamed_length(answer: &Answer) -> Option<Option<u64>> {
    match answer {
        Answer::Http(response) => match response.body {
            Body::Stream { length, .. } => Some(length),
            Body::None | Body::Whole(_) => None,
        },
        Answer::Value(_) => None,
    }
}
