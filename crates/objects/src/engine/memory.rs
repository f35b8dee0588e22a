//! The memory of one object's JavaScript.
#![expect(unsafe_code, reason = "QuickJS is given memory through an unsafe trait")]

use crate::meter::{self, Meter};
use rquickjs::allocator::Allocator;
use std::sync::Arc;

/// Refuses what passes the meter's limit.
pub(super) struct Limited(pub(super) Arc<Meter>);

// SAFETY: all memory is malloc's, aligned for everything; the meter only counts and sometimes refuses.
unsafe impl Allocator for Limited {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        self.0.allocate(size)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        self.0.allocate_zeroed(count, size)
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        // SAFETY: the pointer is null or came from this allocator, by the trait.
        unsafe { self.0.free(pointer) };
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: the pointer is null or came from this allocator, by the trait.
        unsafe { self.0.reallocate(pointer, new_size) }
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        meter::usable(pointer)
    }
}
