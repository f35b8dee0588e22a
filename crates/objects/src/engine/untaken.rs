//! What came with a message that nobody takes: bodies, sockets and stubs, of which whoever sent them must hear.

use super::shared::Delivery;
use crate::wire::{Activation, Answer, Body, EventKind, FromEngine, Passed, Rpc, Seq};

fn body(body: &Body, out: &mut Vec<FromEngine>) {
    match body {
        Body::Stream { stream, .. } => out.push(FromEngine::StreamCancelled { stream: *stream }),
        Body::None | Body::Whole(_) => {}
    }
}

fn stubs(activation: Activation, passed: &Passed, out: &mut Vec<FromEngine>) {
    let dropped = |stub: &_| FromEngine::StubDropped { activation, stub: *stub, after: Seq(0) };
    out.extend(passed.stubs.iter().map(dropped));
}

pub(super) fn event(activation: Activation, kind: &EventKind, out: &mut Vec<FromEngine>) {
    match kind {
        EventKind::Fetch(request) => body(&request.body, out),
        EventKind::Rpc(Rpc { args, .. }) | EventKind::Stub { rpc: Rpc { args, .. }, .. } => {
            if let Some(args) = args {
                stubs(activation, args, out);
            }
        }
        EventKind::Alarm { .. }
        | EventKind::SocketMessage { .. }
        | EventKind::SocketClosed { .. }
        | EventKind::SocketFailed { .. }
        | EventKind::Inspect(_) => {}
    }
}

pub(super) fn answer(activation: Activation, answer: &Answer, out: &mut Vec<FromEngine>) {
    match answer {
        Answer::Http(response) => {
            body(&response.body, out);
            out.extend(response.socket.map(|socket| FromEngine::SocketUntaken { socket }));
        }
        Answer::Value(passed) => stubs(activation, passed, out),
    }
}

pub(super) fn delivery(activation: Activation, delivery: &Delivery, out: &mut Vec<FromEngine>) {
    match delivery {
        Delivery::Event { kind, .. } => event(activation, kind, out),
        Delivery::Reply { result: Ok(result), .. } => answer(activation, result, out),
        Delivery::Reply { result: Err(_), .. }
        | Delivery::Cancel { .. }
        | Delivery::Timer { .. }
        | Delivery::SectionOver { .. }
        | Delivery::Synced { .. }
        | Delivery::Chunk { .. }
        | Delivery::StreamFailed { .. }
        | Delivery::Credit { .. }
        | Delivery::StreamCancelled { .. }
        | Delivery::StubDropped { .. } => {}
    }
}
