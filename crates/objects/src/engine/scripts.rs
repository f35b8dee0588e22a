//! Our scripts: those of the web APIs, and those of objects on top of them.

use super::realm::{Script, When};
use super::web;

macro_rules! script {
    ($name:literal, $when:ident) => {
        Script { name: $name, text: include_str!(concat!("js/", $name, ".js")), when: When::$when }
    };
}

const OURS: &[Script] = &[
    script!("problems", Start),
    script!("time", Start),
    script!("workers", Start),
    script!("calls", Start),
    script!("dispatch", Start),
    script!("timers", FirstUse),
    script!("console", FirstUse),
    script!("state", FirstUse),
    script!("ids", FirstUse),
    script!("namespace", FirstUse),
    script!("storage", FirstUse),
    script!("sql", FirstUse),
    script!("bodies", FirstUse),
    script!("stubs", FirstUse),
    script!("entrypoints", FirstUse),
    script!("rpc", FirstUse),
    script!("rpc_streams", FirstUse),
    script!("websocket", FirstUse),
    script!("websocket_client", FirstUse),
];

pub(super) fn all() -> Vec<Script> {
    web::SCRIPTS.iter().chain(OURS).copied().collect()
}
