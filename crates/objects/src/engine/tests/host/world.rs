//! What the engine asks of its process, out of memory and a seed.

use crate::engine::{PageError, Surroundings};
use crate::wire::{Activation, EventId, PAGE_BYTES};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

pub(in crate::engine::tests) struct World {
    pub(super) files: RefCell<HashMap<Activation, Rc<RefCell<Vec<u8>>>>>,
    cpu_ns: Cell<u64>,
    pub cpu_step_ns: Cell<u64>,
    pub(super) random: RefCell<StdRng>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            files: RefCell::default(),
            cpu_ns: Cell::new(0),
            cpu_step_ns: Cell::new(1_000),
            random: RefCell::new(StdRng::seed_from_u64(seed)),
        }
    }
}

impl Surroundings for World {
    fn read_pages(&self, activation: Activation, first: u32, count: u32) -> Result<Vec<u8>, PageError> {
        let files = self.files.borrow();
        let last = first + count - 1;
        let file = files.get(&activation).ok_or(PageError::Unavailable { first, last })?.borrow();
        let start = (first as usize - 1) * PAGE_BYTES;
        let mut out = vec![0; count as usize * PAGE_BYTES];
        let have = file.len().saturating_sub(start).min(out.len());
        out[..have].copy_from_slice(&file[start..start + have]);
        Ok(out)
    }

    fn turn_begins(&self, _activation: Activation, _event: Option<EventId>, _cpu_ns: u64) {}

    fn turn_ends(&self) {}

    fn cpu_ns(&self) -> u64 {
        self.cpu_ns.set(self.cpu_ns.get() + self.cpu_step_ns.get());
        self.cpu_ns.get()
    }

    fn fill_random(&self, out: &mut [u8]) {
        self.random.borrow_mut().fill_bytes(out);
    }
}
