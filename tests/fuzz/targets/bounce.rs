//! Delivery reports that go out, read again as ones that come in. What has to hold stands beside the code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| relay::fuzzing::bounce(input));
