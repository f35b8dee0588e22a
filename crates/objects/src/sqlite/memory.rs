//! SQLite's memory, counted as the object's for which SQLite works.
//!
//! SQLite has one allocator for all databases of a process. Whatever it takes it takes for one of them, within a call of
//! this crate's, so the call says for which ([`charge`]); what it takes outside of any is the process's. Each piece knows
//! whose it is: a page of one database's cache may be used again, and freed, for another.
#![expect(unsafe_code, reason = "SQLite calls an allocator through C function pointers")]

use crate::meter::{self, Meter};
use rusqlite::ffi;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

/// Before each piece stands whose it is: from [`Arc::into_raw`], or null. As wide as SQLite wants its memory aligned.
type Owner = *const Meter;
const OWNER_BYTES: usize = 8;
const _: () = assert!(size_of::<Owner>() == OWNER_BYTES);

thread_local! {
    static CHARGED: Cell<Owner> = const { Cell::new(ptr::null()) };
}

/// Until it goes out of scope, what SQLite takes in this thread is the object's.
pub(super) struct Charge<'a> {
    before: Owner,
    meter: PhantomData<&'a Arc<Meter>>,
}

pub(super) fn charge(meter: &Arc<Meter>) -> Charge<'_> {
    Charge { before: CHARGED.replace(Arc::as_ptr(meter)), meter: PhantomData }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        CHARGED.set(self.before);
    }
}

/// Makes SQLite take its memory here. Returns its result code: it refuses once it has memory of another kind.
pub(super) fn install() -> c_int {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(allocate),
        xFree: Some(free),
        xRealloc: Some(reallocate),
        xSize: Some(size),
        xRoundup: Some(round_up),
        xInit: Some(begin),
        xShutdown: Some(end),
        pAppData: ptr::null_mut(),
    };
    let methods: *const ffi::sqlite3_mem_methods = &methods;
    // SAFETY: the argument that the option takes, copied by SQLite.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, methods) }
}

/// With room for the owner; `None` where there are not so many bytes in the world.
fn whole(bytes: c_int) -> Option<usize> {
    usize::try_from(bytes).ok()?.checked_add(OWNER_BYTES)
}

/// # Safety
/// `start` leads to as many bytes as an owner has.
unsafe fn behind_owner(start: *mut u8) -> *mut c_void {
    // SAFETY: by the caller's promise it is within the piece, or one past its end.
    unsafe { start.add(OWNER_BYTES) }.cast()
}

/// # Safety
/// The pointer is what `allocate` or `reallocate` gave.
unsafe fn start_of(pointer: *mut c_void) -> *mut Owner {
    // SAFETY: the owner stands before it; malloc's memory is aligned for it.
    unsafe { pointer.cast::<u8>().sub(OWNER_BYTES) }.cast()
}

unsafe extern "C" fn allocate(bytes: c_int) -> *mut c_void {
    let Some(bytes) = whole(bytes) else { return ptr::null_mut() };
    let owner = CHARGED.get();
    // SAFETY: a charge borrows its meter for as long as it stands there; the piece keeps a reference of its own.
    unsafe {
        let start = if owner.is_null() { meter::allocate(bytes) } else { (*owner).allocate(bytes) };
        if start.is_null() {
            return ptr::null_mut();
        }
        if !owner.is_null() {
            Arc::increment_strong_count(owner);
        }
        start.cast::<Owner>().write(owner);
        behind_owner(start)
    }
}

unsafe extern "C" fn free(pointer: *mut c_void) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: SQLite frees what it had from here, once; with the piece its reference to the owner goes.
    unsafe {
        let start = start_of(pointer);
        let owner = start.read();
        if owner.is_null() {
            meter::free(start.cast());
        } else {
            Arc::from_raw(owner).free(start.cast());
        }
    }
}

unsafe extern "C" fn reallocate(pointer: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(bytes) = whole(bytes) else { return ptr::null_mut() };
    // SAFETY: SQLite gives what it had from here, and uses the result in its place; the owner moves along.
    unsafe {
        let start = start_of(pointer);
        let owner = start.read();
        let moved = match owner.is_null() {
            true => meter::reallocate(start.cast(), bytes),
            false => (*owner).reallocate(start.cast(), bytes),
        };
        if moved.is_null() { ptr::null_mut() } else { behind_owner(moved) }
    }
}

unsafe extern "C" fn size(pointer: *mut c_void) -> c_int {
    if pointer.is_null() {
        return 0;
    }
    // SAFETY: SQLite asks about what it had from here.
    let whole = meter::usable(unsafe { start_of(pointer) }.cast());
    c_int::try_from(whole - OWNER_BYTES).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn round_up(bytes: c_int) -> c_int {
    const STEP: c_int = OWNER_BYTES as c_int;
    bytes.saturating_add(STEP - 1) & !(STEP - 1)
}

unsafe extern "C" fn begin(_data: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_data: *mut c_void) {}
