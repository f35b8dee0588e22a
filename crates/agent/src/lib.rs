//! berth-agent: runs on each host, offers its machines, and keeps their environments.

pub mod check;
pub mod clear;
pub mod clock;
mod command;
pub mod config;
pub mod dial;
pub mod enroll;
pub mod environments;
pub mod identity;
pub mod inherited;
pub mod journal;
pub mod link;
pub mod metrics;
pub mod notebooks;
pub mod objects;
mod progress;
pub mod run;
pub mod sessions;
pub mod simulate;
pub mod transactions;
pub mod tunnel;
mod whole;
