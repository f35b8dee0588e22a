//! What the engine needs of the process it is in, and cannot have by frames that wait for no answer.

use crate::wire::{Activation, EventId};

pub use crate::sqlite::PageError;

/// The process in production, a simulation in tests: with the same answers the engine does the same.
pub trait Surroundings {
    /// `count` whole pages of the object's database; waits for the host. Pages never written are zeroes.
    fn read_pages(&self, activation: Activation, first: u32, count: u32) -> Result<Vec<u8>, PageError>;

    /// Code of the object is about to run, at this CPU time. Whoever watches from outside learns here whose turn it is.
    fn turn_begins(&self, activation: Activation, event: Option<EventId>, cpu_ns: u64);

    fn turn_ends(&self);

    /// CPU time of this thread, nanoseconds.
    fn cpu_ns(&self) -> u64;

    fn fill_random(&self, out: &mut [u8]);
}
