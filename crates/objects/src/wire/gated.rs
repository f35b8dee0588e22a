//! What of an engine's words passes the output gate.

use super::{Activation, EventId, FromEngine, Seq};

/// A frame that nobody may see before what it rests on is durable.
#[derive(Debug, PartialEq, Eq)]
pub struct Gated<'f> {
    pub activation: Activation,
    /// The commit that must be durable.
    pub after: &'f mut Seq,
    /// The event that it answers, one way or the other.
    pub answers: Option<EventId>,
}

impl FromEngine {
    /// `None`: it is for the host.
    pub fn gated(&mut self) -> Option<Gated<'_>> {
        match self {
            Self::Response { activation, after, event, .. }
            | Self::Returned { activation, after, event, .. }
            | Self::Failed { activation, after, event, .. }
            | Self::AlarmRan { activation, after, event, .. }
            | Self::Inspected { activation, after, event, .. } => {
                Some(Gated { activation: *activation, after, answers: Some(*event) })
            }
            Self::Call { activation, after, .. }
            | Self::SocketSend { activation, after, .. }
            | Self::SocketClose { activation, after, .. }
            | Self::Chunk { activation, after, .. }
            | Self::StreamFailed { activation, after, .. }
            | Self::StubDropped { activation, after, .. } => {
                Some(Gated { activation: *activation, after, answers: None })
            }
            Self::Loaded { .. }
            | Self::LoadFailed { .. }
            | Self::ReadPages { .. }
            | Self::Commit(_)
            | Self::Finished { .. }
            | Self::CancelCall { .. }
            | Self::SocketAccept { .. }
            | Self::SocketUntaken { .. }
            | Self::SocketAttachment { .. }
            | Self::AutoResponse { .. }
            | Self::Credit { .. }
            | Self::StreamCancelled { .. }
            | Self::StubWithdrawn { .. }
            | Self::StubsPassed { .. }
            | Self::Console { .. }
            | Self::Quiet { .. }
            | Self::Reset { .. }
            | Self::Closed { .. }
            | Self::Inside { .. }
            | Self::Stays { .. }
            | Self::Wake { .. } => None,
        }
    }

    /// The commit that must be durable before anybody sees the frame.
    pub fn after_mut(&mut self) -> Option<&mut Seq> {
        self.gated().map(|gated| gated.after)
    }
}
