//! Bodies of calls between hosts: from the connection to an engine and from an engine to the connection.

use std::mem;

use bytes::Bytes;

use super::{Incoming, LEAST_WINDOW_BYTES, LinkId, lost};
use crate::{
    host::{
        deployment::state::{Piece, Source, State},
        peer::{PeerError, PeerFrame},
    },
    wire::{Problem, StreamId, ToEngine},
};

impl State {
    /// The call is over and no engine has had its body: none will.
    pub(super) fn cancel_untaken(&mut self, link: LinkId, call: u64) {
        let state = self.link_call(link, call);
        if state.and_then(|state| state.incoming.as_ref()).is_some_and(|incoming| incoming.to.is_none()) {
            self.link_body_cancelled(link, call);
        }
    }

    pub(super) fn piece(&mut self, link: LinkId, call: u64, data: Bytes, end: bool) -> Result<(), PeerError> {
        let window_bytes = (self.version.limits.stream_window_bytes as usize).max(LEAST_WINDOW_BYTES);
        let Some(state) = self.link_call(link, call) else { return Ok(()) };
        let Some(incoming) = &mut state.incoming else { return Ok(()) };
        incoming.untaken += data.len();
        if incoming.untaken > window_bytes {
            return Err(PeerError::Protocol("it sends more of a body than there is credit for"));
        }
        match incoming.to {
            Some((process, stream)) => {
                if end {
                    state.incoming = None;
                    self.forget_body_to(process, stream);
                    self.settle_call(link, call);
                }
                self.send(process, &ToEngine::Chunk { stream, data: data.into(), end });
            }
            None => {
                if !data.is_empty() {
                    incoming.held.push_back(Piece::Data(data));
                }
                if end {
                    incoming.held.push_back(Piece::End);
                }
            }
        }
        Ok(())
    }

    pub(super) fn body_lost(&mut self, link: LinkId, call: u64, why: Problem) {
        let Some(state) = self.link_call(link, call) else { return };
        match &mut state.incoming {
            Some(Incoming { to: Some((process, stream)), .. }) => {
                let (process, stream) = (*process, *stream);
                state.incoming = None;
                self.forget_body_to(process, stream);
                self.send(process, &ToEngine::StreamFailed { stream, why });
                self.settle_call(link, call);
            }
            Some(incoming) => incoming.held.push_back(Piece::Failed(why)),
            None => {}
        }
    }

    /// An engine gets a body of the other end's; what is there of it already follows the message that names it.
    pub fn body_of_link(&mut self, process: u32, link: LinkId, call: u64, stream: StreamId) {
        let Some(state) = self.link_call(link, call) else {
            let why = lost(&PeerError::Closed);
            return self.after.push((process, ToEngine::StreamFailed { stream, why }));
        };
        let Some(incoming) = &mut state.incoming else { return };
        incoming.to = Some((process, stream));
        let held = mem::take(&mut incoming.held);
        let over = matches!(held.back(), Some(Piece::End | Piece::Failed(_)));
        if over {
            state.incoming = None;
            self.settle_call(link, call);
        } else if let Some(process) = self.processes.get_mut(&process) {
            process.bodies_to.insert(stream, Source::Link { link, call });
        }
        self.after.extend(held.into_iter().map(|piece| (process, piece.into_message(stream))));
    }

    /// An engine has taken more of a body that comes from the other end.
    pub fn link_credit(&mut self, link: LinkId, call: u64, bytes: u32) {
        if let Some(incoming) = self.link_call(link, call).and_then(|call| call.incoming.as_mut()) {
            incoming.untaken = incoming.untaken.saturating_sub(bytes as usize);
            self.link_push(link, &PeerFrame::Credit { call, bytes });
        }
    }

    /// Nobody here reads the body that comes from the other end.
    pub fn link_body_cancelled(&mut self, link: LinkId, call: u64) {
        if self.link_call(link, call).is_some_and(|state| state.incoming.take().is_some()) {
            self.link_push(link, &PeerFrame::BodyCancelled { call });
            self.settle_call(link, call);
        }
    }

    /// An engine sends more of a body to the other end.
    pub fn link_chunk(&mut self, link: LinkId, call: u64, data: Bytes, end: bool) {
        self.link_push(link, &PeerFrame::Chunk { call, data: data.into(), end });
        if end {
            self.link_body_ended(link, call, None);
        }
    }

    /// A body to the other end has ended, one way or the other.
    pub fn link_body_ended(&mut self, link: LinkId, call: u64, why: Option<Problem>) {
        if let Some(state) = self.link_call(link, call) {
            state.outgoing = None;
            if let Some(why) = why {
                self.link_push(link, &PeerFrame::BodyFailed { call, why });
            }
            self.settle_call(link, call);
        }
    }
}
