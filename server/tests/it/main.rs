//! The server over HTTP, as browsers and programs meet it, and over the agents' port, as hosts do.

#![allow(clippy::wildcard_enum_match_arm, reason = "in a test, whatever else comes is a failure")]
#![allow(clippy::needless_pass_by_value, reason = "a test reads better without references to what it writes in place")]

mod access;
mod agent;
mod attacks;
mod bad_input;
mod document;
mod hosts;
mod kill;
mod notebooks;
mod objects;
mod outage;
mod passing;
mod port;
mod process;
mod projects;
mod replicas;
mod site;
mod streams;
