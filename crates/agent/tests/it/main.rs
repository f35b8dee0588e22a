//! The agent against the real system: sandboxes, control groups, containers. Needs root, bubblewrap and podman.

mod adoption;
mod container;
mod enrolment;
mod exchange;
mod faults;
mod link;
mod peer;
mod rootless;
mod sandbox;
mod session;
mod simulated;
mod support;
