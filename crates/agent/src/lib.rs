//! berth-agent: runs on each host, offers its machines, and keeps their environments.

pub mod config;
pub mod environments;
pub mod metrics;
