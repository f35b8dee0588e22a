//! Object workers: code of which each object has one single instance, with storage of its own.
//!
//! Two halves that speak [`wire`] over one socket pair. [`host`] has the files, the sockets and the clock, and is trusted;
//! [`engine`] runs what users wrote in a process of its own that has none of them, and is not.
//! Knows nothing of the portal: `berth objects dev` runs it alone. Without the feature `engine` there is [`project`] alone, with
//! which the portal reads what people send it.

#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod host;
#[cfg(feature = "engine")]
mod meter;
pub mod project;
#[cfg(feature = "engine")]
mod sqlite;
pub mod wire;
