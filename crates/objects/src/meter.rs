//! The memory of one object, its JavaScript's and its database's: counted, and no more than its limit.
#![expect(unsafe_code, reason = "QuickJS and SQLite are given memory by their pointers")]

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is used, and whether more was ever wanted than there is. An engine has one thread, so nothing here is a transaction.
#[derive(Debug)]
pub struct Meter {
    used_bytes: AtomicUsize,
    most_bytes: usize,
    exceeded: AtomicBool,
}

impl Meter {
    pub fn new(most_bytes: usize) -> Self {
        Self { used_bytes: AtomicUsize::new(0), most_bytes, exceeded: AtomicBool::new(false) }
    }

    /// Remembered for good: code may catch the error, the object is over all the same.
    pub fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn is_used(&self, bytes: usize) {
        self.used_bytes.store(bytes, Ordering::Relaxed);
    }

    fn admits(&self, more_bytes: usize) -> bool {
        let fits = self.used_bytes().checked_add(more_bytes).is_some_and(|used| used <= self.most_bytes);
        if !fits {
            self.exceeded.store(true, Ordering::Relaxed);
        }
        fits
    }

    /// Counts what others keep for the object, if there is room for it.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let fits = self.admits(bytes);
        if fits {
            self.is_used(self.used_bytes() + bytes);
        }
        fits
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.is_used(self.used_bytes().saturating_sub(bytes));
    }

    fn count(&self, pointer: *mut u8) {
        if !pointer.is_null() {
            self.is_used(self.used_bytes() + usable(pointer));
        }
    }

    /// Null where the limit or the process has no more.
    pub(crate) fn allocate(&self, size: usize) -> *mut u8 {
        if !self.admits(size) {
            return ptr::null_mut();
        }
        let pointer = allocate(size);
        self.count(pointer);
        pointer
    }

    pub(crate) fn allocate_zeroed(&self, count: usize, size: usize) -> *mut u8 {
        if !count.checked_mul(size).is_some_and(|total| self.admits(total)) {
            return ptr::null_mut();
        }
        // SAFETY: calloc takes any sizes.
        let pointer: *mut u8 = unsafe { libc::calloc(count, size) }.cast();
        self.count(pointer);
        pointer
    }

    /// # Safety
    /// The pointer is null, or of this file and used by nobody any more.
    pub(crate) unsafe fn free(&self, pointer: *mut u8) {
        self.give_back(usable(pointer));
        // SAFETY: by the caller's promise.
        unsafe { free(pointer) };
    }

    /// # Safety
    /// The pointer is null or of this file; where the result is not null, it takes the pointer's place.
    pub(crate) unsafe fn reallocate(&self, pointer: *mut u8, new_size: usize) -> *mut u8 {
        let had = usable(pointer);
        if new_size > had && !self.admits(new_size - had) {
            return ptr::null_mut();
        }
        // SAFETY: by the caller's promise.
        let moved = unsafe { reallocate(pointer, new_size) };
        if new_size == 0 || !moved.is_null() {
            self.give_back(had);
            self.count(moved);
        }
        moved
    }
}

/// Memory that nobody counts; null where there is none.
pub(crate) fn allocate(size: usize) -> *mut u8 {
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(size) }.cast()
}

/// # Safety
/// As [`Meter::free`].
pub(crate) unsafe fn free(pointer: *mut u8) {
    // SAFETY: null or malloc's, by the caller's promise.
    unsafe { libc::free(pointer.cast()) };
}

/// # Safety
/// As [`Meter::reallocate`].
pub(crate) unsafe fn reallocate(pointer: *mut u8, new_size: usize) -> *mut u8 {
    // SAFETY: null or malloc's, by the caller's promise.
    unsafe { libc::realloc(pointer.cast(), new_size) }.cast()
}

/// As much as the memory really has that a pointer of this file leads to.
pub(crate) fn usable(pointer: *mut u8) -> usize {
    // SAFETY: it is only called with pointers of malloc that were not freed, or null.
    unsafe { libc::malloc_usable_size(pointer.cast()) }
}

/// Memory that objects gave back goes back to the kernel; it may lie between that of others.
pub(crate) fn trim() {
    // SAFETY: it looks at memory that nobody uses.
    unsafe { libc::malloc_trim(0) };
}

/// What is kept for an object outside of its allocators' memory, as long as this lives.
#[derive(Debug)]
pub(crate) struct Taken {
    meter: Arc<Meter>,
    bytes: usize,
}

impl Taken {
    pub(crate) fn none(meter: &Arc<Meter>) -> Self {
        Self { meter: Arc::clone(meter), bytes: 0 }
    }

    /// Where there is no room for it, the meter says so.
    pub(crate) fn of(meter: &Arc<Meter>, bytes: usize) -> Self {
        let mut taken = Self::none(meter);
        taken.more(bytes);
        taken
    }

    /// Whether there was room for it.
    pub(crate) fn more(&mut self, bytes: usize) -> bool {
        let fits = self.meter.take(bytes);
        if fits {
            self.bytes += bytes;
        }
        fits
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.meter.give_back(self.bytes);
    }
}
