//! Calls over a connection of what one of its ends gave the other. Both ends make them.

use super::{CallEnd, LinkCall, LinkId};
use crate::{
    host::{
        deployment::{
            deliver::{EventIn, Waiter, overloaded},
            effects::Context,
            state::{CallTarget, State},
            stubs::{Giver, Holder, gone},
        },
        elsewhere::Peer,
        peer::{PeerError, PeerFrame},
    },
    wire::{CallId, Rpc, StubId},
};

/// In the numbers of calls that come from whoever answered the connection.
pub(super) const OF_ANSWERER: u64 = 1 << 63;

/// Whether the number was given by this end of a connection. `dialled`: it was dialled here, to that host.
pub(super) fn is_of_here(call: u64, dialled: Option<Peer>) -> bool {
    (call & OF_ANSWERER == 0) == dialled.is_some()
}

impl State {
    /// Calls what the other end gave, under the name that it has there.
    pub fn call_link_stub(&mut self, caller: (u32, CallId), id: LinkId, stub: StubId, rpc: Rpc) {
        let (process, call) = caller;
        let most = self.version.limits.queue_length as usize;
        let Some(link) = self.links.get_mut(&id) else { return self.reply(process, call, Err(gone())) };
        let Some(number) = link.new_call(LinkCall::new(CallEnd::StubCaller { process, call }), most) else {
            return self.reply(process, call, Err(overloaded()));
        };
        if let Some(args) = &rpc.args {
            self.stubs_taken(&args.stubs, Holder::Link(id));
        }
        self.link_push(id, &PeerFrame::StubCall { call: number, stub, rpc });
        if let Some(process) = self.processes.get_mut(&process) {
            process.calls.insert(call, CallTarget::Link { link: id, call: number });
        }
    }

    /// The other end calls what it was given.
    pub(super) fn link_calls_stub(
        &mut self,
        at: (LinkId, u64),
        stub: StubId,
        mut rpc: Rpc,
        context: &mut Context<'_>,
    ) -> Result<(), PeerError> {
        let (id, call) = at;
        let most = self.version.limits.queue_length as usize;
        let Some(link) = self.links.get_mut(&id) else { return Err(PeerError::Closed) };
        if !link.heard_call(call, most)? {
            self.link_push(id, &PeerFrame::Answer { call, result: Err(overloaded()) });
            return Ok(());
        }
        if let Some(args) = &mut rpc.args {
            self.stubs_from_link(id, args);
        }
        let known = self.stubs.get(stub).filter(|known| known.holder == Holder::Link(id));
        let waiter = Waiter::Link { link: id, call };
        match known.map(|known| known.giver) {
            Some(Giver::Engine { process, activation }) => {
                let event = self.deliver_at(process, activation, EventIn::Stub { stub, rpc }, waiter, context);
                self.link_call_is_event(id, call, event);
            }
            // It came from a third host: an engine of this one passed it on, and would have given it a name of its own.
            Some(Giver::Link { .. }) | None => self.answer_link(at, 0, Err(gone())),
        }
        Ok(())
    }
}
