//! What an object's sockets answer by themselves, without bringing it into memory.

use super::{Peer, Say};
use crate::{
    host::{budget::Share, deployment::state::State, log::ObjectKey},
    wire::{Activation, AutoResponse, SocketData, SocketId},
};

/// What an object's sockets answer while it is not in memory.
pub struct KeptAutoResponse {
    pub pair: AutoResponse,
    _share: Share,
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
        let mut share = Share::none(&self.budget);
        if share.set(size_of::<KeptAutoResponse>() + pair.request.len() + pair.response.len()) {
            self.auto_responses.insert(key, KeptAutoResponse { pair, _share: share });
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
