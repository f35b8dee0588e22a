//! What one activation gave another to call: whose it is, who has it, and calls of it.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            self.stubs.entry(*stub).or_insert(Stub { giver, holder: Holder::Nobody });
        }
    }

    /// They are with somebody.
    pub fn stubs_taken(&mut self, stubs: &[StubId], by: Holder) {
        for stub in stubs {
            if let Some(stub) = self.stubs.get_mut(stub) {
                stub.holder = by;
            }
        }
    }

    /// From another host: under names of this one from now on.
    pub fn stubs_from_link(&mut self, link: LinkId, passed: &mut Passed) {
        for stub in &mut passed.stubs {
            let given = StubId(self.next_remote_stub);
            self.next_remote_stub += 1;
            let giver = Giver::Link { link, stub: std::mem::replace(stub, given) };
            self.stubs.insert(given, Stub { giver, holder: Holder::Nobody });
        }
    }

    pub fn call_stub(&mut self, caller: (u32, CallId), stub: StubId, rpc: Rpc, context: &mut Context<'_>) {
        let (process, call) = caller;
        let known = self.stubs.get(&stub).filter(|known| known.holder == Holder::Engine(process));
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
        if self.stubs.get(&stub).is_some_and(|known| known.holder == by) {
            self.drop_stub(stub);
        }
    }

    /// Nobody has it: its giver is told.
    pub fn drop_stub(&mut self, stub: StubId) {
        match self.stubs.remove(&stub).map(|known| known.giver) {
            Some(Giver::Engine { process, activation }) => {
                self.send(process, &ToEngine::StubDropped { activation, stub });
            }
            Some(Giver::Link { link, stub }) => self.link_push(link, &PeerFrame::StubDropped { stub }),
            None => {}
        }
    }

    /// Its giver takes it back.
    pub fn stub_withdrawn(&mut self, process: u32, stub: StubId) {
        let mine = |known: &&Stub| matches!(known.giver, Giver::Engine { process: at, .. } if at == process);
        if let Some(known) = self.stubs.get(&stub).filter(mine).copied() {
            self.forget_stub(stub, known);
        }
    }

    fn forget_stub(&mut self, stub: StubId, known: Stub) {
        self.stubs.remove(&stub);
        if let Holder::Link(link) = known.holder {
            self.link_push(link, &PeerFrame::StubWithdrawn { stub });
        }
    }

    /// The other host takes back what it gave.
    pub fn link_stub_withdrawn(&mut self, link: LinkId, stub: StubId) {
        let giver = Giver::Link { link, stub };
        let found = self.stubs.iter().find(|(_, known)| known.giver == giver).map(|(stub, known)| (*stub, *known));
        if let Some((stub, known)) = found {
            self.forget_stub(stub, known);
        }
    }

    /// The memory that has what these lead to is gone.
    pub fn giver_ended(&mut self, process: u32, activation: Activation) {
        let giver = Giver::Engine { process, activation };
        let ended = self.stubs.iter().filter(|(_, known)| known.giver == giver);
        let ended: Vec<(StubId, Stub)> = ended.map(|(stub, known)| (*stub, *known)).collect();
        for (stub, known) in ended {
            self.forget_stub(stub, known);
        }
    }

    /// An engine or a connection is gone with all that it had.
    pub fn holder_ended(&mut self, holder: Holder) {
        let held = self.stubs.iter().filter(|(_, known)| known.holder == holder);
        let held: Vec<StubId> = held.map(|(stub, _)| *stub).collect();
        for stub in held {
            self.drop_stub(stub);
        }
    }

    /// A connection is gone: what came over it leads nowhere, and nobody has what left by it.
    pub fn stubs_of_link_end(&mut self, link: LinkId) {
        let came =
            self.stubs.iter().filter(|(_, known)| matches!(known.giver, Giver::Link { link: by, .. } if by == link));
        let came: Vec<(StubId, Stub)> = came.map(|(stub, known)| (*stub, *known)).collect();
        for (stub, known) in came {
            self.forget_stub(stub, known);
        }
        self.holder_ended(Holder::Link(link));
    }

    /// Whether a connection is worth its keep for what can be called by it.
    pub fn link_has_stubs(&self, link: LinkId) -> bool {
        self.stubs.values().any(|known| {
            known.holder == Holder::Link(link) || matches!(known.giver, Giver::Link { link: by, .. } if by == link)
        })
    }
}
