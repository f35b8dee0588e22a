//! Descriptors that whoever started this program left open: nothing here uses them, and every program that is started
//! from here, a sandbox's above all, would inherit them in turn.

use std::io;

use nix::libc;

const FIRST: libc::c_uint = 3;

/// Closes every descriptor but standard input, output and error. Call it first in `main`, before anything is opened:
/// whoever holds one of these descriptors would find it closed under its hands.
pub fn close() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper exists; the call takes and returns plain numbers")]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
