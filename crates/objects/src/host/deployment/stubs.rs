//! What one activation gave another to call: whose it is, who has it, and calls of it.

mod known;

pub use known::Stubs;

use super::{
    deliver::{EventIn, Waiter},
    effects::Context,
    links::LinkId,
    state::{CallTarget, State},
};
use crate::{
    host::peer::PeerFrame,
    wire::{Activation, CallId, Passed, Problem, Rpc, StubId, ToEngine},
};

/// Who answers when a stub is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    Engine {
        process: u32,
        activation: Activation,
    },
    /// Another host, under the name that it has there.
    Link {
        link: LinkId,
        stub: StubId,
    },
}

/// Who may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// It is on its way.
    Nobody,
    Engine(u32),
    Link(LinkId),
}

#[derive(Debug, Clone, Copy)]
pub struct Stub {
    pub giver: Giver,
    pub holder: Holder,
}

pub fn gone() -> Problem {
    let message = "The RPC stub cannot be called any more: whoever gave it was reset or evicted, or its event is over.";
    Problem::new("Error", message)
}

impl State {
    /// They have left whoever gave them.
    pub fn stubs_given(&mut self, process: u32, activation: Activation, stubs: &[StubId]) {
        let giver = Giver::Engine { process, activation };
        for stub in stubs {
            self.stubs.give(*stub, giver);
        }
    }

    /// They are with somebody.
    pub fn stubs_taken(&mut self, stubs: &[StubId], by: Holder) {
        for stub in stubs {
            self.stubs.take(*stub, by);
        }
    }

    /// From another host: under names of this one from now on.
    pub fn stubs_from_link(&mut self, link: LinkId, passed: &mut Passed) {
        for stub in &mut passed.stubs {
            let given = StubId(self.next_remote_stub);
            self.next_remote_stub += 1;
            let giver = Giver::Link { link, stub: std::mem::replace(stub, given) };
            self.stubs.give(given, giver);
        }
    }

    pub fn call_stub(&mut self, caller: (u32, CallId), stub: StubId, rpc: Rpc, context: &mut Context<'_>) {
        let (process, call) = caller;
        let known = self.stubs.get(stub).filter(|known| known.holder == Holder::Engine(process));
        match known.map(|known| known.giver) {
            Some(Giver::Engine { process: at, activation }) => {
                let event = EventIn::Stub { stub, rpc };
                let event = self.deliver_at(at, activation, event, Waiter::Call { process, call }, context);
                if self.events.contains_key(&event)
                    && let Some(process) = self.processes.get_mut(&process)
                {
                    process.calls.insert(call, CallTarget::Event(event));
                }
            }
            Some(Giver::Link { link, stub }) => self.call_link_stub(caller, link, stub, rpc),
            None => self.reply(process, call, Err(gone())),
        }
    }

    /// Whoever has it wants no more of it.
    pub fn stub_dropped(&mut self, stub: StubId, by: Holder) {
        if self.stubs.get(stub).is_some_and(|known| known.holder == by) {
            self.drop_stub(stub);
        }
    }

    /// Nobody has it: its giver is told.
    pub fn drop_stub(&mut self, stub: StubId) {
        match self.stubs.remove(stub).map(|known| known.giver) {
            Some(Giver::Engine { process, activation }) => {
                self.send(process, &ToEngine::StubDropped { activation, stub });
            }
            Some(Giver::Link { link, stub }) => self.link_push(link, &PeerFrame::StubDropped { stub }),
            None => {}
        }
    }

    /// Its giver takes it back.
    pub fn stub_withdrawn(&mut self, process: u32, stub: StubId) {
        let mine = |known: &Stub| matches!(known.giver, Giver::Engine { process: at, .. } if at == process);
        if self.stubs.get(stub).filter(mine).is_some() {
            self.forget_stub(stub);
        }
    }

    /// It leads nowhere any more.
    fn forget_stub(&mut self, stub: StubId) {
        if let Some(Stub { holder: Holder::Link(link), .. }) = self.stubs.remove(stub) {
            self.link_push(link, &PeerFrame::StubWithdrawn { stub });
        }
    }

    /// The other host takes back what it gave.
    pub fn link_stub_withdrawn(&mut self, link: LinkId, stub: StubId) {
        for stub in self.stubs.named_by(link, stub) {
            self.forget_stub(stub);
        }
    }

    /// The memory that has what these lead to is gone.
    pub fn giver_ended(&mut self, process: u32, activation: Activation) {
        for stub in self.stubs.given_by(process, activation) {
            self.forget_stub(stub);
        }
    }

    /// An engine or a connection is gone with all that it had.
    pub fn holder_ended(&mut self, holder: Holder) {
        for stub in self.stubs.held_by(holder) {
            self.drop_stub(stub);
        }
    }

    /// A connection is gone: what came over it leads nowhere, and nobody has what left by it.
    pub fn stubs_of_link_end(&mut self, link: LinkId) {
        for stub in self.stubs.came_by(link) {
            self.forget_stub(stub);
        }
        self.holder_ended(Holder::Link(link));
    }
}
