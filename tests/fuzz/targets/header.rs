//! Header sections, and the values that decisions rest on. What has to hold stands beside the code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| relay::fuzzing::header(input));
