//! How much memory a message has, about: what it holds beside its own size.

use super::{
    AlarmOutcome, Answer, Body, Destination, FromEngine, HttpRequest, HttpResponse, ObjectCall, Passed, Problem, Rpc,
    SocketData, StubId,
};

impl Body {
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::None | Self::Stream { .. } => 0,
        }
    }
}

impl HttpRequest {
    pub fn held_bytes(&self) -> usize {
        self.method.len() + self.url.len() + self.headers.as_text().len() + self.body.held_bytes()
    }
}

impl HttpResponse {
    fn held_bytes(&self) -> usize {
        self.status_text.len() + self.url.len() + self.headers.as_text().len() + self.body.held_bytes()
    }
}

impl Passed {
    fn held_bytes(&self) -> usize {
        self.value.0.len() + self.stubs.len() * size_of::<StubId>()
    }
}

impl Rpc {
    pub fn held_bytes(&self) -> usize {
        let path = self.path.iter().map(|part| part.len() + size_of::<String>()).sum::<usize>();
        path + self.args.as_ref().map_or(0, Passed::held_bytes)
    }
}

impl SocketData {
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

impl Problem {
    pub fn held_bytes(&self) -> usize {
        let stack = self.stack.as_ref().map_or(0, String::len);
        self.name.len() + self.message.len() + stack + self.properties.as_ref().map_or(0, |value| value.0.len())
    }
}

impl Answer {
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Http(response) => response.held_bytes(),
            Self::Value(value) => value.held_bytes(),
        }
    }
}

impl Destination {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Internet(request) | Self::Object { what: ObjectCall::Fetch(request), .. } => request.held_bytes(),
            Self::Object { what: ObjectCall::Rpc(rpc), .. } | Self::Stub { rpc, .. } => rpc.held_bytes(),
        }
    }
}

impl FromEngine {
    /// Of the message as a whole.
    pub fn held_bytes(&self) -> usize {
        let holds = match self {
            Self::Commit(commit) => commit.deltas.iter().map(|delta| size_of_val(delta) + delta.bytes.len()).sum(),
            Self::Response { response, .. } => response.held_bytes(),
            Self::Returned { value, .. } => value.held_bytes(),
            Self::Failed { problem, .. }
            | Self::LoadFailed { problem }
            | Self::Reset { problem, .. }
            | Self::StreamFailed { why: problem, .. }
            | Self::AlarmRan { outcome: AlarmOutcome::Failed { problem }, .. } => problem.held_bytes(),
            Self::Inspected { found: Ok(text) | Err(text), .. }
            | Self::Console { text, .. }
            | Self::SocketClose { reason: text, .. } => text.len(),
            Self::Call { destination, .. } => destination.held_bytes(),
            Self::SocketAccept { tags, .. } => tags.iter().map(|tag| tag.len() + size_of::<String>()).sum(),
            Self::SocketSend { data, .. } => data.held_bytes(),
            Self::SocketAttachment { value, .. } => value.as_ref().map_or(0, |value| value.0.len()),
            Self::AutoResponse { pair, .. } => pair.as_ref().map_or(0, |pair| pair.request.len() + pair.response.len()),
            Self::Chunk { data, .. } => data.len(),
            Self::StubsPassed { stubs, .. } => stubs.len() * size_of::<StubId>(),
            Self::Loaded { .. }
            | Self::ReadPages { .. }
            | Self::AlarmRan { .. }
            | Self::Finished { .. }
            | Self::CancelCall { .. }
            | Self::SocketUntaken { .. }
            | Self::Credit { .. }
            | Self::StreamCancelled { .. }
            | Self::StubDropped { .. }
            | Self::StubWithdrawn { .. }
            | Self::Quiet { .. }
            | Self::Inside { .. }
            | Self::Stays { .. }
            | Self::Closed { .. }
            | Self::Wake { .. } => 0,
        };
        size_of::<Self>() + holds
    }
}
