//! SQLite's view of [`Pages`]: a file system in which the only files are the databases of this thread's objects.
#![expect(unsafe_code, reason = "SQLite calls a file system through C function pointers")]

use super::memory;
use super::pages::{PageError, Pages, WriteError};
use crate::wire::PAGE_BYTES;
use rusqlite::ffi;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::OnceLock;

pub(super) const NAME: &CStr = c"berth-objects";

/// Julian day of the Unix epoch, in milliseconds.
const EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

type Shared = Rc<RefCell<Pages>>;

thread_local! {
    static FILES: RefCell<HashMap<u64, Shared>> = RefCell::new(HashMap::new());
    static NEXT: Cell<u64> = const { Cell::new(1) };
    static NOW_MS: Cell<i64> = const { Cell::new(0) };
}

/// The time that SQL sees from now on in this thread.
pub(crate) fn set_now(now_ms: i64) {
    NOW_MS.set(now_ms);
}

/// A database under a name of its own, as long as this lives.
pub(super) struct Mounted {
    number: u64,
}

impl Mounted {
    pub(super) fn new(pages: Shared) -> Self {
        let number = NEXT.replace(NEXT.get() + 1);
        FILES.with_borrow_mut(|files| files.insert(number, pages));
        Self { number }
    }

    pub(super) fn name(&self) -> CString {
        CString::new(self.number.to_string()).unwrap_or_default()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        FILES.with_borrow_mut(|files| files.remove(&self.number));
    }
}

#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// From `Rc::into_raw`; given back in `close`.
    pages: *const RefCell<Pages>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Makes the file system known to SQLite, once per process. Returns SQLite's result code.
pub(super) fn register() -> c_int {
    static RESULT: OnceLock<c_int> = OnceLock::new();
    *RESULT.get_or_init(|| {
        // Nothing in this process has begun to use SQLite: an engine has no other databases.
        let counted = memory::install();
        if counted != ffi::SQLITE_OK {
            return counted;
        }
        let vfs = Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<File>() as c_int,
            mxPathname: 64,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(last_error),
            xCurrentTimeInt64: Some(current_time_ms),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        });
        // By default each connection takes memory for 20 pages at once, of which an idle object needs two or three.
        // SAFETY: the arguments that the option takes; no buffer is lent.
        unsafe {
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_PAGECACHE, ptr::null_mut::<c_void>(), 0 as c_int, 0 as c_int);
        }
        // SAFETY: the structure is never freed, and every pointer in it is of static functions or text.
        unsafe { ffi::sqlite3_vfs_register(Box::into_raw(vfs), 0) }
    })
}

/// # Safety
/// `file` is one that `open` filled in and `close` has not ended.
unsafe fn with_pages<T>(file: *mut ffi::sqlite3_file, run: impl FnOnce(&mut Pages) -> T) -> Result<T, c_int> {
    // SAFETY: by the caller's promise the pointer is to a `File` whose `pages` holds a reference.
    let pages = unsafe { &*(*file.cast::<File>()).pages };
    match pages.try_borrow_mut() {
        Ok(mut pages) => Ok(run(&mut pages)),
        Err(_) => Err(ffi::SQLITE_IOERR),
    }
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives szOsFile bytes for the file and, for a main database, a name that ends in NUL.
    unsafe {
        (*file).pMethods = ptr::null();
        // Journals and temporary tables are in memory: whoever asks for another file is wrong.
        if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 || name.is_null() {
            return ffi::SQLITE_CANTOPEN;
        }
        let number = CStr::from_ptr(name).to_str().ok().and_then(|name| name.parse::<u64>().ok());
        let pages = number.and_then(|number| FILES.with_borrow(|files| files.get(&number).cloned()));
        let Some(pages) = pages else { return ffi::SQLITE_CANTOPEN };
        let file = file.cast::<File>();
        (*file).pages = Rc::into_raw(pages);
        (*file).base.pMethods = &METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once; the reference is the one that `open` made.
    unsafe {
        drop(Rc::from_raw((*file.cast::<File>()).pages));
        (*file).pMethods = ptr::null();
    }
    ffi::SQLITE_OK
}

fn place(offset: i64) -> Option<(u32, usize)> {
    let offset = usize::try_from(offset).ok()?;
    let page = u32::try_from(offset / PAGE_BYTES + 1).ok()?;
    Some((page, offset % PAGE_BYTES))
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, amount: c_int, offset: i64) -> c_int {
    let (Ok(amount), Some((page, within))) = (usize::try_from(amount), place(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    if within + amount > PAGE_BYTES {
        return ffi::SQLITE_IOERR_READ;
    }
    // SAFETY: SQLite gives room for `amount` bytes.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), amount) };
    // SAFETY: an open file.
    match unsafe { with_pages(file, |pages| pages.read(page, within, out)) } {
        Ok(Ok(true)) => ffi::SQLITE_OK,
        Ok(Ok(false)) => ffi::SQLITE_IOERR_SHORT_READ,
        Ok(Err(PageError::Memory)) => ffi::SQLITE_IOERR_NOMEM,
        Ok(Err(PageError::Unavailable { .. })) | Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, amount: c_int, offset: i64) -> c_int {
    let whole = usize::try_from(amount).is_ok_and(|amount| amount == PAGE_BYTES);
    let Some((page, 0)) = place(offset).filter(|_| whole) else { return ffi::SQLITE_IOERR_WRITE };
    // SAFETY: SQLite lends `amount` bytes, which is a page.
    let bytes = unsafe { &*bytes.cast::<[u8; PAGE_BYTES]>() };
    // SAFETY: an open file.
    match unsafe { with_pages(file, |pages| pages.write(page, bytes)) } {
        Ok(Ok(())) => ffi::SQLITE_OK,
        Ok(Err(WriteError::Transaction)) => ffi::SQLITE_FULL,
        Ok(Err(WriteError::Memory)) => ffi::SQLITE_IOERR_NOMEM,
        Err(code) => code,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let Some((page, 0)) = place(size) else { return ffi::SQLITE_IOERR_TRUNCATE };
    // SAFETY: an open file.
    match unsafe { with_pages(file, |pages| pages.truncate(page - 1)) } {
        Ok(()) => ffi::SQLITE_OK,
        Err(code) => code,
    }
}

unsafe extern "C" fn sync(_file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // What is durable is said by the host, commit by commit.
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: an open file, and room for the size.
    unsafe {
        match with_pages(file, |pages| pages.count()) {
            Ok(count) => {
                *out = i64::from(count) * PAGE_BYTES as i64;
                ffi::SQLITE_OK
            }
            Err(code) => code,
        }
    }
}

unsafe extern "C" fn lock(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    // Each database has one connection.
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: room for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_file: *mut ffi::sqlite3_file, _op: c_int, _arg: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    PAGE_BYTES as c_int
}

unsafe extern "C" fn characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_ATOMIC4K | ffi::SQLITE_IOCAP_SAFE_APPEND | ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char, _sync: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: room for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the name ends in NUL, and `out` has `room` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if usize::try_from(room).is_ok_and(|room| bytes.len() <= room) {
            ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
            ffi::SQLITE_OK
        } else {
            ffi::SQLITE_CANTOPEN
        }
    }
}

unsafe extern "C" fn randomness(_vfs: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    let Ok(room) = usize::try_from(count) else { return 0 };
    // SAFETY: `out` has `count` bytes.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), room) };
    rand::RngCore::fill_bytes(&mut rand::rng(), out);
    count
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: room for the answer.
    unsafe { *out = (NOW_MS.get() + EPOCH_JULIAN_MS) as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_ms(_vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: room for the answer.
    unsafe { *out = NOW_MS.get() + EPOCH_JULIAN_MS };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _room: c_int, _out: *mut c_char) -> c_int {
    0
}
