//! What an object's sockets answer by themselves, without bringing it into memory.

use std::sync::Arc;

use super::{Peer, Say};
use crate::{
    host::{
        budget::{Budget, Share},
        deployment::state::State,
        log::ObjectKey,
    },
    wire::{Activation, AutoResponse, SocketData, SocketId},
};

/// What an object's sockets answer while it is not in memory.
pub struct KeptAutoResponse {
    pub pair: AutoResponse,
    _share: Share,
}

impl KeptAutoResponse {
    /// None where there is no room.
    fn within(budget: &Arc<Budget>, pair: AutoResponse) -> Option<Self> {
        let mut share = Share::none(budget);
        let room = share.set(size_of::<Self>() + pair.request.len() + pair.response.len());
        room.then_some(Self { pair, _share: share })
    }
}

impl State {
    /// Whether the object's automatic response was all there is to do.
    pub fn answer_automatically(&mut self, id: SocketId, data: &SocketData, now_ms: i64) -> bool {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.hibernates) else { return false };
        let pair = socket.owner.and_then(|key| self.auto_responses.get(&key));
        let say = match (data, pair) {
            (SocketData::Text(text), Some(KeptAutoResponse { pair, .. })) if *text == pair.request => {
                Say::Data(SocketData::Text(pair.response.clone()))
            }
            (SocketData::Text(_) | SocketData::Binary(_), _) => return false,
        };
        match &socket.peer {
            Peer::Client(client) => client.say(say),
            Peer::Link { link, call } => {
                if let Some(link) = self.links.get(link) {
                    link.say(*call, say);
                }
            }
            Peer::Nobody(_) | Peer::Engine { .. } => return false,
        }
        socket.auto_response_ms = Some(now_ms);
        true
    }

    pub fn auto_response(&mut self, process: u32, activation: Activation, pair: Option<AutoResponse>) {
        let Some(key) = self.activation(process, activation).and_then(|state| Some(state.object.as_ref()?.key)) else {
            return;
        };
        self.auto_responses.remove(&key);
        let Some(pair) = pair else { return };
        if let Some(kept) = KeptAutoResponse::within(&self.budget, pair) {
            self.auto_responses.insert(key, kept);
        } else {
            // The object answers itself, as it would without one.
            tracing::warn!(object = hex::encode(key.id), "there is no room for an automatic answer");
        }
    }

    /// It lasts as long as the object's memory or the last of its sockets.
    pub fn forget_auto_response(&mut self, key: ObjectKey) {
        if self.auto_responses.contains_key(&key)
            && !self.objects.contains_key(&key)
            && !self.sockets.values().any(|socket| socket.owner == Some(key))
        {
            self.auto_responses.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_answers_are_in_the_deployments_budget() {
        let pair = |bytes| AutoResponse { request: "ping".to_owned(), response: "x".repeat(bytes) };
        let budget = Arc::new(Budget::new(size_of::<KeptAutoResponse>() + 100));
        assert!(KeptAutoResponse::within(&budget, pair(97)).is_none());
        let kept = KeptAutoResponse::within(&budget, pair(96)).expect("there is room");
        assert!(KeptAutoResponse::within(&budget, pair(0)).is_none());
        drop(kept);
        assert!(KeptAutoResponse::within(&budget, pair(96)).is_some());
    }
}
