//! The memory of one object's JavaScript: counted, and no more than its limit.
#![expect(unsafe_code, reason = "QuickJS is given memory through an unsafe trait")]

use rquickjs::allocator::Allocator;
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

    fn count(&self, pointer: *mut u8) {
        if !pointer.is_null() {
            self.meter.used_bytes.set(self.meter.used_bytes.get() + usable(pointer));
        }
    }

    fn discount(&self, bytes: usize) {
        self.meter.used_bytes.set(self.meter.used_bytes.get().saturating_sub(bytes));
    }
}

/// Memory that objects gave back goes back to the kernel; it may lie between that of others.
pub(super) fn give_back() {
    // SAFETY: it looks at memory that nobody uses.
    unsafe { libc::malloc_trim(0) };
}

/// As much as the memory that a pointer of this file leads to really has.
fn usable(pointer: *mut u8) -> usize {
    // SAFETY: the functions of this file only call it with pointers of malloc that were not freed, or null.
    unsafe { libc::malloc_usable_size(pointer.cast()) }
}

// SAFETY: all memory is malloc's, aligned for everything; this only counts and sometimes refuses.
unsafe impl Allocator for Limited {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.admits(size) {
            return ptr::null_mut();
        }
        // SAFETY: malloc takes any size.
        let pointer: *mut u8 = unsafe { libc::malloc(size) }.cast();
        self.count(pointer);
        pointer
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        if !count.checked_mul(size).is_some_and(|total| self.admits(total)) {
            return ptr::null_mut();
        }
        // SAFETY: calloc takes any sizes.
        let pointer: *mut u8 = unsafe { libc::calloc(count, size) }.cast();
        self.count(pointer);
        pointer
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        self.discount(usable(pointer));
        // SAFETY: the pointer is null or came from this allocator, by the trait.
        unsafe { libc::free(pointer.cast()) };
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, new_size: usize) -> *mut u8 {
        let had = usable(pointer);
        if new_size > had && !self.admits(new_size - had) {
            return ptr::null_mut();
        }
        // SAFETY: the pointer is null or came from this allocator, by the trait.
        let moved: *mut u8 = unsafe { libc::realloc(pointer.cast(), new_size) }.cast();
        if new_size == 0 || !moved.is_null() {
            self.discount(had);
            self.count(moved);
        }
        moved
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        usable(pointer)
    }
}
