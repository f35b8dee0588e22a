//! The memory of one object's JavaScript: counted, and no more than its limit.
#![expect(unsafe_code, reason = "QuickJS is given memory through an unsafe trait")]

use rquickjs::allocator::{Allocator, RustAllocator};
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

/// What is used, and whether more was ever wanted than there is.
#[derive(Debug, Default)]
pub struct Meter {
    used_bytes: Cell<usize>,
    exceeded: Cell<bool>,
}

impl Meter {
    pub fn exceeded(&self) -> bool {
        self.exceeded.get()
    }
}

/// Refuses what passes the limit, and remembers that it did: code may catch the error, the object is over all the same.
pub(super) struct Limited {
    meter: Rc<Meter>,
    most_bytes: usize,
}

impl Limited {
    pub(super) fn new(meter: Rc<Meter>, most_bytes: usize) -> Self {
        Self { meter, most_bytes }
    }

    fn admits(&self, more_bytes: usize) -> bool {
        let fits = self.meter.used_bytes.get().checked_add(more_bytes).is_some_and(|used| used <= self.most_bytes);
        if !fits {
            self.meter.exceeded.set(true);
        }
        fits
    }

    /// # Safety
    /// The pointer is null or came from the allocator below.
    unsafe fn count(&self, pointer: *mut u8) {
        if !pointer.is_null() {
            // SAFETY: by the caller's promise.
            let bytes = unsafe { RustAllocator::usable_size(pointer) };
            self.meter.used_bytes.set(self.meter.used_bytes.get() + bytes);
        }
    }

    fn discount(&self, bytes: usize) {
        self.meter.used_bytes.set(self.meter.used_bytes.get().saturating_sub(bytes));
    }
}

// SAFETY: all memory is RustAllocator's, which keeps the trait's promises; this only counts and sometimes refuses.
unsafe impl Allocator for Limited {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.admits(size) {
            return ptr::null_mut();
        }
        let pointer = RustAllocator.alloc(size);
        // SAFETY: it just came from the allocator.
        unsafe { self.count(pointer) };
        pointer
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let Some(total) = count.checked_mul(size).filter(|total| self.admits(*total)) else { return ptr::null_mut() };
        let pointer = RustAllocator.calloc(1, total);
        // SAFETY: it just came from the allocator.
        unsafe { self.count(pointer) };
        pointer
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        if pointer.is_null() {
            return;
        }
        // SAFETY: the pointer came from this allocator, by the trait.
        unsafe {
            self.discount(RustAllocator::usable_size(pointer));
            RustAllocator.dealloc(pointer);
        }
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, new_size: usize) -> *mut u8 {
        if pointer.is_null() {
            return self.alloc(new_size);
        }
        // SAFETY: the pointer came from this allocator, by the trait.
        unsafe {
            let had = RustAllocator::usable_size(pointer);
            if new_size > had && !self.admits(new_size - had) {
                return ptr::null_mut();
            }
            let moved = RustAllocator.realloc(pointer, new_size);
            if !moved.is_null() {
                self.discount(had);
                self.count(moved);
            }
            moved
        }
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        if pointer.is_null() {
            return 0;
        }
        // SAFETY: the pointer came from this allocator, by the trait.
        unsafe { RustAllocator::usable_size(pointer) }
    }
}
