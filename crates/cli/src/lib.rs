//! The command line and the client daemon. `berth run` books, waits, streams, keeps alive and gives back; the others
//! are one request and its presentation each.
//!
//! As a library it is for tests and measurements: [`client::Client`] and [`exec::Exec`] are what `berth` itself uses.

pub mod again;
pub mod args;
pub mod client;
pub mod commands;
pub mod events;
pub mod exec;
pub mod fault;
pub mod keeper;
pub mod progress;
pub mod settings;
pub mod signals;
pub mod socket;
pub mod table;
pub mod terminal;
pub mod times;
pub mod typed;
