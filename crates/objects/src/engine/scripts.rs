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
    script!("timers", Start),
    script!("console", Start),
    script!("workers", Start),
    script!("calls", Start),
    script!("dispatch", Start),
    script!("state", FirstUse),
    script!("namespace", FirstUse),
    script!("storage", FirstUse),
    script!("sql", FirstUse),
    script!("bodies", FirstUse),
    script!("rpc", FirstUse),
    script!("websocket", FirstUse),
];

pub(super) fn all() -> Vec<Script> {
    web::SCRIPTS.iter().chain(OURS).copied().collect()
}
