//! The search for RSA keys, which can be stopped: it may take seconds, no interrupt of JavaScript reaches it, and the watchdog that ends
//! what hears none ends the engine with all its objects.

#![expect(unsafe_code, reason = "aws-lc-rs makes keys by the same function, and does not let its caller stop it")]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use aws_lc_sys as lc;

/// Something of AWS-LC's, and what frees it.
struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// None: there was no memory for it.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        Some(Self { pointer: NonNull::new(pointer)?, free })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: it was made for this function to free, and is used by nobody after this.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

unsafe extern "C" fn ask<F: FnMut() -> bool>(_step: c_int, _number: c_int, callback: *mut lc::BN_GENCB) -> c_int {
    // SAFETY: `private_key` set the argument to its `go_on`, which outlives the search and is used by nobody else meanwhile.
    let go_on = unsafe { &mut *lc::BN_GENCB_get_arg(callback).cast::<F>() };
    c_int::from(go_on())
}

/// An RSAPrivateKey (RFC 8017) with a modulus of so many bits, a multiple of 128. `go_on` is asked after every few milliseconds of
/// searching. None: it said no, or there was no memory.
pub(super) fn private_key<F: FnMut() -> bool>(bits: u16, exponent: u32, mut go_on: F) -> Option<Vec<u8>> {
    // SAFETY: these make things that their own functions free.
    let (key, number, callback) = unsafe {
        (
            Owned::new(lc::RSA_new(), lc::RSA_free)?,
            Owned::new(lc::BN_new(), lc::BN_free)?,
            Owned::new(lc::BN_GENCB_new(), lc::BN_GENCB_free)?,
        )
    };
    let argument: *mut c_void = (&raw mut go_on).cast();
    let (mut bytes, mut length) = (ptr::null_mut(), 0);
    // SAFETY: all three are alive and used by nobody else, `go_on` lives until the end of this function, and `bytes` and `length` are
    // read only if they were written.
    let bytes = unsafe {
        lc::BN_GENCB_set(callback.get(), Some(ask::<F>), argument);
        let made = lc::BN_set_u64(number.get(), u64::from(exponent)) == 1
            && lc::RSA_generate_key_ex(key.get(), c_int::from(bits), number.get(), callback.get()) == 1
            && lc::RSA_private_key_to_bytes(&raw mut bytes, &raw mut length, key.get()) == 1;
        // A search that was stopped leaves the reason in the thread's list, which nobody reads.
        lc::ERR_clear_error();
        if !made {
            return None;
        }
        Owned::new(bytes, free_bytes)?
    };
    // SAFETY: AWS-LC wrote so many bytes there, and they are freed after this.
    Some(unsafe { std::slice::from_raw_parts(bytes.get(), length) }.to_vec())
}

unsafe extern "C" fn free_bytes(bytes: *mut u8) {
    // SAFETY: they are AWS-LC's own.
    unsafe { lc::OPENSSL_free(bytes.cast()) }
}

#[cfg(test)]
mod tests {
    use super::private_key;
    use crate::engine::web::der;

    #[test]
    fn a_key_has_the_size_and_the_exponent_that_were_asked_for() {
        for exponent in [3, 65_537_u32] {
            let key = private_key(2048, exponent, || true).expect("is found");
            let integers = der::integers(&key).expect("is a sequence of integers");
            let exponent: Vec<u8> = exponent.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            assert_eq!((integers.len(), integers[1].len(), &integers[2]), (9, 256, &exponent));
            assert!(integers[1][0] >= 0x80);
        }
    }

    #[test]
    fn a_search_ends_when_it_is_told_to() {
        let mut asked = 0;
        let key = private_key(4096, 65_537, || {
            asked += 1;
            asked < 10
        });
        assert_eq!((key, asked), (None, 10));
    }
}
