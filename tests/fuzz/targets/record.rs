//! Records of the queue. What has to hold stands beside the code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| relay_queue::fuzzing::record(input));
