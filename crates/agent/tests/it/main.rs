//! The agent against the real system: sandboxes, control groups, containers. Needs root, bubblewrap and podman.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it waits for; anything else fails it")]

mod adoption;
mod container;
mod copies;
mod disk;
mod enrolment;
mod exchange;
mod faults;
mod hardening;
mod lasting;
mod link;
mod notebooks;
mod objects;
mod orphans;
mod peer;
mod quarantine;
mod rootless;
mod sandbox;
mod session;
mod simulated;
mod support;
