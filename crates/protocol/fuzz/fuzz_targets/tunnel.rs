//! Tunnel frames: `RUSTC_BOOTSTRAP=1 cargo fuzz run tunnel -- -max_total_time=60`.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use protocol::tunnel::Frame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = Frame::decode(Bytes::copy_from_slice(bytes)) {
        let again = frame.encode().expect("what was decoded can be encoded");
        assert_eq!(Frame::decode(again).expect("and decoded"), frame);
    }
});
