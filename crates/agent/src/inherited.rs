//! What whoever started this program left to it, and what every program that is started from here, a sandbox's above
//! all, would inherit in turn: open descriptors, and signals that are ignored.

use std::io;

use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};

const FIRST: libc::c_uint = 3;

/// Closes every descriptor but standard input, output and error. Call it first in `main`, before anything is opened:
/// whoever holds one of these descriptors would find it closed under its hands.
pub fn close() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper exists; the call takes and returns plain numbers")]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Signals that were ignored when this program was started, as `nohup` does, still do nothing to it; but programs that it
/// starts get them as usual. Ignoring is inherited, a handler is not: a shell could neither be hung up nor trap it.
pub fn ignore_alone() -> nix::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    for signal in Signal::iterator() {
        // KILL and STOP cannot be; Rust's own runtime ignores PIPE and gives it back to what it starts.
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGPIPE) {
            continue;
        }
        #[expect(unsafe_code, reason = "the handler does nothing, and what was handled before is put back")]
        unsafe {
            let before = sigaction(signal, &handler)?;
            if !matches!(before.handler(), SigHandler::SigIgn) {
                sigaction(signal, &before)?;
            }
        }
    }
    Ok(())
}
