//! What a deployment may use. All configuration; each has a clear error.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory of one object, its JavaScript, what SQLite takes for it, what it says until that leaves and the answers that
    /// wait for it; and of the entry worker.
    pub memory_bytes: u64,
    /// Native stack that JavaScript may use.
    pub stack_bytes: u32,
    /// CPU time of one event, from its delivery; each later delivery to the object starts it anew.
    pub cpu_ms: u32,
    /// `blockConcurrencyWhile`.
    pub block_ms: u32,
    pub block_depth: u32,
    /// Events that wait at one object's gate.
    pub queue_length: u32,
    /// Bytes of their bodies.
    pub queue_bytes: u64,
    /// Calls that one object has under way.
    pub calls: u32,
    pub timers: u32,
    pub request_bytes: u64,
    /// A body longer than that goes as a stream.
    pub whole_body_bytes: u32,
    pub stream_window_bytes: u32,
    pub chunk_bytes: u32,
    /// Arguments or result of an RPC.
    pub rpc_bytes: u32,
    /// What can be called of those.
    pub rpc_stubs: u32,
    /// What one object holds that it was given to call, and as much again of what it gave.
    pub stubs: u32,
    /// Key of `storage.put`.
    pub key_bytes: u32,
    /// Value of `storage.put`; row, text or blob in SQL.
    pub value_bytes: u32,
    /// Keys in one call of `get`, `put`, `delete`.
    pub keys_at_once: u32,
    pub database_bytes: u64,
    /// What one transaction changes.
    pub commit_bytes: u32,
    /// Pages of a database kept in the engine's memory, each object.
    pub cached_pages: u32,
    pub sql_bytes: u32,
    pub sockets: u32,
    pub socket_message_bytes: u32,
    pub attachment_bytes: u32,
    pub tags: u32,
    pub tag_bytes: u32,
    /// One line of the console.
    pub console_bytes: u32,
    /// Lines in one delivery; more are dropped, and a last line says so.
    pub console_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            stack_bytes: 1 << 20,
            cpu_ms: 30_000,
            block_ms: 30_000,
            block_depth: 64,
            queue_length: 10_000,
            queue_bytes: 64 << 20,
            calls: 1_000,
            timers: 10_000,
            request_bytes: 100 << 20,
            whole_body_bytes: 64 << 10,
            stream_window_bytes: 256 << 10,
            chunk_bytes: 64 << 10,
            rpc_bytes: 8 << 20,
            rpc_stubs: 1_000,
            stubs: 10_000,
            key_bytes: 2048,
            value_bytes: 2 << 20,
            keys_at_once: 128,
            database_bytes: 10 << 30,
            commit_bytes: 64 << 20,
            cached_pages: 256,
            sql_bytes: 100_000,
            sockets: 32_768,
            socket_message_bytes: 1 << 20,
            attachment_bytes: 16 << 10,
            tags: 10,
            tag_bytes: 256,
            console_bytes: 16 << 10,
            console_lines: 256,
        }
    }
}

impl Limits {
    /// With less processor time for an event, if less is wanted.
    #[must_use]
    pub fn with_cpu_ms(self, wanted: Option<u32>) -> Self {
        Self { cpu_ms: wanted.map_or(self.cpu_ms, |cpu_ms| cpu_ms.min(self.cpu_ms)), ..self }
    }
}
