//! The agent against the real system: sandboxes, control groups, containers. Needs root, bubblewrap and podman.

mod adoption;
mod container;
mod faults;
mod sandbox;
mod support;
