//! The engine driven by a host in memory, through the bytes of the protocol.

mod bodies;
mod gates;
mod host;
mod inside;
mod objects;
mod sockets;
mod stubs;
mod turns;
mod waiting;
