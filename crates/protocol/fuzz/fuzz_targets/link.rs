//! Control frames in both directions: `RUSTC_BOOTSTRAP=1 cargo fuzz run link -- -max_total_time=60`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{ToAgent, ToServer, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = decode::<ToServer>(bytes) {
        let again = encode(&message).expect("what was decoded can be encoded");
        decode::<ToServer>(&again).expect("and decoded");
    }
    if let Ok(message) = decode::<ToAgent>(bytes) {
        let again = encode(&message).expect("what was decoded can be encoded");
        decode::<ToAgent>(&again).expect("and decoded");
    }
});
