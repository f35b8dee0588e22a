//! What one word of an engine may hold. Its own code sees to that; one that does not is none of ours any more.

use crate::wire::{
    AUTO_RESPONSE_BYTES, AutoResponse, Destination, FromEngine, INSPECTED_BYTES, Limits, ObjectCall, Passed, Rpc,
    SocketData,
};

/// Code counts in units of UTF-16, of which one takes so many bytes here at most.
const BYTES_OF_UNIT: usize = 3;

fn is_long(text: &str, most_units: u32) -> bool {
    text.len() > BYTES_OF_UNIT * most_units as usize
}

pub fn is_beyond(message: &FromEngine, limits: &Limits) -> bool {
    let passes_much = |passed: &Passed| passed.value.0.len() > limits.rpc_bytes as usize;
    let says_much = |rpc: &Rpc| rpc.args.as_ref().is_some_and(passes_much);
    match message {
        FromEngine::SocketAccept { tags, .. } => {
            tags.len() > limits.tags as usize || tags.iter().any(|tag| is_long(tag, limits.tag_bytes))
        }
        FromEngine::SocketAttachment { value, .. } => {
            value.as_ref().is_some_and(|value| value.0.len() > limits.attachment_bytes as usize)
        }
        FromEngine::SocketSend { data: SocketData::Text(text), .. } => is_long(text, limits.socket_message_bytes),
        FromEngine::SocketSend { data: SocketData::Binary(data), .. } => {
            data.len() > limits.socket_message_bytes as usize
        }
        FromEngine::AutoResponse { pair, .. } => pair.as_ref().is_some_and(|AutoResponse { request, response }| {
            request.len() > AUTO_RESPONSE_BYTES || response.len() > AUTO_RESPONSE_BYTES
        }),
        FromEngine::Returned { value, .. } => passes_much(value),
        FromEngine::Inspected { found: Ok(text) | Err(text), .. } => text.len() > INSPECTED_BYTES,
        FromEngine::Call { destination, .. } => match destination {
            Destination::Object { what: ObjectCall::Rpc(rpc), .. } | Destination::Stub { rpc, .. } => says_much(rpc),
            Destination::Object { what: ObjectCall::Fetch(_), .. } | Destination::Internet(_) => false,
        },
        FromEngine::Loaded { .. }
        | FromEngine::LoadFailed { .. }
        | FromEngine::ReadPages { .. }
        | FromEngine::Commit(_)
        | FromEngine::Response { .. }
        | FromEngine::Failed { .. }
        | FromEngine::AlarmRan { .. }
        | FromEngine::Finished { .. }
        | FromEngine::CancelCall { .. }
        | FromEngine::SocketClose { .. }
        | FromEngine::SocketUntaken { .. }
        | FromEngine::Chunk { .. }
        | FromEngine::StreamFailed { .. }
        | FromEngine::Credit { .. }
        | FromEngine::StreamCancelled { .. }
        | FromEngine::StubDropped { .. }
        | FromEngine::StubWithdrawn { .. }
        | FromEngine::StubsPassed { .. }
        | FromEngine::Console { .. }
        | FromEngine::Quiet { .. }
        | FromEngine::Inside { .. }
        | FromEngine::Stays { .. }
        | FromEngine::Reset { .. }
        | FromEngine::Closed { .. }
        | FromEngine::Wake { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Activation, CallId, Cloned, EventId, Seq, SocketId, StubId};

    const ACTIVATION: Activation = Activation(1);
    const AFTER: Seq = Seq(1);

    #[test]
    fn what_an_honest_engine_says_is_within_and_no_more_is() {
        let limits = Limits {
            tags: 2,
            tag_bytes: 3,
            attachment_bytes: 5,
            socket_message_bytes: 7,
            rpc_bytes: 11,
            ..Limits::default()
        };
        let (socket, event) = (SocketId(1), EventId(1));
        let accept = |tags: &[&str]| FromEngine::SocketAccept {
            activation: ACTIVATION,
            socket,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            hibernates: true,
        };
        let attachment = |bytes| FromEngine::SocketAttachment {
            activation: ACTIVATION,
            socket,
            value: Some(Cloned(vec![0; bytes])),
        };
        let send = |data| FromEngine::SocketSend { activation: ACTIVATION, socket, after: AFTER, data };
        let auto = |bytes| FromEngine::AutoResponse {
            activation: ACTIVATION,
            pair: Some(AutoResponse { request: "ping".to_owned(), response: "x".repeat(bytes) }),
        };
        let passed = |bytes| Passed { value: Cloned(vec![0; bytes]), stubs: Vec::new() };
        let returned =
            |bytes| FromEngine::Returned { activation: ACTIVATION, event, after: AFTER, value: passed(bytes) };
        let inspected =
            |bytes| FromEngine::Inspected { activation: ACTIVATION, event, after: AFTER, found: Ok("0".repeat(bytes)) };
        let called = |bytes| FromEngine::Call {
            activation: ACTIVATION,
            call: CallId(1),
            after: AFTER,
            destination: Destination::Stub {
                stub: StubId(1),
                rpc: Rpc { path: Vec::new(), args: Some(passed(bytes)) },
            },
        };
        let cases = [
            (accept(&["€€€", "a"]), accept(&["€€€a"])),
            (accept(&[]), accept(&["a", "b", "c"])),
            (attachment(5), attachment(6)),
            (send(SocketData::Binary(vec![0; 7])), send(SocketData::Binary(vec![0; 8]))),
            (send(SocketData::Text("€".repeat(7))), send(SocketData::Text("€".repeat(8)))),
            (auto(AUTO_RESPONSE_BYTES), auto(AUTO_RESPONSE_BYTES + 1)),
            (returned(11), returned(12)),
            (inspected(INSPECTED_BYTES), inspected(INSPECTED_BYTES + 1)),
            (called(11), called(12)),
        ];
        for (within, beyond) in cases {
            assert!(!is_beyond(&within, &limits), "{within:?}");
            assert!(is_beyond(&beyond, &limits), "{beyond:?}");
        }
    }
}
